"""All numbers of a run, in groups, as tables. What each means is the hint of its row."""

from __future__ import annotations

from collections.abc import Mapping

from jobnb.research.metrics import MEANINGS
from jobnb.research.report.parts import Cell, Html, join, section, table, words
from jobnb.research.statistics import STATISTICS
from jobnb.research.text import number

_GROUPS: dict[str, tuple[str, ...]] = {
    "Return": (
        "total_return", "annual_return", "cagr", "buy_and_hold_return", "final_equity", "equity_peak", "best_day",
        "worst_day", "duration",
    ),
    "Risk": (
        "volatility", "downside_risk", "value_at_risk", "conditional_value_at_risk", "max_drawdown",
        "max_drawdown_duration", "average_drawdown", "average_drawdown_duration", "ulcer_index", "skewness", "kurtosis",
        "tail_ratio",
    ),
    "Ratios": (
        "sharpe_ratio", "sortino_ratio", "calmar_ratio", "omega_ratio", "stability", "profit_factor",
        "profit_factor_returns", "sqn", "kelly_criterion",
    ),
    "Against the asset": ("alpha", "beta", "alpha_jensen", "beta_log", "up_capture", "down_capture"),
    "Trades": (
        "trades", "closed_trades", "win_rate", "best_trade", "worst_trade", "average_trade", "average_trade_geometric",
        "expectancy", "average_winning_trade", "average_losing_trade", "max_trade_duration", "average_trade_duration",
        "open_trade_pnl",
    ),
    "Activity": ("exposure", "exposure_time", "turnover", "commissions_paid"),
}  # fmt: skip
_KNOWN = {name: group for group, names in _GROUPS.items() for name in names}
#: The rest, by how their names end.
_OTHERS = {
    "geometric": "As backtesting.py defines them",
    "365": "Over bars, 365 days a year (vectorbt)",
    "closed": "Of closed trades only",
}
#: Both are jobnb's own; of other engines they are the heading of whatever remains.
_REST = "More"


def grouped(values: Mapping[str, float]) -> Html:
    """Return all numbers in groups.

    Parameters
    ----------
    values : mapping
        Names to numbers, jobnb's or another engine's own.
    """
    groups: dict[str, list[str]] = {group: [] for group in (*_GROUPS, *_OTHERS.values(), _REST)}
    for name in values:
        other = next((group for end, group in _OTHERS.items() if name.endswith(f"_{end}")), _REST)
        groups[_KNOWN.get(name, other)].append(name)
    order = {name: i for i, name in enumerate(_KNOWN)}
    made = []
    for group, names in groups.items():
        names.sort(key=lambda name: order.get(name, len(order)))
        made.append(section(group, table(("", ""), [_row(name, values[name]) for name in names]), kind="group"))
    body = join(made).replace("<thead><tr><th class=left></th><th></th></tr></thead>", "")
    return Html(f"<div class=numbers>{body}</div>")


def _row(name: str, value: float) -> tuple[Cell, str]:
    meaning = MEANINGS.get(name) or STATISTICS.get(name, "")
    label = words(name)
    if name not in _KNOWN:
        for end in _OTHERS:
            label = label.removesuffix(f" {end}")
    return Cell(text=label, hint=meaning), number(name, float(value))
