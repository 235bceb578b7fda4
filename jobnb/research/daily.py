"""From fills to the equity, from that to its daily returns, and to their sums over blocks of days.

Compiled, run for single backtests, in children on a sample of a sweep's runs, and wherever returns are computed
again. The returns are those that the kernel makes its Sharpe ratio of: of the last equity of each day, from the end
of the first day on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import lean
from jobnb.research.measure import BAR, CASH, FILL_COLUMNS, HELD

if TYPE_CHECKING:
    from jobnb.research.bars import Bars

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@lean
def equity_of(fills: Floats, close: Floats, capital: float, out: Floats) -> None:
    """Write the equity at each close to ``out``, by the kernel's own arithmetic.

    Parameters
    ----------
    fills : array (k, FILL_COLUMNS)
        The log of fills, see `measure`; of several at one bar (a reversal) the last holds.
    close : array (n,)
    capital : float
        Money at the start.
    """
    cash = capital
    units = 0.0
    at = 0
    for k in range(fills.shape[0] + 1):
        until = int(fills[k, BAR]) if k < fills.shape[0] else close.size
        for i in range(at, until):
            out[i] = cash + units * close[i]
        at = max(at, until)
        if k < fills.shape[0]:
            cash = fills[k, CASH]
            units = fills[k, HELD]


@lean
def returns_of(equity: Floats, ends: Whole, out: Floats) -> None:
    """Write the daily returns to ``out``, one less than there are days; after the equity is gone they are 0.

    Parameters
    ----------
    equity : array (n,)
        At each close.
    ends : array (days,) of int64
        The last bar of each day.
    """
    last = equity[ends[0]]
    for d in range(1, ends.size):
        value = equity[ends[d]]
        out[d - 1] = value / last - 1.0 if last > 0.0 else 0.0
        last = value


@lean
def returns_between(fills: Floats, close: Floats, ends: Whole, capital: float, out: Floats) -> None:
    """Write the daily returns to ``out`` as `returns_of` does of `equity_of`, without the equity between the ends."""
    cash = capital
    units = 0.0
    last = 0.0
    d = 0
    for k in range(fills.shape[0] + 1):
        until = int(fills[k, BAR]) if k < fills.shape[0] else close.size
        while d < ends.size and ends[d] < until:
            value = cash + units * close[ends[d]]
            if d > 0:
                # Where nothing is held there is nothing to divide.
                out[d - 1] = value / last - 1.0 if last > 0.0 and value != last else 0.0
            last = value
            d += 1
        if k < fills.shape[0]:
            cash = fills[k, CASH]
            units = fills[k, HELD]


@lean
def sum_blocks(returns: Floats, starts: Whole, out: Floats) -> None:
    """Write Σr and Σr² of each block of the returns to ``out`` (blocks, 2)."""
    for b in range(starts.size):
        stop = starts[b + 1] if b + 1 < starts.size else returns.size
        total = 0.0
        square = 0.0
        for i in range(starts[b], stop):
            total += returns[i]
            square += returns[i] * returns[i]
        out[b, 0] = total
        out[b, 1] = square


def day_ends(bars: Bars) -> Whole:
    """Return the last bar of each day."""
    return np.flatnonzero(np.diff(bars.day_end, append=-1))


def daily_returns(equity: Floats, ends: Whole) -> Floats:
    """Return the returns between the ends of the days: one less than there are days."""
    out = np.empty(ends.size - 1)
    returns_of(equity, ends, out)
    return out


def warm() -> None:
    """Compile or load what is compiled here."""
    close, out = np.array([1.0, 2.0, 1.5]), np.empty(2)
    equity_of(np.empty((0, FILL_COLUMNS)), close, 1e4, np.empty(3))
    returns_of(close, np.arange(3, dtype=np.int64), out)
    # Bars are read-only, which is a type of its own for numba.
    close.flags.writeable = False
    equity_of(np.empty((0, FILL_COLUMNS)), close, 1e4, np.empty(3))
    returns_of(close, np.arange(3, dtype=np.int64), out)
    returns_between(np.empty((0, FILL_COLUMNS)), close, np.arange(3, dtype=np.int64), 1e4, out)
    sum_blocks(out, np.arange(1, dtype=np.int64), np.empty((1, 2)))
