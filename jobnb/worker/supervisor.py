"""The Dask task: supervises one child while it runs one task of a job, and always returns an outcome.

Runs in a task thread of the Dask worker. It never runs user code, never unpickles what the user made, and never
raises for anything a job does.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distributed import Worker, get_worker

from jobnb import handover
from jobnb.errors import BlobMissing
from jobnb.worker import blobs, cancellation, receipt
from jobnb.worker.asking import Questions
from jobnb.worker.channel import Wake
from jobnb.worker.client import access
from jobnb.worker.host import host
from jobnb.worker.output import LogRing
from jobnb.worker.relay import Relay, small
from jobnb.worker.request import State, TaskError, TaskOutcome, TaskRequest
from jobnb.worker.slot import Slot
from jobnb.worker.supervision import Supervision
from jobnb.worker.verdict import Stop
from jobnb.worker.weight import reads_light

log = logging.getLogger(__name__)

#: How often a supervisor asks what became of its task: often where no plugin tells it, seldom, as a safeguard, else.
_ASK_UNTOLD_SECONDS = 0.1
_ASK_TOLD_SECONDS = 2.0


def run_task(request: bytes, payload: bytes, *data: bytes) -> bytes:
    """Run one attempt at one task in a child process; this is what the service submits to Dask.

    Parameters
    ----------
    request
        A packed `TaskRequest`.
    payload
        The pickled `jobnb.work.Work`; only the child unpickles it. Empty where it is read from the store's disk.
    *data
        The contents of the request's ``blobs``, in order, when this host does not share the store's disk.

    Returns
    -------
    bytes
        A packed `TaskOutcome`, whatever the job did; nothing where that is large and lies in the receipt.

    Raises
    ------
    VersionMismatch
        When the request is of another version of jobnb.
    """
    asked = TaskRequest.unpack(request)
    worker, key = _place(asked)
    shared = blobs.shares_disk(asked.share_token)
    paper = Path(asked.receipt_path) if shared and asked.receipt_path else None
    if paper is not None:
        before = receipt.earlier(paper, asked)
        if before is not None:
            return before if small(before) else b""
        if not _claimed(paper):
            return _lost(asked, "an earlier run of this attempt ended without an outcome: its worker died.").pack()
    if not payload and shared and asked.blob_dir is not None:
        try:
            payload = (Path(asked.blob_dir) / asked.payload_hash).read_bytes()
        except OSError as error:
            return _missing(asked, f"the job's work cannot be read from the store ({error}).").pack()
    outcome, relay = _run(asked, payload, data, worker, key, shared)
    packed = outcome.pack()
    # Whoever reads it there need not fetch it by way of the scheduler, which costs as much as a small job.
    kept = paper is not None and _written(paper, packed, asked.key)
    told = packed if small(packed) else b"" if kept else None
    relay.event("ended", outcome.state, time.monotonic(), outcome.finished_at, told)
    return packed if told is None else told


def _written(paper: Path, packed: bytes, key: str) -> bool:
    try:
        receipt.write(paper, packed)
    except OSError as error:
        # The receipt is for the case that this worker dies now; Dask has the outcome all the same.
        log.warning("no receipt for %s: %s", key, error)
        return False
    return True


def _claimed(paper: Path) -> bool:
    try:
        return receipt.claim(paper)
    except OSError as error:
        log.warning("no claim at %s: %s", paper, error)
        return True


def _place(asked: TaskRequest) -> tuple[Worker | None, str]:
    try:
        worker = get_worker()
    except ValueError:
        return None, asked.key  # called directly, without Dask
    return worker, str(worker.get_current_task())


def _run(
    asked: TaskRequest,
    payload: bytes,
    data: tuple[bytes, ...],
    worker: Worker | None,
    key: str,
    shared: bool,
) -> tuple[TaskOutcome, Relay]:
    """Run the attempt; return how it ended, and by whom to tell it."""
    here = host()
    name = "" if worker is None else str(worker.address)
    owner = "" if worker is None else str(worker.id)
    blank = TaskOutcome(
        job=asked.job,
        task=asked.task,
        attempt=asked.attempt,
        state="failed",
        start=asked.start,
        stop=asked.start,
        started_at=time.time_ns() // 1000,
        worker=name,
        host=socket.gethostname(),
    )
    ring = LogRing()
    send = _sender(worker, asked.topic)
    about: dict[str, object] = {"job": asked.job, "task": asked.task, "attempt": asked.attempt, "worker": name}
    relay = Relay(send, about, ring)
    try:
        paths = blobs.provide(asked.blobs, data, asked.blob_dir if shared else None, here.cache)
    except BlobMissing as error:
        missing = TaskError(code=error.code, type="BlobMissing", message=error.message)
        return replace(blank, error=missing.as_map(), finished_at=time.time_ns() // 1000), relay
    wake = Wake()
    slot = Slot()
    questions = Questions(send, about, lambda: wake.set("answer"))
    here.watch(owner, key, wake)
    here.mailbox.watch(questions)
    try:
        supervision = Supervision(
            request=asked,
            payload=payload,
            paths=paths,
            ring=ring,
            relay=relay,
            wake=wake,
            ask=_asker(worker, key),
            ask_seconds=_ASK_TOLD_SECONDS if here.attached(owner) else _ASK_UNTOLD_SECONDS,
            slot=slot,
            questions=questions,
            cluster=access(worker),
        )
        light = not asked.blobs and here.weights.light(asked.name, payload)
        light = light and (not asked.given or all(map(reads_light, handover.pickles(asked.given))))
        child = here.pool.take(asked.job, _slots(worker), light=light)
        outcome = supervision.run(child, blank, here.pool)
        if child.light and supervision.heavy:
            here.weights.was_heavy(asked.name)
    finally:
        here.unwatch(owner, key)
        here.mailbox.unwatch(questions)
        wake.close()
        slot.close()
    return outcome, relay


def _slots(worker: Worker | None) -> int:
    return os.cpu_count() or 1 if worker is None else int(worker.state.nthreads)


def _sender(worker: Worker | None, topic: str) -> Callable[[dict[str, object]], None] | None:
    if worker is None or not topic:
        return None

    def send(event: dict[str, object]) -> None:
        try:
            worker.log_event(topic, event)
        except RuntimeError:
            # The worker's loop is closed: nobody listens any more, and the outcome is what counts.
            log.debug("event not sent", exc_info=True)

    return send


def _asker(worker: Worker | None, key: str) -> Callable[[], Stop | None]:
    """Return a function that says what became of the task."""
    if worker is None:
        return lambda: None
    return functools.partial(cancellation.verdict, worker, key)


def _lost(asked: TaskRequest, message: str) -> TaskOutcome:
    return _unrun(asked, "lost", TaskError(code="WORKER_LOST", message=message))


def _missing(asked: TaskRequest, message: str) -> TaskOutcome:
    return _unrun(asked, "failed", TaskError(code=BlobMissing.code, type="BlobMissing", message=message))


def _unrun(asked: TaskRequest, state: State, error: TaskError) -> TaskOutcome:
    now = time.time_ns() // 1000
    return TaskOutcome(
        job=asked.job,
        task=asked.task,
        attempt=asked.attempt,
        state=state,
        start=asked.start,
        stop=asked.start,
        error=error.as_map(),
        started_at=now,
        finished_at=now,
        host=socket.gethostname(),
    )
