import subprocess
import sys

import cloudpickle
import numpy as np
import optuna
import pandas as pd
import pytest

from jobnb.errors import BlobMissing, MissingPackage
from jobnb.research import sampler, tpe
from jobnb.research.goal import goals
from jobnb.research.interval import integers, log_uniform, uniform
from jobnb.research.optimize import load_sweep
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace
from jobnb.research.sweep import SweepWork, search
from jobnb.research.tpe import GENERATION, Past, generation

SPACE = ParameterSpace.parse(
    print, {"x": uniform(-5, 5), "y": log_uniform(0.01, 100), "k": integers(1, 50, log=True), "c": ["a", "b", "c"]}
)
LISTS = ParameterSpace.parse(print, {"a": range(10), "b": range(10), "c": [2]})
SCORE = goals("score", foreign=True)


def bowl(data, x, y, k, c):
    if c == "c":
        raise ValueError("not c")
    return {"score": -((x - 1) ** 2) - np.log10(y) ** 2 - abs(k - 7) / 10 - (c == "b"), "size": abs(x)}


def quiet(done):
    pass


def run(work, cuts, monkeypatch):
    """Run a work in these cuts as the service would, each in a child of its own; return the parts."""
    parts, at = [], 0
    cuts = iter(cuts)
    while at < work.count:
        stop = work.trials.end(at, at + next(cuts))
        child = cloudpickle.loads(cloudpickle.dumps(work))
        left = tuple(part.carry for part in parts)
        monkeypatch.setattr("jobnb.worker.context.carried", lambda left=left: left)
        parts.append(child.run(at, stop, None, quiet))
        at = parts[-1].stop
    return parts


def build(stored, strategy=bowl, space=SPACE, objective="score", n=60, seed=5, **more):
    trials = Search.make(space, "tpe", n_trials=n, seed=seed, **more)
    return SweepWork.build(strategy, trials, stored, objective=objective)


@pytest.mark.parametrize("objective", ["score", ["score", "size"]])
def test_any_cut_into_tasks_gives_the_same_table(stored, monkeypatch, objective):
    work = build(stored, objective=objective)
    tables = []
    for cuts in ([100] * 9, [1] * 60, [7] * 60, [3, 13, 9, 2] * 9):
        parts = run(work, cuts, monkeypatch)
        tables.append(load_sweep(work.meta(), [part.result for part in reversed(parts)]).trials)
    assert len(tables[0]) == 60
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    again = run(build(stored, objective=objective, seed=6), [100] * 9, monkeypatch)
    assert not load_sweep(work.meta(), [part.result for part in again]).trials.equals(tables[0])


def test_tasks_of_a_generation_come_back_in_any_order(stored, monkeypatch):
    work = build(stored)
    parts = {}
    for start in range(0, work.count, GENERATION):
        middle, end = start + 5, work.trials.end(start, start + 100)
        # The later one was cut short by its budget, and its rest is sent before the earlier one is back.
        for a, b in ((middle, middle + 2), (middle + 2, end), (start, middle)):
            child = cloudpickle.loads(cloudpickle.dumps(work))
            monkeypatch.setattr("jobnb.worker.context.carried", lambda: tuple(p.carry for p in parts.values()))
            parts[a] = child.run(a, b, None, quiet)
    straight = run(work, [100] * 9, monkeypatch)
    tables = [load_sweep(work.meta(), [part.result for part in each]).trials for each in (parts.values(), straight)]
    pd.testing.assert_frame_equal(*tables)


def test_a_search_within_a_process_tries_the_same(stored, monkeypatch, daily):
    work = build(stored)
    result = load_sweep(work.meta(), [part.result for part in run(work, [100] * 9, monkeypatch)])
    found = search(bowl, daily, work.trials, objective="score")
    assert found.params(found.best) == result.best_params
    np.testing.assert_array_equal(found.column("score"), result.trials["score"])
    assert len(found.errors) == len(result.errors) > 0


def test_searches_one_after_the_other_learn_nothing_from_each_other(sma_cross, daily):
    space = ParameterSpace.parse(sma_cross, {"fast": range(3, 60), "slow": range(10, 200)})
    one = Search.make(space, "tpe", n_trials=32, seed=1)
    windows = [slice(0, 300), slice(200, 500)]
    shared = [search(sma_cross, daily, one, window=window).points for window in windows]
    alone = [
        search(sma_cross, daily, Search.make(space, "tpe", n_trials=32, seed=1), window=window).points
        for window in windows
    ]
    np.testing.assert_array_equal(shared, alone)
    assert not np.array_equal(alone[0], alone[1])


def test_a_generation_is_what_optuna_proposes_when_it_is_asked_trial_by_trial():
    """The same sampler on a study of one's own: asked sixteen times, then told, and so on."""
    space = ParameterSpace.parse(print, {"x": uniform(-5, 5), "y": log_uniform(0.01, 100)})

    def score(point):
        return -((point[0] - 1) ** 2) - np.log10(point[1]) ** 2

    past = Past(points=sampler.draw(space, GENERATION, 3), values=np.empty((0, 1)))
    past = Past(points=past.points, values=np.array([[score(p)] for p in past.points]))
    kinds = {
        "x": optuna.distributions.FloatDistribution(-5, 5),
        "y": optuna.distributions.FloatDistribution(0.01, 100, log=True),
    }
    study = optuna.create_study(direction="maximize")
    for point in past.points:
        trial = study.ask(
            kinds | {n: optuna.distributions.FloatDistribution(v, v) for n, v in zip("xy", point, strict=True)}
        )
        assert [trial.params["x"], trial.params["y"]] == point.tolist()
        study.tell(trial, score(point))
    # What was fixed above has ranges of one value, which an estimator cannot use: tell them with the real ones.
    told = [optuna.create_trial(params=t.params, distributions=kinds, value=t.value) for t in study.trials]
    study = optuna.create_study(direction="maximize")
    study.add_trials(told)
    for _ in range(4):
        seeds = np.random.SeedSequence([9, len(study.trials)]).spawn(2)
        seed = int(seeds[0].generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        asked = [study.ask(kinds) for _ in range(GENERATION)]
        expected = np.array([[t.params["x"], t.params["y"]] for t in asked])
        for trial in asked:
            study.tell(trial, score([trial.params["x"], trial.params["y"]]))
        ours = generation(space, past, GENERATION, seed=9, goals=SCORE)
        np.testing.assert_array_equal(ours, expected)
        values = np.array([[score(p)] for p in ours])
        past = Past(points=np.vstack([past.points, ours]), values=np.vstack([past.values, values]))


def test_it_learns_more_than_a_random_search_finds(daily):
    space = ParameterSpace.parse(print, {"x": uniform(-5, 5), "y": uniform(-5, 5), "z": uniform(-5, 5)})

    def smooth(data, x, y, z):
        return -((x - 1) ** 2) - (y + 2) ** 2 - (z - 3) ** 2

    def best(method, seed):
        found = search(smooth, daily, Search.make(space, method, n_trials=96, seed=seed), objective="score")
        return found.column("score").max()

    assert np.mean([best("tpe", s) for s in range(4)]) > np.mean([best("random", s) for s in range(4)])


def test_no_combination_of_lists_is_tried_twice_and_the_constraint_holds(daily):
    trials = Search.make(LISTS, "tpe", n_trials=1000, seed=1, constraint=lambda p: p.a < p.b)
    assert trials.count == 45
    found = search(lambda data, a, b, c: a * b, daily, trials, objective="score")
    tried = {(p["a"], p["b"]) for p in map(found.params, range(45))}
    assert len(tried) == 45
    assert all(a < b for a, b in tried)


def test_a_constraint_that_refuses_nearly_all_still_ends(daily):
    space = ParameterSpace.parse(print, {"x": uniform(0, 1), "y": uniform(0, 1)})
    trials = Search.make(space, "tpe", n_trials=40, seed=1, constraint=lambda p: abs(p.x - p.y) < 0.01)
    found = search(lambda data, x, y: -x, daily, trials, objective="score")
    assert all(abs(p["x"] - p["y"]) < 0.01 for p in map(found.params, range(40)))


def test_what_is_carried_there_and_back():
    parts = [
        Past(start=i, points=np.full((n, 3), i + 0.5), values=np.full((n, 2), np.nan if i else np.inf)).to_bytes()
        for i, n in ((0, 4), (4, 1), (5, 2))
    ]
    past = Past.from_bytes(parts[::-1])
    assert past.points[:, 0].tolist() == [0.5] * 4 + [4.5] + [5.5] * 2
    assert past.values.shape == (7, 2)
    # What lies behind a gap belongs to tasks that were faster than others of their generation.
    assert Past.from_bytes([parts[2], parts[0]]).points.shape == (4, 3)
    assert len(Past.from_bytes(parts[1:]).points) == len(Past.from_bytes([]).points) == 0
    for bad in ([parts[0][:-8]], [b"x" * 40], [b""]):
        with pytest.raises(BlobMissing):
            Past.from_bytes(bad)


def test_a_generation_without_what_came_before_is_refused(stored):
    with pytest.raises(BlobMissing, match="trials before 16 gave is missing"):
        build(stored).run(20, 30, None, quiet)


def test_without_optuna_it_says_what_to_install(monkeypatch, stored, daily):
    work = build(stored)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackage, match=r"on the workers.*pip install 'jobnb\[tpe\]'"):
        search(bowl, daily, work.trials, objective="score")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'jobnb\[tpe\]'"):
        build(stored)


def test_optuna_is_imported_where_it_is_needed_only():
    code = (
        "import sys, jobnb.research.door, jobnb.research.sweep\n"
        "from jobnb.research.sampler import Search\n"
        "from jobnb.research.space import ParameterSpace\n"
        "Search.make(ParameterSpace.parse(print, {'a': range(50)}), 'tpe', n_trials=40)\n"
        "print('optuna' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_the_verbosity_of_optuna_is_left_as_it_was(daily, capfd):
    before = optuna.logging.get_verbosity()
    search(lambda data, a, b, c: a, daily, Search.make(LISTS, "tpe", n_trials=20), objective="score")
    assert optuna.logging.get_verbosity() == before
    assert "study" not in capfd.readouterr().err
    assert tpe.GENERATION == 16
