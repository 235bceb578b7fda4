"""Writes down what comes back from the cluster: outcomes once, progress and log lines now and then.

The dispatcher's right hand, in its thread. It changes the books (`Ledger`) only together with the store, and
every write is fenced by the lease.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobnb.errors import StoreError
from jobnb.job import Status
from jobnb.service import needs
from jobnb.service.courier import Courier, Ended, Lost, Message, Said
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.service.ledger import Ledger
from jobnb.store import Store
from jobnb.store.tasks import LogEntry

logger = logging.getLogger(__name__)

#: Log lines held back between two writes; a job that prints more than that loses some.
LINES_HELD = 20_000
#: The log of a job that runs is cut to its limit after so many lines.
TRIM_EVERY = 5_000

Kept = tuple[bytes | None, str | None]


@dataclass(kw_only=True)
class Recorder:
    """Takes in messages about tasks and writes how the jobs stand.

    Attributes
    ----------
    store, keeper, courier
        Where it writes, what it may write by, and who is told which tasks are settled.
    ledgers
        The open books by job; shared with the dispatcher.
    draw
        A random number from 0 to 1, for the jitter of retries.
    """

    store: Store
    keeper: LeaseKeeper
    courier: Courier
    ledgers: dict[str, Ledger]
    draw: Callable[[], float] = random.random
    _log: list[LogEntry] = field(default_factory=list)
    _written: Counter[str] = field(default_factory=Counter)

    def take_in(self, batch: Sequence[Message]) -> list[Ledger]:
        """Record a batch of messages, all or nothing; return the books that changed.

        Raises
        ------
        StoreError
            The store cannot be written now: take the same batch in again.
        """
        for message in batch:
            if isinstance(message, Said):
                self._hear(message)
        settling = [self._meant(m) for m in batch if not isinstance(m, Said) and self._known(m.key)]
        if not settling:
            return []
        try:
            return self._record(settling)
        except StoreError:
            raise
        except Exception as error:
            if len(settling) > 1:
                changed = [ledger for message in settling for ledger in self.take_in([message])]
                return [ledger for ledger in changed if self.ledgers.get(ledger.job.id) is ledger]
            # What a job gives back must never stop the service: it fails that job.
            logger.exception("the outcome of task %s cannot be stored", settling[0].key)
            if isinstance(settling[0], Lost):
                raise
            return self._record([Ended(outcome=_unstorable(settling[0], error))])

    def finish_if_over(self, ledger: Ledger) -> None:
        """Record the end of a job that no task will end."""
        if ledger.outcome() is not None:
            with self.store.tasks.fenced(self.keeper.lease):
                self.write_end(ledger)

    def flush(self) -> None:
        """Write what viewers should see of the jobs that run."""
        dirty = [b for b in self.ledgers.values() if b.dirty]
        if not dirty and not self._log:
            return
        lines = [line for line in self._log if line.job in self.ledgers]
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            for ledger in dirty:
                self.store.tasks.update(ledger.job.id, progress=ledger.shown_progress())
            self.store.tasks.add_log(lines)
            self._written.update(line.job for line in lines)
            for job in [job for job, count in self._written.items() if count >= TRIM_EVERY]:
                self.store.tasks.trim_log(job)
                del self._written[job]
        for ledger in dirty:
            ledger.dirty = False
        self._log.clear()

    def close_job(self, job: str) -> None:
        """Drop what is kept of a job that is over."""
        self._written.pop(job, None)

    def _known(self, key: tuple[str, int]) -> bool:
        ledger = self.ledgers.get(key[0])
        return ledger is not None and key[1] in ledger.running

    def _meant(self, message: Ended | Lost) -> Ended | Lost:
        """Return a loss for a task that did what nobody had asked for: only the store's word counts."""
        job, task = message.key
        out = self.ledgers[job].running[task]
        if isinstance(message, Ended) and message.outcome.state == "cancelled" and out.stopping_since is None:
            return Lost(job=job, task=task, why="its worker stopped it, which nobody had asked for")
        if isinstance(message, Ended) and message.outcome.stop > out.stop:
            # Dask ran it again, for another worker that left, and that one knew nothing of what was agreed.
            why = "it did items that it had left to others"
            return Lost(job=job, task=task, why=why, code="CLUSTER_LOST")
        return message

    def _hear(self, message: Said) -> None:
        ledger = self.ledgers.get(message.job)
        if ledger is None:
            return
        ledger.heard(message.task, done=message.done, progress=_progress(message.progress), worker=message.worker)
        stop = ledger.kept(message.task, message.most)
        if stop is not None:
            # Before anybody else is given them: what is written down is what a later service goes by.
            with self.store.tasks.fenced(self.keeper.lease, "normal"):
                self.store.tasks.shorten(message.job, message.task, stop)
            ledger.shortened(message.task, stop)
        if len(self._log) < LINES_HELD:
            self._log += _log_entries(message.job, message.task, message.log)

    def _record(self, settling: Sequence[Ended | Lost]) -> list[Ledger]:
        # Outside the transaction: writing a large file must not keep others from writing.
        kept = {m.key: self._keep(m) for m in settling if isinstance(m, Ended)}
        # Drafts, swapped in after the commit: a failed one leaves the books and the store as they were.
        drafts = {job: self.ledgers[job].draft() for job in {m.key[0] for m in settling}}
        with self.store.tasks.fenced(self.keeper.lease):
            for message in settling:
                job, task = message.key
                if task not in drafts[job].running:
                    continue  # The second message about it in this batch.
                retry_at = None
                if isinstance(message, Ended) and message.outcome.refused:
                    drafts[job].refused(task, message.outcome.error or {})
                elif isinstance(message, Ended) and message.outcome.state == "failed":
                    error = message.outcome.error or {}
                    now = self.store.clock()
                    held = needs.holds(self.store, drafts[job].job, error)
                    retry_at = drafts[job].failed_task(task, error, now=now, drawn=self.draw(), held=held)
                if self._settle(message, kept.get(message.key), retry_at):
                    drafts[job].held |= self._count(message)
                    self._book(drafts[job], message)
                else:
                    # A commit was reported as failed and had happened: the store is right.
                    drafts[job] = self._reread(drafts[job])
            for ledger in drafts.values():
                self.store.tasks.update(ledger.job.id, progress=ledger.shown_progress(), summary=ledger.summary)
                ledger.dirty = False
                self.write_end(ledger)
        self.ledgers.update(drafts)
        for message in settling:
            self.courier.forget(*message.key)
        return list(drafts.values())

    def _reread(self, ledger: Ledger) -> Ledger:
        job = self.store.jobs.get(ledger.job.id)
        assert job is not None
        fresh = Ledger.of(job, self.store.tasks.of(job.id))
        for task, out in fresh.running.items():
            fresh.running[task] = replace(ledger.running.get(task, out))
        return replace(
            fresh,
            pace=ledger.pace,
            guessed=ledger.guessed,
            rough=ledger.rough,
            ending=fresh.ending or ledger.ending,
            ends_at=ledger.ends_at,
            finish_at=ledger.finish_at,
            early=ledger.early,
            held=ledger.held,
            workers=ledger.workers,
        )

    def _keep(self, message: Ended) -> Kept:
        result = message.outcome.result
        return self.store.tasks.keep(result) if result is not None else (None, None)

    def _settle(self, message: Ended | Lost, kept: Kept | None, retry_at: int | None) -> bool:
        job, task = message.key
        if isinstance(message, Lost):
            out = self.ledgers[job].running[task]
            state = "cancelled" if out.stopping_since is not None else "lost"
            error = {"code": message.code if state == "lost" else "CANCELLED", "message": message.why}
            return self.store.tasks.settle(job, task, state=state, stop=out.start, error=error)
        outcome = message.outcome
        self.store.tasks.add_log(_log_entries(job, task, outcome.log))
        self._written[job] += len(outcome.log)
        return self.store.tasks.settle(
            job,
            task,
            state="cancelled" if outcome.refused else outcome.state,
            stop=outcome.stop,
            kept=kept or (None, None),
            failed_items=outcome.failed,
            error=outcome.error,
            worker=outcome.worker,
            started_at=outcome.started_at or None,
            finished_at=outcome.finished_at or None,
            artifacts=outcome.artifacts,
            retry_at=retry_at,
            carry=outcome.carry,
        )

    def _count(self, message: Ended | Lost) -> bool:
        """Count how a task ended for the outside services that its job needs; True if one is left alone now."""
        ledger = self.ledgers[message.key[0]]
        since = self.store.clock() - int((ledger.monotonic() - ledger.running[message.key[1]].since) * 1e6)
        outcome = message.outcome if isinstance(message, Ended) else None
        state = outcome.state if outcome else "lost"
        return needs.settled(self.store, ledger.job, state, since=since, outcome=outcome)

    def _book(self, ledger: Ledger, message: Ended | Lost) -> None:
        task = message.key[1]
        if isinstance(message, Lost):
            if ledger.running[task].stopping_since is not None:
                ledger.stopped(task)
            else:
                ledger.lost_task(task, message.code, message.why)
            return
        outcome = message.outcome
        if ledger.job.plan.get("type", "single") == "single":
            ledger.progress = _progress(outcome.progress) or ledger.progress
        if outcome.state == "completed":
            seconds = max(0, outcome.finished_at - outcome.started_at) / 1e6
            summary = None if outcome.summary is None else json.loads(json.dumps(outcome.summary, default=str))
            ledger.completed(task, stop=outcome.stop, failed=outcome.failed, seconds=seconds, summary=summary)
        elif outcome.state == "failed":
            pass  # Booked before it was written, because the row says when it is tried again.
        elif outcome.state == "cancelled":
            ledger.stopped(task)
        else:
            error = outcome.error or {}
            ledger.lost_task(task, str(error.get("code", "WORKER_LOST")), str(error.get("message", "the worker left")))

    def write_end(self, ledger: Ledger) -> bool:
        """Record how a job has ended, or that it waits for its next attempt; False if neither is so."""
        ending = ledger.outcome()
        if ending is None:
            return False
        self.store.tasks.trim_log(ledger.job.id)
        if ledger.early:
            self.store.tasks.update(ledger.job.id, summary=ledger.summary)
        if ending.status is Status.QUEUED:
            self.store.tasks.requeue(ledger.job.id, needs.WHY)
        elif ending.status is Status.RETRYING:
            self.store.tasks.put_off(
                ledger.job.id, retry_at=ending.retry_at, timeout=ending.timeout, error=ending.error
            )
        else:
            self.store.tasks.finish(ledger.job.id, ending.status, error=ending.error)
        return True


def _progress(said: Sequence[Any] | None) -> tuple[float, float, str] | None:
    """Return what a job says of its progress in a form that the store can hold: a job may say anything."""
    if said is None:
        return None
    current, total, text = said
    numbers = [float(n) if n is not None and math.isfinite(n) else 0.0 for n in (current, total)]
    return numbers[0], numbers[1], _text(text)


def _text(text: object) -> str:
    return str(text).encode("utf-8", "replace").decode()


def _log_entries(job: str, task: int, lines: Sequence[Sequence[Any]] | None) -> list[LogEntry]:
    return [
        LogEntry(job=job, task=task, seq=int(seq), at=int(at), stream=str(stream), text=_text(text))
        for seq, at, stream, text in lines or ()
    ]


def _unstorable(message: Ended, error: Exception) -> Any:
    return replace(
        message.outcome,
        state="failed",
        stop=message.outcome.start,
        result=None,
        summary=None,
        progress=None,
        failed=0,
        log=(),
        artifacts=(),
        worker="",
        carry=None,
        error={
            "code": "OUTCOME_UNSTORABLE",
            "type": type(error).__name__,
            "message": f"what the job gave back cannot be stored: {_text(error)}",
            "hint": "Write large or unusual results to a file and return its path.",
        },
    )
