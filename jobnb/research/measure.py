"""The compiled arithmetic of the metrics: from sums and trades to a row, and from an equity curve to the sums.

`kernel` keeps the sums itself while it runs; the slower forms of the engine (`lots`, `orders`) write their equity
and let `measure` read it. Runs wherever backtests run; pure arithmetic on arrays, no I/O.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import inlined, lean
from jobnb.research.metrics import METRICS

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

# Columns of the fill log: `CASH` and `HELD` are what there is after the fill.
BAR, UNITS, PRICE, FEE, CASH, HELD = range(6)
FILL_COLUMNS = 6

# What is counted of the trades while a run goes on.
BARS_HELD, TRADED, FEES, COUNT, WINS, WON, LOST, BEST_GAIN, WORST_GAIN, RETURNED = range(10)
TALLY = 10

# Numba needs plain global integers.
TOTAL_RETURN = METRICS.index("total_return")
ANNUAL_RETURN = METRICS.index("annual_return")
VOLATILITY = METRICS.index("volatility")
SHARPE = METRICS.index("sharpe_ratio")
SORTINO = METRICS.index("sortino_ratio")
CALMAR = METRICS.index("calmar_ratio")
MAX_DRAWDOWN = METRICS.index("max_drawdown")
DURATION = METRICS.index("max_drawdown_duration")
EXPOSURE = METRICS.index("exposure")
TURNOVER = METRICS.index("turnover")
TRADES = METRICS.index("trades")
WIN_RATE = METRICS.index("win_rate")
PROFIT_FACTOR = METRICS.index("profit_factor")
BEST = METRICS.index("best_trade")
WORST = METRICS.index("worst_trade")
AVERAGE = METRICS.index("average_trade")
EXPECTANCY = METRICS.index("expectancy")
COMMISSIONS = METRICS.index("commissions_paid")
HOLD = METRICS.index("buy_and_hold_return")
FINAL = METRICS.index("final_equity")

#: A variance below this share of the squared mean is rounding: the returns do not vary.
_NO_VARIANCE = 1e-12


@inlined
def clear(tally: Floats) -> None:
    """Set the counts of the trades to those of none."""
    tally[:] = 0.0
    tally[BEST_GAIN] = -np.inf
    tally[WORST_GAIN] = np.inf


@inlined
def count_trade(tally: Floats, pnl: float, put_in: float) -> None:
    """Count one trade by its profit after costs and the value put into it."""
    gain = pnl / put_in
    tally[COUNT] += 1.0
    if pnl > 0.0:
        tally[WINS] += 1.0
        tally[WON] += pnl
    else:
        tally[LOST] -= pnl
    tally[BEST_GAIN] = max(tally[BEST_GAIN], gain)
    tally[WORST_GAIN] = min(tally[WORST_GAIN], gain)
    tally[RETURNED] += gain


@inlined
def log_fill(
    fills: Floats, made: int, bar: int, units: float, price: float, fee: float, cash: float, held: float
) -> int:
    """Write one fill where there is room; return the number of fills made."""
    if made < fills.shape[0]:
        fills[made, BAR] = bar
        fills[made, UNITS] = units
        fills[made, PRICE] = price
        fills[made, FEE] = fee
        fills[made, CASH] = cash
        fills[made, HELD] = held
    return made + 1


@inlined
def price_of_leaving(units: float, price: float, slippage: float) -> float:
    """Return the price at which a position is closed: the worse one."""
    return price * (1.0 - slippage) if units > 0.0 else price * (1.0 + slippage)


@inlined
def costs_of_leaving(units: float, price: float, slippage: float, commission: float) -> float:
    """Return what closing a position costs, slippage and commission."""
    return abs(units) * (slippage * price + commission * price_of_leaving(units, price, slippage))


@inlined
def spent(missing: float, units: float, equity: float, costs: float) -> bool:
    """Tell whether a position is to be made smaller by a trade whose costs nothing is left to pay with.

    To come from a value V to the target ``w`` times the equity after costs, V - w E, with costs of a fraction c of what
    is sold, means to sell more than V where c V > E. The whole position is closed then, and that is the end.

    Parameters
    ----------
    missing : float
        Value of the change before costs, below 0 to sell.
    units, equity : float
        What is held, and what all there is is worth.
    costs : float
        What closing all of it would cost.
    """
    # A hair before: where the costs are all there is, rounding must not leave a position of the other side.
    return missing * units < 0.0 and equity <= costs * (1.0 + 1e-9)


@lean
def settle(
    out: Floats,
    close: Floats,
    capital: float,
    final: float,
    days: int,
    per_year: float,
    total: float,
    square: float,
    square_down: float,
    keep: float,
    longest: float,
    tally: Floats,
) -> None:
    """Write the row of metrics.

    Parameters
    ----------
    out : array (len(METRICS),)
        Filled in.
    close : array (n,)
    capital, final : float
        Equity at the start and at the end.
    days : int
        Number of days with bars.
    per_year : float
    total, square, square_down : float
        Σ r, Σ r² and Σ min(r, 0)² over the daily returns.
    keep : float
        1 + maximum drawdown.
    longest : float
        Longest time from a peak, in days.
    tally : array (TALLY,)
    """
    bars = close.size
    returns = days - 1
    years = returns / per_year
    out[:] = np.nan
    out[TOTAL_RETURN] = final / capital - 1.0
    if returns > 0:
        out[ANNUAL_RETURN] = (final / capital) ** (1.0 / years) - 1.0
        out[TURNOVER] = tally[TRADED] / years
        mean = total / returns
        if square_down > 0.0:
            out[SORTINO] = mean / np.sqrt(square_down / returns) * np.sqrt(per_year)
        if returns > 1:
            variance = (square - total * mean) / (returns - 1)
            if variance <= _NO_VARIANCE * mean * mean:
                out[VOLATILITY] = 0.0
            else:
                out[VOLATILITY] = np.sqrt(variance * per_year)
                out[SHARPE] = mean / np.sqrt(variance) * np.sqrt(per_year)
    out[MAX_DRAWDOWN] = keep - 1.0
    if keep < 1.0:
        out[CALMAR] = out[ANNUAL_RETURN] / (1.0 - keep)
    out[DURATION] = longest
    out[EXPOSURE] = tally[BARS_HELD] / bars
    count = tally[COUNT]
    out[TRADES] = count
    if count > 0.0:
        out[WIN_RATE] = tally[WINS] / count
        if tally[LOST] > 0.0:
            out[PROFIT_FACTOR] = tally[WON] / tally[LOST]
        elif tally[WON] > 0.0:
            out[PROFIT_FACTOR] = np.inf
        out[BEST] = tally[BEST_GAIN]
        out[WORST] = tally[WORST_GAIN]
        out[AVERAGE] = tally[RETURNED] / count
        out[EXPECTANCY] = (tally[WON] - tally[LOST]) / count
    out[COMMISSIONS] = tally[FEES]
    out[HOLD] = close[bars - 1] / close[0] - 1.0
    out[FINAL] = final


@lean
def measure(
    equity: Floats,
    close: Floats,
    time: Floats,
    day_end: Whole,
    days: int,
    capital: float,
    per_year: float,
    tally: Floats,
    out: Floats,
) -> None:
    """Write the row of metrics of an equity curve, by the same arithmetic in the same order as `kernel`.

    Parameters
    ----------
    equity : array (n,)
        At each close; 0 from ruin on.
    close, time, day_end, days, per_year
        See `kernel.evaluate`.
    capital : float
    tally : array (TALLY,)
        What was counted of the trades.
    out : array (len(METRICS),)
        Filled in.
    """
    bars = equity.size
    first_end = day_end[0]
    daily = days == bars
    total = 0.0
    square = 0.0
    square_down = 0.0
    last = equity[first_end]
    peak = 0.0
    peak_at = 0
    keep = 1.0
    floor = 0.0
    longest = 0.0
    first = 0
    while first < bars:
        # In daily bars all at once, else day by day: only its last bar has a return.
        end = bars - 1 if daily else day_end[first]
        for k, value in enumerate(equity[first : end + 1]):
            if value >= peak:
                if first + k - peak_at > 1:
                    longest = max(longest, time[first + k] - time[peak_at])
                peak = value
                peak_at = first + k
                floor = peak * keep
            elif value < floor:
                floor = value
                keep = value / peak
            # Where nothing is held there is nothing to divide.
            if daily and value != last:
                r = value / last - 1.0
                last = value
                total += r
                square += r * r
                down = min(r, 0.0)
                square_down += down * down
        value = equity[end]
        if value != last:
            r = value / last - 1.0
            last = value
            total += r
            square += r * r
            down = min(r, 0.0)
            square_down += down * down
        first = end + 1
    if peak_at < bars - 1:
        longest = max(longest, time[bars - 1] - time[peak_at])
    settle(out, close, capital, equity[bars - 1], days, per_year, total, square, square_down, keep, longest, tally)
