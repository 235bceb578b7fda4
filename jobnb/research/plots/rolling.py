"""The picture of a rolling Sharpe ratio, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture

if TYPE_CHECKING:
    from jobnb.research.course import Course, Floats


def rolling_sharpe(returns: Floats, window: int, periods_per_year: float) -> Floats:
    """Return the Sharpe ratio of the last ``window`` returns at each return, per year.

    Mean over deviation (ddof 1), as the metric ``sharpe_ratio`` (empyrical); NaN before there are so many, and where
    they do not vary.
    """
    made = np.full(len(returns), np.nan)
    if 2 <= window <= len(returns):
        # Over views of the windows themselves: running sums lose the digits of a quiet stretch after a loud one.
        view = np.lib.stride_tricks.sliding_window_view(returns, window)
        deviation = view.std(axis=1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            made[window - 1 :] = np.where(
                deviation > 1e-15, view.mean(axis=1) / deviation * np.sqrt(periods_per_year), np.nan
            )
    return made


def half_year(course: Course) -> int:
    """Return the number of returns in half a year, and at least 2."""
    return max(2, round(course.calendar.periods_per_year / 2))


def rolling_figure(course: Course, *, window: int | None = None, inks: Inks = NEUTRAL) -> Picture:
    """Draw the rolling Sharpe ratio of the equity, and of buy and hold.

    Parameters
    ----------
    course : Course
    window : int, optional
        How many daily returns; half a year of them by default.
    inks : Inks
    """
    from dataclasses import replace

    window = window or half_year(course)
    figure = Picture(4.5, 2.2)
    axes = figure.subplots()
    year = course.calendar.periods_per_year
    axes.axhline(0.0, color=inks.soft, linewidth=0.7, alpha=0.8)
    if course.hold is not None:
        held = rolling_sharpe(replace(course, equity=course.hold).returns, window, year)
        axes.plot(course.days[1:], held, linewidth=0.9, color=inks.soft, alpha=0.8, label="buy and hold")
    axes.plot(
        course.days[1:],
        rolling_sharpe(course.returns, window, year),
        linewidth=1.3,
        color=inks.accent,
        label="strategy",
    )
    look.dress(axes, inks, f"last {window} {course.calendar.unit} returns, per year")
    look.few(axes.yaxis)
    look.dates(axes, inks)
    look.key(axes, inks)
    return figure
