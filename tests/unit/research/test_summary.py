import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.research import digest, tiles
from jobnb.research.container import SweepPart
from jobnb.research.space import ParameterSpace
from jobnb.research.summary import HEAT_COLUMNS, HEAT_ROWS, POINTS, backtest_summary, bin_of, bin_starts, fold, thin


class Work:
    def __init__(self, space, maximize):
        self.space = space
        self.objective = "score"
        self.maximize = maximize


SPACE = ParameterSpace.parse(print, {"a": range(6), "b": range(7)})


@st.composite
def sweeps(draw):
    maximize = draw(st.booleans())
    value = st.one_of(st.sampled_from([0.0, 1.0, math.nan, math.inf]), st.floats(-5, 5))
    values = np.array(draw(st.lists(value, min_size=42, max_size=42)))
    failed = draw(st.sets(st.integers(0, 41)))
    values[list(failed)] = np.nan
    cuts = sorted({0, 42, *draw(st.sets(st.integers(1, 41), max_size=5))})
    order = draw(st.permutations(range(len(cuts) - 1)))
    return maximize, values, failed, cuts, order


def part_of(maximize, values, failed, a, b):
    errors = {i - a: f"error {i}" for i in failed if a <= i < b}
    part = SweepPart(start=a, columns=["score"], values=values[a:b].reshape(-1, 1), errors=errors)
    return digest.digest(Work(SPACE, maximize), part)


@given(sweeps())
def test_folding_parts_in_any_order_and_grouping_gives_the_summary_of_the_whole(sweep):
    maximize, values, failed, cuts, order = sweep
    whole = part_of(maximize, values, failed, 0, 42)
    parts = [part_of(maximize, values, failed, *pair) for pair in itertools.pairwise(cuts)]
    parts = [parts[i] for i in order]
    left = None
    for part in parts:
        left = fold(left, part)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = fold(part, right)
    assert left == right == whole
    json.dumps(whole, allow_nan=False)
    finite = values[np.isfinite(values)]
    if finite.size:
        assert whole["best"]["value"] == (finite.max() if maximize else finite.min())
        assert whole["best"]["index"] == np.flatnonzero(values == whole["best"]["value"])[0]
    else:
        assert whole["best"] is None
    assert (whole["runs"], whole["failed"]) == (42, len(failed))


def test_large_grids_are_binned_and_keep_the_best_of_each_bin():
    space = ParameterSpace.parse(print, {"a": range(100), "b": range(300), "c": [1]})
    values = np.random.default_rng(0).random(30_000)
    heat = digest.heat(space, np.arange(30_000), values, maximize=True)
    assert (heat["row"], heat["col"]) == ("a", "b")
    assert (len(heat["rows"]), len(heat["cols"])) == (HEAT_ROWS, HEAT_COLUMNS)
    cells = tiles.cells(heat)
    assert len(cells) == HEAT_ROWS * HEAT_COLUMNS
    assert max(cell[2] for cell in cells) == pytest.approx(values.max(), rel=1e-4)
    assert tiles.cells(digest.heat(space, np.arange(0), values[:0], maximize=True)) == []


def test_no_heat_map_for_one_or_three_parameters():
    for grid in ({"a": range(3)}, {"a": range(3), "b": range(3), "c": range(3)}):
        space = ParameterSpace.parse(print, grid)
        assert digest.heat(space, np.arange(3), np.ones(3), maximize=True) is None


@given(st.integers(1, 400), st.integers(1, 100))
def test_bins_are_in_order_and_start_where_they_say(count, limit):
    bins = [bin_of(i, count, limit) for i in range(count)]
    assert bins == sorted(bins)
    assert set(bins) == set(range(min(count, limit)))
    assert [bins.index(b) for b in range(min(count, limit))] == bin_starts(count, limit)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000))
def test_thinning_keeps_the_ends_and_the_extremes(values):
    made = thin(values)
    assert len(made) <= POINTS
    assert (made[0], made[-1]) == (values[0], values[-1])
    assert (min(made), max(made)) == (min(values), max(values))


def test_the_summary_of_a_backtest(sma_cross, google):
    result = sma_cross(fast=12, slow=87).load_data(google).backtest(commission=0.001)
    made = backtest_summary(result)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["data"] == {"name": "GOOG", "bars": 1047, "start": "2004-08-19", "end": "2008-10-14"}
    assert made["params"] == {"fast": 12, "slow": 87}
    assert made["curve"]["t"] == ["2004-08-19", "2008-10-14"]
    for name in ("equity", "hold", "drawdown"):
        assert len(made["curve"][name]) == 240
    assert min(made["curve"]["drawdown"]) == pytest.approx(result.max_drawdown, rel=1e-5)
    assert made["curve"]["equity"][-1] == pytest.approx(result.final_equity, rel=1e-5)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("summary", "numpy"),
        ("summary", "pandas"),
        ("strategy", "numba"),
        ("strategy", "pandas"),
        ("options", "numpy"),
        ("metrics", "numpy"),
        ("sweep", "pandas"),
        ("sweep", "numba"),
        ("space", "numba"),
        ("single", "distributed"),
    ],
)
def test_what_an_import_must_not_load(module, absent):
    code = f"import sys, jobnb.research.{module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
