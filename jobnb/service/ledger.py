"""The books of one job that runs: what is left to hand out, what is out, what came back. No I/O.

The dispatcher keeps one `Ledger` per running job, rebuilds it from the store after a restart, asks it what to
hand out next and tells it what happened; it writes down what the ledger says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobnb.job import JobRecord, Status
from jobnb.service import plans
from jobnb.service.spans import Span, count, missing, put_back, take
from jobnb.store.tasks import TaskRow

#: How often the cluster may lose a task of a job before the job fails.
LOST_LIMIT = 3


@dataclass(kw_only=True)
class Running:
    """A task that is out: its span, and how far it says it is."""

    start: int
    stop: int
    attempt: int
    done: int = 0
    #: Set once a worker has said that it began.
    began: bool = False
    #: Monotonic time of the request to stop it.
    stopping_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job is going to end once its last task is back."""

    status: Status
    error: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class Ledger:
    """The books of one running job."""

    job: JobRecord
    pending: list[Span]
    next_task: int
    done: int = 0
    failed: int = 0
    lost: int = 0
    pace: float | None = None
    summary: dict[str, Any] | None = None
    running: dict[int, Running] = field(default_factory=dict)
    #: current, total, message: as the job itself reports it.
    progress: tuple[float, float, str] = (0.0, 0.0, "")
    ending: Ending | None = None
    #: Something changed that viewers should see, not yet written.
    dirty: bool = False

    @classmethod
    def of(cls, job: JobRecord, tasks: Iterable[TaskRow]) -> Ledger:
        """Open the books of a job from what the store has of it; its running tasks are left to the caller."""
        tasks = list(tasks)
        finished = [(t.start, t.stop) for t in tasks if t.state == "completed"]
        held = [(t.start, t.stop) for t in tasks if t.state == "running"]
        return cls(
            job=job,
            pending=missing(job.items, finished + held),
            next_task=max((t.task for t in tasks), default=-1) + 1,
            done=count(finished),
            failed=job.failed_items,
            lost=sum(t.state == "lost" for t in tasks),
            summary=dict(job.summary) if job.summary else None,
            running={
                t.task: Running(start=t.start, stop=t.stop, attempt=t.attempt) for t in tasks if t.state == "running"
            },
            progress=(job.progress.current, job.progress.total, job.progress.message),
        )

    def draft(self) -> Ledger:
        """Return a copy to try changes on, for as long as they are not stored."""
        return replace(
            self, pending=list(self.pending), running={task: replace(out) for task, out in self.running.items()}
        )

    @property
    def attempt(self) -> int:
        """The number of the attempt that a task begun now would be."""
        return self.job.attempt + self.lost

    def hand_out(self, slots: int) -> tuple[int, Span, float | None] | None:
        """Return the next task (number, span, budget) and count it as out, or None if there is none.

        Parameters
        ----------
        slots : int
            Places this job could use at once, now.
        """
        if self.ending is not None or not self.pending:
            return None
        size = plans.cut(self.job.plan, left=count(self.pending), slots=slots, pace=self.pace)
        span, self.pending = take(self.pending, size.items)
        task, self.next_task = self.next_task, self.next_task + 1
        self.running[task] = Running(start=span[0], stop=span[1], attempt=self.attempt)
        return task, span, size.budget

    def heard(self, task: int, *, done: int, progress: tuple[float, float, str] | None) -> None:
        """Note what a running task says of itself."""
        out = self.running.get(task)
        if out is None:
            return
        out.began = True
        out.done = max(out.done, min(done, out.stop - out.start))
        if progress is not None:
            self.progress = progress
        self.dirty = True

    def completed(
        self, task: int, *, stop: int, failed: int, seconds: float, summary: Mapping[str, Any] | None
    ) -> None:
        """Note that a task came back with the items from its start to ``stop``; the rest is handed out again."""
        out = self.running.pop(task)
        self.done += stop - out.start
        self.failed += failed
        self.pending = put_back(self.pending, (stop, out.stop))
        self.pace = plans.blend(self.pace, seconds, stop - out.start)
        self.summary = plans.fold_summary(self.job.plan, self.summary, summary)
        self.dirty = True

    def stopped(self, task: int) -> None:
        """Note that a task was ended on request; its items stay undone."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))

    def lost_task(self, task: int, why: str) -> None:
        """Note that the cluster lost a task: its items are handed out again, unless that happened too often."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))
        self.lost += 1
        if self.lost > LOST_LIMIT and self.ending is None:
            self.end(
                Status.FAILED,
                {
                    "code": "WORKER_LOST",
                    "message": f"the cluster lost this job {self.lost} times; the last time: {why}",
                    "hint": "Look at the worker's log: it may run out of memory, or be stopped from outside.",
                },
            )

    def end(self, status: Status, error: Mapping[str, Any] | None = None) -> None:
        """Decide how the job ends; the first decision stands. Nothing more is handed out."""
        if self.ending is None:
            self.ending = Ending(status=status, error=error)

    def outcome(self) -> Ending | None:
        """Return how the job has ended, or None while a task is out or left."""
        if self.running:
            return None
        failed = self.ending is not None and self.ending.status is Status.FAILED
        if not self.pending and not failed:
            # All of it is there: a cancel that came too late changes nothing.
            return Ending(status=Status.COMPLETED)
        return self.ending

    def shown_progress(self) -> tuple[float, float, str]:
        """Return current, total, message for viewers: items for a sweep or map, else what the job reports."""
        if self.job.plan.get("type", "single") == "single":
            return self.progress
        live = sum(out.done for out in self.running.values())
        return (float(self.done + live), float(self.job.items), self.progress[2])
