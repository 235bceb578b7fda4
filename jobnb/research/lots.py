"""The engine's second set of rules, compiled: whole units, orders and bookkeeping as in backtesting.py 0.6.6.

For `conventions="backtesting.py"`: runs wherever backtests run, on arrays, without I/O. Written from the
behaviour of that package (which is AGPL: nothing of it is copied or imported) and checked against it in
``tests/parity``. How targets become its orders is said in `engine`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import compiled, lean
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
    measure,
)

Targets = npt.NDArray[np.int8] | npt.NDArray[np.float64]

#: What its `buy()` and `sell()` take when no size is given: a hair less than everything.
_ALL = 1.0 - 2.0**-52


@lean
def _open_fraction(want: float, p: float, cash: float, leverage: float, commission: float, spread: float) -> float:
    """Return the whole units that an order for ``want`` buys (below 0: sells), 0 if there is no cash for one."""
    share = min(abs(want) / leverage, _ALL)
    side = 1.0 if want > 0.0 else -1.0
    # The fee of one unit is found from that of the fraction, which is how it comes to its last digit.
    each = p * (1.0 + side * spread) + share * p * commission / share
    room = max(0.0, cash) * leverage
    units = float(int(room * share // each))
    if units * each > room:
        return 0.0
    return side * units


@lean
def _walk(
    target: Targets,
    price: Floats,
    close: Floats,
    capital: float,
    commission: float,
    spread: float,
    leverage: float,
    finalize: bool,
    equity: Floats,
    tally: Floats,
    fills: Floats,
) -> int:
    """Run one row of targets; write its equity, its counts and its fills. Return the number of fills."""
    bars = close.size
    clear(tally)
    made = 0
    cash = capital
    units = 0.0
    entry = 0.0
    paid = 0.0  # the commission of the open trade's entry
    before = 0.0
    equity[0] = capital
    # Nothing is decided at bar 0: the first bar that its `next` sees is bar 1. One turn more at the end closes
    # what is open, at the prices of the last bar, and fills what was decided there.
    for turn in range(1, bars + 1):
        last = turn == bars
        if last and not finalize:
            break
        i = bars - 1 if last else turn
        want = before
        if turn >= 2:
            want = float(target[turn - 1])
        changed = want != before
        before = want
        p = price[i]
        if last and units != 0.0:
            tally[BARS_HELD] -= 1.0  # not over the last close any more
        if units != 0.0 and (changed or last):
            fee = abs(units) * p * commission
            worth = cash + units * (p - entry)
            if worth > 0.0:
                tally[TRADED] += abs(units) * p / worth
            pnl = units * (p - entry)
            cash += pnl - fee
            tally[FEES] += fee + paid
            count_trade(tally, pnl - fee - paid, abs(units) * entry)
            made = log_fill(fills, made, i, -units, p, fee, cash, 0.0)
            units = 0.0
            entry = 0.0
        if changed and want != 0.0:
            units = _open_fraction(want, p, cash, leverage, commission, spread)
            if units != 0.0:
                entry = p * (1.0 + spread) if units > 0.0 else p * (1.0 - spread)
                paid = abs(units) * entry * commission
                tally[TRADED] += abs(units) * p / cash
                cash -= paid
                made = log_fill(fills, made, i, units, entry, paid, cash - units * entry, units)
        worth = cash + (close[i] * units - units * entry)
        if worth <= 0.0:
            if units != 0.0:
                # The account is set to nothing; the trade keeps what it really lost.
                fee = abs(units) * close[i] * commission
                pnl = units * (close[i] - entry)
                tally[FEES] += fee + paid
                count_trade(tally, pnl - fee - paid, abs(units) * entry)
                made = log_fill(fills, made, i, -units, close[i], fee, cash + pnl - fee, 0.0)
            equity[i:] = 0.0
            break
        equity[i] = worth
        if units != 0.0:
            tally[BARS_HELD] += 1.0
    # What is open at the end counts in the equity, and neither among the trades nor among the commissions.
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
    capital: float,
    commission: float,
    spread: float,
    leverage: float,
    finalize: bool,
    per_year: float,
    out: Floats,
    equity: Floats,
    fills: Floats,
) -> int:
    """Run the first ``rows`` rows of ``targets`` and write one row of metrics for each.

    Parameters
    ----------
    targets, rows, price, close, time, day_end, days, per_year, out
        See `kernel.evaluate`.
    capital, commission : float
    spread : float
        Fraction by which an entry's price is worse.
    leverage : float
        1 over the margin.
    finalize : bool
        Whether what is open at the end is closed at the last bar's open.
    equity : array (n,)
        Gets the equity of the last row.
    fills : array (k, FILL_COLUMNS)
        Gets the fills of the last row, as many as it has room for.

    Returns
    -------
    int
        Number of fills of the last row.
    """
    tally = np.empty(TALLY)
    made = 0
    for m in range(rows):
        made = _walk(targets[m], price, close, capital, commission, spread, leverage, finalize, equity, tally, fills)
        measure(equity, close, time, day_end, days, capital, per_year, tally, out[m])
    return made
