"""`ReportWork`: the tear sheet of a run of a schedule, written by a job that follows it. Run in a child."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import cloudpickle

from jobnb.dated import DatedPath, as_of
from jobnb.work import Part, Report


@dataclass(frozen=True, kw_only=True)
class ReportWork:
    """Writes what the job before it gave as a tear sheet, and keeps that with the job.

    Attributes
    ----------
    path : DatedPath
        The file, from the working directory of whoever made the schedule.
    place : int
        Of the run among the job's links.
    search : bytes or None
        The packed work of a search, so that its best run has its own pages.
    """

    path: DatedPath
    place: int
    search: bytes | None = None

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Write it; the result is the path."""
        from jobnb import handover
        from jobnb.research import report as sheets
        from jobnb.research.optimize import OptimizeResult
        from jobnb.worker.context import current

        result = handover.value(self.place)
        if isinstance(result, OptimizeResult) and self.search is not None:
            result.bind(self._again)  # type: ignore[arg-type]  # asked for its result only
        moment = as_of()
        target = self.path.at(moment).absolute()
        target.parent.mkdir(parents=True, exist_ok=True)
        about = {"Schedule": self.path.name, "As of": f"{moment:%Y-%m-%d %H:%M} UTC"}
        written = sheets.write(result, target, about)
        here = current()
        if here is not None:
            here.save(written.name, written)
        return Part(stop=1, result=cloudpickle.dumps(str(written)))

    def _again(self, number: int, point: tuple[float, ...] | None, params: object) -> _Ran:
        from jobnb.research.trial import TrialWork

        assert self.search is not None
        part = TrialWork(search=self.search, number=number, point=point).run(0, 1, None, lambda _: None)
        return _Ran(value=pickle.loads(part.result))


@dataclass(frozen=True, kw_only=True)
class _Ran:
    """What stands for the job of a run that was made here."""

    value: Any

    def result(self, timeout: float | None = None) -> Any:
        """Return what it gave."""
        return self.value
