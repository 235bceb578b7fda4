"""The pictures of a walk-forward and of a cross-validation: the curve out of sample, and what each fold did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from jobnb.errors import UsageProblem
from jobnb.research.course import clock, course
from jobnb.research.plots import look
from jobnb.research.plots.look import NEUTRAL, Inks, Picture
from jobnb.research.text import PERCENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jobnb.research.fold_result import CrossValidationResult, WalkForwardResult
    from jobnb.research.folds_result import FoldsResult


def walk_forward_figure(result: WalkForwardResult, *, inks: Inks = NEUTRAL, titled: bool = True) -> Picture:
    """Draw the stitched equity with the test windows shaded in turn, and the objective of each fold.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: there is no stitched curve.
    """
    figure = Picture(9.0, 5.0)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 2])
    made = course(result.backtest)
    if made.hold is not None:
        near = look.thin(made.hold)
        upper.plot(made.time[near], made.hold[near], linewidth=0.9, color=inks.soft, alpha=0.8, label="buy and hold")
    at = look.thin(made.equity)
    upper.plot(made.time[at], made.equity[at], linewidth=1.4, color=inks.accent, label="out of sample, stitched")
    starts, ends = (clock_of(result, name) for name in ("test_start", "test_end"))
    for start, end in list(zip(starts, ends, strict=True))[::2]:
        upper.axvspan(start, end, color=inks.soft, alpha=0.09, linewidth=0, zorder=0)
    look.dress(upper, inks, "equity out of sample; each other test window shaded")
    look.money(upper.yaxis)
    look.dates(upper, inks)
    look.key(upper, inks)
    upper.set_xlim(made.time[0], made.time[-1])
    objective_bars(lower, result, inks)
    if titled:
        figure.suptitle(look.plain(result.title), x=0.01, ha="left", fontsize=9.5, color=inks.ink)
    return figure


def clock_of(result: FoldsResult, column: str) -> np.ndarray[tuple[int, ...], np.dtype[np.datetime64]]:
    """Return a column of times of the folds, without their zone."""
    import pandas as pd

    return clock(pd.DatetimeIndex(result.folds[column]))


def objective_bars(axes: Axes, result: FoldsResult, inks: Inks, *, narrow: bool = False) -> None:
    """Draw the objective of each fold in and out of sample, side by side."""
    folds = result.folds
    place = np.arange(len(folds))
    for shift, side, label, colour, alpha in (
        (-0.2, "in", "in sample", inks.soft, 0.55),
        (0.2, "out", "out of sample", inks.accent, 0.9),
    ):
        values = folds[f"{side}_{result.objective}"].to_numpy(dtype=np.float64)
        axes.bar(place + shift, np.where(np.isfinite(values), values, 0.0), width=0.38, label=label, color=colour,
                 alpha=alpha, linewidth=0)  # fmt: skip
    axes.axhline(0.0, color=inks.soft, linewidth=0.7)
    what = f"{result.objective.replace('_', ' ')} of each fold"
    look.dress(axes, inks, f"{what}\nin sample (grey) and out of sample" if narrow else what)
    step = max(1, -(-len(folds) // 24))
    axes.set_xticks(place[::step], [str(fold) for fold in folds.index[::step]])
    axes.set_xlabel("fold")
    look.few(axes.yaxis)
    if result.objective in PERCENT:
        look.percents(axes.yaxis)
    if not narrow:
        look.key(axes, inks)


def objective_figure(result: FoldsResult, *, inks: Inks = NEUTRAL) -> Picture:
    """Draw the objective of each fold in and out of sample."""
    figure = Picture(9.0, 2.6)
    objective_bars(figure.subplots(), result, inks)
    return figure


def paths_figure(result: CrossValidationResult, *, inks: Inks = NEUTRAL, titled: bool = True) -> Picture:
    """Draw the equity of each path, and the distribution of the objective over them.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: there are no paths.
    """
    figure = Picture(9.0, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    runs = result.backtests
    if not runs:
        raise UsageProblem("there is no complete path yet; look at folds")
    alpha = float(np.clip(6.0 / len(runs), 0.15, 0.75))
    for made in map(course, runs):
        at = look.thin(made.equity, 600)
        left.plot(made.time[at], made.equity[at], linewidth=0.9, alpha=alpha, color=inks.accent)
    first = course(runs[0])
    if first.hold is not None:
        near = look.thin(first.hold, 600)
        left.plot(first.time[near], first.hold[near], linewidth=0.9, color=inks.soft, alpha=0.8, label="buy and hold")
    some = "the path" if len(runs) == 1 else f"each of {len(runs)} paths"
    look.dress(left, inks, f"equity of {some}, out of sample")
    look.money(left.yaxis)
    look.dates(left, inks)
    left.set_xlim(first.time[0], first.time[-1])
    look.key(left, inks)
    if len(runs) > 1:
        _distribution(right, result, inks)
    else:
        objective_bars(right, result, inks, narrow=True)
    if titled:
        figure.suptitle(look.plain(result.title), x=0.01, ha="left", fontsize=9.5, color=inks.ink)
    return figure


def _distribution(axes: Axes, result: CrossValidationResult, inks: Inks) -> None:
    values = result.distribution.dropna().to_numpy()
    values = values[np.isfinite(values)]
    if values.size:
        counts, edges = np.histogram(values, bins=min(30, max(5, len(values) // 3)))
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=inks.accent, alpha=0.6, linewidth=0)
        axes.axvline(float(np.median(values)), color=inks.ink, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.axvline(0.0, color=inks.soft, linewidth=0.8)
    look.dress(axes, inks, f"{result.objective.replace('_', ' ')} of the paths, dashed their median")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    if result.objective in PERCENT:
        look.percents(axes.xaxis)
