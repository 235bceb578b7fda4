"""`FoldWork`: the folds of a walk-forward or a cross-validation as the items of a job.

A front door builds it; a child runs it on one span of folds after the other. A fold that finds nothing is a fold out
of the market with its reason, never the end of the job.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np

from jobnb.allowance import Allowance
from jobnb.research import finale, fold_part, fold_summary
from jobnb.research.bars import Bars
from jobnb.research.data import DataRef
from jobnb.research.folds import Fold
from jobnb.research.foreign import is_foreign, name_of
from jobnb.research.goal import Goal
from jobnb.research.interval import Interval
from jobnb.research.judge import Judged, judge
from jobnb.research.metrics import Calendar
from jobnb.research.options import EngineOptions
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace, plain
from jobnb.research.strategy import Strategy
from jobnb.research.summary import safe, thin
from jobnb.work import Part, Report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldWork:
    """The folds of a job; item i is the i-th fold.

    Attributes
    ----------
    strategy : type or callable
        A `Strategy` class; of other callables only with one train and one test piece per fold.
    trials : Search
        What is tried in each fold, the same in all of them.
    goals : tuple of Goal
    options : EngineOptions
    data : DataRef
    folds : tuple of Fold
    kind : str
        ``walk-forward``, ``purged-kfold``, ``cpcv`` or ``folds``.
    calendar : Calendar
        How a year is counted in the data.
    span : (str, str)
        First and last time of the data, as cards show them.
    said : str
        The splitter, as its repr says it.
    paths : sequence of sequence of int
        For each path the fold that judges each group; empty where the test pieces make up one path, or none.
    """

    strategy: Callable[..., object]
    trials: Search
    goals: tuple[Goal, ...]
    options: EngineOptions = field(default_factory=EngineOptions)
    data: DataRef
    folds: tuple[Fold, ...]
    kind: str
    calendar: Calendar
    span: tuple[str, str] = ("", "")
    said: str = ""
    paths: Sequence[Sequence[int]] = ()

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.folds)

    @property
    def job_kind(self) -> str:
        """The kind of the job, and the type of its plan."""
        return "walk_forward" if self.kind == "walk-forward" else "cross_validation"

    def plan(self, max_time: float | None = None) -> dict[str, object]:
        """Return how the service cuts the job: see `jobnb.service.plans`.

        Parameters
        ----------
        max_time : float, optional
            Seconds after which the job ends with the folds it has.
        """
        more: dict[str, object] = {} if max_time is None else {"max_time": max_time}
        if not is_foreign(self.strategy):
            more["finale"] = True
        return {"type": self.job_kind, "items": self.count, **more, "meta": self.meta()}

    def meta(self) -> dict[str, Any]:
        """Return what `fold_result.load_folds` needs beside the parts, JSON-able and small."""
        goal = self.goals[0]
        return {
            "strategy": name_of(self.strategy),
            "space": self.trials.space.to_json(),
            "search": self.trials.method,
            "trials": self.trials.count,
            "objective": goal.name,
            "maximize": goal.maximize,
            "kind": self.kind,
            "cv": self.said,
            "folds": self.count,
            "paths": [list(path) for path in self.paths],
            "options": {} if is_foreign(self.strategy) else self.options.to_dict(),
            "data": {**self.data.meta, "start": self.span[0], "end": self.span[1]},
            "calendar": asdict(self.calendar),
        }

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run the folds ``[start, stop)``, fewer if the budget is used up; at least one."""
        bars = self.data.load()
        allowance = Allowance(budget)
        first_test = {piece: fold.number for fold in reversed(self.folds) for piece in fold.test}
        made: list[Judged] = []
        for fold in self.folds[start:stop]:
            made.append(
                judge(
                    self.strategy,
                    bars,
                    fold,
                    self.trials,
                    goals=self.goals,
                    options=self.options,
                    # The first fold that tests a piece keeps its prices.
                    keep=[piece for piece in fold.test if first_test[piece] == fold.number],
                )
            )
            report(len(made))
            if allowance.used():
                break
        columns = tuple(dict.fromkeys(name for each in made for name in each.columns))
        # A foreign function may return other metrics in another fold.
        runs = [each.run if each.columns == columns else _widened(each, columns) for each in made]
        return Part(
            stop=start + len(made),
            result=fold_part.to_bytes(columns, runs),
            summary=self._summary(made, bars),
            carry=finale.to_carry({each.run.number: each.point for each in made}),
            failed=sum(each.run.params is None for each in made),
        )

    def _finale(self, bars: Bars, made: Sequence[Judged]) -> fold_summary.Json | None:
        """Return the stitched curve for the card, if these are the last folds of the job and all others are known."""
        if made[-1].run.number < self.count - 1 or is_foreign(self.strategy):
            return None
        from jobnb.worker.context import carried

        choices = {**finale.from_carried(carried()), **{each.run.number: each.point for each in made}}
        if len(choices) < self.count:
            return None
        try:
            return finale.finale(
                cast(type[Strategy], self.strategy),
                bars,
                self.folds,
                self.trials.space,
                choices,
                self.paths,
                goals=self.goals,
                options=self.options,
                name=f"{name_of(self.strategy)} {self.kind}",
            )
        except Exception:
            # The folds are done and worth more than their picture; the result makes its own from what they stored.
            logger.exception("the folds could not be stitched for the card")
            return None

    def _summary(self, made: Sequence[Judged], bars: Bars) -> fold_summary.Json:
        goal = self.goals[0]
        dates = bars.span[0][10:] == ""
        return fold_summary.summarize(
            kind=self.kind,
            planned=self.count,
            objective=goal.name,
            maximize=goal.maximize,
            folds=[self._row(each, dates) for each in made],
            space=_axes(self.trials.space),
            stitched=self._finale(bars, made),
        )

    def _row(self, each: Judged, dates: bool) -> fold_summary.Json:
        run, columns = each.run, list(each.columns)
        inside, outside = (dict(zip(columns, values.tolist(), strict=True)) for values in (run.inside, run.outside))
        returns = [values.get("total_return", math.nan) for values in (inside, outside)]
        growth = [_short(math.log1p(gain) if gain > -1.0 else math.nan) for gain in returns]
        points = fold_summary.points_of(self.count)
        equity = each.growth[1:].tolist()
        curve = thin(equity, points) if points > 1 else equity[-1:]
        return {
            "n": run.number,
            "in": _short(inside.get(self.goals[0].name, math.nan)),
            "out": _short(outside.get(self.goals[0].name, math.nan)),
            "return": _short(returns[1]),
            "growth": [*growth, *map(_short, run.years)] if min(run.years) > 0 else [None],
            "curve": [_short(point) for point in curve] if self._chains else [],
            "start": _when(run.test[0][2], dates),
            "end": _when(run.test[-1][3], dates),
            "params": None if run.params is None else dict(run.params),
            "runs": run.trials,
            "failed": run.failed,
            "error": run.error,
        }

    @property
    def _chains(self) -> bool:
        """Whether the folds, one after the other, make up one curve."""
        return not self.paths and all(len(fold.test) == 1 for fold in self.folds)


def _widened(each: Judged, columns: Sequence[str]) -> fold_part.FoldRun:
    def wide(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        known = dict(zip(each.columns, values.tolist(), strict=True))
        return np.array([known.get(name, math.nan) for name in columns])

    return replace(each.run, inside=wide(each.run.inside), outside=wide(each.run.outside))


def _axes(space: ParameterSpace) -> list[list[object]]:
    made: list[list[object]] = []
    for name, axis in zip(space.names, space.values, strict=True):
        if isinstance(axis, Interval):
            made.append([name, 0, plain(axis.low), plain(axis.high)])
        else:
            made.append([name, len(axis), plain(axis[0]), plain(axis[-1])])
    return made


def _short(value: float) -> float | None:
    """Return a number for a card: six digits are plenty, and there may be thousands of folds."""
    return safe(float(f"{value:.6g}"))


def _when(nanoseconds: int, dates: bool) -> str:
    text = str(np.datetime64(nanoseconds, "ns").astype("datetime64[s]"))
    return text[:10] if dates else text.replace("T", " ")[:16]
