"""Results of a walk-forward and of a cross-validation: what each fold chose, and how that did out of sample.

Put together at the front door from the parts that children wrote, also from those of an unfinished job. Only the
kernel runs here, over positions that were decided in the children; no code of the user's.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research import fold_part
from jobnb.research.bars import Bars
from jobnb.research.fold_part import FoldRun
from jobnb.research.folds import Piece
from jobnb.research.joined import Joined
from jobnb.research.metrics import Calendar
from jobnb.research.options import EngineOptions
from jobnb.research.space import ParameterSpace
from jobnb.research.stability import efficiency, stability
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from jobnb.research.result import BacktestResult

Floats = npt.NDArray[np.float64]


class FoldsResult:
    """What the folds of a search found.

    Attributes
    ----------
    name : str
        The strategy.
    objective : str
    maximize : bool
    kind : str
        ``walk-forward``, ``purged-kfold``, ``cpcv`` or ``folds``.
    cv : str
        The splitter with its settings.
    space : ParameterSpace
    columns : tuple of str
        The metrics of each fold.
    planned : int
        Number of folds there were to be.
    """

    def __init__(self, meta: Mapping[str, Any], columns: Sequence[str], runs: Sequence[FoldRun]) -> None:
        self.name: str = meta["strategy"]
        self.objective: str = meta["objective"]
        self.maximize: bool = meta["maximize"]
        self.kind: str = meta["kind"]
        self.cv: str = meta["cv"]
        self.space = ParameterSpace.from_json(meta["space"])
        self.columns = tuple(columns)
        self.planned: int = meta["folds"]
        self.data: dict[str, object] = dict(meta["data"])
        self.options: dict[str, Any] = dict(meta["options"])
        self._meta = dict(meta)
        self._runs = list(runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getstate__(self) -> dict[str, object]:
        # Without what cached properties have computed.
        kept = {"name", "objective", "maximize", "kind", "cv", "space", "columns", "planned", "data", "options"}
        return {name: value for name, value in self.__dict__.items() if name in kept or name in ("_meta", "_runs")}

    def _times(self, nanoseconds: Sequence[int]) -> pd.DatetimeIndex:
        import pandas as pd

        index = pd.DatetimeIndex(np.asarray(nanoseconds, dtype=np.int64).view("datetime64[ns]"))
        zone = self.data.get("tz")
        return index.tz_localize("UTC").tz_convert(str(zone)) if zone else index

    @cached_property
    def folds(self) -> pd.DataFrame:
        """One row per fold, in order.

        Columns: ``train_start``, ``train_end``, ``test_start``, ``test_end`` (times of the first and last bar; train
        and test may be of several pieces), ``train_bars``, ``test_bars``; the chosen parameters; ``in_`` and ``out_``
        with the name of each metric, in and out of sample; ``rank_correlation`` (Spearman, of the objective in and
        out of sample over up to 100 trials, evenly spread over the search); ``trials``, and ``failed`` and ``error``
        where trials failed or nothing could be chosen.
        """
        import pandas as pd

        runs = self._runs
        made: dict[str, object] = {
            "train_start": self._times([run.train[0][2] for run in runs]),
            "train_end": self._times([run.train[-1][3] for run in runs]),
            "test_start": self._times([run.test[0][2] for run in runs]),
            "test_end": self._times([run.test[-1][3] for run in runs]),
            "train_bars": [sum(stop - start for start, stop, *_ in run.train) for run in runs],
            "test_bars": [sum(stop - start for start, stop, *_ in run.test) for run in runs],
        }
        for name in self.space.names:
            made[name] = [None if run.params is None else run.params[name] for run in runs]
        for i, name in enumerate(self.columns):
            made[f"in_{name}"] = [run.inside[i] for run in runs]
            made[f"out_{name}"] = [run.outside[i] for run in runs]
        made["rank_correlation"] = [run.rank for run in runs]
        made["trials"] = [run.trials for run in runs]
        if any(run.error for run in runs):
            made["failed"] = [run.failed for run in runs]
            made["error"] = [run.error or None for run in runs]
        return pd.DataFrame(made, index=pd.Index([run.number for run in runs], name="fold"))

    @cached_property
    def stability(self) -> pd.DataFrame:
        """How steady the choice is, one row per parameter that varies; see `jobnb.research.stability.stability`."""
        return stability(self.space, [run.params for run in self._runs])

    @property
    def efficiency(self) -> float:
        """Growth per year out of sample over that in sample, 1 if nothing was lost; see `stability.efficiency`.

        Of a walk-forward this is the walk-forward efficiency.
        """
        if "total_return" not in self.columns:
            return float("nan")
        at = self.columns.index("total_return")
        return efficiency([(run.inside[at], run.outside[at], *run.years) for run in self._runs])

    @property
    def rank_correlation(self) -> float:
        """Mean over the folds of the rank correlation of the objective in and out of sample; NaN if none has one."""
        known = [run.rank for run in self._runs if np.isfinite(run.rank)]
        return float(np.mean(known)) if known else float("nan")

    # The stitched curve

    def _path(self, judged: Sequence[tuple[FoldRun, int]]) -> BacktestResult:
        """Run the kernel over the positions of these test pieces, each of which a fold has decided."""
        from jobnb.research.result import run
        from jobnb.research.strategy import Strategy

        judged = sorted(judged, key=lambda each: int(each[0].test[each[1]][0]))
        pieces = [Piece(start=fold.test[at][0], stop=fold.test[at][1]) for fold, at in judged]
        joined = Joined(self._prices, pieces)
        rows = [_targets(fold, at) for fold, at in judged]
        row = np.zeros(len(joined.bars), dtype=np.result_type(*rows))
        place = 0
        for made, piece in zip(rows, pieces, strict=True):
            # Its first decision is that of the bar before, where there is one.
            seen = len(made) - len(piece)
            place = max(place - seen, 0)
            row[place : place + len(made)] = made
            place += len(made)

        def positions(strategy: Strategy, bars: Bars) -> npt.ArrayLike:
            return row

        stitched: type[Strategy] = type("Stitched", (Strategy,), {"positions": positions, "name": self._called})
        return run(stitched(), joined.bars, EngineOptions.parse(self.options))

    @property
    def _called(self) -> str:
        return f"{self.name} {self.kind}"

    @cached_property
    def _prices(self) -> Bars:
        """The whole data set as far as it was tested; nothing else of it is ever looked at."""
        known = {start: block for run in self._runs for start, block in run.prices.items()}
        if not known:
            raise UsageProblem(
                f"{self.name} keeps its positions to itself, so there is nothing to stitch; a jobnb.Strategy does not"
            )
        block = np.full((6, int(self.data["bars"])), np.nan)  # type: ignore[call-overload]  # as `Bars.meta` has it
        for start, prices in known.items():
            block[:, start : start + prices.shape[1]] = prices
        bars = Bars(block, self.data)
        bars.calendar = Calendar(**self._meta["calendar"])
        return bars

    @property
    def _pieces(self) -> list[tuple[FoldRun, int]]:
        return [(run, at) for run in self._runs for at in range(len(run.test))]

    # What people see

    @property
    def title(self) -> str:
        """One line: what was found."""
        done = f"{len(self):,} folds" if len(self) == self.planned else f"{len(self):,} of {self.planned:,} folds"
        inside, outside = (self._middle(side) for side in ("inside", "outside"))
        shown = f"median {self.objective} {number(self.objective, inside)} in sample, "
        shown += f"{number(self.objective, outside)} out of sample"
        return f"{self._called} on {self.data.get('name', 'data')}: {done} · {shown}"

    def _middle(self, side: str) -> float:
        if self.objective not in self.columns:
            return float("nan")
        values = np.array([getattr(run, side)[self.columns.index(self.objective)] for run in self._runs])
        values = values[np.isfinite(values)]
        return float(np.median(values)) if values.size else float("nan")

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["fold", "test", *self.space.varying]
        shown = [name for name in dict.fromkeys((self.objective, "total_return")) if name in self.columns]
        head += [f"{side} {name.replace('_', ' ')}" for name in shown for side in ("in", "out")]
        rows = []
        for run in self._runs:
            first, last = (f"{time:%Y-%m-%d}" for time in self._times([run.test[0][2], run.test[-1][3]]))
            params = run.params or {}
            values = [
                number(name, float(side[self.columns.index(name)]))
                for name in shown
                for side in (run.inside, run.outside)
            ]
            rows.append(
                [str(run.number), f"{first} to {last}", *(str(params.get(n, "–")) for n in self.space.varying), *values]
            )
        return head, rows

    @property
    def _lines(self) -> list[str]:
        kept = f"{100 * self.efficiency:.0f} % of the growth per year in sample kept out of sample"
        said = [kept.replace("-", "−")] if np.isfinite(self.efficiency) else []
        if np.isfinite(self.rank_correlation):
            said.append(f"rank correlation of the trials {self.rank_correlation:.2f}".replace("-", "−"))
        return [" · ".join(said)] if said else []

    def __repr__(self) -> str:
        head, rows = self._table()
        rows = rows if len(rows) <= _ROWS else [*rows[: _ROWS // 2], ["…"] * len(head), *rows[-_ROWS // 2 :]]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  " + "  ".join(f"{cell:>{wide}}" for cell, wide in zip(row, widths, strict=True)) for row in [head, *rows]
        ]
        return "\n".join([self.title, *lines, *self._lines])

    def _repr_html_(self) -> str:
        head, rows = self._table()
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self._lines)
        return (
            f"<p>{html.escape(self.title)}</p><table style='font-variant-numeric:tabular-nums'>"
            f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{said}"
        )


#: Folds that a text shows.
_ROWS = 20


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
        if self._overlap:
            raise UsageProblem("the test windows overlap, so that they make up no single curve; look at folds")
        return self._path(self._pieces)

    @property
    def _overlap(self) -> bool:
        spans = sorted(tuple(run.test[at][:2]) for run, at in self._pieces)
        return any(after[0] < before[1] for before, after in pairwise(spans))

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
        if self._overlap or not any(run.prices for run in self._runs):
            return super()._lines
        made = self.backtest.get_performance_metrics()
        shown = ("total_return", "sharpe_ratio", "max_drawdown", "trades")
        said = " · ".join(f"{name.replace('_', ' ')} {number(name, made[name])}" for name in shown)
        return [f"stitched out of sample: {said}", *super()._lines]

    def plot(self) -> Figure:
        """Draw the stitched equity with the borders of the windows, and the objective of each fold."""
        from jobnb.research.fold_plots import walk_forward_figure

        return walk_forward_figure(self)


class CrossValidationResult(FoldsResult):
    """What a cross-validation found: each path is a backtest of all bars, judged by folds that did not see them."""

    @cached_property
    def backtests(self) -> list[BacktestResult]:
        """The run of each path; of an unfinished job of those that are complete."""
        by_number = {run.number: run for run in self._runs}
        made = []
        for path in self._meta["paths"]:
            if all(number in by_number for number in path):
                # A group is the piece of a split that begins where the group begins.
                starts = sorted({int(run.test[at][0]) for run, at in self._pieces})
                judged = [
                    (by_number[number], [int(piece[0]) for piece in by_number[number].test].index(start))
                    for number, start in zip(path, starts, strict=True)
                ]
                made.append(self._path(judged))
        return made if self._meta["paths"] else [self._path(self._pieces)]

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
        if not any(run.prices for run in self._runs) or self.objective not in self.paths or self.paths.empty:
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

    def plot(self) -> Figure:
        """Draw the equity of the paths, and the distribution of the objective over them."""
        from jobnb.research.fold_plots import paths_figure

        return paths_figure(self)


def _targets(fold: FoldRun, at: int) -> npt.NDArray[Any]:
    """Return the targets of one test piece, with the decision of the bar before where there is one."""
    place = 0
    for number_, (start, stop, *_) in enumerate(fold.test):
        seen = int(start > 0)
        first = place if number_ == 0 else place - seen
        length = seen + stop - start
        if number_ == at:
            return np.asarray(fold.targets[first : first + length])
        place = first + length
    raise IndexError(at)


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
