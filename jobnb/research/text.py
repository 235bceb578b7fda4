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
    }
)
#: Metrics shown as money.
MONEY = frozenset({"expectancy", "commissions_paid", "final_equity"})


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
    elif name == "trades":
        text = f"{value:,.0f}"
    elif name == "max_drawdown_duration":
        text = f"{value:,.0f} days" if value >= 10 else f"{value:.2g} days"
    elif name in {"sharpe_ratio", "sortino_ratio", "calmar_ratio", "profit_factor", "turnover"}:
        text = f"{value:,.2f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")
