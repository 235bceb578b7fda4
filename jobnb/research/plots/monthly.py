"""The picture of the returns of months and years: a table whose cells are coloured by what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb

from jobnb.research.monthly import monthly_returns
from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture

if TYPE_CHECKING:
    from jobnb.research.course import Course


def monthly_figure(course: Course, *, inks: Inks = NEUTRAL) -> Picture:
    """Draw the return of each month and year in percent, green for gains and red for losses."""
    from matplotlib.patches import Rectangle

    course.need_dates()
    table = monthly_returns(course.time, course.equity, course.capital)
    values = table.to_numpy()
    rows, columns = values.shape
    figure = Picture(9.0, 0.9 + 0.27 * rows)
    axes = figure.subplots()
    strongest = strength(values[:, :-1])
    for i in range(rows):
        for j in range(columns):
            value = values[i, j]
            if not np.isfinite(value):
                continue
            across = j + (0.35 if j == columns - 1 else 0.0)
            if j < columns - 1:
                # Opaque, from nearly white on: dark text reads on it whatever page it is on.
                share = 0.62 * min(1.0, abs(value) / strongest)
                colour = (1.0 - share) * np.array(to_rgb("#f4f4f6")) + share * np.array(
                    to_rgb(inks.good if value > 0 else inks.bad)
                )
                axes.add_patch(Rectangle((across - 0.48, i - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0))
            whole = j == columns - 1
            axes.text(
                across,
                i,
                hundredths(value),
                ha="center",
                va="center",
                fontsize=8,
                color=(inks.good if value > 0 else inks.bad) if whole else "#1d1d20",
                fontweight="bold" if whole else "normal",
            )
    look.dress(axes, inks, "", grid="")
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(-0.6, columns)
    axes.set_ylim(rows - 0.5, -0.5)
    places = [*range(columns - 1), columns - 0.65]
    axes.set_xticks(places, list(table.columns))
    axes.set_yticks(range(rows), [str(year) for year in table.index])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.suptitle(look.plain(f"{course.title} · returns in %"), x=0.01, ha="left", fontsize=10, color=inks.ink)
    return figure


def hundredths(value: float) -> str:
    """Return a fraction in percent without its sign, and never minus 0.

    Examples
    --------
    >>> hundredths(-0.0123), hundredths(-0.0001)
    ('−1.2', '0.0')
    """
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", "−")


def strength(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the size that gets full colour: the 95th percentile of the sizes, at least 1 % of 1."""
    sizes = np.abs(values[np.isfinite(values)])
    return max(0.01, float(np.percentile(sizes, 95))) if sizes.size else 0.01
