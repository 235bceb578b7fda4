"""Numbers as people read them in tables: percent, money, days, a real minus sign, four significant digits.

Used by the reprs of results at the front door. Pure Python, imports nothing.
"""

from __future__ import annotations

import math

#: Metrics shown as percent.
PERCENT = frozenset(
    {
        "total_return",
        "annual_return",
        "volatility",
        "max_drawdown",
        "exposure",
        "win_rate",
        "best_trade",
        "worst_trade",
        "average_trade",
        "buy_and_hold_return",
        # Of `statistics`.
        "alpha",
        "alpha_jensen",
        "downside_risk",
        "value_at_risk",
        "conditional_value_at_risk",
        "up_capture",
        "down_capture",
        "best_day",
        "worst_day",
        "ulcer_index",
        "exposure_time",
        "annual_return_geometric",
        "volatility_geometric",
        "cagr",
        "average_drawdown",
        "average_trade_geometric",
        "kelly_criterion",
        "annual_return_365",
        "volatility_365",
        "win_rate_closed",
        "best_trade_closed",
        "worst_trade_closed",
        "average_winning_trade",
        "average_losing_trade",
    }
)
#: Metrics shown as money.
MONEY = frozenset(
    {"expectancy", "commissions_paid", "final_equity", "equity_peak", "open_trade_pnl", "expectancy_closed"}
)
#: Times in days.
DAYS = frozenset(
    {
        "max_drawdown_duration",
        "average_drawdown_duration",
        "duration",
        "max_trade_duration",
        "average_trade_duration",
    }
)
_RATIOS = frozenset(
    {"profit_factor", "turnover", "beta", "beta_log", "tail_ratio", "stability", "skewness", "kurtosis", "sqn"}
)


def number(name: str, value: float) -> str:
    """Return the value of a metric as text.

    Examples
    --------
    >>> number("total_return", -0.1423), number("trades", 23.0), number("sharpe_ratio", 1.3149)
    ('−14.2 %', '23', '1.31')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if name in PERCENT:
        text = f"{100 * value:.1f} %"
    elif name in MONEY:
        text = f"{value:,.2f}"
    elif name in ("trades", "closed_trades"):
        text = f"{value:,.0f}"
    elif name in DAYS:
        text = f"{value:,.0f} days" if value >= 10 else f"{value:.2g} days"
    elif name in _RATIOS or "_ratio" in name or name.startswith("profit_factor"):
        text = f"{value:,.2f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")
