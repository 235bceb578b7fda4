"""The picture of a backtest: equity beside buy and hold, drawdown, and the trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import date2num
from matplotlib.ticker import LogLocator, NullLocator

from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jobnb.research.course import Course

#: With more trades than this, marks on the equity would hide it; the panel below shows all of them anyway.
MARKS = 60
#: From this highest over lowest value on, money is drawn on a logarithmic scale.
WIDE = 10.0


def equity_figure(course: Course, *, log: bool | None = None, inks: Inks = NEUTRAL, titled: bool = True) -> Picture:
    """Draw equity and buy and hold, drawdown, and below each trade from entry to exit at the height of its return.

    Parameters
    ----------
    course : Course
    log : bool, optional
        Money on a logarithmic scale, where it stays above 0; by default where it is tenfold somewhere of what it is
        elsewhere, so that one curve does not flatten the other.
    inks : Inks
    titled : bool, default True
        With title and terms.
    """
    trades = course.trades
    traded = trades is not None and len(trades) > 0
    figure = Picture(9.0, 5.4 if traded else 4.3)
    heights = [3.2, 1.0, 1.1] if traded else [3.2, 1.0]
    upper, middle, *lower = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _equity(upper, course, inks, log=log)
    at = look.thin(course.fall)
    middle.fill_between(course.time[at], course.fall[at], 0.0, color=inks.bad, alpha=0.4, linewidth=0)
    look.dress(middle, inks, "drawdown")
    look.few(middle.yaxis, 3)
    look.percents(middle.yaxis)
    middle.set_ylim(top=0.0)
    if traded:
        _trades(lower[0], trades, inks)
    if course.dated:
        look.dates((lower or [middle])[0], inks)
    upper.set_xlim(course.time[0], course.time[-1])
    if titled:
        figure.suptitle(look.plain(course.title), x=0.01, ha="left", fontsize=10, color=inks.ink)
        (lower or [middle])[0].set_xlabel(look.plain(course.foot), fontsize=7)
        (lower or [middle])[0].xaxis.label.set_fontsize(7)
    return figure


def _equity(axes: Axes, course: Course, inks: Inks, *, log: bool | None) -> None:
    at = look.thin(course.equity)
    if course.hold is not None:
        near = look.thin(course.hold)
        axes.plot(course.time[near], course.hold[near], linewidth=0.9, color=inks.soft, alpha=0.8, label="buy and hold")
    axes.plot(course.time[at], course.equity[at], linewidth=1.4, color=inks.accent, label="strategy")
    if course.trades is not None and 0 < len(course.trades) <= MARKS:
        _marks(axes, course, inks)
    low, high = (
        pick([pick(curve) for curve in (course.equity, course.hold) if curve is not None]) for pick in (min, max)
    )
    if low > 0.0 and (high > WIDE * low if log is None else log):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
    look.dress(axes, inks, "equity, log scale" if axes.get_yscale() == "log" else "equity")
    look.money(axes.yaxis)
    look.key(axes, inks)


def _marks(axes: Axes, course: Course, inks: Inks) -> None:
    """Mark entries by triangles that point the way they bet, exits by rings."""
    trades = course.trades
    assert trades is not None
    for side, marker, colour in (("long", "^", inks.good), ("short", "v", inks.bad)):
        chosen = trades[trades["side"] == side]
        if chosen.empty:
            continue
        x, y = _on_curve(course, chosen["entry_time"])
        axes.plot(x, y, marker, markersize=4.5, color=colour, markeredgewidth=0, label=f"{side} entry", zorder=4)
    left = trades[~trades["open"]] if "open" in trades else trades
    if len(left):
        x, y = _on_curve(course, left["exit_time"])
        axes.plot(x, y, "o", markersize=3.6, markerfacecolor="none", markeredgecolor=inks.ink, label="exit", zorder=4)


def _on_curve(course: Course, when: Any) -> tuple[Any, Any]:
    times = when.to_numpy(dtype="datetime64[ns]")
    place = np.clip(np.searchsorted(course.time, times), 0, len(course.time) - 1)
    return times, course.equity[place]


def _trades(axes: Axes, trades: Any, inks: Inks) -> None:
    """Draw each trade as a line from entry to exit at its return, a triangle at the exit, by side and by outcome."""
    start, stop = (date2num(trades[name].to_numpy(dtype="datetime64[ns]")) for name in ("entry_time", "exit_time"))
    gain = trades["return_"].to_numpy(dtype=np.float64)
    usable = np.isfinite(gain)
    won = gain > 0.0
    size = float(np.clip(40.0 / np.sqrt(max(len(gain), 1)), 2.2, 4.5))
    axes.axhline(0.0, color=inks.soft, linewidth=0.6, alpha=0.7)
    for chosen, colour in ((won & usable, inks.good), (~won & usable, inks.bad)):
        # One line with gaps: a tenth of the size of one line per trade.
        gap = np.full(int(chosen.sum()), np.nan)
        x = np.column_stack([start[chosen], stop[chosen], gap]).ravel()
        y = np.column_stack([gain[chosen], gain[chosen], gap]).ravel()
        axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.55, solid_capstyle="butt")
        for side, marker in (("long", "^"), ("short", "v")):
            these = chosen & (trades["side"].to_numpy() == side)
            axes.plot(
                stop[these], gain[these], marker, markersize=size, color=colour, markeredgewidth=0,
                alpha=0.9 if len(gain) <= 150 else 0.65,
            )  # fmt: skip
    sides = sorted(set(trades["side"]))
    what = "▲ long, ▼ short" if sides == ["long", "short"] else sides[0]
    look.dress(axes, inks, f"return of each of {len(gain):,} trades, entry to exit ({what})")
    look.few(axes.yaxis, 4)
    look.percents(axes.yaxis)
    axes.margins(y=0.12)
