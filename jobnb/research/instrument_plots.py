"""Matplotlib figures of results of several instruments; like `plots`, without any global state of pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from jobnb.research.result import BacktestResult

if TYPE_CHECKING:
    from jobnb.research.instruments_result import MultiBacktestResult
    from jobnb.research.portfolio_result import PortfolioResult

#: More lines than this cannot be told apart, and are drawn in grey.
NAMED = 8


def instruments_figure(result: MultiBacktestResult) -> Figure:
    """Draw the combined curve over those of the instruments, and the combined drawdown."""
    import numpy as np

    figure = Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    own = {symbol: each for symbol, each in result.items() if isinstance(each, BacktestResult)}
    for symbol, each in own.items():
        time = each.index.tz_convert("UTC").tz_localize(None) if each.zone else each.index
        style = {"label": symbol} if len(own) <= NAMED else {"color": "0.75"}
        upper.plot(time, each.equity, linewidth=0.7, alpha=0.8, **style)
    line = result.timeline
    time = line.index.tz_convert("UTC").tz_localize(None) if line.zone else line.index
    upper.plot(time, result.equity, linewidth=1.8, color="black", label="combined")
    upper.plot(time, result.hold, linewidth=0.8, color="0.5", linestyle="--", label="buy and hold")
    upper.set_ylabel("equity")
    upper.set_title(result.title, loc="left", fontsize=10)
    upper.legend(frameon=False, fontsize=8)
    fall = result.equity / np.maximum.accumulate(result.equity) - 1.0
    lower.fill_between(time, 100 * fall, 0, color="tab:red", alpha=0.35, linewidth=0)
    lower.set_ylabel("drawdown, %")
    lower.set_xlabel(result.foot, fontsize=7)
    return figure


def portfolio_figure(result: PortfolioResult) -> Figure:
    """Draw the account's equity with buy and hold, its drawdown, and the weights."""
    import numpy as np

    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1.4])
    time = result.index.tz_convert("UTC").tz_localize(None) if result.zone else result.index
    upper.plot(time, result.equity, linewidth=1.4, label="portfolio")
    upper.plot(time, result.hold, linewidth=0.8, color="0.6", label="buy and hold, equal shares")
    upper.set_ylabel("equity")
    upper.set_title(result.title, loc="left", fontsize=10)
    upper.legend(frameon=False)
    middle.fill_between(time, 100 * result.fall, 0, color="tab:red", alpha=0.35, linewidth=0)
    middle.set_ylabel("drawdown, %")
    weights = result.weights.to_numpy()
    largest = np.argsort(-np.abs(weights).mean(axis=0), kind="stable")
    for j in largest[:NAMED]:
        lower.plot(time, weights[:, j], linewidth=0.8, label=result.symbols[j])
    if len(largest) > NAMED:
        lower.plot(time, weights[:, largest[NAMED:]].sum(axis=1), linewidth=0.8, color="0.6", label="others together")
    lower.set_ylabel("weight")
    lower.legend(frameon=False, fontsize=7, ncols=3)
    lower.set_xlabel(result.foot, fontsize=7)
    return figure
