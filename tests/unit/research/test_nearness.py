"""The order in which a grid over long data is run, and that nobody but the clock can tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobnb.research import door, summary
from jobnb.research.bars import Bars
from jobnb.research.nearness import by_tiles, pays
from jobnb.research.optimize import load_sweep
from jobnb.research.sample import gbm
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import search

LONG = 200_000


def space_of(*sizes):
    names = "abcde"[: len(sizes)]
    return ParameterSpace(names=tuple(names), values=tuple(range(size) for size in sizes))


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.integers(0, 2**32))
def test_every_combination_comes_once(sizes, seed):
    space = space_of(*sizes)
    assume(len(space.varying) > 1)
    kept = np.flatnonzero(np.random.default_rng(seed).random(space.count) < 0.7)
    assert sorted(by_tiles(space, kept).tolist()) == kept.tolist()


def test_a_tile_needs_few_values_and_is_done_before_the_next():
    space = space_of(3, 40, 1, 50)
    order = by_tiles(space, np.arange(space.count))
    for start in range(0, space.count, 64 * 6 + 16):
        places = space.points(order[start : start + 64])
        # Sixty-four in a row lie in two tiles at most.
        assert len(np.unique(places[:, 1])) <= 16
        assert len(np.unique(places[:, 3])) <= 16
    first = space.points(order[:64])[:, [1, 3]]
    assert len(np.unique(first[:, 0])) == len(np.unique(first[:, 1])) == 8
    # What comes before the last two parameters changes last.
    assert (np.diff(space.points(order)[:, 0]) >= 0).all()


def test_when_it_pays():
    assert pays(space_of(100, 100), 100_000)
    assert not pays(space_of(100, 100), 2_520)
    assert not pays(space_of(100, 1), LONG)
    grid = space_of(100, 100)
    assert Search.of(grid).near(2_520).numbers is None
    assert Search.of(grid).near(LONG).numbers is not None
    sampled = Search.make(grid, "random", n_trials=5)
    assert sampled.near(LONG) is sampled


class Level(Strategy):
    """Has runs that are equal to each other, and runs that fail."""

    low: int = 0
    high: int = 0

    def positions(self, bars):
        if self.low * self.high == 42:
            raise ValueError("such a day")
        return (np.arange(len(bars)) + self.low // 3) % 50 > 40 - self.high // 4


class Twice(Strategy):
    """Is best at two combinations, of which the second one is run first."""

    low: int = 0
    high: int = 0

    def positions(self, bars):
        where = bars.close > bars.sma(10)
        return where if (self.low, self.high) in ((0, 9), (1, 0)) else ~where


@pytest.fixture(scope="module")
def bars():
    return Bars.from_frame(gbm(1_000), "long")


def summaries(work, cuts):
    parts, folded = [], None
    for start, stop in zip([0, *cuts], [*cuts, work.count], strict=True):
        part = work.run(start, stop, None, lambda done: None)
        parts.append(part.result)
        folded = summary.fold(folded, part.summary)
    return load_sweep(work.meta(), parts), folded


def works(bars, tmp_path, monkeypatch, strategy=Level):
    path = tmp_path / "bars.npy"
    path.write_bytes(bars.to_bytes())
    space = {"low": range(12), "high": range(11)}

    def asked():
        work, _ = door.sweep_work(strategy, bars, space, lambda: str(path), constraint=lambda p: p.low != 5, engine={})
        return work

    made = []
    for near in (False, True):
        monkeypatch.setattr("jobnb.research.nearness.NEAR_BYTES", 0 if near else 2**60)
        made.append(asked())
    plain, near = made
    assert (np.diff(plain.trials.numbers) > 0).all()
    assert not (np.diff(near.trials.numbers) > 0).all()
    return plain, near


def test_the_result_is_that_of_the_plain_order(bars, tmp_path, monkeypatch):
    plain, near = works(bars, tmp_path, monkeypatch)
    expected, card = summaries(plain, [])
    for cuts in ([], [1, 30, 77]):
        found, other = summaries(near, cuts)
        assert found.trials.equals(expected.trials)
        assert found.best_params == expected.best_params
        assert found.heatmap().frame.equals(expected.heatmap().frame)
        assert [*found.errors.items()] == [*expected.errors.items()]
        for what in ("best", "top", "errors", "heat", "runs", "failed"):
            assert other[what] == card[what], what


def test_ties_go_to_the_first_combination(bars, tmp_path, monkeypatch):
    for work in works(bars, tmp_path, monkeypatch, Twice):
        order = work.trials.numbers.tolist()
        found, card = summaries(work, [])
        values = found.trials["sharpe_ratio"]
        assert values.eq(values.max()).sum() == 2
        assert found.best_params == card["best"]["params"] == {"low": 0, "high": 9}
        # What is known of the winner is that of this run, and a search within a child, of walk-forward say, finds it.
        assert card["moments"]["index"] == 9
        within = search(Twice, bars, work.trials)
        assert within.params(within.best) == found.best_params
    assert order.index(11) < order.index(9)


def test_a_function_of_the_users_own_keeps_its_order(bars, tmp_path, monkeypatch):
    monkeypatch.setattr("jobnb.research.nearness.NEAR_BYTES", 0)

    def run(data, a, b):
        return {"value": a + b}

    work, _ = door.sweep_work(run, bars, {"a": [1, 2], "b": [1, 2]}, lambda: "", objective="value", engine={})
    assert work.trials.numbers is None
