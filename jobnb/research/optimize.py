"""The result of an optimization: every run with all its metrics, the best one, and the heat map.

Put together at the front door from the parts that children wrote, also from the parts of an unfinished sweep.
It never runs anything.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research import digest
from jobnb.research.chance import Chance
from jobnb.research.container import SweepPart
from jobnb.research.digest import best, labels, places
from jobnb.research.interval import Interval
from jobnb.research.space import ParameterSpace
from jobnb.research.text import number

#: Runs a trial, by its number or point and with its parameters to show, as a job.
Run = Callable[[int, tuple[float, ...] | None, Mapping[str, object]], "Job"]

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

    from jobnb.job import Job
    from jobnb.research.heatmap import Heatmap
    from jobnb.research.plots.look import Picture


class OptimizeResult(Chance):
    """What an optimization found.

    Attributes
    ----------
    name : str
        The strategy.
    objective : str
    maximize : bool
    method : str
        ``grid``, ``random``, ….
    seed : int or None
        Of the sampler.
    space : ParameterSpace
    columns : tuple of str
        The metrics.
    values : array (runs, len(columns))
        In the order of `indices`; failed runs are NaN.
    indices : array of int64
        The number of each run, ascending: of a grid that of its combination in the space, else that of the trial.
    points : array (runs, parameters) or None
        What was tried, if not a grid; see `ParameterSpace`.
    errors : dict
        Number of the run to message, of the failed runs.
    planned : int
        Number of runs there were to be.
    """

    def __init__(
        self,
        *,
        name: str,
        objective: str,
        maximize: bool,
        space: ParameterSpace,
        columns: tuple[str, ...],
        values: npt.NDArray[np.float64],
        indices: npt.NDArray[np.int64],
        errors: Mapping[int, str],
        planned: int,
        data: Mapping[str, object],
        options: Mapping[str, object],
        points: npt.NDArray[np.float64] | None = None,
        method: str = "grid",
        seed: int | None = None,
        goals: Sequence[tuple[str, bool]] = (),
        tracks: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.objective = objective
        self.maximize = maximize
        self.space = space
        self.columns = columns
        self.values = values
        self.indices = indices
        self.errors = dict(errors)
        self.planned = planned
        self.data = dict(data)
        self.options = dict(options)
        self.points = points
        self.method = method
        self.seed = seed
        self._run: Run | None = None
        self.goals = tuple(goals) or ((objective, maximize),)
        self._tracks = dict(tracks or {})

    @classmethod
    def from_parts(cls, meta: Mapping[str, Any], parts: Sequence[bytes]) -> Self:
        """Build the result from `SweepWork.meta` and the results of the finished parts, in any order.

        Raises
        ------
        BlobMissing
            ``BLOB_MISSING``: a part cannot be read.
        """
        read = sorted((SweepPart.from_bytes(part) for part in parts), key=lambda part: part.start)
        columns = tuple(dict.fromkeys(name for part in read for name in part.columns))
        runs = sum(len(part.values) for part in read)
        values = np.full((runs, len(columns)), np.nan)
        indices = np.empty(runs, dtype=np.int64)
        errors: dict[int, str] = {}
        at = 0
        for part in read:
            span = slice(at, at + len(part.values))
            values[span, [columns.index(name) for name in part.columns]] = part.values
            indices[span] = (
                np.arange(part.start, part.start + len(part.values)) if part.indices is None else part.indices
            )
            errors.update({int(indices[at + i]): message for i, message in part.errors.items()})
            at += len(part.values)
        points = [part.points for part in read if part.points is not None]
        if not points:
            # A grid may have been run in another order than that of its combinations.
            order = np.argsort(indices, kind="stable")
            values, indices = values[order], indices[order]
            errors = dict(sorted(errors.items()))
        space = ParameterSpace.from_json(meta["space"])
        if not points and meta.get("method", "grid") != "grid":
            points = [np.empty((0, len(space.names)))]
        return cls(
            name=meta["strategy"],
            objective=meta["objective"],
            maximize=meta["maximize"],
            space=space,
            columns=columns,
            values=values,
            indices=indices,
            errors=errors,
            planned=meta["runs"],
            data=meta["data"],
            options=meta["options"],
            points=np.concatenate(points) if points else None,
            method=meta.get("method", "grid"),
            seed=meta.get("seed"),
            goals=[(str(name), bool(way)) for name, way in meta.get("goals", ())],
            tracks=digest.tracks(read),
        )

    def __len__(self) -> int:
        return len(self.indices)

    def _column(self, metric: str) -> npt.NDArray[np.float64]:
        if metric not in self.columns:
            raise unknown("metric", metric, self.columns)
        return np.asarray(self.values[:, self.columns.index(metric)])

    @cached_property
    def _best(self) -> int | None:
        if self.objective not in self.columns:
            return None
        found = best(self._column(self.objective), 1, maximize=self.maximize)
        return found[0] if found else None

    @property
    def best_index(self) -> int | None:
        """Number of the best run, see `indices`; None if no run has a finite objective."""
        return None if self._best is None else int(self.indices[self._best])

    @property
    def best_params(self) -> dict[str, object]:
        """The parameters of the best run; of equal ones the first.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: no run has a finite objective.
        """
        if self._best is None:
            why = f"; the first error: {next(iter(self.errors.values()))}" if self.errors else ""
            raise UsageProblem(f"none of the {len(self):,} runs has a finite {self.objective}{why}")
        return self.params(self._best)

    def params(self, row: int) -> dict[str, object]:
        """Return the parameters of a row of `trials`."""
        if self.points is not None:
            return self.space.at(self.points[row].tolist())
        return self.space.params(int(self.indices[row]))

    @cached_property
    def _places(self) -> dict[str, npt.NDArray[np.int64]]:
        return dict(zip(self.space.names, places(self.space, self.indices, self.points), strict=True))

    @property
    def best_value(self) -> float:
        """The best value of the objective; NaN if no run has a finite one."""
        return float("nan") if self._best is None else float(self._column(self.objective)[self._best])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every run: its parameters, all its metrics, and its error if any run failed; in the order of the trials.

        Those of a grid are ordered as its combinations, the last parameter changing first.
        """
        import pandas as pd

        made: dict[str, object] = {}
        for column, (name, axis) in enumerate(zip(self.space.names, self.space.values, strict=True)):
            if not isinstance(axis, Interval):
                made[name] = pd.Series(list(axis)).to_numpy()[self._places[name]]
            elif self.points is not None:
                made[name] = self.points[:, column].astype(np.int64 if axis.whole else np.float64)
        for i, metric in enumerate(self.columns):
            made[metric if metric not in made else f"{metric}_"] = self.values[:, i]
        if self.errors:
            made["error"] = [self.errors.get(int(i)) for i in self.indices]
        return pd.DataFrame(made)

    @cached_property
    def pareto(self) -> pd.DataFrame:
        """The runs of which no other one is better in one objective and no worse in the others, as rows of `trials`.

        Best in the first objective first. With one objective these are the best run and its equals.
        """
        missing = [name for name, _ in self.goals if name not in self.columns]
        if missing:
            return self.trials.iloc[:0]
        signed = np.stack([self._column(name) * (1 if way else -1) for name, way in self.goals], axis=1)
        return self.trials.iloc[front(signed)]

    def bind(self, run: Run) -> None:
        """Tell the result how a trial of its job is run again; the manager does."""
        self._run = run

    @property
    def reruns(self) -> bool:
        """Whether the result knows its job, so that `rerun` works."""
        return self._run is not None

    def rerun(self, row: int | None = None) -> Job:
        """Run one of the trials once more, as a backtest job, whose result has the equity curve and the trades.

        Parameters
        ----------
        row : int, optional
            Of `trials` or `pareto`; the best run by default.

        Returns
        -------
        Job
            With the strategy, data and engine options of the search.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: there is no such row, or no best run, or the result has been pickled and does not know its
            job any more.
        """
        if row is None:
            self.best_params  # noqa: B018 - raises where there is none
            row = self._best
        if row is None or not 0 <= row < len(self):
            raise UsageProblem(f"there is no row {row!r} among {len(self):,} trials")
        if self._run is None:
            raise UsageProblem(
                "this result does not know its job any more; take it from job.result(), "
                "or run jobnb.backtest(strategy, data, **result.best_params)"
            )
        point = None if self.points is None else tuple(self.points[row].tolist())
        return self._run(int(self.indices[row]), point, self.params(row))

    def rerun_best(self, timeout: float | None = None) -> Any:
        """Run the best trial once more, as a job, and wait for its result.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        BacktestResult
            With ``best_value`` as its objective; of an engine of your own, what `jobnb.backtest` gives for it.
        """
        return self.rerun().result(timeout)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_run": None}

    def top(self, n: int = 5) -> pd.DataFrame:
        """Return the best ``n`` runs, best first, as rows of `trials`."""
        return self.trials.iloc[best(self._column(self.objective), n, maximize=self.maximize)]

    def heatmap(self, x: str | None = None, y: str | None = None, metric: str | None = None) -> Heatmap:
        """Return a metric over two parameters.

        Parameters
        ----------
        x, y : str, optional
            Parameters for columns and rows; by default the second and the first that vary. A continuous one is
            cut into 24 stretches, each called by its beginning.
        metric : str, optional
            Default: the objective. Where other parameters vary too, each cell shows the run with the best
            objective among them.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: no such parameter or metric.
        UsageProblem
            ``USAGE_ERROR``: fewer than two parameters vary.
        """
        from jobnb.research.heatmap import Heatmap

        free = [name for name in self.space.varying if name not in (x, y)]
        for name in (x, y):
            if name is not None and name not in self.space.names:
                raise unknown("parameter", name, self.space.names)
        row = y if y is not None else (free.pop(0) if free else None)
        column = x if x is not None else (free.pop(0) if free else None)
        if row is None or column is None or row == column:
            raise UsageProblem("a heat map needs two different parameters that vary")
        value = self._column(metric or self.objective)
        return Heatmap(
            frame=self._grid(row, column, value),
            x=column,
            y=row,
            metric=metric or self.objective,
            maximize=self.maximize,
            best=self._at(column, row),
        )

    def plot_parallel(self, metric: str | None = None, most: int = 300) -> Picture:
        """Draw the runs in parallel coordinates: an axis per parameter that varies, a line per run, the best thick.

        Parameters
        ----------
        metric : str, optional
            What the lines end at and are coloured by; by default the objective.
        most : int, default 300
            How many lines; of more runs some are left out, the best never.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: no such metric.
        UsageProblem
            ``USAGE_ERROR``: no parameter varies, or no run has a finite value.
        """
        from jobnb.research.plots.parallel import parallel_figure

        return parallel_figure(self, metric=metric, most=most)

    def report(self, path: str | os.PathLike[str], *, best: bool | None = None) -> Path:
        """Write a tear sheet of the search to one HTML file; see `jobnb.research.pictured.Pictured.report`.

        Parameters
        ----------
        path : path
        best : bool, optional
            With the best run's own tear sheet at its end. That run is done once more, by `rerun_best`; by default
            where the result knows its job.
        """
        from jobnb.research.report import write

        return write(self, path, best=best)

    def _grid(self, row: str, column: str, value: npt.NDArray[np.float64]) -> pd.DataFrame:
        import pandas as pd

        where = self._places
        rows, columns = (list(labels(self.space.axis(name))) for name in (row, column))
        grid = np.full((len(rows), len(columns)), np.nan)
        score = self._column(self.objective)
        # Worst first, so that the best of several runs in a cell is written last; NaN before all.
        order = np.argsort(np.where(np.isnan(score), -np.inf, score if self.maximize else -score), kind="stable")
        grid[where[row][order], where[column][order]] = value[order]
        return pd.DataFrame(grid, index=pd.Index(rows, name=row), columns=pd.Index(columns, name=column))

    def _at(self, column: str, row: str) -> tuple[object, object] | None:
        """Return what stands beside the best run's cell of a heat map."""
        if self._best is None:
            return None
        return (
            labels(self.space.axis(column))[self._places[column][self._best]],
            labels(self.space.axis(row))[self._places[row][self._best]],
        )

    @property
    def title(self) -> str:
        """One line: what was found."""
        done = f"{len(self):,} runs" if len(self) == self.planned else f"{len(self):,} of {self.planned:,} runs"
        failed = f", {len(self.errors):,} failed" if self.errors else ""
        on = f"{self.name} on {self.data.get('name', 'data')}"
        if self._best is None:
            return f"{on}: {done}{failed}, none with a finite {self.objective}"
        at = " ".join(f"{name}={_short(value)}" for name, value in self.best_params.items())
        return f"{on}: best {self.objective} {number(self.objective, self.best_value)} at {at} · {done}{failed}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        if self.objective not in self.columns:
            return [], []
        wanted = (*(name for name, _ in self.goals), "sharpe_ratio", "total_return", "max_drawdown", "trades")
        shown = [name for name in dict.fromkeys(wanted) if name in self.columns]
        rows = []
        for i in best(self._column(self.objective), 5, maximize=self.maximize):
            params = self.params(i).values()
            rows.append([*map(_short, params), *(number(n, float(self._column(n)[i])) for n in shown)])
        return [*self.space.names, *(name.replace("_", " ") for name in shown)], rows

    def __repr__(self) -> str:
        head, rows = self._table()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)] if rows else []
        lines = [
            "  " + "  ".join(f"{cell:>{wide}}" for cell, wide in zip(row, widths, strict=True))
            for row in ([head, *rows] if rows else [])
        ]
        return "\n".join([self.title, *([self.luck.text] if self.luck else []), *lines])

    def _repr_html_(self) -> str:
        head, rows = self._table()
        made = [f"<p>{html.escape(text)}</p>" for text in (self.title, self.luck.text if self.luck else "") if text]
        if rows:
            cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
            body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            made.append(
                f"<table style='font-variant-numeric:tabular-nums'><thead><tr>{cells}</tr></thead>"
                f"<tbody>{body}</tbody></table>"
            )
        if len(self.space.varying) == 2 and self._best is not None:
            made.append(self.heatmap()._repr_html_())
        return "".join(made)


def front(values: npt.NDArray[np.float64]) -> list[int]:
    """Return the rows that no other row beats: at least as high everywhere and higher somewhere.

    Parameters
    ----------
    values : array (n, k)
        More is better; rows with a number that is not finite never count.

    Returns
    -------
    list of int
        Highest first column first; of equal rows all.

    Examples
    --------
    >>> front(np.array([[1.0, 5.0], [3.0, 3.0], [2.0, 2.0], [5.0, 1.0], [np.nan, 9.0]]))
    [3, 1, 0]
    """
    usable = np.flatnonzero(np.isfinite(values).all(axis=1))
    # In this order a row can only be beaten by one before it.
    order = usable[np.lexsort([-values[usable, column] for column in reversed(range(values.shape[1]))])]
    kept = np.empty((0, values.shape[1]))
    found: list[int] = []
    for i in order.tolist():
        row = values[i]
        above = (kept >= row).all(axis=1)
        if (above & (kept > row).any(axis=1)).any():
            continue
        found.append(i)
        kept = np.vstack([kept, row])
    return found


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def load_sweep(meta: Mapping[str, Any], parts: Sequence[bytes]) -> OptimizeResult:
    """Return the result of a `SweepWork` from its `SweepWork.meta` and its finished parts."""
    if "instruments" in meta:
        from jobnb.research.instrument_search import InstrumentsOptimizeResult

        return InstrumentsOptimizeResult.from_parts(meta, parts)
    return OptimizeResult.from_parts(meta, parts)
