"""The picture of a search in parallel coordinates: an axis per parameter, a line per run, coloured by the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection

from jobnb.errors import UsageProblem, unknown
from jobnb.research.interval import Interval
from jobnb.research.plots import look
from jobnb.research.plots.heat import short
from jobnb.research.plots.look import NEUTRAL, Inks, Picture
from jobnb.research.text import number

if TYPE_CHECKING:
    from jobnb.research.course import Floats
    from jobnb.research.optimize import OptimizeResult

#: More lines than this are a carpet.
LINES = 300


def parallel_figure(
    result: OptimizeResult, *, metric: str | None = None, most: int = LINES, inks: Inks = NEUTRAL
) -> Picture:
    """Draw the runs of a search as lines over the parameters that vary, to the metric at the right.

    Of more runs than ``most`` every so many-th in the order of the metric is drawn, the best tenth in full; the best
    run is a thick line.

    Parameters
    ----------
    result : OptimizeResult
    metric : str, optional
        Default: the objective.
    most : int, default 300
        How many lines.
    inks : Inks

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: no such metric.
    UsageProblem
        ``USAGE_ERROR``: no parameter varies, or no run has a finite value.
    """
    metric = metric or result.objective
    if metric not in result.columns:
        raise unknown("metric", metric, result.columns)
    names = list(result.space.varying)
    value = np.asarray(result.values[:, result.columns.index(metric)], dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(value))
    if not names or not finite.size:
        raise UsageProblem("there is nothing to draw: no parameter varies, or no run has a finite value")
    up = result.maximize if metric == result.objective else True
    # Worst first, so that the best is drawn on top.
    # Of equal runs the first is the best, as everywhere: it comes last.
    finite = finite[::-1]
    order = finite[np.argsort(value[finite] if up else -value[finite], kind="stable")]
    shown = _chosen(order, most)
    low, high = float(value[order].min()), float(value[order].max())
    last = (value - low) / (high - low) if high > low else np.full(len(value), 0.5)
    heights = np.column_stack([*(_heights(result, name) for name in names), last])[shown]
    rank = np.linspace(0.0, 1.0, len(shown)) if len(shown) > 1 else np.ones(1)

    figure = Picture(9.0, 3.6)
    axes = figure.subplots()
    places = np.arange(heights.shape[1])
    lines = [np.column_stack([places, row]) for row in heights]
    colours = mpl.colormaps["viridis"](rank)
    colours[:, 3] = 0.12 + 0.6 * rank**3
    axes.add_collection(LineCollection(lines[:-1], colors=colours[:-1], linewidths=0.5 + 0.7 * rank[:-1] ** 3))
    axes.plot(places, heights[-1], color=inks.accent, linewidth=2.4, zorder=5)
    _axes(axes, result, names, metric, (low, high), inks)
    best = short_run(result, int(shown[-1]), names)
    some = f"{len(shown):,} of {len(order):,} runs" if len(shown) < len(order) else f"{len(order):,} runs"
    look.dress(axes, inks, f"{some} · the best by {metric.replace('_', ' ')}: {best}", grid="")
    axes.spines["bottom"].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_xlim(-0.15, places[-1] + 0.35)
    axes.set_ylim(-0.04, 1.04)
    return figure


def _chosen(order: np.ndarray[tuple[int], np.dtype[np.intp]], most: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return at most ``most`` of the runs, worst first: the best tenth of what is shown in full, the rest thinned."""
    if len(order) <= most:
        return order
    full = max(1, most // 10)
    rest = np.unique(np.linspace(0, len(order) - full - 1, max(most - full, 1)).astype(np.int64))
    return np.concatenate([order[rest], order[-full:]])


def _heights(result: OptimizeResult, name: str) -> Floats:
    """Return the height of each run on the axis of a parameter, 0 to 1."""
    axis = result.space.axis(name)
    if isinstance(axis, Interval):
        column = result.space.names.index(name)
        assert result.points is not None  # a grid has no continuous parameter
        return np.array([axis.share(x) for x in result.points[:, column].tolist()])
    return np.asarray(result._places[name] / max(len(axis) - 1, 1), dtype=np.float64)


def _axes(
    axes: object, result: OptimizeResult, names: list[str], metric: str, ends: tuple[float, float], inks: Inks
) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    labels: list[list[tuple[float, str]]] = []
    for name in names:
        axis = result.space.axis(name)
        values = [axis.low, axis.high] if isinstance(axis, Interval) else list(axis)
        step = max(1, -(-(len(values) - 1) // 4))
        places = range(0, len(values), step)
        labels.append([(i / max(len(values) - 1, 1), short(values[i])) for i in places])
    thirds = [ends[0] + share * (ends[1] - ends[0]) for share in (0.0, 0.5, 1.0)]
    labels.append([(share, number(metric, at)) for share, at in zip((0.0, 0.5, 1.0), thirds, strict=True)])
    for x, marks in enumerate(labels):
        axes.plot([x, x], [0.0, 1.0], color=inks.soft, linewidth=0.8, zorder=6)
        for y, text in marks:
            axes.plot([x, x + 0.012], [y, y], color=inks.soft, linewidth=0.8, zorder=6)
            axes.text(x + 0.03, y, look.plain(text), fontsize=8, color=inks.ink, va="center", zorder=7)
    axes.set_xticks(range(len(labels)), [look.plain(name) for name in [*names, metric.replace("_", " ")]])


def short_run(result: OptimizeResult, row: int, names: list[str]) -> str:
    """Return the parameters of a run that vary, in words."""
    params = result.params(row)
    return ", ".join(f"{name} {short(params[name])}" for name in names)
