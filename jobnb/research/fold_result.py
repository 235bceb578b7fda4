"""Results of a walk-forward and of a cross-validation, put together from the parts that children wrote.

Made at the front door, also from the parts of an unfinished job. They run nothing of the user's, see `folds_result`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research import fold_part
from jobnb.research.folds_result import FoldsResult
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.plots.look import Picture
    from jobnb.research.result import BacktestResult


class WalkForwardResult(FoldsResult):
    """What a walk-forward found; its curve is what one would have earned who chose anew in each window.

    Examples
    --------
    ``job.result()`` of ``jobnb.optimize(…, method="walk-forward")``:
    ``result.folds``, ``result.equity``, ``result.metrics``, ``result.stability``, ``result.plot()``.
    """

    @cached_property
    def backtest(self) -> BacktestResult:
        """The stitched run out of sample, with trades and curve: the positions of all test windows, one account.

        At the end of a window the next one's parameters take over: what both want to hold is kept, only the
        difference is traded, with its costs. See `jobnb.research.joined` for the exact terms.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the test windows overlap, or the strategy keeps its positions to itself.
        """
        if not self._paths:
            raise UsageProblem("the test windows overlap, so that they make up no single curve; look at folds")
        return self._stitch(self._paths[0])

    @property
    def equity(self) -> pd.Series[float]:
        """The stitched equity out of sample, in money."""
        return self.backtest.equity_curve

    @property
    def metrics(self) -> pd.Series[float]:
        """The metrics of the stitched run out of sample."""
        return self.backtest.metrics

    @property
    def trades(self) -> pd.DataFrame:
        """The trades of the stitched run out of sample."""
        return self.backtest.trades

    @property
    def _lines(self) -> list[str]:
        if not self._stitched:
            return super()._lines
        made = self.backtest.get_performance_metrics()
        shown = ("total_return", "sharpe_ratio", "max_drawdown", "trades")
        said = " · ".join(f"{name.replace('_', ' ')} {number(name, made[name])}" for name in shown)
        return [f"stitched out of sample: {said}", *super()._lines]

    def plot(self) -> Picture:
        """Draw the stitched equity with the borders of the windows, and the objective of each fold."""
        from jobnb.research.plots.folds import walk_forward_figure

        return walk_forward_figure(self)


class CrossValidationResult(FoldsResult):
    """What a cross-validation found: each path is a backtest of all bars, judged by folds that did not see them."""

    @cached_property
    def backtests(self) -> list[BacktestResult]:
        """The run of each path; of an unfinished job of those that are complete."""
        return [self._stitch(path) for path in self._paths]

    @cached_property
    def paths(self) -> pd.DataFrame:
        """The metrics of each path, one row per path; a single one for a k-fold."""
        import pandas as pd

        rows = [made.get_performance_metrics() for made in self.backtests]
        return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="path"))

    @property
    def distribution(self) -> pd.Series[float]:
        """The objective over the paths."""
        if self.objective not in self.paths:
            raise UsageProblem(f"{self.objective} is a function of yours; take it of the rows of paths")
        return self.paths[self.objective]

    @property
    def equity(self) -> pd.DataFrame:
        """The equity of each path, one column per path, in money."""
        import pandas as pd

        return pd.DataFrame({i: made.equity_curve for i, made in enumerate(self.backtests)}).rename_axis(columns="path")

    @property
    def _lines(self) -> list[str]:
        if not self._stitched or self.objective not in self.paths:
            return super()._lines
        values = self.distribution.dropna()
        if len(values) < 2:
            said = f"out of sample over all bars: {self.objective} {number(self.objective, float(values.median()))}"
        else:
            low, middle, high = (number(self.objective, float(values.quantile(q))) for q in (0.05, 0.5, 0.95))
            below = float((values < 0).mean())
            said = f"{len(values)} paths: {self.objective} median {middle}, 5 % to 95 %: {low} to {high}, "
            said += f"{100 * below:.0f} % below 0"
        return [said, *super()._lines]

    def plot(self) -> Picture:
        """Draw the equity of the paths, and the distribution of the objective over them."""
        from jobnb.research.plots.folds import paths_figure

        return paths_figure(self)


def load_folds(meta: Mapping[str, Any], parts: Sequence[bytes]) -> FoldsResult:
    """Return the result of a `FoldWork` from its `FoldWork.meta` and its finished parts, in any order."""
    read = [fold_part.from_bytes(part) for part in parts]
    columns = tuple(dict.fromkeys(name for names, _ in read for name in names))
    runs = sorted((run for _, made in read for run in made), key=lambda run: run.number)
    for names, made in read:
        if names != columns:
            where = [columns.index(name) for name in names]
            for run in made:
                for side in ("inside", "outside"):
                    wide = np.full(len(columns), np.nan)
                    wide[where] = getattr(run, side)
                    object.__setattr__(run, side, wide)
    made_of = CrossValidationResult if meta["kind"] in ("purged-kfold", "cpcv") else WalkForwardResult
    return made_of(meta, columns, runs)
