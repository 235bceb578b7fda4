"""`WholeWork`: a backtest, search or extraction that is first known when its run begins, done in one child.

How many folds or chunks there are depends on prices or on the moment; so the front door of that job is gone through
here, in the child, and all of its items are done one after the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from jobnb import results
from jobnb.job import Job
from jobnb.manager import JobManager
from jobnb.option import Options
from jobnb.work import Part, Report, Work
from jobnb.worker import context

if TYPE_CHECKING:
    from jobnb.research.bars import Bars

#: Seconds of work between two signs of life.
_SLICE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class WholeWork:
    """A job of one item, which is all of another job.

    Attributes
    ----------
    what : {"backtest", "optimize", "extract"}
        The front door to go through.
    args, said
        What it is called with.
    place : int or None
        Of the parent that fetched the prices, among the job's links: they are its second argument.
    options : Options
    name : str or None
        What the data are called, unless they have a name of their own.
    """

    what: str
    args: Sequence[Any] = ()
    said: Mapping[str, Any] = field(default_factory=dict)
    place: int | None = 0
    options: Options = field(default_factory=Options)
    name: str | None = None

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Do all of it; the result is what that job's would be."""
        from jobnb import handover

        args = list(self.args)
        if self.place is not None:
            args.insert(1, handover.value(self.place))
        with tempfile.TemporaryDirectory(prefix="jobnb-") as folder:
            work, plan = self._asked(args, Path(folder))
            value, summary = carried_out(work, plan)
            return Part(stop=1, result=cloudpickle.dumps(value), summary=summary)

    def _asked(self, args: Sequence[Any], folder: Path) -> tuple[Work, Mapping[str, Any]]:
        if self.what == "extract":
            from jobnb.data import door
            from jobnb.dated import as_of
            from jobnb.research.given import since

            moment = as_of()
            said = {**self.said, "start": since(self.said["start"], moment), "end": self.said.get("end") or moment}
            work, _, plan = door.extract_work(*args, **said, on_error=self.options.on_error)
            return work, plan
        bench: Any = Bench(folder)
        if self.what == "backtest":
            bench.backtest(*args, dict(self.said), self.options, data_name=self.name)
        else:
            bench.optimize(*args, self.options, data_name=self.name, **self.said)
        return bench.work, bench.plan


class Bench(JobManager):
    """A manager without a store: what is handed in, it keeps, to be done here."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.work: Work | None = None
        self.plan: Mapping[str, Any] = {}

    def _keep_bars(self, bars: Bars) -> str:
        path = self._folder / f"{len(list(self._folder.iterdir()))}.bars"
        path.write_bytes(bars.to_bytes())
        return str(path)

    def _accept(self, work: Work, kind: str, options: Options, **more: Any) -> Job:
        self.work, self.plan = work, more.get("plan") or {"type": "single", "items": 1}
        return Job("", self)


def carried_out(work: Work, plan: Mapping[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Do all items of a job here; return its result and its summary."""
    from jobnb.service import plans

    items, here = int(plan["items"]), context.current()
    parts: list[bytes] = []
    carries: list[bytes] = []
    summary: dict[str, Any] | None = None
    at = 0
    while at < items:
        # The last item of some plans asks for what all the others left.
        stop = items - 1 if plan.get("finale") and at < items - 1 else items
        if here is not None:
            here.leave(carries)
            here.progress(at, items)
        part = work.run(at, stop, _SLICE_SECONDS, lambda _: None)
        parts.append(part.result)
        if part.carry is not None:
            carries.append(part.carry)
        summary = plans.fold_summary(plan, summary, part.summary)
        at = part.stop
    if here is not None and items > 1:
        here.progress(items, items)
    return results.load(plan, parts), summary
