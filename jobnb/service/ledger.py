"""The books of one job that runs: what is left to hand out, what is out, what came back. No I/O.

The dispatcher keeps one `Ledger` per running job, rebuilds it from the store after a restart, asks it what to
hand out next and tells it what happened; it writes down what the ledger says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobnb.job import JobRecord, Status
from jobnb.retry import Retry
from jobnb.service import needs, plans
from jobnb.service.retry import decide
from jobnb.service.spans import Span, count, missing, put_back, take
from jobnb.store.tasks import TaskRow

#: Ends of a child's process of which nobody knows over which item they came.
DEATHS = frozenset({"CHILD_CRASHED", "MEMORY_ERROR"})
#: Losses of which no item can be the reason: the service ended, the scheduler went away.
BLAMELESS = frozenset({"SERVICE_LOST", "CLUSTER_LOST"})
#: What a task says of itself comes five times a second at most; so many of these tell its pace.
REPORTS_KEPT = 8


@dataclass(kw_only=True)
class Running:
    """A task that is out: its span, and how far it says it is."""

    start: int
    stop: int
    attempt: int
    done: int = 0
    #: Monotonic time at which a worker said that it began.
    began_at: float | None = None
    #: All places were taken when it was handed out: it waits on the cluster behind another.
    ahead: bool = False
    #: Monotonic time at which it was handed out.
    since: float = field(default_factory=time.monotonic)
    #: Monotonic time of the request to stop it.
    stopping_since: float | None = None
    #: It is to tell how long items take.
    probe: bool = False
    #: Seconds after which it ends between two items; None for no limit.
    budget: float | None = None
    #: It waits before what others had sent ahead.
    overtakes: bool = False
    #: The address of its worker, once that has said that it has begun.
    worker: str = ""
    #: Monotonic time at which it was told to end before its next item.
    told_at: float | None = None
    #: Monotonic time at which it was asked to leave its last items to others, for as long as it has not said which.
    asked_at: float | None = None
    #: When it said how many items it had done, the last times: monotonic time, items.
    reports: tuple[tuple[float, int], ...] = ()
    #: The address of the worker at which it waits behind another; "" where that is left to the cluster.
    behind: str = ""

    @property
    def began(self) -> bool:
        """Whether a worker has said that it began."""
        return self.began_at is not None

    def seconds_left(self, pace: float, now: float) -> float:
        """Return how long it still takes, as far as is known: by its own reports, or by the pace of its job.

        Parameters
        ----------
        pace : float
            Seconds per item.
        now : float
            Monotonic time.
        """
        since, done = self.reports[-1] if self.reports else (self.began_at or now, 0)
        return (self.stop - self.start - done) * (self.pace or pace) - (now - since)

    @property
    def pace(self) -> float | None:
        """Seconds per item, by the later ones of its reports: the first items pay for the start of its process."""
        if len(self.reports) < 2:
            return None
        (first, some), (last, done) = self.reports[(len(self.reports) - 1) // 2], self.reports[-1]
        return (last - first) / (done - some)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job is going to end once its last task is back."""

    status: Status
    error: Mapping[str, Any] | None = None
    #: Of a job that is to be tried again: when (µs), and with which timeout.
    retry_at: int = 0
    timeout: float | None = None


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
    #: The pace is only what tasks that are out say of themselves: none has come back.
    guessed: bool = True
    #: The pace was measured by first tasks alone, which also paid for the start of their processes.
    rough: bool = True
    summary: dict[str, Any] | None = None
    running: dict[int, Running] = field(default_factory=dict)
    #: The addresses of those that have worked for it.
    workers: set[str] = field(default_factory=set)
    #: current, total, message: as the job itself reports it.
    progress: tuple[float, float, str] = (0.0, 0.0, "")
    ending: Ending | None = None
    #: How often workers were lost over the items from the key on.
    losses: dict[int, int] = field(default_factory=dict)
    #: How often the items from the key on have failed.
    failures: dict[int, int] = field(default_factory=dict)
    #: Single items that wait for their next attempt, and when (µs) it is due.
    delayed: dict[int, int] = field(default_factory=dict)
    #: No more items than this in a task: a process died over more, and nobody knows over which.
    most: int | None = None
    #: Monotonic time after which a job of many tasks has run too long.
    ends_at: float | None = None
    #: Monotonic time after which it ends with what it has.
    finish_at: float | None = None
    #: Why it ends with what it has: ``max_time`` or ``finish``.
    early: str = ""
    #: An outside service that it needs has failed too often: it goes back into the queue once its tasks are back.
    held: bool = False
    #: Monotonic time of its last sign of life.
    heard_at: float = field(default_factory=time.monotonic)
    #: Monotonic time at which one of its tasks was last told to end before its next item.
    gave_at: float = -math.inf
    monotonic: Callable[[], float] = field(default=time.monotonic, repr=False)
    #: Something changed that viewers should see, not yet written.
    dirty: bool = False

    @classmethod
    def of(cls, job: JobRecord, tasks: Iterable[TaskRow]) -> Ledger:
        """Open the books of a job from what the store has of it; its running tasks are left to the caller."""
        tasks = list(tasks)
        finished = [(t.start, t.stop) for t in tasks if t.state == "completed"]
        held = [(t.start, t.stop) for t in tasks if t.state == "running"]
        over = finished + held
        single = job.plan.get("type", "single") == "single"
        delayed = {
            t.start: t.retry_at
            for t in tasks
            if t.state == "failed" and t.retry_at and t.stop - t.start == 1 and not single
            if not any(start <= t.start < stop for start, stop in over)
        }
        ledger = cls(
            job=job,
            pending=missing(job.items, over + [(at, at + 1) for at in delayed]),
            delayed=delayed,
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
            elif t.state == "failed":
                ledger._reread_failure(t)
        return ledger

    def draft(self) -> Ledger:
        """Return a copy to try changes on, for as long as they are not stored."""
        return replace(
            self,
            pending=list(self.pending),
            running={task: replace(out) for task, out in self.running.items()},
            losses=dict(self.losses),
            failures=dict(self.failures),
            delayed=dict(self.delayed),
        )

    @property
    def attempt(self) -> int:
        """The number of the attempt that a task begun now would be."""
        return self.job.attempt + self.lost

    @property
    def single(self) -> bool:
        """True for a job of one call, which is retried as a whole."""
        return str(self.job.plan.get("type", "single")) == "single"

    @property
    def policy(self) -> Retry:
        """What is to happen when an attempt fails."""
        return Retry.of(self.job.options.get("retry")) or Retry()

    @property
    def open(self) -> bool:
        """True while there is something to hand out now."""
        return bool(self.pending) and self.ending is None and not self.held and self.pending[0][0] < self._horizon()

    def _horizon(self) -> int:
        """Return the item before which items may be handed out now."""
        items = self.job.items
        if "generation" not in self.job.plan and "finale" not in self.job.plan:
            return items
        undone = [*self.delayed, *(out.start for out in self.running.values()), *(start for start, _ in self.pending)]
        return plans.horizon(self.job.plan, min(undone, default=items), items)

    @property
    def short(self) -> bool:
        """True if its tasks are known to be back soon, so that one may wait behind another."""
        return self.pace is not None and self.pace <= plans.SLICE_SECONDS

    def hand_out(self, slots: int) -> tuple[int, Span, float | None] | None:
        """Return the next task (number, span, budget) and count it as out, or None if there is none.

        Parameters
        ----------
        slots : int
            Places this job could use at once, now.
        """
        if not self.open:
            return None
        end = self._horizon()
        left = count([(start, min(stop, end)) for start, stop in self.pending if start < end])
        first, last = self.pending[0]
        row = min(last, end) - first
        undone = self._undone(slots, left)
        size = plans.cut(self.job.plan, left=left, slots=slots, pace=self.pace, undone=undone, row=row)
        span, self.pending = take(self.pending, size.items if self.most is None else min(size.items, self.most))
        task, self.next_task = self.next_task, self.next_task + 1
        budget = size.budget
        if self.finish_at is not None and budget is not None:
            budget = min(budget, max(self.finish_at - self.monotonic(), plans.LEAST_SECONDS))
        self.running[task] = Running(
            start=span[0],
            stop=span[1],
            attempt=self.attempt,
            since=self.monotonic(),
            probe=self.pace is None,
            budget=budget,
        )
        return task, span, budget

    def _undone(self, slots: int, left: int) -> int:
        """Return how many items the other places have before them, more than the one that is the first to be free."""
        if not self.pace or left * self.pace > slots * plans.SWEEP_SECONDS:
            # With so much left tasks are cut by time alone; to ask all that are out would be long where they are many.
            return 0
        if len(self.running) > slots:
            # Who waits behind whom is not known. What will come back counts, or the next task would be cut too small.
            return sum(
                max(0, out.stop - out.start - int(out.budget / self.pace))
                for out in self.running.values()
                if out.budget is not None
            )
        now = self.monotonic()
        each = [
            min(out.stop - out.start, max(0, int(out.seconds_left(self.pace, now) / self.pace)))
            for out in self.running.values()
        ]
        return sum(each) - slots * (min(each) if len(each) == slots else 0)

    def heard(self, task: int, *, done: int, progress: tuple[float, float, str] | None, worker: str = "") -> None:
        """Note what a running task says of itself."""
        out = self.running.get(task)
        if out is None:
            return
        self.heard_at = self.monotonic()
        if worker:
            self.workers.add(worker)
        if not out.began:
            out.began_at = self.heard_at
        out.worker = out.worker or worker
        if done > out.done:
            out.reports = *out.reports[1 - REPORTS_KEPT :], (self.heard_at, done)
        out.done = max(out.done, min(done, out.stop - out.start))
        if self.guessed and out.done and not self.single:
            # Others need not wait for its end to know whether it is long. What it says first counts its start most.
            self.pace = out.pace or (self.heard_at - out.since) / out.done
        if progress is not None:
            self.progress = progress
        self.dirty = True

    def kept(self, task: int, most: int | None) -> int | None:
        """Return the item before which a task is going to end, as it says now; None if that is nothing new."""
        out = self.running.get(task)
        return out.start + most if out is not None and most and out.start + most < out.stop else None

    def shortened(self, task: int, stop: int) -> None:
        """Note that a task leaves the items from ``stop`` on to others: they are handed out now."""
        out = self.running[task]
        self.pending = put_back(self.pending, (stop, out.stop))
        out.stop, out.asked_at = stop, None
        self.dirty = True

    def completed(
        self, task: int, *, stop: int, failed: int, seconds: float, summary: Mapping[str, Any] | None
    ) -> None:
        """Note that a task came back with the items from its start to ``stop``; the rest is handed out again."""
        out = self.running.pop(task)
        self.done += stop - out.start
        self.failed += failed
        self.heard_at = self.monotonic()
        self._clear_losses((out.start, stop))
        self.pending = put_back(self.pending, (stop, out.stop))
        better = self.guessed or (self.rough and not out.probe)
        items = stop - out.start
        if plans.is_sweep(self.job.plan) and out.pace is not None:
            # What a process computes once it has for the next tasks.
            seconds = min(seconds, items * out.pace)
        self.pace = plans.blend(None if better else self.pace, seconds, items)
        self.guessed, self.rough = False, self.rough and out.probe
        self.summary = plans.fold_summary(self.job.plan, self.summary, summary)
        self.dirty = True

    def stopped(self, task: int) -> None:
        """Note that a task was ended on request, or never sent; its items stay undone."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))

    def failed_task(
        self, task: int, error: Mapping[str, Any], *, now: int, drawn: float, held: bool = False
    ) -> int | None:
        """Note that a task failed, and decide what becomes of its items.

        Parameters
        ----------
        task : int
        error : mapping
            What the supervisor says of the failure.
        now : int
            µs.
        drawn : float
            A random number from 0 to 1.
        held : bool, default False
            It has only found an outside service that it needs left alone: the job waits, and uses no retry.

        Returns
        -------
        int or None
            When (µs) the items are tried again; None if the job fails.
        """
        out = self.running.pop(task)
        size = out.stop - out.start
        if held:
            self.held = True
            self.pending = put_back(self.pending, (out.start, out.stop))
            return now
        if size > 1 and error.get("code") in DEATHS:
            # Nobody knows which item killed the process: fewer at a time, until it is alone.
            self.most = max(1, size // 2)
            self.pending = put_back(self.pending, (out.start, out.stop))
            return now
        # A Work that raises does so at its first item; what was done before came back as a part of its own.
        failures = self.failures[out.start] = self.failures.get(out.start, 0) + 1
        timeout = self.job.options.get("timeout")
        again = decide(self.policy, error, failures=failures, drawn=drawn, timeout=timeout)
        if again is None or self.ending is not None:
            self.pending = put_back(self.pending, (out.start, out.stop))
            self.end(Status.FAILED, error)
            return None
        due = now + int(again.seconds * 1e6)
        if self.single:
            self.pending = put_back(self.pending, (out.start, out.stop))
            self.ending = Ending(status=Status.RETRYING, error=error, retry_at=due, timeout=again.timeout)
        else:
            self.delayed[out.start] = due
            self.pending = put_back(self.pending, (out.start + 1, out.stop))
        return due

    def refused(self, task: int, error: Mapping[str, Any]) -> None:
        """Note that a task has found that the job is not to be done."""
        self.stopped(task)
        self.end(Status.CANCELLED, error)

    def _reread_failure(self, row: TaskRow) -> None:
        if row.retry_at is not None and needs.unasked(self.job, row.error or {}):
            return
        if row.retry_at is None:
            if row.attempt >= self.job.attempt:
                self.end(Status.FAILED, row.error)
        elif row.stop - row.start > 1 and (row.error or {}).get("code") in DEATHS:
            self.most = max(1, (row.stop - row.start) // 2)
        else:
            self.failures[row.start] = self.failures.get(row.start, 0) + 1

    def put_forward(self, by: int) -> None:
        """Have items that wait for their next attempt be due earlier, by so many µs: the clock was set back."""
        self.delayed = {item: due - by for item, due in self.delayed.items()}

    def wake(self, now: int) -> bool:
        """Put the items whose next attempt is due (µs) among those to hand out; True if there were any."""
        due = [at for at, when in self.delayed.items() if when <= now]
        for at in due:
            del self.delayed[at]
            self.pending = put_back(self.pending, (at, at + 1))
        return bool(due)

    def lost_task(self, task: int, code: str, why: str) -> None:
        """Note that a task is lost: its items are handed out again, unless they have cost too many workers."""
        out = self.running.pop(task)
        self.pending = put_back(self.pending, (out.start, out.stop))
        self.lost += 1
        if code in BLAMELESS:
            return
        times = self._note_loss((out.start, out.stop))
        if times > self.policy.max_lost:
            items = f" over items {out.start:,} to {out.stop - 1:,}" if self.job.items > 1 else ""
            self.end(
                Status.FAILED,
                {
                    "code": "WORKER_LOST",
                    "message": f"the cluster lost this job {times} times{items}; the last time: {why}",
                    "hint": "Look at the worker's log: it may run out of memory, or be stopped from outside. "
                    "Where workers come and go, allow more: retry=jobnb.Retry(max_lost=20).",
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

    def finish_early(self, why: str) -> None:
        """Decide that the job completes with what there is; what is out may come back."""
        if self.ending is None:
            self.ending = Ending(status=Status.COMPLETED)
            self.early = why
            self.finish_at = self.monotonic()
            self.summary = {**(self.summary or {}), "stopped": why}

    def outcome(self) -> Ending | None:
        """Return how the job has ended, or None while a task is out or left."""
        if self.running:
            return None
        if self.ending is not None and self.ending.status in (Status.FAILED, Status.RETRYING):
            return self.ending
        if not self.pending and not self.delayed:
            # All of it is there: a cancel that came too late changes nothing.
            return Ending(status=Status.COMPLETED)
        if self.ending is None and self.held:
            return Ending(status=Status.QUEUED)
        return self.ending

    def shown_progress(self) -> tuple[float, float, str]:
        """Return current, total, message for viewers: items for a sweep or map, else what the job reports."""
        if self.single:
            return self.progress
        live = sum(out.done for out in self.running.values())
        return (float(self.done + live), float(self.job.items), self.progress[2])
