"""The one compiled kernel: it turns rows of target positions into rows of metrics, and a log of the fills.

The single run and the sweep call the same `evaluate`, so that a sweep row equals the single run to the last
bit. Runs in a child or in the caller of a direct backtest; pure arithmetic on arrays, no I/O, no threads.

How it gets to 1 ns per bar: it goes from fill to fill; what is between two of them is a stretch to `worth`, which looks
at eight bars at once, and at none where there is no position.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from jobnb.research.daily import returns_between, sum_blocks
from jobnb.research.jit import compiled, lean
from jobnb.research.lanes import BYTES, LANES, bits_set, differing, lowest_bit, padded
from jobnb.research.measure import (
    BARS_HELD,
    BEST_GAIN,
    COUNT,
    FEES,
    FILL_COLUMNS,
    LOST,
    RETURNED,
    TALLY,
    TRADED,
    WINS,
    WON,
    WORST_GAIN,
    costs_of_leaving,
    log_fill,
    price_of_leaving,
    spent,
)
from jobnb.research.metrics import METRICS
from jobnb.research.worth import COURSE, arrive, hold, rest, room_of, set_out, settle_all

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Targets = npt.NDArray[np.int8] | npt.NDArray[np.float64]


#: 64 targets of one byte are compared at once where the first of them gives the lowest bit.
_ORDERED = sys.byteorder == "little"
_AT_ONCE = 4
#: More numbers than there are bars, which `turns_of` needs room for.
TURNS_ROOM = 1 + _AT_ONCE


@lean
def turns_of(target: Targets, turns: Whole) -> int:
    """Write the bars at which the target differs from the bar before (0 at first), then n; return how many."""
    count = 0
    done = 0
    if _ORDERED and target.itemsize == 1 and target.size > BYTES:
        turns[0] = 0
        count += target[0] != 0
        done = 1
        while done < target.size:
            # The last 64 overlap those before.
            at = min(done, target.size - BYTES)
            bits = differing(target, at) >> np.uint64(done - at)
            found = bits_set(bits)
            # Four are written whether there are as many or not: what branches is often mispredicted.
            for j in range(_AT_ONCE):
                turns[count + j] = done + lowest_bit(bits)
                bits &= bits - np.uint64(1)
            for j in range(_AT_ONCE, found):
                turns[count + j] = done + lowest_bit(bits)
                bits &= bits - np.uint64(1)
            count += found
            done = at + BYTES
    before = target[0] * 0 if done == 0 else target[done - 1]
    # No branch, so none is mispredicted.
    for i in range(done, target.size):
        value = target[i]
        turns[count] = i
        count += value != before
        before = value
    turns[count] = target.size
    return count


@lean
def _walk(
    target: Targets,
    turns: Whole,
    price: Floats,
    close: Floats,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    days: int,
    shift: int,
    capital: float,
    commission: float,
    slippage: float,
    course: Floats,
    returns: Floats,
    tally: Floats,
    fills: Floats,
) -> int:
    """Run one row of targets; write its course, returns, counts of trades, and its fills as far as they fit.

    ``ahead`` is the `padded` close, ``day_end[i]`` the last bar of the day of bar i. Returns the number of fills.
    """
    bars = close.size
    daily = days == bars

    cash = capital
    units = 0.0
    ruined = False

    set_out(course, capital)
    in_market = 0
    traded = 0.0
    fees = 0.0
    made = 0

    base = capital  # equity before the open trade, and the value put into it
    put_in = 0.0
    count = 0
    wins = 0
    won = 0.0
    lost = 0.0
    best = -np.inf
    worst = np.inf
    returned = 0.0

    at = 0  # everything before this bar is done
    last_turn = turns_of(target, turns)
    turn = 0
    while at < bars:
        # The next decision that differs from the one before is filled `shift` bars later.
        until = min(turns[turn] + shift, bars)

        # From `at` up to `until` nothing is filled.
        if until > at:
            if units != 0.0:
                gone = hold(ahead, until, cash, units, time, day_end, daily, course, returns)
                ruined = gone < until
                until = gone
                in_market += until - at
                if ruined:
                    # All is lost: the position is closed at this close, and nothing is traded any more.
                    pnl = -base
                    count += 1
                    lost += base
                    best = max(best, pnl / put_in)
                    worst = min(worst, pnl / put_in)
                    returned += pnl / put_in
                    made = log_fill(fills, made, until, -units, close[until], 0.0, 0.0, 0.0)
                    cash = 0.0
                    units = 0.0
                    at = until
                    until = bars
                    turn = last_turn
            if units == 0.0:
                rest(until, cash, time, day_end, course, returns)
            at = until
        if at >= bars:
            break

        # A fill at bar `at`.
        want = float(target[turns[turn]])
        turn += 1
        p = price[at]
        equity = cash + units * p
        if units != 0.0 and (
            equity <= 0.0
            or want == 0.0
            or (want > 0.0) != (units > 0.0)
            or spent(want * equity - units * p, units, equity, costs_of_leaving(units, p, slippage, commission))
        ):
            paid = price_of_leaving(units, p, slippage)
            if equity > 0.0:
                fee = commission * abs(units) * paid
                traded += abs(units) * p / equity
                cash += units * paid - fee
                fees += fee
            else:
                paid = p
                fee = 0.0
                cash = 0.0
            if cash <= 0.0:
                cash = 0.0
                ruined = True
            pnl = cash - base
            gain = pnl / put_in
            count += 1
            if pnl > 0.0:
                wins += 1
                won += pnl
            else:
                lost -= pnl
            best = max(best, gain)
            worst = min(worst, gain)
            returned += gain
            made = log_fill(fills, made, at, -units, paid, fee, cash, 0.0)
            units = 0.0
            equity = cash
        if ruined:
            turn = last_turn
        elif want != 0.0:
            missing = want * equity - units * p
            if missing > 0.0:
                cost = slippage + commission * (1.0 + slippage)
                change = missing / ((1.0 + want * cost) * p)
                paid = p * (1.0 + slippage)
            else:
                cost = slippage + commission * (1.0 - slippage)
                change = missing / ((1.0 - want * cost) * p)
                paid = p * (1.0 - slippage)
            if change != 0.0:
                if units == 0.0:
                    base = equity
                    put_in = 0.0
                if (change > 0.0) == (want > 0.0):
                    put_in += abs(change) * paid
                fee = commission * abs(change) * paid
                traded += abs(change) * p / equity
                fees += fee
                cash -= change * paid + fee
                units += change
                made = log_fill(fills, made, at, change, paid, fee, cash, units)

    final = cash + units * close[bars - 1]
    if units != 0.0:
        # Open at the end: valued at the last close, without the costs of getting out.
        pnl = final - base
        gain = pnl / put_in
        count += 1
        if pnl > 0.0:
            wins += 1
            won += pnl
        else:
            lost -= pnl
        best = max(best, gain)
        worst = min(worst, gain)
        returned += gain
    arrive(final, time, course)
    tally[BARS_HELD] = in_market
    tally[TRADED] = traded
    tally[FEES] = fees
    tally[COUNT] = count
    tally[WINS] = wins
    tally[WON] = won
    tally[LOST] = lost
    tally[BEST_GAIN] = best
    tally[WORST_GAIN] = worst
    tally[RETURNED] = returned
    return made


@compiled
def evaluate(
    targets: Targets,
    rows: int,
    price: Floats,
    close: Floats,
    time: Floats,
    day_end: Whole,
    days: int,
    shift: int,
    capital: float,
    commission: float,
    slippage: float,
    per_year: float,
    out: Floats,
    fills: Floats,
) -> int:
    """Run the first ``rows`` rows of ``targets`` and write one row of metrics for each.

    Parameters
    ----------
    targets : array (m, n) of int8 or float64
        Target position per bar, as a fraction of the equity.
    rows : int
        How many of the m rows to run.
    price, close : array (n,)
        What fills and what values a position.
    time : array (n,)
        Days since any day, with fractions.
    day_end : array (n,) of int64
        Last bar of the day of each bar.
    days : int
        Number of days.
    shift : int
        Bars from a decision to its fill: 1 or 0.
    capital, commission, slippage, per_year : float
        See `EngineOptions` and `Calendar`.
    out : array (m, len(METRICS))
        Filled in.
    fills : array (k, FILL_COLUMNS)
        Gets the fills of the last row, as many as it has room for.

    Returns
    -------
    int
        Number of fills of the last row.
    """
    made = 0
    turns = np.empty(close.size + TURNS_ROOM, dtype=np.int64)
    ahead = padded(close)
    courses, tallies, returns = np.empty((LANES, COURSE)), np.empty((LANES, TALLY)), room_of(days)
    for first in range(0, rows, LANES):
        many = min(LANES, rows - first)
        for m in range(many):
            made = _walk(
                targets[first + m],
                turns,
                price,
                close,
                ahead,
                time,
                day_end,
                days,
                shift,
                capital,
                commission,
                slippage,
                courses[m],
                returns[m],
                tallies[m],
                fills,
            )
        settle_all(many, close, capital, days, per_year, courses, returns, tallies, out[first : first + many])
    return made


@compiled
def sums_of_blocks(
    targets: Targets,
    rows: int,
    price: Floats,
    close: Floats,
    time: Floats,
    day_end: Whole,
    days: int,
    shift: int,
    capital: float,
    commission: float,
    slippage: float,
    per_year: float,
    ends: Whole,
    starts: Whole,
    out: Floats,
    sums: Floats,
) -> None:
    """Run rows as `evaluate` does, and write Σr and Σr² of their daily returns over blocks of days.

    Parameters
    ----------
    targets, rows, price, close, time, day_end, days, shift, capital, commission, slippage, per_year, out
        See `evaluate`.
    ends : array (days,) of int64
        The last bar of each day.
    starts : array (blocks,) of int64
        The first return of each block.
    sums : array (rows, blocks, 2)
        Filled in.
    """
    turns = np.empty(close.size + TURNS_ROOM, dtype=np.int64)
    ahead = padded(close)
    course, tally, moved = np.empty((1, COURSE)), np.empty((1, TALLY)), room_of(days)
    returns = np.empty(days - 1)
    fills = np.empty((256, FILL_COLUMNS))
    for m in range(rows):
        while True:
            made = _walk(
                targets[m],
                turns,
                price,
                close,
                ahead,
                time,
                day_end,
                days,
                shift,
                capital,
                commission,
                slippage,
                course[0],
                moved[0],
                tally[0],
                fills,
            )
            if made <= fills.shape[0]:
                break
            fills = np.empty((2 * made, FILL_COLUMNS))
        returns_between(fills[:made], close, ends, capital, returns)
        sum_blocks(returns, starts, sums[m])
        settle_all(1, close, capital, days, per_year, course, moved, tally, out[m : m + 1])


def warm() -> None:
    """Compile or load everything compiled in this room; what a worker does once before it takes work."""
    # What a child imports to do research, so that the processes forked from this one have it.
    from jobnb.research import daily, lots, single, smoothing, sweep, tracks, trades  # noqa: F401

    close, total = np.array([1.0, 2.0, 1.5, 3.0]), np.arange(4.0)
    day_end = np.arange(4, dtype=np.int64)
    for array in (close, total, day_end):
        # Read-only arrays are a type of their own for numba, and bars are always read-only.
        array.flags.writeable = False
    fills = np.empty((0, FILL_COLUMNS))
    for dtype in (np.int8, np.float64):
        targets = np.ones((1, 4), dtype=dtype)
        out = np.empty((1, len(METRICS)))
        terms = (close, close, close, day_end, 4, 1, 1e4, 0.0, 0.0, 252.0)
        evaluate(targets, 1, *terms, out, fills)
        sums_of_blocks(targets, 1, *terms, np.arange(4), np.zeros(1, dtype=np.int64), out, np.empty((1, 1, 2)))
    smoothing.simple(close, total, 2)
    smoothing.exponential(close, 0.5, 0, 1)
    smoothing.relative_strength(close, 2)
    smoothing.true_range(close, close, close, 2)
    smoothing.deviation(close, 2)
    daily.warm()
