"""The compiled kernel of portfolios: rows of target weights to fills, cash and equity of one account.

Runs wherever portfolios run; pure arithmetic on arrays, no I/O, no threads. Of one instrument it must give what
`kernel` gives; the rules are said in `portfolio`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import compiled, inlined, lean
from jobnb.research.measure import (
    BARS_HELD,
    FEES,
    TRADED,
    clear,
    costs_of_leaving,
    count_trade,
    price_of_leaving,
    spent,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Looks = npt.NDArray[np.int8]

# Columns of the fill log. `CASH` and `HELD` are what there is after the fill, in the account and of that instrument;
# `FLOW` is what the fill adds to the cash on account of that instrument.
BAR, INSTRUMENT, UNITS, PRICE, FEE, CASH, HELD, FLOW = range(8)
FILL_COLUMNS = 8

# What is done about the weights decided at a bar: nothing, those that differ from the last ones looked at, all.
IGNORED, CHANGES, EVERY = range(3)

#: Rounds of `_after_costs`: each flips at least one side, and ends when none flips.
_ROUNDS = 64


@inlined
def _log(
    fills: Floats,
    made: int,
    bar: int,
    instrument: int,
    units: float,
    price: float,
    fee: float,
    cash: float,
    held: float,
    flow: float,
) -> int:
    if made < fills.shape[0]:
        fills[made, BAR] = bar
        fills[made, INSTRUMENT] = instrument
        fills[made, UNITS] = units
        fills[made, PRICE] = price
        fills[made, FEE] = fee
        fills[made, CASH] = cash
        fills[made, HELD] = held
        fills[made, FLOW] = flow
    return made + 1


@lean
def _after_costs(worth: float, want: Floats, value: Floats, moves: Bools, buying: float, selling: float) -> float:
    """Return the equity V after the costs of bringing the moving positions to ``want * V``.

    V + Σ cost |want V - value| = worth: increasing, convex and piecewise linear in V, so that Newton's steps from above
    end at the root, exactly, once no side flips.
    """
    found = worth
    for _ in range(_ROUNDS):
        top = worth
        bottom = 1.0
        for j in range(want.size):
            if moves[j]:
                missing = want[j] * found - value[j]
                if missing > 0.0:
                    top += buying * value[j]
                    bottom += buying * want[j]
                elif missing < 0.0:
                    top -= selling * value[j]
                    bottom -= selling * want[j]
        following = top / bottom
        if following == found:
            break
        found = following
    return found


@lean
def _ruin(
    i: int,
    worth: float,
    price: Floats,
    units: Floats,
    flow: Floats,
    put_in: Floats,
    tally: Floats,
    fills: Floats,
    made: int,
) -> int:
    """Close everything at these prices and set the account to nothing; debts are forgiven by the size of positions."""
    size = 0.0
    for j in range(units.size):
        size += abs(units[j] * price[j]) if units[j] != 0.0 else 0.0
    for j in range(units.size):
        if units[j] != 0.0:
            value = units[j] * price[j]
            got = value - worth * abs(value) / size
            count_trade(tally, flow[j] + got, put_in[j])
            made = _log(fills, made, i, j, -units[j], price[j], 0.0, 0.0, 0.0, got)
            units[j] = 0.0
    return made


@compiled
def walk(
    weights: Floats,
    look: Looks,
    opened: Floats,
    close: Floats,
    traded: Bools,
    shift: int,
    capital: float,
    commission: float,
    slippage: float,
    equity: Floats,
    money: Floats,
    tally: Floats,
    fills: Floats,
) -> int:
    """Run one table of weights; write equity and cash at each time, the counts, and the fills as far as they fit.

    Parameters
    ----------
    weights : array (t, n)
        Target of each instrument as a fraction of the equity, decided at that time's close.
    look : array (t,) of int8
        `IGNORED`, `CHANGES` or `EVERY`.
    opened, close : array (t, n)
        What fills (only where ``traded``) and what values; ``close`` is the last one where there is no bar.
    traded : array (t, n) of bool
    shift : int
        Times from a decision to the first at which it may fill: 1 or 0.
    capital, commission, slippage : float
    equity, money : array (t,)
    tally : array (TALLY,)
    fills : array (k, FILL_COLUMNS)

    Returns
    -------
    int
        Number of fills.
    """
    times, count = close.shape
    clear(tally)
    units = np.zeros(count)
    before = np.zeros(count)
    want = np.zeros(count)
    due = np.zeros(count, dtype=np.bool_)
    moves = np.zeros(count, dtype=np.bool_)
    closed = np.zeros(count, dtype=np.bool_)
    flow = np.zeros(count)  # cash flows and value put in of the open trade of each
    put_in = np.zeros(count)
    price = np.zeros(count)
    value = np.zeros(count)
    buying = slippage + commission * (1.0 + slippage)
    selling = slippage + commission * (1.0 - slippage)
    cash = capital
    made = 0
    waiting = False  # whether any is due
    for i in range(times):
        d = i - shift
        if d >= 0 and look[d] != IGNORED:
            for j in range(count):
                w = weights[d, j]
                if w != before[j]:
                    before[j] = w
                    want[j] = w
                    due[j] = True
                    waiting = True
                elif look[d] == EVERY and (w != 0.0 or units[j] != 0.0):
                    due[j] = True
                    waiting = True
        filling = False
        if waiting:
            waiting = False
            for j in range(count):
                moves[j] = due[j] and traded[i, j]
                filling = filling or moves[j]
                waiting = waiting or (due[j] and not moves[j])
        if filling:
            worth = cash
            holding = False
            for j in range(count):
                price[j] = opened[i, j] if traded[i, j] else close[i, j]
                value[j] = 0.0
                if units[j] != 0.0:
                    holding = True
                    value[j] = units[j] * price[j]
                    worth += value[j]
            if holding and worth <= 0.0:
                made = _ruin(i, worth, price, units, flow, put_in, tally, fills, made)
                equity[i:] = 0.0
                money[i:] = 0.0
                return made
            costs = 0.0
            for j in range(count):
                if moves[j] and units[j] != 0.0:
                    costs += costs_of_leaving(units[j], price[j], slippage, commission)
            # Positions that end, or change their side, are closed first; see `measure.spent` for others.
            last = -1
            before_closing = worth
            for j in range(count):
                closed[j] = False
                if (
                    moves[j]
                    and units[j] != 0.0
                    and (
                        want[j] == 0.0
                        or (want[j] > 0.0) != (units[j] > 0.0)
                        or spent(want[j] * before_closing - value[j], units[j], before_closing, costs)
                    )
                ):
                    p = price[j]
                    paid = price_of_leaving(units[j], p, slippage)
                    fee = commission * abs(units[j]) * paid
                    tally[TRADED] += abs(units[j]) * p / worth
                    got = units[j] * paid - fee
                    cash += got
                    worth -= value[j] - got
                    tally[FEES] += fee
                    flow[j] += got
                    made = _log(fills, made, i, j, -units[j], paid, fee, cash, 0.0, got)
                    units[j] = 0.0
                    value[j] = 0.0
                    closed[j] = True
                    last = j
            if last >= 0:
                if worth <= 0.0:
                    # The costs were more than there was.
                    flow[last] -= worth
                    if made <= fills.shape[0]:
                        fills[made - 1, FLOW] -= worth
                        fills[made - 1, CASH] -= worth
                for j in range(count):
                    if closed[j]:
                        count_trade(tally, flow[j], put_in[j])
                if worth <= 0.0:
                    made = _ruin(i, 0.0, price, units, flow, put_in, tally, fills, made)
                    equity[i:] = 0.0
                    money[i:] = 0.0
                    return made
            moving = 0
            for j in range(count):
                due[j] = due[j] and not moves[j]
                moves[j] = moves[j] and want[j] != 0.0
                moving += moves[j]
            if moving > 0:
                after = worth
                if moving > 1:
                    after = _after_costs(worth, want, value, moves, buying, selling)
                    if after <= 0.0:
                        made = _ruin(i, 0.0, price, units, flow, put_in, tally, fills, made)
                        equity[i:] = 0.0
                        money[i:] = 0.0
                        return made
                whole = worth
                for j in range(count):
                    if not moves[j]:
                        continue
                    p = price[j]
                    missing = want[j] * after - value[j]
                    if moving == 1:
                        # In the arithmetic of `kernel`, to the last digit.
                        missing /= 1.0 + want[j] * buying if missing > 0.0 else 1.0 - want[j] * selling
                    change = missing / p
                    if change == 0.0:
                        continue
                    paid = p * (1.0 + slippage) if change > 0.0 else p * (1.0 - slippage)
                    if units[j] == 0.0:
                        flow[j] = 0.0
                        put_in[j] = 0.0
                    if (change > 0.0) == (want[j] > 0.0):
                        put_in[j] += abs(change) * paid
                    fee = commission * abs(change) * paid
                    tally[TRADED] += abs(change) * p / whole
                    whole -= abs(change) * (abs(paid - p)) + fee
                    tally[FEES] += fee
                    got = -(change * paid + fee)
                    cash += got
                    flow[j] += got
                    units[j] += change
                    made = _log(fills, made, i, j, change, paid, fee, cash, units[j], got)
        worth = cash
        holding = False
        for j in range(count):
            if units[j] != 0.0:
                holding = True
                worth += units[j] * close[i, j]
        if holding:
            if worth <= 0.0:
                made = _ruin(i, worth, close[i], units, flow, put_in, tally, fills, made)
                equity[i:] = 0.0
                money[i:] = 0.0
                return made
            tally[BARS_HELD] += 1.0
        equity[i] = worth
        money[i] = cash
    for j in range(count):
        if units[j] != 0.0:
            # Open at the end: valued at the last close, without the costs of getting out.
            count_trade(tally, flow[j] + units[j] * close[times - 1, j], put_in[j])
    return made
