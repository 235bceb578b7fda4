"""The picture of the distribution of daily returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture

if TYPE_CHECKING:
    from jobnb.research.course import Course


def spread_figure(course: Course, *, inks: Inks = NEUTRAL) -> Picture:
    """Draw how often which daily return came, with the mean and the 5th percentile (value at risk).

    Days without a change (out of the market) are left out and counted in the label.
    """
    returns = course.returns
    moved = returns[(returns != 0.0) & np.isfinite(returns)]
    figure = Picture(4.5, 2.2)
    axes = figure.subplots()
    still = len(returns) - len(moved)
    label = f"{len(moved):,} {course.calendar.unit} returns" + (f" ({still:,} of 0 left out)" if still else "")
    if len(moved) > 1:
        # The outermost hundredth must not squeeze everything else into three bars.
        low, high = np.quantile(moved, [0.005, 0.995])
        bins = np.linspace(low, high, min(60, max(10, len(moved) // 8)) + 1) if high > low else 10
        shown = np.clip(moved, low, high)
        counts, edges = np.histogram(shown, bins=bins)
        middle = (edges[:-1] + edges[1:]) / 2
        colours = [inks.good if value >= 0 else inks.bad for value in middle]
        axes.bar(middle, counts, width=np.diff(edges), color=colours, alpha=0.55, linewidth=0)
        fifth, mean = float(np.percentile(returns, 5)), float(returns.mean())
        for value in (fifth, mean):
            axes.axvline(value, color=inks.ink, linewidth=0.8, linestyle=(0, (3, 2)))
        label += f"\ndashed: 5th percentile {100 * fifth:.2f} %, mean {100 * mean:.2f} %".replace("-", "−")
    look.dress(axes, inks, label)
    axes.set_yticks([])
    look.percents(axes.xaxis)
    return figure
