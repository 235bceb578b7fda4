"""Matplotlib figures of results, for those who want to save or restyle them.

Loaded when a ``plot()`` is asked for, at the front door; it uses no global state of pyplot, so that it neither
opens windows nor leaks figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from jobnb.research.heatmap import Heatmap
    from jobnb.research.result import BacktestResult


def equity_figure(result: BacktestResult) -> Figure:
    """Draw equity, buy and hold, and drawdown."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    time = result.index.tz_localize(None) if result.zone else result.index
    upper.plot(time, result.equity, linewidth=1.4, label="strategy")
    upper.plot(time, result.hold, linewidth=0.8, color="0.6", label="buy and hold")
    upper.set_ylabel("equity")
    upper.set_title(result.title, loc="left", fontsize=10)
    upper.legend(frameon=False)
    lower.fill_between(time, 100 * result.fall, 0, color="tab:red", alpha=0.35, linewidth=0)
    lower.set_ylabel("drawdown, %")
    lower.set_xlabel(result.foot, fontsize=7)
    return figure


def heat_figure(heat: Heatmap) -> Figure:
    """Draw a metric over two parameters."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    values = heat.frame.to_numpy(dtype=float)
    image = axes.imshow(values, aspect="auto", origin="upper", interpolation="nearest")
    figure.colorbar(image, ax=axes, label=heat.metric)
    for set_ticks, labels, name, axis in (
        (axes.set_xticks, list(heat.frame.columns), heat.x, axes.set_xlabel),
        (axes.set_yticks, list(heat.frame.index), heat.y, axes.set_ylabel),
    ):
        step = max(1, -(-len(labels) // 12))
        set_ticks(range(0, len(labels), step), [str(label) for label in labels[::step]])
        axis(name)
    if heat.best is not None:
        row, column = heat.place(heat.best)
        axes.plot(column, row, marker="s", markersize=9, markerfacecolor="none", markeredgecolor="white")
    return figure
