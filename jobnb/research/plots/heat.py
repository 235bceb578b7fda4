"""The picture of a metric over two parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture
from jobnb.research.text import number

if TYPE_CHECKING:
    from jobnb.research.heatmap import Heatmap


def heat_figure(heat: Heatmap, *, inks: Inks = NEUTRAL) -> Picture:
    """Draw a metric over two parameters, with the best run marked; cells without a run stay empty."""
    figure = Picture(9.0, 4.2)
    axes = figure.subplots()
    values = heat.frame.to_numpy(dtype=float)
    image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", origin="upper", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.04)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=inks.soft, labelsize=8, length=0)
    bar.ax.yaxis.set_major_formatter(lambda value, _: number(heat.metric, value))
    label = heat.metric.replace("_", " ")
    if heat.best is not None:
        row, column = heat.place(heat.best)
        for width, colour in ((3.4, "black"), (1.6, "white")):
            axes.plot(
                column, row, marker="s", markersize=9, markerfacecolor="none", markeredgecolor=colour,
                markeredgewidth=width,
            )  # fmt: skip
        best = number(heat.metric, float(values[row, column]))
        label += f": the best run, {best} at {heat.y} {short(heat.best[1])}, {heat.x} {short(heat.best[0])}"
    look.dress(axes, inks, label, grid="")
    axes.spines["bottom"].set_visible(False)
    for set_ticks, labels, name, axis in (
        (axes.set_xticks, list(heat.frame.columns), heat.x, axes.set_xlabel),
        (axes.set_yticks, list(heat.frame.index), heat.y, axes.set_ylabel),
    ):
        step = max(1, -(-len(labels) // 12))
        set_ticks(range(0, len(labels), step), [look.plain(short(label)) for label in labels[::step]])
        axis(look.plain(name))
    return figure


def short(value: object) -> str:
    """Return a parameter's value as a tick shows it."""
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)
