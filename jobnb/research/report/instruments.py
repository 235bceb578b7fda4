"""The tear sheets of several instruments: each on its own with a combined curve, or all in one account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research.report import parts
from jobnb.research.report.parts import Cell, Html, figure, section, table
from jobnb.research.report.shell import head, shell
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.instruments_result import MultiBacktestResult
    from jobnb.research.portfolio_result import PortfolioResult

#: Instruments that the table shows.
MOST = 200
_SHOWN = (
    "total_return", "buy_and_hold_return", "annual_return", "sharpe_ratio", "max_drawdown", "volatility", "trades",
    "win_rate", "exposure",
)  # fmt: skip
#: How the columns of `PortfolioResult.by_instrument` are written: as this metric is.
_LIKE = {
    "pnl": "final_equity", "share": "total_return", "trades": "trades", "win_rate": "win_rate",
    "commission": "final_equity", "weight": "exposure", "held": "exposure",
}  # fmt: skip


def instruments_page(result: MultiBacktestResult, about: Mapping[str, object]) -> str:
    """Return the page of a strategy on several instruments, each with its own account."""
    first = head("Backtest of several instruments", result.name, [parts.esc(result.title), parts.esc(result.foot)])
    return shell(result.title, [first, *instruments_body(result)], about)


def instruments_body(result: MultiBacktestResult) -> list[Html]:
    """Return everything of the page but the head."""
    from jobnb.research.report.run import course_sections, tiles

    frame = result.metrics
    names = [name for name in _SHOWN if name in frame] or [str(name) for name in frame.columns[:8]]
    rows = [
        [str(symbol), *(_cell(name, value) for name, value in zip(names, row, strict=True))]
        for symbol, row in zip(frame.index[:MOST], frame[names].to_numpy(dtype=np.float64)[:MOST], strict=True)
    ]
    each = section(_counted(len(frame)), table(["", *map(parts.words, names)], rows))
    failed = section(
        f"{len(result.failed):,} failed",
        table(["instrument", "error"], [(s, Cell(text=why, kind="left")) for s, why in result.failed.items()]),
    )
    try:
        course = result._course()
        values = dict(result.combined)
    except UsageProblem as error:
        return [Html(f"<p class=note>{parts.esc(error.message)}</p>"), each, failed]
    curves = section("Equity", figure(_curves(result), f"Equity of {result.title}"), note=(
        "The initial capital in equal shares, each instrument left to itself."
    ))  # fmt: skip
    # The first of the sections is the equity, which is drawn with its instruments here.
    return [tiles(values, course), curves, each, failed, *course_sections(course)[1:]]


def portfolio_page(result: PortfolioResult, about: Mapping[str, object]) -> str:
    """Return the page of a portfolio."""
    from jobnb.research.report.run import run_head

    return shell(result.title, [run_head("Portfolio", result), *portfolio_body(result)], about)


def portfolio_body(result: PortfolioResult) -> list[Html]:
    """Return everything of the page but the head."""
    from jobnb.research.plots.instruments import portfolio_figure
    from jobnb.research.report.figures import INKS
    from jobnb.research.report.run import run_body

    headline, *rest = run_body(result)
    picture = figure(portfolio_figure(result, inks=INKS, titled=False), f"Weights of {result.title}")
    extra = [section("Account and weights", picture), section(_counted(len(result.symbols)), _shares(result))]
    return [headline, *extra, *rest]


def _counted(count: int) -> str:
    return f"{count:,} instruments" if count <= MOST else f"The first {MOST} of {count:,} instruments"


def _curves(result: MultiBacktestResult) -> Any:
    from jobnb.research.plots.instruments import instruments_figure
    from jobnb.research.report.figures import INKS

    return instruments_figure(result, inks=INKS, titled=False)


def _shares(result: PortfolioResult) -> Html:
    frame: pd.DataFrame = result.by_instrument
    frame = frame.sort_values("pnl", ascending=False, kind="stable").iloc[:MOST]
    names = [name for name in _LIKE if name in frame]
    rows = [
        [str(symbol), *(_cell(_LIKE[name], float(row[name]), signed=name in ("pnl", "share")) for name in names)]
        for symbol, row in zip(frame.index, frame.to_dict("records"), strict=True)
    ]
    titles = {"pnl": "profit or loss", "share": "of the capital", "weight": "mean weight", "held": "time held"}
    return table(["", *(titles.get(name, parts.words(name)) for name in names)], rows)


def _cell(name: str, value: float, *, signed: bool | None = None) -> Cell:
    wanted = name in ("total_return", "annual_return", "sharpe_ratio") if signed is None else signed
    return Cell(text=number(name, float(value)), kind=parts.sign(value) if wanted else "")
