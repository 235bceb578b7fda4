"""Everything else that is said of a backtest: one function over its trades, its equity and its prices.

Too many, or too slow, for each row of a sweep, so `BacktestResult.statistics` computes them when asked, where the
result is looked at. Numbers that other packages define in their own way stand here under names of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.metrics import Calendar

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

#: Name and meaning of each. Fractions, not percent; times in days; NaN where there is nothing to divide by.
STATISTICS: dict[str, str] = {
    "duration": "time from the first to the last bar",
    "equity_peak": "highest equity at any close",
    "alpha": "mean daily return not explained by beta, compounded per year (empyrical)",
    "beta": "covariance of the daily returns with the asset's over the variance of those (empyrical)",
    "tail_ratio": "95th over 5th percentile of the daily returns, without signs (empyrical)",
    "stability": "R² of a line through the cumulated daily log returns (empyrical)",
    "omega_ratio": "sum of the daily gains over sum of the daily losses (Keating and Shadwick 2002; empyrical)",
    "downside_risk": "root of the mean squared daily loss, gains as 0, per year (empyrical)",
    "value_at_risk": "5th percentile of the daily returns (empyrical)",
    "conditional_value_at_risk": "mean of the worst 5 % of the daily returns (empyrical)",
    "up_capture": "annual return over the asset's on the days on which that rose (empyrical)",
    "down_capture": "annual return over the asset's on the days on which that fell (empyrical)",
    "skewness": "third standardised moment of the daily returns",
    "kurtosis": "fourth standardised moment of the daily returns, minus 3",
    "best_day": "highest daily return",
    "worst_day": "lowest daily return",
    "ulcer_index": "root of the mean squared drawdown over the bars (Martin and McCann 1989)",
    "exposure_time": "share of the bars from the entry to the exit of a trade, both included (backtesting.py)",
    "annual_return_geometric": "geometric mean of the daily returns, per year (backtesting.py; empyrical)",
    "volatility_geometric": "deviation of compounded annual returns (backtesting.py; SSRN 3054517)",
    "cagr": "growth per year of 365.25 days from the first to the last bar (backtesting.py)",
    "sharpe_ratio_geometric": "annual_return_geometric over volatility_geometric (backtesting.py)",
    "sortino_ratio_geometric": "annual_return_geometric over downside_risk (backtesting.py)",
    "calmar_ratio_geometric": "annual_return_geometric over the size of the maximum drawdown (backtesting.py)",
    "beta_log": "beta of the log returns from bar to bar (backtesting.py)",
    "alpha_jensen": "total return minus beta_log times the asset's (backtesting.py)",
    "average_drawdown": "mean depth of the drawdowns of two bars or more, a negative fraction (backtesting.py)",
    "average_drawdown_duration": "mean time of these drawdowns (backtesting.py)",
    "average_trade_geometric": "geometric mean of the returns of the trades (backtesting.py)",
    "max_trade_duration": "longest time from an entry to its exit",
    "average_trade_duration": "mean time from an entry to its exit",
    "profit_factor_returns": "sum of the winning trades' returns over the losing ones' (backtesting.py)",
    "sqn": "root of the number of trades, times the mean of their profits over their deviation (Tharp)",
    "kelly_criterion": "win rate minus loss rate over the ratio of mean win to mean loss (Kelly 1956)",
    "annual_return_365": "total return, compounded to 365 days of bars (vectorbt)",
    "volatility_365": "deviation of the returns from bar to bar, to 365 days of bars (vectorbt)",
    "sharpe_ratio_365": "mean over deviation of the returns from bar to bar, to 365 days of bars (vectorbt)",
    "sortino_ratio_365": "mean over downside deviation of the same returns (vectorbt)",
    "calmar_ratio_365": "annual_return_365 over the size of the maximum drawdown (vectorbt)",
    "omega_ratio_365": "sum of gains over sum of losses from bar to bar (vectorbt)",
    "closed_trades": "number of trades closed before the end",
    "open_trade_pnl": "profit or loss of the trade still open, in money",
    "win_rate_closed": "share of the closed trades that made money (vectorbt)",
    "best_trade_closed": "highest return of a closed trade (vectorbt)",
    "worst_trade_closed": "lowest return of a closed trade (vectorbt)",
    "average_winning_trade": "mean return of the closed trades that made money (vectorbt)",
    "average_losing_trade": "mean return of the closed trades that lost money (vectorbt)",
    "profit_factor_closed": "money won by closed trades over money lost by them (vectorbt)",
    "expectancy_closed": "mean profit or loss of a closed trade in money (vectorbt)",
}

_DAY = 86_400e9


def statistics(
    trades: pd.DataFrame,
    equity: Floats,
    close: Floats,
    time: npt.NDArray[np.int64],
    day_end: npt.NDArray[np.int64],
    capital: float,
    calendar: Calendar,
) -> dict[str, float]:
    """Compute all of `STATISTICS`.

    Parameters
    ----------
    trades : pandas.DataFrame
        The trades that count, as in `BacktestResult.trades`, with the bars of ``entry`` and ``exit``.
    equity, close : array (n,)
        At each bar.
    time : array (n,) of int64
        Nanoseconds.
    day_end : array (d,) of int64
        Last bar of each day.
    capital : float
    calendar : Calendar

    Returns
    -------
    dict
        Name to number, in the order of `STATISTICS`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = 1.0 - equity / np.maximum.accumulate(equity)
        made = {
            "duration": float(time[-1] - time[0]) / _DAY,
            "equity_peak": float(equity.max()),
            "ulcer_index": float(np.sqrt(np.mean(falls**2))),
            **_of_days(_changes(equity[day_end]), _changes(close[day_end]), calendar.periods_per_year),
            **_of_bars(equity, close, time, capital, float(falls.max())),
            **_of_drawdowns(falls, time),
            **_of_trades(trades, time),
            **_of_closed_trades(trades[~trades["open"]], trades[trades["open"]]),
            "exposure_time": _exposure(trades, len(equity)),
        }
        deepest = float(falls.max())
        made["calmar_ratio_geometric"] = made["annual_return_geometric"] / deepest if deepest > 0.0 else np.nan
        years = float(int(made["duration"] * 86_400)) / 86_400 / 365.25
        made["cagr"] = float(equity[-1] / equity[0]) ** (1.0 / years) - 1.0 if years > 0.0 else np.nan
    return {name: float(made[name]) for name in STATISTICS}


def _changes(values: Floats) -> Floats:
    """Return the returns from each value to the next; 0 where there was nothing left."""
    before = values[:-1]
    return np.where(before != 0.0, values[1:] / np.where(before != 0.0, before, 1.0) - 1.0, 0.0)


def _over(a: float, b: float) -> float:
    return a / b if b != 0.0 else np.nan


def _ratio(a: float, b: float) -> float:
    """Divide as these packages do: what made money at no risk is infinitely good."""
    return a / b if b != 0.0 else float(np.copysign(np.inf, a)) if a != 0.0 else np.nan


def _of_days(r: Floats, asset: Floats, year: float) -> dict[str, float]:
    if r.size == 0:
        r = asset = np.full(1, np.nan)
    mean = float(r.mean())
    off = asset - asset.mean()
    beta = _over(float(np.mean(off * r)), float(np.mean(off**2))) if r.size > 1 else np.nan
    down = float(np.sqrt(np.mean(np.minimum(r, 0.0) ** 2)) * np.sqrt(year))
    lost = -float(r[r < 0.0].sum())
    # Everything lost on one day has no logarithm, and no growth after it.
    growth = float(np.exp(np.log1p(r).mean())) if np.all(r > -1.0) else 1.0
    annual = growth**year - 1.0
    # Here the days after the end do not count.
    lived = r[: int(np.argmax(r <= -1.0)) + 1] if np.any(r <= -1.0) else r
    spread = np.nan
    if lived.size > 1:
        spread = float(np.sqrt((lived.var(ddof=1) + growth**2) ** year - growth ** (2 * year)))
    fear = float(np.sqrt(np.mean(np.minimum(lived, 0.0) ** 2)) * np.sqrt(year))
    deviation = float(r.std())
    # Returns that do not vary have no shape, whatever their last digits say.
    shaped = deviation > 1e-15
    z = (r - mean) / deviation if shaped else np.full(1, np.nan)
    tail = int((r.size - 1) * 0.05)
    return {
        "alpha": float((np.mean(r - beta * asset) + 1.0) ** year - 1.0),
        "beta": beta,
        "tail_ratio": _over(abs(float(np.percentile(r, 95))), abs(float(np.percentile(r, 5)))),
        "stability": _straightness(np.log1p(r).cumsum()),
        "omega_ratio": _over(float(r[r > 0.0].sum()), lost) if r.size > 1 else np.nan,
        "downside_risk": down,
        "value_at_risk": float(np.percentile(r, 5)),
        "conditional_value_at_risk": float(np.mean(np.partition(r, tail)[: tail + 1])),
        "up_capture": _capture(r, asset, asset >= 0.0, year),
        "down_capture": _capture(r, asset, asset < 0.0, year),
        "skewness": float(np.mean(z**3)),
        "kurtosis": float(np.mean(z**4) - 3.0),
        "best_day": float(r.max()),
        "worst_day": float(r.min()),
        "annual_return_geometric": annual,
        "volatility_geometric": spread,
        "sharpe_ratio_geometric": _over(annual, spread),
        "sortino_ratio_geometric": _ratio(annual, fear),
    }


def _straightness(line: Floats) -> float:
    if line.size < 2 or not np.isfinite(line).all() or np.ptp(line) == 0.0:
        return np.nan
    return float(np.corrcoef(np.arange(line.size), line)[0, 1] ** 2)


def _capture(r: Floats, asset: Floats, days: npt.NDArray[np.bool_], year: float) -> float:
    count = int(days.sum())
    if count == 0:
        return np.nan
    ours, theirs = (float(np.prod(1.0 + x[days])) ** (year / count) - 1.0 for x in (r, asset))
    return _over(ours, theirs)


def _of_bars(
    equity: Floats, close: Floats, time: npt.NDArray[np.int64], capital: float, fall: float
) -> dict[str, float]:
    r = _changes(np.append(capital, equity))
    year = 365.0 * _DAY / float(np.median(np.diff(time)))
    deviation = float(r.std(ddof=1))
    down = float(np.sqrt(np.mean(np.minimum(r, 0.0) ** 2)))
    annual = float(equity[-1] / capital) ** (year / r.size) - 1.0
    # From the capital on, which may be above the first close.
    path = np.append(capital, equity)
    deepest = float(np.max(1.0 - path / np.maximum.accumulate(path)))
    ours, theirs = np.log(equity[1:] / equity[:-1]), np.log(close[1:] / close[:-1])
    beta = np.nan
    if ours.size > 1 and np.isfinite(ours).all():
        cov = np.cov(ours, theirs)
        beta = _over(float(cov[0, 1]), float(cov[1, 1]))
    return {
        "annual_return_365": annual,
        "volatility_365": deviation * np.sqrt(year),
        "sharpe_ratio_365": _over(float(r.mean()), deviation) * np.sqrt(year),
        "sortino_ratio_365": _ratio(float(r.mean()), down) * np.sqrt(year),
        "calmar_ratio_365": _over(annual, deepest),
        "omega_ratio_365": _over(float(r[r > 0.0].sum()), -float(r[r < 0.0].sum())),
        "beta_log": beta,
        "alpha_jensen": float(equity[-1] / equity[0] - 1.0 - beta * (close[-1] / close[0] - 1.0)),
    }


def _of_drawdowns(falls: Floats, time: npt.NDArray[np.int64]) -> dict[str, float]:
    tops = np.unique(np.append(np.flatnonzero(falls == 0.0), falls.size - 1))
    long = np.flatnonzero(np.diff(tops) > 1)
    if long.size == 0:
        return {"average_drawdown": np.nan, "average_drawdown_duration": np.nan}
    starts, ends = tops[long], tops[long + 1]
    depths = np.maximum.reduceat(np.append(falls, 0.0), np.column_stack((starts, ends + 1)).ravel())[::2]
    return {
        "average_drawdown": -float(depths.mean()),
        "average_drawdown_duration": float(np.mean((time[ends] - time[starts]) / _DAY)),
    }


def _of_trades(trades: pd.DataFrame, time: npt.NDArray[np.int64]) -> dict[str, float]:
    names = ("average_trade_geometric", "max_trade_duration", "average_trade_duration")
    more = ("profit_factor_returns", "sqn", "kelly_criterion")
    if trades.empty:
        return dict.fromkeys((*names, *more), np.nan)
    gain, pnl = trades["return_"].to_numpy(), trades["pnl"].to_numpy()
    lasted = (time[trades["exit"].to_numpy()] - time[trades["entry"].to_numpy()]) / _DAY
    won = pnl > 0.0
    share = float(won.mean())
    deviation = float(pnl.std(ddof=1)) if pnl.size > 1 else np.nan
    kelly = np.nan
    if won.any() and (pnl < 0.0).any():
        kelly = share - (1.0 - share) / float(pnl[won].mean() / -pnl[pnl < 0.0].mean())
    return {
        "average_trade_geometric": float(np.exp(np.log1p(gain).mean()) - 1.0) if np.all(gain > -1.0) else 0.0,
        "max_trade_duration": float(lasted.max()),
        "average_trade_duration": float(lasted.mean()),
        "profit_factor_returns": _over(float(gain[gain > 0.0].sum()), -float(gain[gain < 0.0].sum())),
        "sqn": float(np.sqrt(pnl.size)) * _over(float(pnl.mean()), deviation),
        "kelly_criterion": kelly,
    }


def _of_closed_trades(closed: pd.DataFrame, still_open: pd.DataFrame) -> dict[str, float]:
    made = {"closed_trades": float(len(closed)), "open_trade_pnl": float(still_open["pnl"].sum())}
    names = ("win_rate", "best_trade", "worst_trade", "profit_factor", "expectancy")
    if closed.empty:
        empty = (*(f"{name}_closed" for name in names), "average_winning_trade", "average_losing_trade")
        return {**made, **dict.fromkeys(empty, np.nan)}
    gain, pnl = closed["return_"].to_numpy(), closed["pnl"].to_numpy()
    lost = -float(pnl[pnl < 0.0].sum())
    won = float(pnl[pnl > 0.0].sum())
    return {
        **made,
        "win_rate_closed": float((pnl > 0.0).mean()),
        "best_trade_closed": float(gain.max()),
        "worst_trade_closed": float(gain.min()),
        "average_winning_trade": float(gain[gain > 0.0].mean()) if (gain > 0.0).any() else np.nan,
        "average_losing_trade": float(gain[gain < 0.0].mean()) if (gain < 0.0).any() else np.nan,
        "profit_factor_closed": won / lost if lost > 0.0 else (np.inf if won > 0.0 else np.nan),
        "expectancy_closed": float(pnl.mean()),
    }


def _exposure(trades: pd.DataFrame, bars: int) -> float:
    # +1 at each entry, -1 after each exit.
    edges = np.zeros(bars + 1)
    np.add.at(edges, trades["entry"].to_numpy(), 1.0)
    np.add.at(edges, trades["exit"].to_numpy() + 1, -1.0)
    return float(np.mean(np.cumsum(edges[:-1]) > 0.5))
