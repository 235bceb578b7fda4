"""Matplotlib figures of results, for those who want to save or restyle them.

Loaded when a ``plot()`` is asked for, at the front door; it uses no global state of pyplot, so that it neither
opens windows nor leaks figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.adapters.outcome import ForeignResult
    from jobnb.research.heatmap import Heatmap
    from jobnb.research.result import BacktestResult

Floats = npt.NDArray[np.float64]


def equity_figure(result: BacktestResult) -> Figure:
    """Draw equity, buy and hold, and drawdown."""
    time = result.index.tz_localize(None) if result.zone else result.index
    return curves(time, result.equity, result.hold, result.fall, title=result.title, foot=result.foot)


def foreign_figure(result: ForeignResult) -> Figure:
    """Draw what another engine has told: equity, buy and hold where it has one value for each bar, and drawdown."""
    equity = result.equity_curve
    time = equity.index
    if getattr(time, "tz", None) is not None:
        time = time.tz_localize(None)  # type: ignore[attr-defined]  # an index of times, which has a zone
    fall = np.asarray(result.drawdown, dtype=np.float64)
    return curves(time, np.asarray(equity, dtype=np.float64), result.hold, fall, title=result.title, foot=result.foot)


def curves(time: pd.Index, equity: Floats, hold: Floats | None, fall: Floats, *, title: str, foot: str) -> Figure:
    """Draw the curves of one backtest.

    Parameters
    ----------
    time : pandas.Index (n,)
        Without time zone.
    equity, hold, fall : array (n,)
        Money, money or None, and the drawdown as a negative fraction.
    title, foot : str
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot(time, equity, linewidth=1.4, label="strategy")
    if hold is not None:
        upper.plot(time, hold, linewidth=0.8, color="0.6", label="buy and hold")
    upper.set_ylabel("equity")
    upper.set_title(title, loc="left", fontsize=10)
    upper.legend(frameon=False)
    lower.fill_between(time, 100 * fall, 0, color="tab:red", alpha=0.35, linewidth=0)
    lower.set_ylabel("drawdown, %")
    lower.set_xlabel(foot, fontsize=7)
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
