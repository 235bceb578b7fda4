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

#: How often workers may be lost over the same items before the job fails: perhaps the items kill them.
LOST_LIMIT = 3
#: Losses of which no item can be the reason: the service ended, the scheduler went away.
BLAMELESS = frozenset({"SERVICE_LOST", "CLUSTER_LOST"})


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
    #: How often workers were lost over the items from the key on.
    losses: dict[int, int] = field(default_factory=dict)
    #: Monotonic time after which a job of many tasks has run too long.
    ends_at: float | None = None
    #: Something changed that viewers should see, not yet written.
    dirty: bool = False

    @classmethod
    def of(cls, job: JobRecord, tasks: Iterable[TaskRow]) -> Ledger:
        """Open the books of a job from what the store has of it; its running tasks are left to the caller."""
        tasks = list(tasks)
        finished = [(t.start, t.stop) for t in tasks if t.state == "completed"]
        held = [(t.start, t.stop) for t in tasks if t.state == "running"]
        ledger = cls(
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
        for t in tasks:
            if t.state == "lost" and (t.error or {}).get("code") not in BLAMELESS:
                ledger._note_loss((t.start, t.stop))
            elif t.state == "completed":
                ledger._clear_losses((t.start, t.stop))
            elif t.state == "failed" and t.attempt >= job.attempt:
                ledger.end(Status.FAILED, t.error)
        return ledger

    def draft(self) -> Ledger:
        """Return a copy to try changes on, for as long as they are not stored."""
        return replace(
            self,
            pending=list(self.pending),
            running={task: replace(out) for task, out in self.running.items()},
            losses=dict(self.losses),
        )

    @property
    def attempt(self) -> int:
        """The number of the attempt that a task begun now would be."""
        return self.job.attempt + self.lost

    @property
    def open(self) -> bool:
        """True while there is something to hand out."""
        return bool(self.pending) and self.ending is None

    @property
    def short(self) -> bool:
        """True if its tasks are known to be back soon, so that one may wait behind another."""
        return self.pace is not None and self.pace <= plans.TASK_SECONDS

    def hand_out(self, slots: int) -> tuple[int, Span, float | None] | None:
        """Return the next task (number, span, budget) and count it as out, or None if there is none.

        Parameters
        ----------
        slots : int
            Places this job could use at once, now.
        """
        if not self.open:
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
        self._clear_losses((out.start, stop))
        self.pending = put_back(self.pending, (stop, out.stop))
        self.pace = plans.blend(self.pace, seconds, stop - out.start)
        self.summary = plans.fold_summary(self.job.plan, self.summary, summary)
        self.dirty = True

    def stopped(self, task: int) -> None:
        """Note that a task was ended on request, or never sent; its items stay undone."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))

    def lost_task(self, task: int, code: str, why: str) -> None:
        """Note that a task is lost: its items are handed out again, unless they have cost too many workers."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))
        self.lost += 1
        if code in BLAMELESS:
            return
        times = self._note_loss((out.start, out.stop))
        if times > LOST_LIMIT:
            items = f" over items {out.start:,} to {out.stop - 1:,}" if self.job.items > 1 else ""
            self.end(
                Status.FAILED,
                {
                    "code": "WORKER_LOST",
                    "message": f"the cluster lost this job {times} times{items}; the last time: {why}",
                    "hint": "Look at the worker's log: it may run out of memory, or be stopped from outside.",
                },
            )

    def _note_loss(self, span: Span) -> int:
        times = 1 + max((n for at, n in self.losses.items() if span[0] <= at < span[1]), default=0)
        self._clear_losses(span)
        self.losses[span[0]] = times
        return times

    def _clear_losses(self, span: Span) -> None:
        for at in [at for at in self.losses if span[0] <= at < span[1]]:
            del self.losses[at]

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
