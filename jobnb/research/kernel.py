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
from jobnb.research.jit import compiled, inlined, lean
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
    clear,
    costs_of_leaving,
    count_trade,
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

#: Bars that eight runs go through before the next ones, so that what is read of them stays near the processor.
STRETCH = 16384

# What a run has between two bars. `BASE` is the equity before the open trade, `PUT_IN` the value put into it; so many
# fills are `MADE`.
CASH, UNITS, BASE, PUT_IN, RUINED, MADE = range(6)
PURSE = 6


@inlined
def _spread(bits: np.uint64, first: int, turns: Whole, count: int) -> int:
    """Write the places of the bits that are set, from ``first`` on, behind ``count`` others; return how many."""
    found = bits_set(bits)
    # Four are written whether there are as many or not: what branches is often mispredicted.
    for j in range(_AT_ONCE):
        turns[count + j] = first + lowest_bit(bits)
        bits &= bits - np.uint64(1)
    for j in range(_AT_ONCE, found):
        turns[count + j] = first + lowest_bit(bits)
        bits &= bits - np.uint64(1)
    return int(count + found)


@lean
def turns_of(target: Targets, start: int, stop: int, turns: Whole) -> int:
    """Write the bars of ``[start, stop)`` whose target differs from the bar before, then ``stop``; return how many.

    Before the first bar the target is 0.
    """
    count = 0
    done = start
    if start == 0 and stop > 0:
        turns[0] = 0
        count += target[0] != 0
        done = 1
    if _ORDERED and target.itemsize == 1 and target.size > BYTES:
        while done + BYTES <= stop:
            count = _spread(differing(target, done), done, turns, count)
            done += BYTES
        if done < stop:
            # What is left of them, read with some of those before where the row ends.
            at = min(done, target.size - BYTES)
            bits = differing(target, at) >> np.uint64(done - at)
            bits &= ~np.uint64(0) >> np.uint64(BYTES - (stop - done))
            count = _spread(bits, done, turns, count)
            done = stop
    before = target[0] * 0 if done == 0 else target[done - 1]
    # No branch, so none is mispredicted.
    for i in range(done, stop):
        value = target[i]
        turns[count] = i
        count += value != before
        before = value
    turns[count] = stop
    return count


@lean
def _begin(purse: Floats, tally: Floats, course: Floats, capital: float) -> None:
    """Set a run to its start."""
    clear(tally)
    purse[:] = 0.0
    purse[CASH] = capital
    set_out(course, capital)


@lean
def _walk(
    target: Targets,
    turns: Whole,
    start: int,
    stop: int,
    price: Floats,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    daily: bool,
    shift: int,
    commission: float,
    slippage: float,
    purse: Floats,
    course: Floats,
    returns: Floats,
    tally: Floats,
    fills: Floats,
) -> None:
    """Go on with one row of targets through the bars ``[start, stop)``.

    Parameters
    ----------
    turns : array of int64
        Room for `TURNS_ROOM` more than there are bars.
    ahead : array (n + LANES,)
        The close, `lanes.padded`.
    day_end : array (n,) of int64
        Last bar of the day of each bar.
    daily : bool
        Whether each bar is a day.
    purse, course, returns, tally
        Carried on; see `_begin`.
    fills : array (k, FILL_COLUMNS)
        Gets the fills as far as they fit.
    """
    cash, units, base, put_in = purse[CASH], purse[UNITS], purse[BASE], purse[PUT_IN]
    ruined = purse[RUINED] != 0.0
    made = int(purse[MADE])
    in_market, count, wins = int(tally[BARS_HELD]), int(tally[COUNT]), int(tally[WINS])
    traded, fees, won, lost = tally[TRADED], tally[FEES], tally[WON], tally[LOST]
    best, worst, returned = tally[BEST_GAIN], tally[WORST_GAIN], tally[RETURNED]

    at = start  # everything before this bar is done
    last_turn = turns_of(target, max(start - shift, 0), stop - shift, turns)
    turn = 0
    while at < stop:
        # The next decision that differs from the one before is filled `shift` bars later.
        until = turns[turn] + shift

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
                    made = log_fill(fills, made, until, -units, ahead[until], 0.0, 0.0, 0.0)
                    cash = 0.0
                    units = 0.0
                    at = until
                    until = stop
                    turn = last_turn
            if units == 0.0:
                rest(until, cash, time, day_end, course, returns)
            at = until
        if at >= stop:
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

    purse[CASH], purse[UNITS], purse[BASE], purse[PUT_IN] = cash, units, base, put_in
    purse[RUINED] = 1.0 if ruined else 0.0
    purse[MADE] = made
    tally[BARS_HELD], tally[COUNT], tally[WINS] = in_market, count, wins
    tally[TRADED], tally[FEES], tally[WON], tally[LOST] = traded, fees, won, lost
    tally[BEST_GAIN], tally[WORST_GAIN], tally[RETURNED] = best, worst, returned


@lean
def _end(ahead: Floats, time: Floats, purse: Floats, course: Floats, tally: Floats) -> None:
    """Count the trade that is open at the end, valued at the last close, without the costs of getting out."""
    final = purse[CASH] + purse[UNITS] * ahead[time.size - 1]
    if purse[UNITS] != 0.0:
        count_trade(tally, final - purse[BASE], purse[PUT_IN])
    arrive(final, time, course)


@compiled
def evaluate(
    targets: Targets,
    rows: int,
    price: Floats,
    ahead: Floats,
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
    price : array (n,)
        What fills a position.
    ahead : array (n + LANES,)
        What values it, `lanes.padded`.
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
    bars = price.size
    close = ahead[:bars]
    daily = days == bars
    turns = np.empty(min(bars, STRETCH) + TURNS_ROOM, dtype=np.int64)
    purses, courses, tallies = np.empty((LANES, PURSE)), np.empty((LANES, COURSE)), np.empty((LANES, TALLY))
    returns = room_of(days)
    made = 0
    for first in range(0, rows, LANES):
        many = min(LANES, rows - first)
        for m in range(many):
            _begin(purses[m], tallies[m], courses[m], capital)
        for start in range(0, bars, STRETCH):
            for m in range(many):
                _walk(
                    targets[first + m],
                    turns,
                    start,
                    min(start + STRETCH, bars),
                    price,
                    ahead,
                    time,
                    day_end,
                    daily,
                    shift,
                    commission,
                    slippage,
                    purses[m],
                    courses[m],
                    returns[m],
                    tallies[m],
                    fills if first + m == rows - 1 else fills[:0],
                )
        for m in range(many):
            _end(ahead, time, purses[m], courses[m], tallies[m])
        made = int(purses[many - 1, MADE])
        settle_all(many, close, capital, days, per_year, courses, returns, tallies, out[first : first + many])
    return made


@compiled
def sums_of_blocks(
    targets: Targets,
    rows: int,
    price: Floats,
    ahead: Floats,
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
    targets, rows, price, ahead, time, day_end, days, shift, capital, commission, slippage, per_year, out
        See `evaluate`.
    ends : array (days,) of int64
        The last bar of each day.
    starts : array (blocks,) of int64
        The first return of each block.
    sums : array (rows, blocks, 2)
        Filled in.
    """
    bars = price.size
    close = ahead[:bars]
    daily = days == bars
    turns = np.empty(bars + TURNS_ROOM, dtype=np.int64)
    purse, course, tally, moved = np.empty(PURSE), np.empty((1, COURSE)), np.empty((1, TALLY)), room_of(days)
    returns = np.empty(days - 1)
    fills = np.empty((256, FILL_COLUMNS))
    for m in range(rows):
        while True:
            _begin(purse, tally[0], course[0], capital)
            _walk(
                targets[m],
                turns,
                0,
                bars,
                price,
                ahead,
                time,
                day_end,
                daily,
                shift,
                commission,
                slippage,
                purse,
                course[0],
                moved[0],
                tally[0],
                fills,
            )
            _end(ahead, time, purse, course[0], tally[0])
            made = int(purse[MADE])
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
    ahead = padded(close)
    day_end = np.arange(4, dtype=np.int64)
    for array in (close, ahead, total, day_end):
        # Read-only arrays are a type of their own for numba, and bars are always read-only.
        array.flags.writeable = False
    fills = np.empty((0, FILL_COLUMNS))
    for dtype in (np.int8, np.float64):
        targets = np.ones((1, 4), dtype=dtype)
        out = np.empty((1, len(METRICS)))
        terms = (close, ahead, close, day_end, 4, 1, 1e4, 0.0, 0.0, 252.0)
        evaluate(targets, 1, *terms, out, fills)
        sums_of_blocks(targets, 1, *terms, np.arange(4), np.zeros(1, dtype=np.int64), out, np.empty((1, 1, 2)))
    smoothing.simple(close, total, 2, np.empty(4))
    smoothing.exponential(close, 0.5, 0, 1, np.empty(4))
    smoothing.relative_strength(close, 2)
    smoothing.true_range(close, close, close, 2)
    smoothing.deviation(close, 2)
    daily.warm()
