"""Runs over long data, of which several go through one stretch of bars before the next."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jobnb.research import kernel, orders
from jobnb.research.bars import Bars
from jobnb.research.engine import Evaluator
from jobnb.research.limits import Orders
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions

BARS = 2 * kernel.STRETCH + 3 * orders.STRETCH // 2
ENDS = range(orders.STRETCH, BARS, orders.STRETCH)
CRASH = kernel.STRETCH + 1_000


@pytest.fixture(scope="module", params=["min", "D"])
def bars(request):
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, BARS)))
    close[CRASH:] *= 0.6
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) / 1.0005
    index = pd.date_range("1970-01-01", periods=BARS, freq=request.param)
    return Bars.from_frame(pd.DataFrame({"open": opened, "high": high, "low": low, "close": close}, index=index))


def rows(kind):
    """Return targets that change now and then, at each end of a stretch, next to it, never, or until all is lost."""
    rng = np.random.default_rng(5)
    made = [np.repeat(rng.integers(-1, 2, 2_000), rng.integers(1, 60, 2_000))[:BARS] for _ in range(6)]
    for shift in (-1, 0, 1):
        row = np.zeros(BARS)
        for i, end in enumerate(ENDS):
            row[end + shift :] = (1, -1, 0)[i % 3]
        made.append(row)
    made += [np.ones(BARS), np.zeros(BARS), np.where(np.arange(BARS) < CRASH + 50, 1, -1)]
    if kind is np.float64:
        made += [np.full(BARS, 3.0), 2.7 * made[0], -0.5 * made[1]]
    return [np.ascontiguousarray(row, dtype=kind) for row in made]


@pytest.mark.parametrize("kind", [np.int8, np.float64])
@pytest.mark.parametrize("conventions", ["next_open", "close"])
@pytest.mark.parametrize("stops", [(np.nan, np.nan, np.nan), (0.01, 0.02, np.nan), (np.nan, np.nan, 0.01)])
def test_many_together_give_what_each_gives_in_one_go(bars, kind, conventions, stops):
    evaluator = Evaluator(bars, EngineOptions(commission=0.0005, slippage=0.0001, conventions=conventions))
    limits = np.array([*stops, 1.0])[:, None]
    some = rows(kind)
    block, out = np.stack(some), np.empty((len(some), len(METRICS)))
    evaluator.rows(block, len(some), out, limits[None])
    # A run whose fills are kept goes from its first bar to its last.
    alone = np.array([evaluator.one(Orders(row, limits)).values for row in some])
    np.testing.assert_array_equal(out, alone)
    if np.isnan(stops).all():
        evaluator.rows(block, len(some), out)
        np.testing.assert_array_equal(out, alone)
        for row, values in zip(some, alone, strict=True):
            ran = evaluator.one(row)
            np.testing.assert_array_equal(ran.values, values)
            np.testing.assert_array_equal(ran.fills, evaluator.one(Orders(row, limits)).fills)


def test_what_is_borrowed_is_paid_in_each_of_many_runs(bars):
    evaluator = Evaluator(bars, EngineOptions(borrow_cost=0.05, max_leverage=3.0))
    limits = np.array([[np.nan], [np.nan], [np.nan], [1.0]])
    some = rows(np.float64)
    out = np.empty((len(some), len(METRICS)))
    evaluator.rows(np.stack(some), len(some), out, limits[None])
    alone = np.array([evaluator.one(Orders(row, limits)).values for row in some])
    np.testing.assert_array_equal(out, alone)


def test_one_of_them_loses_all_between_two_ends(bars):
    evaluator = Evaluator(bars, EngineOptions())
    ran = evaluator.one(np.full(BARS, 3.0))
    assert ran.values[METRICS.index("final_equity")] == 0
    assert ran.fills[-1][0] == CRASH
