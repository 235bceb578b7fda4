import doctest
import importlib
import pickle
import pkgutil

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobnb.research
from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.metrics import LOWER_IS_BETTER, METRICS, check_objective
from jobnb.research.optimize import front, load_sweep
from jobnb.research.options import EngineOptions
from jobnb.research.sampler import Search
from jobnb.research.single import load_backtest
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import SweepWork
from jobnb.research.text import number
from jobnb.research.trial import TrialWork
from jobnb.work import Hooked


@pytest.fixture
def result(sma_cross, google):
    return sma_cross(fast=12, slow=87).load_data(google).backtest(commission=0.001)


@pytest.fixture
def optimized(sma_cross, stored):
    space = ParameterSpace.parse(sma_cross, {"fast": range(3, 12), "slow": range(10, 40, 3)})
    work = SweepWork.build(sma_cross, space, stored, indices=space.allowed(lambda p: p.fast < p.slow))
    return load_sweep(work.meta(), [work.run(0, work.count, None, lambda done: None).result])


def test_metrics_in_three_ways(result):
    assert list(result.metrics.index) == list(METRICS)
    assert result.sharpe_ratio == result.metrics["sharpe_ratio"] == result.get_performance_metrics()["sharpe_ratio"]
    assert "sharpe_ratio" in dir(result)
    with pytest.raises(AttributeError, match=r"no attribute 'sharp'"):
        result.sharp  # noqa: B018


def test_trades(sma_cross, google, result):
    trades = result.trades
    assert list(trades)[:4] == ["entry_time", "exit_time", "side", "size"]
    closed = trades[~trades["open"]]
    gross = (closed["exit_price"] - closed["entry_price"]) * closed["size"] - closed["commission"]
    np.testing.assert_allclose(closed["pnl"], gross)
    assert trades["pnl"].sum() == pytest.approx(result.final_equity - 10_000)
    assert trades["bars"].sum() == round(result.exposure * 1047)

    class AlwaysIn(Strategy):
        def positions(self, bars):
            return np.ones(len(bars), dtype=bool)

    held = AlwaysIn().load_data(google).backtest().trades
    assert held["open"].tolist() == [True]
    assert held["exit_time"][0] == google.index[-1]
    assert sma_cross(fast=900, slow=901).load_data(google).backtest(commission=0.1).trades["open"].dtype.kind == "b"


def test_no_trades_is_an_empty_table(google):
    class Never(Strategy):
        def positions(self, bars):
            return np.zeros(len(bars))

    result = Never().load_data(google).backtest()
    assert result.trades.empty
    assert next(iter(result.trades)) == "entry_time"
    assert (result.equity_curve == 10_000).all()
    assert "–" in repr(result)


def test_shorts_in_the_table(google):
    class Short(Strategy):
        def positions(self, bars):
            return np.where(np.arange(len(bars)) < 10, -1, 0)

    trades = Short().load_data(google).backtest().trades
    assert trades["side"].tolist() == ["short"]
    assert trades["size"][0] < 0
    assert trades["pnl"][0] == pytest.approx((trades["exit_price"] - trades["entry_price"])[0] * trades["size"][0])


def test_a_result_travels_and_is_small(result):
    result.trades  # noqa: B018
    data = pickle.dumps(result)
    assert len(data) < 40_000
    again = pickle.loads(data)
    pd.testing.assert_series_equal(again.equity_curve, result.equity_curve)
    pd.testing.assert_frame_equal(again.trades, result.trades)
    assert repr(again) == repr(result)


def test_words_and_pictures_of_a_backtest(result):
    text = repr(result)
    assert text.startswith("SmaCross fast=12 slow=87 on GOOG\n")
    assert text.endswith(
        "2004-08-19 to 2008-10-14 · 1,047 bars · commission 0.1 % · fills at next open · Sharpe: daily, 252, empyrical"
    )
    assert "<script" not in result._repr_html_()
    assert len(result.plot().axes) == 3


def test_drawdown(result):
    assert result.drawdown.min() == pytest.approx(result.max_drawdown)


def test_optimize_result(optimized):
    assert list(optimized.trials) == ["fast", "slow", *METRICS]
    assert (optimized.trials["fast"] < optimized.trials["slow"]).all()
    assert optimized.top(3)["sharpe_ratio"].is_monotonic_decreasing
    assert optimized.best_params == optimized.top(1)[["fast", "slow"]].to_dict("records")[0]
    assert repr(optimized).startswith("SmaCross on daily: best sharpe_ratio")
    head = repr(optimized).splitlines()
    assert head[1].startswith("best Sharpe 1.87 of 88 runs, buy and hold 1.21: chance alone would give about ")
    assert len(head) == 8
    again = pickle.loads(pickle.dumps(optimized))
    assert again.best_value == optimized.best_value


@given(
    st.integers(1, 3).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(0, 6) | st.just(float("nan")), min_size=k, max_size=k), min_size=0, max_size=25
        ).map(lambda rows: np.array(rows, dtype=float).reshape(-1, k))
    )
)
def test_the_front_is_what_nothing_beats(values):
    found = front(values)
    usable = [i for i in range(len(values)) if np.isfinite(values[i]).all()]
    beaten = {i for i in usable for j in usable if (values[j] >= values[i]).all() and (values[j] > values[i]).any()}
    assert sorted(found) == sorted(set(usable) - beaten)
    assert [values[i, 0] for i in found] == sorted((values[i, 0] for i in found), reverse=True)


def test_pareto_of_two_objectives(sma_cross, stored):
    space = ParameterSpace.parse(sma_cross, {"fast": range(3, 12), "slow": range(10, 40, 3)})
    work = SweepWork.build(sma_cross, space, stored, objective=["sharpe_ratio", "volatility"])
    result = load_sweep(work.meta(), [work.run(0, space.count, None, lambda done: None).result])
    best = result.pareto
    assert 1 < len(best) < len(result)
    assert best["sharpe_ratio"].is_monotonic_decreasing
    assert best["volatility"].is_monotonic_decreasing
    assert best.iloc[0][["fast", "slow"]].to_dict() == result.best_params
    assert result.trials.loc[best.index].equals(best)


def test_a_result_without_its_job_cannot_run_a_trial(optimized):
    with pytest.raises(UsageProblem, match=r"does not know its job.*jobnb.backtest"):
        optimized.rerun_best()
    with pytest.raises(UsageProblem, match="no row 88 among 88 trials"):
        optimized.rerun(88)


@pytest.mark.parametrize("method", ["grid", "random"])
def test_a_trial_of_a_stored_search_is_run_by_itself(sma_cross, stored, method):
    space = ParameterSpace.parse(sma_cross, {"fast": range(3, 12), "slow": range(10, 40, 3)})
    trials = Search.make(space, method, constraint=lambda p: p.fast < p.slow - 5)
    work = SweepWork.build(sma_cross, trials, stored, options=EngineOptions(commission=0.002))
    result = load_sweep(work.meta(), [work.run(0, trials.count, None, lambda done: None).result])
    asked = []
    result.bind(lambda *said: asked.append(said))
    result.rerun()
    number, point, params = asked[0]
    assert params == result.best_params
    again = TrialWork(search=cloudpickle.dumps(Hooked(work)), number=number, point=point)
    part = pickle.loads(cloudpickle.dumps(again)).run(0, 1, None, lambda done: None)
    assert load_backtest([part.result]).sharpe_ratio == result.best_value
    assert part.summary["params"] == result.best_params


def test_heat_map(optimized):
    heat = optimized.heatmap()
    assert heat.frame.index.name == "fast"
    assert heat.frame.columns.name == "slow"
    assert heat.frame.max().max() == optimized.best_value
    assert np.isnan(heat.frame.loc[11, 10])
    turned = optimized.heatmap(x="fast", y="slow", metric="total_return")
    assert turned.frame.shape == heat.frame.T.shape
    made = heat._repr_html_()
    assert made.count("<svg") == 1
    assert "<script" not in made
    assert "best" in made
    assert heat.plot().axes
    assert "sharpe_ratio · rows fast 3…11 · columns slow 10…37" in repr(heat)
    for call in ({"x": "fsat"}, {"metric": "sharp_ratio"}):
        with pytest.raises(UnknownName, match=r"Did you mean"):
            optimized.heatmap(**call)
    with pytest.raises(UsageProblem, match=r"two different parameters"):
        optimized.heatmap(x="fast", y="fast")


def test_a_heat_map_of_three_parameters_shows_the_best_over_the_third(stored):
    def score(data, a, b, c):
        return {"score": a + b - (c - 1) ** 2, "c_used": c}

    space = ParameterSpace.parse(score, {"a": [1, 2], "b": [10, 20], "c": [0, 1, 2]})
    work = SweepWork.build(score, space, stored, objective="score")
    result = load_sweep(work.meta(), [work.run(0, 12, None, lambda done: None).result])
    assert result.heatmap("a", "b").frame.to_numpy().tolist() == [[11, 12], [21, 22]]
    assert (result.heatmap("a", "b", "c_used").frame == 1).all().all()
    assert result.heatmap().y == "a"


def test_objectives():
    assert check_objective("sharpe_ratio") == "sharpe_ratio"
    assert set(METRICS) > LOWER_IS_BETTER
    with pytest.raises(UnknownName, match=r"Did you mean 'sharpe_ratio'"):
        check_objective("sharpe")


def test_numbers_as_text():
    assert number("profit_factor", float("inf")) == "∞"
    assert number("final_equity", -12345.678) == "−12,345.68"
    assert number("max_drawdown_duration", 282.4) == "282 days"


@pytest.mark.parametrize(
    "module", [module.name for module in pkgutil.iter_modules(jobnb.research.__path__, "jobnb.research.")]
)
def test_examples_run(module):
    assert doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
