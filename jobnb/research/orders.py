"""The compiled form of a run that depends on its own past: stops inside the bar, sizes, leverage, further costs.

Used instead of `kernel` where a run says any of these, wherever backtests run; without them both give the same
numbers. Pure arithmetic on arrays, no I/O. A run can be walked in pieces, bar by bar if need be: all it knows
is in ``state``. The order of events is said in `engine`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import compiled, inlined, lean
from jobnb.research.kernel import TURNS_ROOM, turns_of
from jobnb.research.lanes import LANES, extremes
from jobnb.research.measure import (
    BARS_HELD,
    FEES,
    TALLY,
    TRADED,
    Floats,
    Whole,
    clear,
    count_trade,
    log_fill,
    price_of_leaving,
    spent,
)
from jobnb.research.worth import COURSE, arrive, hold, rest, room_of, set_out, settle_all

Targets = npt.NDArray[np.int8] | npt.NDArray[np.float64]

# What a run knows of itself between two bars. `BASE` is the equity before the open trade, `PUT_IN` the value put
# into it, `TOP` its best price so far; `STOP`, `TAKE` are prices, `TRAIL` a fraction; NaN for none.
CASH, UNITS, BASE, PUT_IN, ENTRY, STOP, TAKE, TRAIL, TOP, RUINED, CHARGED, STOPPED = range(12)
STATE = 12

# The terms, beside the capital.
COMMISSION, SLIPPAGE, PER_SHARE, MINIMUM, BORROW, LEVERAGE, SIZING = range(7)
TERMS = 7

# Bars whose highest and lowest are looked at before each of them.
BLOCK = 16

# As `kernel.STRETCH`; of each bar more is read here.
STRETCH = 8192

# How a size is meant.
FRACTION, IN_UNITS, IN_CASH = range(3)

# What a run says of its own orders, per decision: fractions of the price, and the size.
STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, SIZE = range(4)
LIMITS = 4


@lean
def begin(state: Floats, tally: Floats, capital: float) -> None:
    """Set a run to its start."""
    clear(tally)
    state[:] = 0.0
    state[CASH] = capital
    state[STOP : TRAIL + 1] = np.nan


@inlined
def _fee(units: float, price: float, terms: Floats) -> float:
    fee: float = max(terms[MINIMUM], terms[COMMISSION] * abs(units) * price + terms[PER_SHARE] * abs(units))
    return fee


@inlined
def _leave(bar: int, p: float, state: Floats, terms: Floats, tally: Floats, fills: Floats, made: int) -> int:
    """Close the whole position at the price ``p`` before slippage."""
    units = state[UNITS]
    cash = state[CASH]
    equity = cash + units * p
    paid = price_of_leaving(units, p, terms[SLIPPAGE])
    if equity > 0.0:
        fee = _fee(units, paid, terms)
        tally[TRADED] += abs(units) * p / equity
        cash += units * paid - fee
        tally[FEES] += fee
    else:
        paid = p
        fee = 0.0
        cash = 0.0
    if cash <= 0.0:
        cash = 0.0
        state[RUINED] = 1.0
    count_trade(tally, cash - state[BASE], state[PUT_IN])
    made = log_fill(fills, made, bar, -units, paid, fee, cash, 0.0)
    state[CASH] = cash
    state[UNITS] = 0.0
    return made


@inlined
def _change(want: float, size: float, p: float, state: Floats, terms: Floats) -> float:
    """Return the units to buy (below 0: sell) to come to the target after costs; 0 for none."""
    units: float = state[UNITS]
    equity = state[CASH] + units * p
    slippage = terms[SLIPPAGE]
    most = terms[LEVERAGE]
    if terms[SIZING] == FRACTION:
        want *= size
    else:
        wanted = want * size if terms[SIZING] == IN_UNITS else want * size / p
        if abs(wanted) * p <= most * equity:
            return float(wanted - units)
        want = most if want > 0.0 else -most
    want = min(max(want, -most), most)
    missing = want * equity - units * p
    # A change of less than the fee itself is not made.
    if terms[MINIMUM] > 0.0 and abs(missing) <= terms[MINIMUM]:
        return 0.0
    if units != 0.0:
        costs = abs(units) * slippage * p + _fee(units, price_of_leaving(units, p, slippage), terms)
        if spent(missing, units, equity, costs):
            return -units
    # The two sides by a branch, which can be foretold; what is chosen by a number has to wait for it.
    change: float
    if missing > 0.0:
        side = 1.0
        cost = slippage + terms[COMMISSION] * (1.0 + slippage)
        change = missing / ((1.0 + want * cost) * p + want * terms[PER_SHARE])
    else:
        side = -1.0
        cost = slippage + terms[COMMISSION] * (1.0 - slippage)
        change = missing / ((1.0 - want * cost) * p - want * terms[PER_SHARE])
    if terms[MINIMUM] > 0.0:
        paid = p * (1.0 + side * slippage)
        if terms[COMMISSION] * abs(change) * paid + terms[PER_SHARE] * abs(change) < terms[MINIMUM]:
            missing = want * (equity - terms[MINIMUM]) - units * p
            if missing * side <= 0.0 or equity <= terms[MINIMUM]:
                return 0.0
            change = missing / ((1.0 + side * want * slippage) * p)
    return change


@inlined
def _decide(
    want: float,
    bar: int,
    decided: int,
    p: float,
    limits: Floats,
    state: Floats,
    terms: Floats,
    tally: Floats,
    fills: Floats,
    made: int,
) -> int:
    """Fill a decision of the bar ``decided`` at the bar ``bar``, at the price ``p`` before slippage."""
    # One number for the whole run, or one for each bar.
    at = min(decided, limits.shape[1] - 1)
    size = limits[SIZE, at]
    if not size > 0.0:
        want = 0.0
    units = state[UNITS]
    equity = state[CASH] + units * p
    if units != 0.0 and (equity <= 0.0 or want == 0.0 or (want > 0.0) != (units > 0.0)):
        made = _leave(bar, p, state, terms, tally, fills, made)
        units = 0.0
        equity = state[CASH]
    if state[RUINED] != 0.0 or want == 0.0:
        return made
    change = _change(want, size, p, state, terms)
    if units != 0.0 and change == -units:
        made = _leave(bar, p, state, terms, tally, fills, made)
        if state[RUINED] != 0.0:
            return made
        units = 0.0
        equity = state[CASH]
        change = _change(want, size, p, state, terms)
    if change == 0.0:
        return made
    paid = p * (1.0 + terms[SLIPPAGE]) if change > 0.0 else p * (1.0 - terms[SLIPPAGE])
    if units == 0.0:
        side = 1.0 if change > 0.0 else -1.0
        state[BASE] = equity
        state[PUT_IN] = 0.0
        state[ENTRY] = paid
        state[STOP] = paid * (1.0 - side * limits[STOP_LOSS, at])
        state[TAKE] = paid * (1.0 + side * limits[TAKE_PROFIT, at])
        state[TRAIL] = limits[TRAILING_STOP, at]
        state[TOP] = paid
    if (change > 0.0) == (want > 0.0):
        state[PUT_IN] += abs(change) * paid
    fee = _fee(change, paid, terms)
    tally[TRADED] += abs(change) * p / equity
    tally[FEES] += fee
    state[CASH] -= change * paid + fee
    state[UNITS] = units + change
    return log_fill(fills, made, bar, change, paid, fee, state[CASH], state[UNITS])


@inlined
def _charge(bar: int, close: Floats, time: Floats, state: Floats, terms: Floats) -> None:
    """Pay for what was borrowed over the time since the bar before: money, and shares sold short."""
    if bar > 0 and state[CHARGED] < bar:
        owed = max(0.0, -state[CASH]) + max(0.0, -state[UNITS]) * close[bar - 1]
        state[CASH] -= owed * terms[BORROW] * (time[bar] - time[bar - 1]) / 365.0
        state[CHARGED] = bar


@inlined
def _note(
    stop: int,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    daily: bool,
    state: Floats,
    terms: Floats,
    equity: Floats,
    course: Floats,
    returns: Floats,
) -> None:
    """Take note of the equity up to bar ``stop``, at the position that is held; before any of it changes."""
    if state[UNITS] == 0.0:
        rest(stop, state[CASH], time, day_end, course, returns)
    elif terms[BORROW] > 0.0:
        # What it cost is not said by the closes.
        hold(equity, stop, 0.0, 1.0, time, day_end, daily, course, returns)
    else:
        hold(ahead, stop, state[CASH], state[UNITS], time, day_end, daily, course, returns)


@inlined
def _first_hit(
    at: int, until: int, high: Floats, low: Floats, tops: Floats, bottoms: Floats, lower: float, upper: float
) -> int:
    """Return the first bar that reaches down to ``lower`` or up to ``upper``, or ``until``."""
    while at < until:
        block = at // BLOCK
        end = min((block + 1) * BLOCK, until)
        if bottoms[block] <= lower or tops[block] >= upper:
            while at < end and not (low[at] <= lower or high[at] >= upper):
                at += 1
            if at < end:
                return at
        at = end
    return until


@inlined
def _hold(
    at: int,
    until: int,
    opened: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    tops: Floats,
    bottoms: Floats,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    daily: bool,
    state: Floats,
    terms: Floats,
    recorded: bool,
    equity: Floats,
    course: Floats,
    returns: Floats,
    tally: Floats,
    fills: Floats,
    made: int,
) -> tuple[int, int]:
    """Hold the position from bar ``at`` on, at most until a stop is hit; return the first bar that is not done."""
    units = state[UNITS]
    side = 1.0 if units > 0.0 else -1.0
    stop = state[STOP]
    take = state[TAKE]
    top = state[TOP]
    keep = 1.0 - side * state[TRAIL]
    follows = state[TRAIL] == state[TRAIL]
    borrows = terms[BORROW] > 0.0
    cash = state[CASH]
    # Long and without debt nothing can be lost but all of it.
    safe = units > 0.0 and cash >= 0.0 and not borrows
    level = stop
    k = at
    quick = not follows and not borrows
    if quick:
        # A plain stop and target, as fast as can be, unless all might be lost at a close before.
        lower, upper = (stop, take) if units > 0.0 else (take, stop)
        k = _first_hit(at, until, high, low, tops, bottoms, lower, upper)
        if not safe and k > at:
            lowest, highest = extremes(ahead, at, k)
            quick = cash + units * (lowest if units > 0.0 else highest) > 0.0
    if quick:
        if recorded:
            for i in range(at, k):
                equity[i] = cash + units * close[i]
    else:
        # Views from 0 on: an index that might be negative is looked at each time.
        highs, lows, closes, worths = high[at:until], low[at:until], close[at:until], equity[at:until]
        n = closes.size
        for j in range(closes.size):
            if borrows:
                _charge(at + j, close, time, state, terms)
                cash = state[CASH]
            if follows:
                level = top * keep
                if side * stop >= side * level:
                    level = stop
            if units > 0.0:
                hit = lows[j] <= level or highs[j] >= take
                top = top if hit else max(top, highs[j])
            else:
                hit = highs[j] >= level or lows[j] <= take
                top = top if hit else min(top, lows[j])
            worth = cash + units * closes[j]
            if hit or (not safe and worth <= 0.0):
                n = j
                break
            worths[j] = worth
        k = at + n
    tally[BARS_HELD] += k - at
    state[TOP] = top
    if k == until:
        return k, made
    _note(k, ahead, time, day_end, daily, state, terms, equity, course, returns)
    first = opened[k]
    left = np.nan
    if units > 0.0:
        if low[k] <= level:
            left = min(first, level)
        elif high[k] >= take:
            left = max(first, take)
    elif high[k] >= level:
        left = max(first, level)
    elif low[k] <= take:
        left = min(first, take)
    if left == left:
        state[STOPPED] = 1.0
        made = _leave(k, left, state, terms, tally, fills, made)
        return k, made
    # All is lost: the position is closed at this close, and nothing is traded any more.
    count_trade(tally, -state[BASE], state[PUT_IN])
    made = log_fill(fills, made, k, -units, close[k], 0.0, 0.0, 0.0)
    state[CASH] = 0.0
    state[UNITS] = 0.0
    state[RUINED] = 1.0
    return k, made


@lean
def walk(
    target: Targets,
    turns: Whole,
    limits: Floats,
    opened: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    tops: Floats,
    bottoms: Floats,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    daily: bool,
    shift: int,
    terms: Floats,
    start: int,
    end: int,
    state: Floats,
    recorded: bool,
    equity: Floats,
    course: Floats,
    returns: Floats,
    tally: Floats,
    fills: Floats,
    made: int,
) -> int:
    """Go from bar ``start`` up to bar ``end``; return the number of fills made so far.

    Parameters
    ----------
    target : array (n,)
    turns : array of int64
        The bars whose target differs from the one before, from ``start - 1`` on, and n at the end.
    limits : array (LIMITS, 1 or n)
        Stops as fractions of the entry's price, NaN for none, and the size; read at the bar of the decision.
    opened, high, low, close, time
        The bars; the open lies between low and high.
    tops, bottoms : array
        See `blocks`.
    ahead : array (n + LANES,)
        The close, `lanes.padded`.
    day_end : array (n,) of int64
        Last bar of the day of each bar.
    daily : bool
        Whether each bar is a day.
    shift : int
        1 to fill at the next open, 0 at the same close.
    terms : array (TERMS,)
    start, end : int
        ``end = n`` also fills at the last close what was decided there, where ``shift`` is 0.
    recorded : bool
        Whether the equity of each bar is wanted; if not, it is room for the walk.
    state, equity, course, returns, tally, fills
        Carried on; the equity has room for `LANES` more. For the others see `worth`.
    made : int
        Number of fills before.
    """
    bars = close.size
    at = start
    turn = 0
    state[STOPPED] = 0.0
    while True:
        decided = turns[turn]
        if decided + 1 == at and (at < bars or shift == 0) and at > 0:
            turn += 1
            if state[RUINED] == 0.0:
                if shift == 1:
                    if terms[BORROW] > 0.0:
                        _charge(at, close, time, state, terms)
                    bar, p = at, opened[at]
                else:
                    bar, p = decided, close[decided]
                want = float(target[decided])
                before = state[UNITS]
                _note(bar, ahead, time, day_end, daily, state, terms, equity, course, returns)
                made = _decide(want, bar, decided, p, limits, state, terms, tally, fills, made)
                if shift == 0:
                    equity[decided] = state[CASH] + state[UNITS] * p
                    tally[BARS_HELD] += int(state[UNITS] != 0.0) - int(before != 0.0)
        if at >= end:
            return made
        until = min(turns[turn] + 1, end)
        if state[UNITS] != 0.0:
            at, made = _hold(
                at,
                until,
                opened,
                high,
                low,
                close,
                tops,
                bottoms,
                ahead,
                time,
                day_end,
                daily,
                state,
                terms,
                recorded,
                equity,
                course,
                returns,
                tally,
                fills,
                made,
            )
        if state[UNITS] == 0.0 and at < until:
            if recorded:
                equity[at:until] = state[CASH]
            at = until


@inlined
def _finish(
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    daily: bool,
    state: Floats,
    terms: Floats,
    equity: Floats,
    course: Floats,
    returns: Floats,
    tally: Floats,
) -> None:
    """Count the trade that is open at the end, valued at the last close, without the costs of getting out."""
    bars = time.size
    final = state[CASH] + state[UNITS] * ahead[bars - 1]
    _note(bars, ahead, time, day_end, daily, state, terms, equity, course, returns)
    if state[UNITS] != 0.0:
        count_trade(tally, final - state[BASE], state[PUT_IN])
    arrive(final, time, course)


@compiled
def blocks(high: Floats, low: Floats) -> tuple[Floats, Floats]:
    """Return the highest high and the lowest low of each `BLOCK` of bars, so that most need no further look."""
    count = (high.size + BLOCK - 1) // BLOCK
    tops, bottoms = np.empty(count), np.empty(count)
    for block in range(count):
        tops[block] = high[block * BLOCK : (block + 1) * BLOCK].max()
        bottoms[block] = low[block * BLOCK : (block + 1) * BLOCK].min()
    return tops, bottoms


@compiled
def evaluate(
    targets: Targets,
    rows: int,
    limits: Floats,
    opened: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    tops: Floats,
    bottoms: Floats,
    ahead: Floats,
    time: Floats,
    day_end: Whole,
    days: int,
    shift: int,
    capital: float,
    terms: Floats,
    per_year: float,
    out: Floats,
    equity: Floats,
    fills: Floats,
) -> int:
    """Run the first ``rows`` rows of ``targets`` and write one row of metrics for each.

    Parameters
    ----------
    targets, rows, time, day_end, days, shift, capital, per_year, out
        See `kernel.evaluate`.
    limits : array (1 or m, LIMITS, 1 or n)
    opened, high, low, close, tops, bottoms, ahead, terms
        See `walk`.
    equity : array (n + LANES,)
        Gets the equity of the last row, if there is room for its fills.
    fills : array (k, FILL_COLUMNS)
        Gets the fills of the last row, as many as it has room for.

    Returns
    -------
    int
        Number of fills of the last row.
    """
    bars = close.size
    daily = days == bars
    recorded = fills.shape[0] > 0
    # What is borrowed is paid bar by bar, of which the equity is kept for one run only.
    stretch = bars if recorded or terms[BORROW] > 0.0 else min(bars, STRETCH)
    turns = np.empty(stretch + 1 + TURNS_ROOM, dtype=np.int64)
    states, courses, tallies = np.empty((LANES, STATE)), np.empty((LANES, COURSE)), np.empty((LANES, TALLY))
    returns, made = room_of(days), np.zeros(LANES, dtype=np.int64)
    for first in range(0, rows, LANES):
        many = min(LANES, rows - first)
        made[:] = 0
        for m in range(many):
            begin(states[m], tallies[m], capital)
            set_out(courses[m], capital)
        for start in range(0, bars, stretch):
            end = min(start + stretch, bars)
            for m in range(many):
                row = first + m
                # A decision of the last bar of a stretch is filled in the next one.
                count = turns_of(targets[row], max(start - 1, 0), end if end == bars else end - 1, turns)
                turns[count] = bars
                made[m] = walk(
                    targets[row],
                    turns,
                    limits[min(row, limits.shape[0] - 1)],
                    opened,
                    high,
                    low,
                    close,
                    tops,
                    bottoms,
                    ahead,
                    time,
                    day_end,
                    daily,
                    shift,
                    terms,
                    start,
                    end,
                    states[m],
                    recorded,
                    equity,
                    courses[m],
                    returns[m],
                    tallies[m],
                    fills,
                    made[m],
                )
                if end == bars:
                    _finish(ahead, time, day_end, daily, states[m], terms, equity, courses[m], returns[m], tallies[m])
        settle_all(many, close, capital, days, per_year, courses, returns, tallies, out[first : first + many])
    return int(made[(rows - 1) % LANES])
