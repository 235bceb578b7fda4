"""jobnb's metrics from what any engine can tell: the equity at each bar, and the profits of its trades.

Runs in a child after a foreign engine has done its work, so that one name means one thing whatever engine a number
comes from. Pure arithmetic, by the definitions of `jobnb.research.metrics`; it must not know any engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jobnb.research.bars import Bars

Floats = npt.NDArray[np.float64]

#: A variance below this share of the squared mean is rounding: the returns do not vary. As in the kernel.
_NO_VARIANCE = 1e-12


def of_equity(equity: npt.ArrayLike, bars: Bars, capital: float) -> dict[str, float]:
    """Return the metrics that follow from the equity alone.

    Parameters
    ----------
    equity : array_like (len(bars),)
        Money at each close.
    bars : Bars
        The prices it was made on.
    capital : float
        Money at the start.

    Returns
    -------
    dict
        ``total_return``, ``annual_return``, ``volatility``, ``sharpe_ratio``, ``sortino_ratio``, ``calmar_ratio``,
        ``max_drawdown``, ``max_drawdown_duration``, ``buy_and_hold_return``, ``final_equity``; fractions, days, money.

    References
    ----------
    `jobnb.research.metrics.MEANINGS`; Sharpe and Sortino ratio as in empyrical (`empyrical.sharpe_ratio`,
    `empyrical.sortino_ratio`) with a risk-free rate of 0.
    """
    worth = np.asarray(equity, dtype=np.float64)
    final = float(worth[-1])
    per_year = bars.calendar.periods_per_year
    nan = float("nan")
    daily = _returns(worth[np.unique(bars.day_end)])
    annual = volatility = sharpe = sortino = nan
    if daily.size:
        annual = _power(final / capital, per_year / daily.size) - 1.0
        mean = float(daily.mean())
        down = float(np.sqrt(np.mean(np.minimum(daily, 0.0) ** 2)))
        if down > 0.0:
            sortino = mean / down * np.sqrt(per_year)
        if daily.size > 1:
            variance = float(daily.var(ddof=1))
            if variance <= _NO_VARIANCE * mean * mean:
                volatility = 0.0
            else:
                volatility = float(np.sqrt(variance * per_year))
                sharpe = mean / float(np.sqrt(variance)) * float(np.sqrt(per_year))
    fall, longest = _drawdown(worth, bars.days)
    return {
        "total_return": final / capital - 1.0,
        "annual_return": annual,
        "volatility": volatility,
        "sharpe_ratio": sharpe,
        "sortino_ratio": float(sortino),
        "calmar_ratio": annual / -fall if fall < 0.0 else nan,
        "max_drawdown": fall,
        "max_drawdown_duration": longest,
        "buy_and_hold_return": float(bars.close[-1] / bars.close[0] - 1.0),
        "final_equity": final,
    }


def of_trades(profit: npt.ArrayLike, put_in: npt.ArrayLike) -> dict[str, float]:
    """Return the metrics that follow from the trades.

    Parameters
    ----------
    profit : array_like (n,)
        Money made or lost by each trade, after costs.
    put_in : array_like (n,)
        The value that was put into each, above 0.

    Returns
    -------
    dict
        ``trades``, ``win_rate``, ``profit_factor``, ``best_trade``, ``worst_trade``, ``average_trade``, ``expectancy``.
    """
    money = np.asarray(profit, dtype=np.float64)
    nan = float("nan")
    if not money.size:
        names = ("win_rate", "profit_factor", "best_trade", "worst_trade", "average_trade", "expectancy")
        return {"trades": 0.0, **dict.fromkeys(names, nan)}
    gains = money / np.asarray(put_in, dtype=np.float64)
    won, lost = float(money[money > 0.0].sum()), float(-money[money <= 0.0].sum())
    return {
        "trades": float(money.size),
        "win_rate": float(np.mean(money > 0.0)),
        "profit_factor": won / lost if lost > 0.0 else float("inf") if won > 0.0 else nan,
        "best_trade": float(gains.max()),
        "worst_trade": float(gains.min()),
        "average_trade": float(gains.mean()),
        "expectancy": float(money.mean()),
    }


def _returns(worth: Floats) -> Floats:
    """Return the return of each day but the first; 0 from the day on at which nothing was left."""
    before, after = worth[:-1], worth[1:]
    return np.divide(after, before, out=np.ones_like(after), where=before > 0.0) - 1.0


def _power(base: float, exponent: float) -> float:
    with np.errstate(over="ignore"):
        # As in the kernel, what is too large for a number is infinite, not an error.
        return float(np.power(base, exponent)) if base > 0.0 else 0.0


def _drawdown(worth: Floats, days: Floats) -> tuple[float, float]:
    """Return the deepest fall below the highest value before, and the longest time below it, in days."""
    peak = np.maximum.accumulate(worth)
    fall = float(np.min(np.divide(worth, peak, out=np.ones_like(worth), where=peak > 0.0)) - 1.0)
    at_peak = np.flatnonzero(worth >= peak)
    times = days[at_peak]
    gaps = np.diff(times)[np.diff(at_peak) > 1]
    longest = float(gaps.max()) if gaps.size else 0.0
    if at_peak[-1] < worth.size - 1:
        longest = max(longest, float(days[-1] - times[-1]))
    return min(fall, 0.0), longest
