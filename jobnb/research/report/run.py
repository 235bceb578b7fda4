"""The tear sheet of one run: a backtest of jobnb's, or of another engine that told its equity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research.report import parts
from jobnb.research.report.parts import Cell, Html, columns, figure, percent, section, table
from jobnb.research.report.shell import head, shell
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.course import Course
    from jobnb.research.pictured import Pictured

#: The headline: metric, label, and the kind that its sign gives.
_TILES = (
    ("total_return", "total return", True),
    ("annual_return", "per year", True),
    ("sharpe_ratio", "Sharpe", True),
    ("sortino_ratio", "Sortino", True),
    ("max_drawdown", "max drawdown", False),
    ("volatility", "volatility, per year", False),
    ("win_rate", "win rate", False),
    ("trades", "trades", False),
)
_ENDS = 8


def run_page(result: Pictured, about: Mapping[str, object]) -> str:
    """Return the page of one run."""
    made: Any = result
    return shell(made.title, [run_head("Backtest", made), *run_body(made)], about)


def run_head(kind: str, result: Any) -> Html:
    """Return what was run, on what, and under which terms."""
    return head(
        f"{kind} · {result.data['name']} · {result.data['start']} to {result.data['end']} · "
        f"{int(result.data['bars']):,} bars",
        result.name,
        [parts.listed(result.params), parts.esc(" · ".join(result.conventions))],
    )


def run_body(result: Any) -> list[Html]:
    """Return everything of the page but the head; without an equity only the numbers."""
    values: Mapping[str, float] = result.get_performance_metrics()
    try:
        course = result._course()
    except UsageProblem:
        course = None
    statistics = getattr(result, "statistics", None)
    every = dict(statistics()) if callable(statistics) else dict(values)
    body = [tiles(values, course)]
    if course is not None:
        body += course_sections(course)
    body.append(section("All numbers", _numbers(every), note="Hold the pointer over a name to see what it means."))
    return body


def _numbers(values: Mapping[str, float]) -> Html:
    from jobnb.research.report.numbers import grouped

    return grouped(values)


def tiles(values: Mapping[str, float], course: Course | None) -> Html:
    """Return the headline numbers of a run."""
    below = _below(values, course)
    items = []
    for name, label, signed in _TILES:
        if name in values:
            value = float(values[name])
            items.append((label, number(name, value), below.get(name, ""), parts.sign(value) if signed else ""))
    if not items:
        items = [(parts.words(name), number(name, value), "", "") for name, value in list(values.items())[:8]]
    return parts.tiles(items)


def _below(values: Mapping[str, float], course: Course | None) -> dict[str, str]:
    """Return what stands below the headline numbers."""
    made = {}

    def known(name: str) -> bool:
        return name in values and not math.isnan(values[name])

    if known("buy_and_hold_return"):
        made["total_return"] = f"asset {number('buy_and_hold_return', values['buy_and_hold_return'])}"
    if known("final_equity"):
        made["annual_return"] = f"ends with {values['final_equity']:,.0f}"
    if known("calmar_ratio"):
        made["sortino_ratio"] = f"Calmar {number('calmar_ratio', values['calmar_ratio'])}"
    if known("max_drawdown_duration"):
        longest = number("max_drawdown_duration", values["max_drawdown_duration"])
        made["max_drawdown"] = f"longest {longest}"
    if known("profit_factor"):
        made["win_rate"] = f"profit factor {number('profit_factor', values['profit_factor'])}"
    if known("exposure"):
        made["trades"] = f"{number('exposure', values['exposure'])} of the time in"
    if course is not None and course.dated:
        made["sharpe_ratio"] = f"{course.calendar.unit}, {course.calendar.periods_per_year:g} a year"
        if course.hold is not None and known("volatility"):
            from jobnb.research.course import fall

            made["volatility"] = f"asset fell {percent(float(fall(course.hold).min()))}"
    return made


def course_sections(course: Course) -> list[Html]:
    """Return the pictures and tables of a course: equity, months, rolling Sharpe, returns, drawdowns, trades."""
    from jobnb.research.plots.equity import equity_figure
    from jobnb.research.plots.rolling import half_year, rolling_figure
    from jobnb.research.plots.spread import spread_figure
    from jobnb.research.report.figures import INKS

    made = [
        section(
            "Equity, drawdown, trades" if course.trades is not None else "Equity and drawdown",
            figure(equity_figure(course, inks=INKS, titled=False), f"Equity of {course.title}"),
        ),
    ]
    if not course.dated:
        return made
    many = len(course.returns)
    made.append(section("Returns of months and years", _months(course), note="In percent."))
    pictures = []
    if many > half_year(course):
        rolling = figure(rolling_figure(course, inks=INKS), f"Rolling Sharpe ratio of {course.title}")
        pictures.append(section("Rolling Sharpe ratio", rolling))
    if many > 1:
        spread = figure(spread_figure(course, inks=INKS), f"Distribution of returns of {course.title}")
        pictures.append(section("Distribution of returns", spread))
    made.append(columns(*pictures))
    made.append(section("Worst drawdowns", _drawdowns(course)))
    if course.trades is not None and len(course.trades):
        made.append(_trades(course.trades))
    return made


def _months(course: Course) -> Html:
    from jobnb.research.monthly import monthly_returns
    from jobnb.research.plots.monthly import hundredths, strength

    frame = monthly_returns(course.time, course.equity, course.capital)
    values = frame.to_numpy()
    strongest = strength(values[:, :-1])
    rows: list[list[object]] = []
    for year, row in zip(frame.index, values, strict=True):
        cells: list[object] = [str(year)]
        for i, value in enumerate(row):
            if not np.isfinite(value):
                cells.append("")
                continue
            text = hundredths(float(value))
            if i == len(row) - 1:
                cells.append(Cell(text=text, kind=parts.sign(value)))
            else:
                share = round(62 * min(1.0, abs(value) / strongest))
                colour = "good" if value > 0 else "bad"
                cells.append(
                    Cell(text=text, style=f"background:color-mix(in srgb,var(--{colour}) {share}%,transparent)")
                )
        rows.append(cells)
    return table(["", *frame.columns], rows, kind="months")


def _drawdowns(course: Course) -> Html:
    from jobnb.research.drawdowns import drawdowns

    rows = [
        (
            str(i), parts.day(row["peak"]),
            parts.day(row["trough"]), parts.day(row["recovered"]), percent(row["depth"]),
            parts.days(row["days_down"]), parts.days(row["days_up"]), parts.days(row["days"]),
        )
        for i, row in enumerate(drawdowns(course.time, course.equity).to_dict("records"), 1)
    ]  # fmt: skip
    titles = ["", "peak", "trough", "recovered", "depth", "days down", "days up", "days in all"]
    return table(titles, rows) or Html("<p class=note>There was none.</p>")


def _trades(trades: pd.DataFrame) -> Html:
    """Return the best and the worst trades."""
    order = trades.sort_values("return_", ascending=False, kind="stable")
    order = order[np.isfinite(order["return_"])]
    few = len(order) <= 2 * _ENDS
    if few:
        return section(f"All {len(order):,} trades, best first", _trade_table(order))
    return columns(
        section(f"Best {_ENDS} of {len(order):,} trades", _trade_table(order.iloc[:_ENDS])),
        section(f"Worst {_ENDS}", _trade_table(order.iloc[: -_ENDS - 1 : -1])),
    )


def _trade_table(trades: pd.DataFrame) -> Html:
    titles, rows = ["entry", "exit", "side", "return"], []
    more = [name for name in ("pnl", "bars") if name in trades]
    for row in trades.to_dict("records"):
        cells: list[object] = [parts.day(row["entry_time"])]
        still = bool(row.get("open", False))
        cells.append("open" if still else parts.day(row["exit_time"]))
        cells.append(row["side"])
        cells.append(Cell(text=percent(row["return_"]), kind=parts.sign(row["return_"])))
        cells += [f"{row[name]:,.2f}".replace("-", "−") if name == "pnl" else f"{row[name]:,}" for name in more]
        rows.append(cells)
    named = {"pnl": "profit or loss"}
    return table([*titles, *(named.get(name, name) for name in more)], rows, left=3)
