"""The pictures of several instruments: their curves and the combined one; and of a portfolio, with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobnb.research.course import clock, course, fall
from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture
from jobnb.research.result import BacktestResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jobnb.research.course import Floats, Times
    from jobnb.research.instruments_result import MultiBacktestResult
    from jobnb.research.portfolio_result import PortfolioResult

#: More lines than this cannot be told apart, and are drawn in grey.
NAMED = 8
#: Colours of single instruments, on light and dark alike.
COLOURS = ("#d9762b", "#2f9a57", "#a066cf", "#c9485b", "#1a97a3", "#a88b17", "#8a6d5a", "#d36aa8")


def instruments_figure(result: MultiBacktestResult, *, inks: Inks = NEUTRAL, titled: bool = True) -> Picture:
    """Draw the combined curve over those of the instruments, and the combined drawdown."""
    figure = Picture(9.0, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    own = {symbol: each for symbol, each in result.items() if isinstance(each, BacktestResult)}
    for i, (symbol, each) in enumerate(own.items()):
        index = each.index.tz_convert("UTC") if each.zone else each.index
        at = look.thin(each.equity, 600)
        named = len(own) <= NAMED
        upper.plot(
            clock(index)[at], each.equity[at], linewidth=0.8, alpha=0.85 if named else 0.4,
            color=COLOURS[i % len(COLOURS)] if named else inks.soft, label=look.plain(symbol) if named else None,
        )  # fmt: skip
    line = result.timeline
    time = clock(line.index.tz_convert("UTC") if line.zone else line.index)
    _two(upper, time, result.equity, result.hold, "combined", inks)
    _drawdown(lower, time, fall(result.equity), inks)
    _finish(figure, upper, lower, time, inks, (result.title, result.foot) if titled else None)
    return figure


def portfolio_figure(result: PortfolioResult, *, inks: Inks = NEUTRAL, titled: bool = True) -> Picture:
    """Draw the account's equity with buy and hold, its drawdown, and the weights of the largest instruments."""
    figure = Picture(9.0, 5.4)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1.4])
    made = course(result)
    assert made.hold is not None
    _two(upper, made.time, made.equity, made.hold, "portfolio", inks)
    _drawdown(middle, made.time, made.fall, inks)
    weights = result.weights.to_numpy()
    largest = np.argsort(-np.abs(weights).mean(axis=0), kind="stable")
    lines = [(result.symbols[j], weights[:, j], COLOURS[i]) for i, j in enumerate(largest[:NAMED])]
    if len(largest) > NAMED:
        lines.append(("others together", weights[:, largest[NAMED:]].sum(axis=1), inks.soft))
    for name, values, colour in lines:
        at = look.thin(values, 600)
        lower.plot(made.time[at], values[at], linewidth=0.9, color=colour, label=look.plain(name))
    look.dress(lower, inks, "weight")
    look.few(lower.yaxis, 4)
    look.percents(lower.yaxis)
    look.key(lower, inks)
    _finish(figure, upper, lower, made.time, inks, (result.title, result.foot) if titled else None)
    return figure


def _two(axes: Axes, time: Times, equity: Floats, hold: Floats, name: str, inks: Inks) -> None:
    at, near = look.thin(equity), look.thin(hold)
    axes.plot(time[near], hold[near], linewidth=0.9, color=inks.soft, alpha=0.8, label="buy and hold, equal shares")
    axes.plot(time[at], equity[at], linewidth=1.6, color=inks.accent, label=name)
    look.dress(axes, inks, "equity")
    look.money(axes.yaxis)
    look.key(axes, inks)


def _drawdown(axes: Axes, time: Times, values: Floats, inks: Inks) -> None:
    at = look.thin(values)
    axes.fill_between(time[at], values[at], 0.0, color=inks.bad, alpha=0.4, linewidth=0)
    look.dress(axes, inks, "drawdown")
    look.few(axes.yaxis, 3)
    look.percents(axes.yaxis)
    axes.set_ylim(top=0.0)


def _finish(figure: Picture, upper: Axes, lowest: Axes, time: Times, inks: Inks, said: tuple[str, str] | None) -> None:
    look.dates(lowest, inks)
    upper.set_xlim(time[0], time[-1])
    if said is not None:
        figure.suptitle(look.plain(said[0]), x=0.01, ha="left", fontsize=10, color=inks.ink)
        lowest.set_xlabel(look.plain(said[1]), fontsize=7)
        lowest.xaxis.label.set_fontsize(7)
