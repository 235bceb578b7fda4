"""What the results of a walk-forward and of a cross-validation share: the folds, their table, and how steady they are.

Read at the front door. Only the kernel runs here, over positions that were decided in the children; no code of the
user's.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research import stitched
from jobnb.research.bars import Bars
from jobnb.research.fold_part import FoldRun
from jobnb.research.metrics import Calendar
from jobnb.research.options import EngineOptions
from jobnb.research.space import ParameterSpace
from jobnb.research.stability import efficiency, stability
from jobnb.research.text import number

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

    from jobnb.research.result import BacktestResult


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

    @cached_property
    def _tests(self) -> dict[int, list[tuple[int, int]]]:
        return {run.number: [(start, stop) for start, stop, *_ in run.test] for run in self._runs}

    @cached_property
    def _paths(self) -> list[stitched.Path]:
        return stitched.paths(self._tests, self._meta["paths"])

    @property
    def _stitched(self) -> bool:
        """Whether there is a curve to show."""
        return bool(self._paths) and any(run.prices for run in self._runs)

    def _stitch(self, path: stitched.Path) -> BacktestResult:
        return stitched.stitch(
            self._prices,
            self._tests,
            {run.number: run.wanted for run in self._runs},
            path,
            name=self._called,
            options=EngineOptions.parse(self.options),
        )

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

    # What people see

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a tear sheet to one HTML file: the folds, the stability, the curve out of sample.

        See `jobnb.research.pictured.Pictured.report`.
        """
        from jobnb.research.report import write

        return write(self, path)

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
            ends = self._times([bar for piece in run.test for bar in (piece[2], piece[3])])
            days = [f"{time:%Y-%m-%d}" for time in ends]
            # A choice of groups that are not neighbours is several windows.
            test = ", ".join(f"{a} to {b}" for a, b in zip(days[::2], days[1::2], strict=True))
            params = run.params or {}
            values = [
                number(name, float(side[self.columns.index(name)]))
                for name in shown
                for side in (run.inside, run.outside)
            ]
            rows.append([str(run.number), test, *(str(params.get(n, "–")) for n in self.space.varying), *values])
        return head, rows

    @property
    def _lines(self) -> list[str]:
        said = []
        if np.isfinite(self.efficiency):
            kept = f"{100 * self.efficiency:.0f} %" if self.efficiency > 0 else "none"
            said.append(f"{kept} of the growth per year in sample kept out of sample")
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
