"""The loop at the heart of the service: read the store, hand out tasks, record outcomes. One thread.

It only reads, asks pure code (`Ledger`, `choose`, `cut`) what to do, and writes that down, each write fenced by
the lease. Dask's threads do nothing but put messages into its inbox.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from jobnb.errors import LeaseLost, StoreError
from jobnb.job import Status
from jobnb.service.choice import Candidate, choose
from jobnb.service.cluster import Cluster
from jobnb.service.courier import Courier, Ended, Lost, Said
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.service.ledger import Ledger
from jobnb.store import Store
from jobnb.store.tasks import LogEntry

logger = logging.getLogger(__name__)

#: How long the loop sleeps at most before it looks at the store: with work out, and without.
BUSY_POLL_SECONDS = 0.01
IDLE_POLL_SECONDS = 0.02
#: Progress and log lines are written this often at most.
FLUSH_SECONDS = 0.2
#: The cluster's places are counted this often.
COUNT_SECONDS = 1.0
#: After a cancel, a task of which no worker ever said that it began counts as never run.
NEVER_BEGAN_SECONDS = 0.3
#: After a cancel, beyond the grace, a task that is not reported dead is given up.
GIVE_UP_SECONDS = 5.0
#: Waiting jobs looked at in one go.
WAITING_LIMIT = 64
#: Why the loop ended.
IDLE, STOPPED, LEASE_LOST = "idle", "stopped", "lease lost"


@dataclass(kw_only=True)
class Dispatcher:
    """Runs the jobs of one store on one cluster, for as long as it holds the lease.

    Attributes
    ----------
    store, cluster, keeper
        What it reads and writes, where it sends tasks, and what it may write by.
    idle_timeout : float or None
        Leave after this many seconds without a live job and without anybody writing to the store.
    """

    store: Store
    cluster: Cluster
    keeper: LeaseKeeper
    idle_timeout: float | None = None
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._name = self.keeper.lease.cluster
        self._inbox: queue.SimpleQueue[Ended | Lost | Said | None] = queue.SimpleQueue()
        self._courier = Courier(store=self.store, cluster=self.cluster, inbox=self._inbox)
        self._ledgers: dict[str, Ledger] = {}
        self._order = 0
        self._orders: dict[str, int] = {}
        self._log: list[LogEntry] = []
        self._slots = 0
        self._seen: int | None = None
        self._waiting = True
        self._next_scheduled: int | None = None
        self._last_event = 0

    # The loop

    def run(self, stop: threading.Event) -> str:
        """Dispatch until told to stop; return why it ended (`IDLE`, `STOPPED`, `LEASE_LOST`)."""
        self._courier.listen()
        try:
            self._recover()
            return self._loop(stop)
        except LeaseLost:
            logger.warning("another service has taken over; leaving")
            self._courier.cancel_all()
            return LEASE_LOST
        finally:
            self._courier.close()

    def _loop(self, stop: threading.Event) -> str:
        flush_at = count_at = 0.0
        active_at = self.monotonic()
        batch: list[Ended | Lost | Said] = []
        while True:
            batch += self._receive(BUSY_POLL_SECONDS if self._ledgers else IDLE_POLL_SECONDS)
            if self.keeper.lost.is_set():
                raise LeaseLost
            if stop.is_set() or self.keeper.stop_requested.is_set():
                self._hand_back()
                return STOPPED
            self.keeper.alive()
            now = self.monotonic()
            try:
                if now >= count_at:
                    count_at = now + COUNT_SECONDS
                    self._count()
                news = self._anything_new()
                if self._ledgers or (news and self._anybody_there()):
                    active_at = now
                if batch:
                    self._take_in(batch)
                    batch = []
                if news:
                    self._look_for_cancels()
                self._give_up_on_the_dead(now)
                self._hand_out()
                if now >= flush_at:
                    flush_at = now + FLUSH_SECONDS
                    self._flush()
            except (apsw.BusyError, apsw.LockedError, StoreError) as error:
                # What was received is kept and taken in again: a settled task cannot be settled twice.
                logger.warning("the store cannot be written now: %s", error)
                time.sleep(0.5)
                continue
            if self._may_leave(now, active_at):
                return IDLE

    def _receive(self, timeout: float) -> list[Ended | Lost | Said]:
        got: list[Ended | Lost | Said] = []
        try:
            first = self._inbox.get(timeout=timeout)
            while True:
                if first is not None:
                    got.append(first)
                first = self._inbox.get_nowait()
        except queue.Empty:
            return got

    def _anything_new(self) -> bool:
        version = self.store.version()[0]
        due = self._next_scheduled is not None and self._next_scheduled <= self.store.clock()
        if version == self._seen and not due:
            return False
        self._seen = version
        lease = self.store.leases.get(self._name)
        if lease is not None and lease.stop_requested:
            self.keeper.stop_requested.set()
        if due or self._next_scheduled is None:
            self._next_scheduled = self.store.tasks.next_scheduled(self._name)
            if self._next_scheduled is not None and self._next_scheduled <= self.store.clock():
                with self.store.tasks.fenced(self.keeper.lease, "normal"):
                    self.store.tasks.wake_scheduled(self._name)
                self._next_scheduled = self.store.tasks.next_scheduled(self._name)
        self._waiting = True
        return True

    def _anybody_there(self) -> bool:
        """Tell whether somebody did something to a job since the last look; a renewed lease does not count."""
        last, self._last_event = self._last_event, self.store.jobs.last_event()
        return last != self._last_event

    def _may_leave(self, now: float, active_at: float) -> bool:
        if self.idle_timeout is None or self._ledgers or now - active_at < self.idle_timeout:
            return False
        return not self.store.jobs.any_live(self._name)

    def _count(self) -> None:
        slots = self.cluster.slots()
        if slots == self._slots:
            return
        self._slots = slots
        self._waiting = True
        self.keeper.tell(slots=slots, workers=self.cluster.workers())
        note = "" if slots else "the cluster has no worker"
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            self.store.tasks.note_waiting(self._name, note)

    # Taking up jobs and handing out tasks

    def _recover(self) -> None:
        """Open the books of the jobs that a former service left running."""
        for job in self.store.tasks.running(self._name):
            ledger = Ledger.of(job, self.store.tasks.of(job.id))
            self._adopt(ledger)
            for task, out in list(ledger.running.items()):
                outcome = self._courier.receipt(job.id, task, out.attempt)
                message = (
                    Ended(outcome=outcome)
                    if outcome
                    else Lost(job=job.id, task=task, why="the service that ran it has ended")
                )
                self._take_in([message])
            if job.id in self._ledgers:
                self._finish_if_over(self._ledgers[job.id])

    def _adopt(self, ledger: Ledger) -> None:
        self._ledgers[ledger.job.id] = ledger
        self._order += 1
        self._orders[ledger.job.id] = self._order

    def _free(self) -> int:
        out = sum(len(ledger.running) for ledger in self._ledgers.values())
        return self._slots * self.cluster.window - out

    def _hand_out(self) -> None:
        """Fill the window: choose a job for each free place, write its task down, send it."""
        free = self._free()
        if free <= 0 or not (self._waiting or any(b.pending for b in self._ledgers.values())):
            return
        self._take_up(free)
        chosen: list[tuple[Ledger, int, tuple[int, int], float | None]] = []
        while free > 0:
            ledger = self._choose()
            if ledger is None:
                break
            # A second task per place only hides the round trip; it must not make the pieces smaller.
            places = max(1, min(free, self._slots - len(ledger.running)))
            handed = ledger.hand_out(places)
            if handed is None:
                break
            task, span, budget = handed
            chosen.append((ledger, task, span, budget))
            free -= 1
        if not chosen:
            return
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            for ledger, task, (start, stop), _ in chosen:
                attempt = ledger.running[task].attempt
                self.store.tasks.begin(ledger.job.id, task, start, stop, attempt, self.keeper.lease.epoch)
        for ledger, task, span, budget in chosen:
            self._courier.send(ledger.job, task, span, ledger.running[task].attempt, budget)

    def _take_up(self, free: int) -> None:
        """Make the next waiting jobs running, as many as could start now."""
        if not self._waiting:
            return
        waiting = self.store.tasks.waiting(self._name, WAITING_LIMIT)
        self._waiting = bool(waiting)
        if not waiting:
            return
        # A job that could not start before those that run already stays in the queue, where it can be cancelled
        # at once and overtaken.
        busy = [b.job.priority.rank for b in self._ledgers.values() if b.pending]
        waiting = [job for job in waiting if job.priority.rank >= max(busy, default=0)]
        room = free if not busy else max(1, free // 2)
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            taken = [job for job in waiting[:room] if self.store.tasks.start_job(job.id)]
        for job in taken:
            fresh = self.store.jobs.get(job.id)
            if fresh is not None:
                self._adopt(Ledger.of(fresh, self.store.tasks.of(job.id)))
        self._waiting = len(waiting) > len(taken)

    def _choose(self) -> Ledger | None:
        candidates = [
            Candidate(job=job, rank=b.job.priority.rank, out=len(b.running), order=self._orders[job])
            for job, b in self._ledgers.items()
            if b.pending and b.ending is None and (b.pace is not None or len(b.running) < self._slots)
        ]
        job = choose(candidates)
        return self._ledgers[job] if job else None

    # Recording what happened

    def _take_in(self, batch: Sequence[Ended | Lost | Said]) -> None:
        for message in batch:
            if isinstance(message, Said):
                self._heard(message)
        settling = [m for m in batch if not isinstance(m, Said) and self._known(m.key)]
        if not settling:
            return
        kept = {m.key: self._keep(m) for m in settling if isinstance(m, Ended)}
        # Drafts, swapped in after the commit: a failed one leaves the books and the store as they were.
        drafts = {job: self._ledgers[job].draft() for job in {m.key[0] for m in settling}}
        with self.store.tasks.fenced(self.keeper.lease):
            for message in settling:
                if self._settle(message, kept.get(message.key)):
                    self._book(drafts[message.key[0]], message)
                else:
                    drafts[message.key[0]].running.pop(message.key[1], None)
            for ledger in drafts.values():
                self._write_standing(ledger)
                self._write_end(ledger)
        self._ledgers.update(drafts)
        for message in settling:
            self._courier.forget(*message.key)
        for ledger in drafts.values():
            self._conclude(ledger)

    def _known(self, key: tuple[str, int]) -> bool:
        ledger = self._ledgers.get(key[0])
        return ledger is not None and key[1] in ledger.running

    def _keep(self, message: Ended) -> tuple[bytes | None, str | None]:
        result = message.outcome.result
        return self.store.tasks.keep(result) if result is not None else (None, None)

    def _settle(self, message: Ended | Lost, kept: tuple[bytes | None, str | None] | None) -> bool:
        job, task = message.key
        if isinstance(message, Lost):
            out = self._ledgers[job].running[task]
            error = {"code": "WORKER_LOST", "message": message.why}
            state = "cancelled" if out.stopping_since is not None else "lost"
            return self.store.tasks.settle(job, task, state=state, stop=out.start, error=error)
        outcome = message.outcome
        self.store.tasks.add_log(_log_entries(job, task, outcome.log))
        return self.store.tasks.settle(
            job,
            task,
            state=outcome.state,
            stop=outcome.stop,
            kept=kept or (None, None),
            failed_items=outcome.failed,
            error=outcome.error,
            worker=outcome.worker,
            started_at=outcome.started_at or None,
            finished_at=outcome.finished_at or None,
            artifacts=outcome.artifacts,
        )

    def _book(self, ledger: Ledger, message: Ended | Lost) -> None:
        task = message.key[1]
        if isinstance(message, Lost):
            if ledger.running[task].stopping_since is not None:
                ledger.stopped(task)
            else:
                ledger.lost_task(task, message.why)
            return
        outcome = message.outcome
        if outcome.progress is not None and ledger.job.plan.get("type", "single") == "single":
            current, total, text = outcome.progress
            ledger.progress = (float(current), float(total or 0), str(text))
        if outcome.state == "completed":
            seconds = max(0, outcome.finished_at - outcome.started_at) / 1e6
            ledger.completed(task, stop=outcome.stop, failed=outcome.failed, seconds=seconds, summary=outcome.summary)
        elif outcome.state == "failed":
            ledger.stopped(task)
            ledger.end(Status.FAILED, outcome.error)
        elif outcome.state == "cancelled":
            ledger.stopped(task)
        else:
            ledger.lost_task(task, str((outcome.error or {}).get("message", "the worker left")))

    def _heard(self, message: Said) -> None:
        ledger = self._ledgers.get(message.job)
        if ledger is None:
            return
        ledger.heard(message.task, done=message.done, progress=message.progress)
        self._log += _log_entries(message.job, message.task, message.log)

    def _write_standing(self, ledger: Ledger) -> None:
        self.store.tasks.update(ledger.job.id, progress=ledger.shown_progress(), summary=ledger.summary)
        ledger.dirty = False

    def _write_end(self, ledger: Ledger) -> None:
        ending = ledger.outcome()
        if ending is not None:
            self.store.tasks.trim_log(ledger.job.id)
            self.store.tasks.finish(ledger.job.id, ending.status, error=ending.error)

    def _conclude(self, ledger: Ledger) -> None:
        """Close the books of a job that is over; stop the other tasks of one that is going to be."""
        if ledger.outcome() is None:
            if ledger.ending is not None:
                self._stop_tasks(ledger)
            return
        del self._ledgers[ledger.job.id]
        del self._orders[ledger.job.id]
        self._courier.close_job(ledger.job.id)

    def _finish_if_over(self, ledger: Ledger) -> None:
        """Record the end of a job that no task will end, and close its books."""
        if ledger.outcome() is not None:
            with self.store.tasks.fenced(self.keeper.lease):
                self._write_end(ledger)
        self._conclude(ledger)

    def _flush(self) -> None:
        """Write what viewers should see of the jobs that run."""
        dirty = [b for b in self._ledgers.values() if b.dirty]
        if not dirty and not self._log:
            return
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            for ledger in dirty:
                self.store.tasks.update(ledger.job.id, progress=ledger.shown_progress())
            self.store.tasks.add_log([line for line in self._log if line.job in self._ledgers])
        for ledger in dirty:
            ledger.dirty = False
        self._log.clear()

    # Stopping

    def _look_for_cancels(self) -> None:
        for job in self.store.tasks.cancel_requests(self._name):
            ledger = self._ledgers.get(job)
            if ledger is not None and ledger.ending is None:
                ledger.end(Status.CANCELLED)
                self._finish_if_over(ledger)

    def _stop_tasks(self, ledger: Ledger) -> None:
        for task, out in ledger.running.items():
            if out.stopping_since is None:
                out.stopping_since = self.monotonic()
                self._courier.cancel(ledger.job.id, task)

    def _give_up_on_the_dead(self, now: float) -> None:
        """Settle stopped tasks of which nobody will report the end."""
        for ledger in list(self._ledgers.values()):
            grace = float(ledger.job.options.get("cancel_grace", 0.3))
            for task, out in list(ledger.running.items()):
                if out.stopping_since is None:
                    continue
                patience = GIVE_UP_SECONDS + grace if out.began else NEVER_BEGAN_SECONDS
                if now - out.stopping_since > patience:
                    why = "stopped; its worker did not confirm it" if out.began else "stopped before it began"
                    self._take_in([Lost(job=ledger.job.id, task=task, why=why)])

    def _hand_back(self) -> None:
        """Put every running job back into the queue, for the next service; finished tasks are kept."""
        self._courier.cancel_all()
        with self.store.tasks.fenced(self.keeper.lease):
            for job, ledger in self._ledgers.items():
                for task, out in ledger.running.items():
                    self.store.tasks.settle(job, task, state="cancelled", stop=out.start)
                self.store.tasks.requeue(job, "the service was stopped; it goes on with the next one")
        self._ledgers.clear()


def _log_entries(job: str, task: int, lines: Sequence[Sequence[Any]] | None) -> list[LogEntry]:
    return [
        LogEntry(job=job, task=task, seq=int(seq), at=int(at), stream=str(stream), text=str(text))
        for seq, at, stream, text in lines or ()
    ]
