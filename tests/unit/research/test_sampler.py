import pickle
import random
import types

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.interval import Interval, integers, log_uniform, uniform
from jobnb.research.optimize import load_sweep
from jobnb.research.sampler import Search, draw
from jobnb.research.space import ParameterSpace
from jobnb.research.sweep import SweepWork, search

MIXED = {"n": range(5, 50), "x": uniform(0, 1), "y": log_uniform(0.01, 10), "k": integers(1, 500, log=True)}


def space_of(**grid):
    return ParameterSpace.parse(print, grid)


def listed(trials):
    return [dict(params) for params in trials.each(0, trials.count)]


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_a_seed_gives_the_same_trials_and_fewer_are_the_first_of_more(seed, a, b):
    for space in (space_of(**MIXED), space_of(a=range(7), b=["x", "y"]), space_of(a=range(10**6), b=range(10**6))):
        less, more = sorted((a, b))
        few = Search.make(space, "random", n_trials=less, seed=seed)
        many = Search.make(space, "random", n_trials=more, seed=seed)
        assert listed(few) == listed(many)[: few.count]


@given(st.integers(0, 2**32), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_lists_are_sampled_without_replacement_and_a_small_space_is_tried_whole(seed, n):
    space = space_of(a=range(12), b=range(12))
    trials = Search.make(space, "random", n_trials=n, seed=seed, constraint=lambda p: p.a < p.b)
    found = {(p["a"], p["b"]) for p in listed(trials)}
    assert len(found) == trials.count == min(n, 66)
    assert all(a < b for a, b in found)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_is_drawn_lies_in_its_range_and_is_of_its_kind(seed):
    for params in listed(Search.make(space_of(**MIXED), "random", n_trials=50, seed=seed)):
        assert params["n"] in range(5, 50)
        assert 0 <= params["x"] <= 1
        assert 0.01 <= params["y"] <= 10
        assert isinstance(params["k"], int)
        assert 1 <= params["k"] <= 500


def test_the_scales_are_what_they_say():
    space = space_of(x=uniform(2, 4), y=log_uniform(0.01, 100), k=integers(1, 3), m=integers(1, 9, log=True))
    points = draw(space, 20_000, 1)
    assert np.median(points[:, 0]) == pytest.approx(3, rel=0.02)
    assert np.median(points[:, 1]) == pytest.approx(1, rel=0.1)
    assert np.bincount(points[:, 2].astype(int)) == pytest.approx([20_000 / 3] * 3, rel=0.05)
    assert np.bincount(points[:, 3].astype(int), minlength=10)[[1, 9]] / 20_000 == pytest.approx(
        [np.log(1.5 / 0.5) / np.log(9.5 / 0.5), np.log(9.5 / 8.5) / np.log(9.5 / 0.5)], rel=0.1
    )


def test_whole_numbers_on_a_log_scale_are_tried_once():
    points = draw(space_of(k=integers(1, 30, log=True)), 100, 1)
    assert sorted(points[:, 0].tolist()) == list(range(1, 31))


def test_a_constraint_on_a_space_too_large_to_list():
    space = space_of(a=range(10**5), b=range(10**5))
    trials = Search.make(space, "random", n_trials=300, seed=5, constraint=lambda p: p.a < p.b)
    assert trials.count == 300
    assert all(p["a"] < p["b"] for p in listed(trials))
    few = Search.make(
        space_of(a=range(1000), b=range(1000)), "random", n_trials=30, constraint=lambda p: p.a == p.b < 20
    )
    assert {(p["a"], p["b"]) for p in listed(few)} == {(i, i) for i in range(20)}
    with pytest.raises(UsageProblem, match=r"only 0 satisfy the constraint, where 10 are wanted"):
        Search.make(space, "random", n_trials=10, constraint=lambda p: False)


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_parameter_that_is_fixed_does_not_change_what_is_drawn_of_the_others(method, daily):
    def score(data, x, n, **more):
        return -((x - 1) ** 2) - n

    plain, more = ({"x": uniform(-5, 5), "n": range(50)}, {"a": [7], "x": uniform(-5, 5), "n": range(50), "b": ["t"]})
    tables = []
    for grid in (plain, more):
        found = search(score, daily, Search.make(space_of(**grid), method, n_trials=40, seed=3), objective="score")
        tables.append([(found.params(i)["x"], found.params(i)["n"]) for i in range(40)])
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("grid", "method", "n_trials", "says"),
    [
        ({"x": uniform(0, 1)}, "grid", None, r"a list of values for x.*n_trials=200.*method=.random"),
        ({"x": [1, 2]}, "grid", 10, r"n_trials=10 says nothing.*method=.random"),
        ({"x": [1, 2]}, "random", 0, r"at least 1, not 0"),
        ({"x": [1, 2]}, "random", 2.5, r"whole number"),
        ({"x": [1, 2]}, "rnadom", 2, r"unknown method 'rnadom'. Did you mean 'random'"),
    ],
)
def test_what_cannot_be_searched(grid, method, n_trials, says):
    with pytest.raises(UsageProblem, match=says):
        Search.make(ParameterSpace.parse(print, grid), method, n_trials=n_trials)
    with pytest.raises(UsageProblem, match="a seed must be a whole number from 0 on, not -1"):
        Search.make(space_of(x=[1]), "tpe", seed=-1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: uniform(1, 1), "low < high"),
        (lambda: uniform(0, float("inf")), "finite"),
        (lambda: uniform("a", 1), "two finite numbers"),
        (lambda: log_uniform(0, 1), "above 0"),
        (lambda: integers(1.5, 3), "whole numbers"),
        (lambda: integers(5, 3), "low <= high"),
        (lambda: integers(1, 9, step=2, log=True), "not both"),
    ],
)
def test_ranges_that_are_none(make, says):
    with pytest.raises(UsageProblem, match=says):
        make()


def test_descriptions_of_continuous_ranges():
    space = space_of(
        a={"type": "float", "min": 0, "max": 1},
        b={"type": "float", "min": 0.1, "max": 10, "log": True},
        c={"type": "int", "min": 1, "max": 100, "log": True},
        d={"type": "float", "min": 2, "max": 2},
    )
    assert space.values == (uniform(0, 1), log_uniform(0.1, 10), integers(1, 100, log=True), (2.0,))
    assert space.continuous == ("a", "b", "c")
    assert ParameterSpace.from_json(space.to_json()) == space
    with pytest.raises(UsageProblem, match="a step or a log scale"):
        space_of(a={"type": "float", "min": 1, "max": 2, "log": True, "step": 0.1})


def test_a_parameter_that_is_a_whole_number_is_searched_by_whole_numbers(sma_cross):
    with pytest.raises(UsageProblem, match=r"fast is a whole number \(10\); search it as jobnb.integers\(5, 50\)"):
        ParameterSpace.parse(sma_cross, {"fast": uniform(5, 50)})
    with pytest.raises(UnknownName, match="slow"):
        ParameterSpace.parse(sma_cross, {"slwo": uniform(5, 50)})


@given(st.floats(0, 1))
def test_shares_and_numbers_are_inverse(share):
    for interval in (Interval(low=-3, high=8), Interval(low=0.01, high=50, log=True)):
        assert interval.share(interval.at(share)) == pytest.approx(share, abs=1e-9)


def quiet(done):
    pass


def test_random_search_from_end_to_end(sma_cross, stored, daily):
    space = ParameterSpace.parse(sma_cross, {"fast": integers(3, 40), "slow": integers(10, 200, log=True)})
    trials = Search.make(space, "random", n_trials=60, seed=4, constraint=lambda p: p.fast < p.slow)
    work = pickle.loads(cloudpickle.dumps(SweepWork.build(sma_cross, trials, stored, objective="calmar_ratio")))
    parts = [work.run(a, b, None, quiet) for a, b in ((30, 60), (0, 7), (7, 30))]
    result = load_sweep(work.meta(), [part.result for part in parts])
    whole = load_sweep(work.meta(), [work.run(0, 60, None, quiet).result])
    pd.testing.assert_frame_equal(result.trials, whole.trials)
    assert (result.method, result.seed, len(result), result.planned) == ("random", 4, 60, 60)
    assert result.trials[["fast", "slow"]].to_dict("records") == listed(trials)
    single = sma_cross(**result.best_params).load_data(daily).backtest()
    assert single.calmar_ratio == result.best_value == result.trials["calmar_ratio"].max()
    heat = result.heatmap()
    assert heat.frame.shape == (38, 24)
    assert heat.frame.max().max() == result.best_value
    assert "<svg" in result._repr_html_()


def test_random_numbers_of_a_function_belong_to_the_trial_not_to_its_task(stored, monkeypatch):
    def noisy(data, n):
        return {"score": np.random.rand() + random.random()}

    work = SweepWork.build(
        noisy, Search.make(space_of(n=range(30)), "random", n_trials=9, seed=1), stored, objective="score"
    )

    def run(start, stop):
        here = types.SimpleNamespace(seed=(2**32 - 3 + start) % 2**32, start=start)
        monkeypatch.setattr("jobnb.worker.context._current", here)
        return load_sweep(work.meta(), [work.run(start, stop, None, quiet).result]).trials["score"].tolist()

    whole = run(0, 9)
    assert run(0, 4) + run(4, 9) == whole
    assert len(set(whole)) == 9


def test_search_in_process_equals_the_job_and_a_window_is_valued_alone(sma_cross, stored, daily):
    space = ParameterSpace.parse(sma_cross, {"fast": range(3, 9), "slow": range(10, 20)})
    trials = Search.make(space, "random", n_trials=20, seed=1)
    found = search(sma_cross, daily, trials)
    work = SweepWork.build(sma_cross, trials, stored)
    assert found.params(found.best) == load_sweep(work.meta(), [work.run(0, 20, None, quiet).result]).best_params
    window = slice(100, 300)
    inside = search(sma_cross, daily, trials, window=window)
    assert inside.column("buy_and_hold_return")[0] == pytest.approx(daily.close[299] / daily.close[100] - 1)
    assert not np.array_equal(inside.values, found.values, equal_nan=True)
