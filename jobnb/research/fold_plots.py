"""Matplotlib figures of a walk-forward and of a cross-validation, for those who want to save or restyle them.

Loaded when a ``plot()`` is asked for, at the front door; it uses no global state of pyplot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from jobnb.research.fold_result import CrossValidationResult, WalkForwardResult


def walk_forward_figure(result: WalkForwardResult) -> Figure:
    """Draw the stitched equity with the borders of the test windows, and the objective of each fold."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 2])
    made = result.backtest
    time = made.index.tz_localize(None) if made.zone else made.index
    upper.plot(time, made.equity, linewidth=1.4, label="out of sample, stitched")
    upper.plot(time, made.hold, linewidth=0.8, color="0.6", label="buy and hold")
    starts = result.folds["test_start"]
    for start in starts.dt.tz_localize(None) if made.zone else starts:
        upper.axvline(start, color="0.85", linewidth=0.6, zorder=0)
    upper.set_ylabel("equity")
    upper.set_title(result.title, loc="left", fontsize=9)
    upper.legend(frameon=False)
    folds = result.folds
    place = np.arange(len(folds))
    for shift, side, label in ((-0.2, "in", "in sample"), (0.2, "out", "out of sample")):
        lower.bar(place + shift, folds[f"{side}_{result.objective}"], width=0.4, label=label)
    lower.set_xlabel("fold")
    lower.set_ylabel(result.objective.replace("_", " "))
    lower.legend(frameon=False)
    return figure


def paths_figure(result: CrossValidationResult) -> Figure:
    """Draw the equity of each path, and the distribution of the objective over them."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for made in result.backtests:
        time = made.index.tz_localize(None) if made.zone else made.index
        left.plot(time, made.equity, linewidth=0.8, alpha=0.7)
    left.set_ylabel("equity")
    left.set_title(result.title, loc="left", fontsize=8)
    values = result.distribution.dropna().to_numpy()
    right.hist(values, bins=min(30, max(5, len(values) // 3)), color="0.6")
    right.axvline(0.0, color="0.3", linewidth=0.8)
    right.set_xlabel(result.objective.replace("_", " "))
    right.set_ylabel("paths")
    return figure
