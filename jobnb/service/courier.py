"""Carries tasks to the cluster and messages back: everything the dispatcher says to Dask goes through here.

Dask's own threads call back into this module; they only put a message into the inbox. Dask is never the truth:
a future that vanished means that a task was lost, unless the store says that somebody wanted it stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import queue
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import KilledWorker

from jobnb.errors import JobnbError
from jobnb.job import JobRecord
from jobnb.service import plans
from jobnb.service.answers import Answers
from jobnb.service.cluster import Cluster
from jobnb.service.handing import Handed, Handing
from jobnb.service.ledger import Running
from jobnb.service.published import Published
from jobnb.service.wire import run_on
from jobnb.store import Store
from jobnb.store.jobs import to_us
from jobnb.store.payloads import INLINE_BYTES
from jobnb.worker import host, receipt
from jobnb.worker.request import TaskOutcome, TaskRequest
from jobnb.worker.supervisor import run_task

logger = logging.getLogger(__name__)

#: How long the cluster may take to hand over a result, and to take in data.
RESULT_SECONDS = 600
SCATTER_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A supervisor says how a task ended."""

    outcome: TaskOutcome

    @property
    def key(self) -> tuple[str, int]:
        """The job and the task."""
        return self.outcome.job, self.outcome.task


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A task will not come back."""

    job: str
    task: int
    why: str
    code: str = "WORKER_LOST"

    @property
    def key(self) -> tuple[str, int]:
        """The job and the task."""
        return self.job, self.task


@dataclass(frozen=True, kw_only=True)
class Said:
    """A running task says how far it is and what it printed. A hint: it may be lost, late, or twice."""

    job: str
    task: int
    worker: str = ""
    done: int = 0
    #: After how many items it is going to end, if not after all.
    most: int | None = None
    progress: tuple[float, float | None, str] | None = None
    log: tuple[tuple[int, int, str, str], ...] = ()


Message = Ended | Lost | Said
Inbox = queue.SimpleQueue[Message]


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A task on its way to the cluster."""

    job: JobRecord
    task: int
    span: tuple[int, int]
    attempt: int
    #: Seconds after which it ends between two items; None for no limit.
    budget: float | None = None
    #: It goes before those of its priority that were sent and have not begun.
    overtakes: bool = False
    #: It is known to be short, and may wait in line at a worker instead of at the scheduler: the way there and back
    #: costs as much as the task.
    short: bool = False
    #: All places were taken when it was handed out: it waits, and be it at a worker, behind another.
    ahead: bool = False
    #: The address of the worker at which it had better wait; "" where that does not matter.
    behind: str = ""

    @property
    def rank(self) -> int:
        """What the cluster takes first, the highest first: by its job's priority, then those that overtake."""
        return 2 * self.job.priority.rank + self.overtakes


@dataclass(kw_only=True)
class Courier:
    """Sends tasks to one cluster and puts what comes back into the inbox."""

    store: Store
    cluster: Cluster
    inbox: Inbox
    #: Where what is out outlives this service; None where the cluster is its own and ends with it.
    published: Published | None = None
    _futures: dict[tuple[str, int], Any] = field(default_factory=dict)
    _data: dict[str, dict[str, Any]] = field(default_factory=dict)
    _work: dict[str, bytes] = field(default_factory=dict)
    _stopping: set[tuple[str, int]] = field(default_factory=set)
    #: Tasks whose supervisors said that they are over, and whose outcome is on its way.
    _over: set[tuple[str, int]] = field(default_factory=set)
    #: Outcomes that came with that news, and of which attempt: fetching one costs as much as a small job. Empty ones
    #: are to be read from the receipt.
    _told: dict[tuple[str, int], tuple[int, bytes]] = field(default_factory=dict)
    #: The attempts of which a receipt may lie on the shared disk.
    _attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    #: Tasks that may wait in line at a worker.
    _in_line: set[tuple[str, int]] = field(default_factory=set)
    #: Jobs of which there may be other receipts, or claims: of former services, of tasks that were stopped or lost.
    _untidy: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.topic = f"jobnb-{self.store.id}"
        self._handing = Handing(store=self.store)
        #: Set when the connection to the scheduler broke, and with it all futures.
        self.broken = threading.Event()
        self._answers = Answers(self.store, self.cluster.client)
        self._share = _share_token(self.store.home) if self.cluster.shares_disk else None

    def listen(self) -> None:
        """Begin to receive what running tasks say."""
        self.cluster.client.subscribe_topic(self.topic, self._on_event)

    def send(self, errands: Sequence[Errand]) -> None:
        """Give tasks to the cluster, in this order; what becomes of them arrives in the inbox."""
        packed: list[tuple[Errand, bytes, Any, list[Any]]] = []
        for errand in errands:
            try:
                request, payload, data = self._pack(errand)
                packed.append((errand, request.pack(), payload, data))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others go
                self._unsent(errand, error)
        # What needs nothing that is on the cluster already goes in one message: one each costs as much as a small job.
        for (together, *how), group in itertools.groupby(
            packed, key=lambda each: (_alone(each), each[0].rank, each[0].short, each[0].behind)
        ):
            sent = list(group)
            for some in [sent] if together else [[each] for each in sent]:
                try:
                    futures = self._submit(some, *how)
                except Exception as error:  # noqa: BLE001 - Dask raises many kinds when a scheduler or worker goes away
                    for errand, *_ in some:
                        self._unsent(errand, error)
                    continue
                for (errand, *_), future in zip(some, futures, strict=True):
                    if errand.short or errand.ahead:
                        self._in_line.add((errand.job.id, errand.task))
                    self._follow(future, errand.job.id, errand.task, errand.attempt, errand.span[0])
        self._publish()

    def _submit(
        self, some: Sequence[tuple[Errand, bytes, Any, list[Any]]], rank: int, short: bool, behind: str
    ) -> list[Any]:
        errands, requests, payloads, data = zip(*some, strict=True)
        keys = [_key(errand.job.id, errand.task, errand.attempt) for errand in errands]
        settings: dict[str, Any] = {"pure": False, "retries": 0, "priority": rank}
        if short and self.cluster.workers:
            # What is said to go to some workers, be it all of them, the scheduler does not keep in its own line.
            settings |= {"workers": list(self.cluster.workers), "allow_other_workers": True}
        elif behind:
            settings |= {"workers": [behind], "allow_other_workers": True}
        if len(some) == 1:
            client = self.cluster.client
            return [client.submit(run_task, requests[0], payloads[0], *data[0], key=keys[0], **settings)]
        # Without keyword arguments of the function's, which `map` makes tasks of their own with keys of their own.
        return list(self.cluster.client.map(run_task, requests, payloads, key=keys, **settings))

    def _unsent(self, errand: Errand, error: Exception) -> None:
        job, task = errand.job.id, errand.task
        if isinstance(error, JobnbError):
            failed = _failed(job, task, errand.attempt, errand.span[0], error.code, error)
            self.inbox.put(Ended(outcome=failed))
            return
        logger.warning("task %s could not be sent: %r", f"{job}-{task}", error)
        self._data.pop(job, None)
        self.inbox.put(Lost(job=job, task=task, why=f"it could not be sent: {error!r}", code="CLUSTER_LOST"))

    def reattach(self, out: Mapping[tuple[str, int], Running]) -> dict[tuple[str, int], str]:
        """Follow those of a former service's tasks that the cluster still has; return their states there.

        What it has besides is stopped: nobody would ever read it.
        """
        if self.published is None:
            return {}
        try:
            found = self.published.found()
            states = {}
            for (job, task), running in out.items():
                future, state = found.pop(_key(job, task, running.attempt), (None, ""))
                if future is not None:
                    states[job, task] = state
                    self._follow(future, job, task, running.attempt, running.start)
            if found:
                self.cluster.client.cancel([future for future, _ in found.values()], force=True)
            self._publish()
            self.published.withdraw_former()
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds; without its answer the tasks count as lost
            logger.warning("what a former service has left on the cluster cannot be found: %r", error)
            self._futures.clear()
            return {}
        return states

    def _follow(self, future: Any, job: str, task: int, attempt: int, start: int) -> None:
        self._futures[job, task] = future
        self._attempts[job, task] = attempt
        if task or attempt > 1:
            self._untidy.add(job)
        future.add_done_callback(lambda done: self._on_done(done, job, task, attempt, start))

    def _publish(self) -> None:
        if self.published is not None:
            self.published.keep({future.key: future for future in self._futures.values()})

    def cancel(self, job: str, task: int) -> None:
        """Have a task stopped; its supervisor reports when the child is dead."""
        key = job, task
        future = self._futures.get(key)
        if future is None or key in self._over or future.status == "finished":
            # It has just ended by itself, and its outcome counts.
            return
        self._stopping.add(key)
        future.cancel(reason="user", msg="cancelled", force=True)

    def enough(self, job: str, task: int, attempt: int, worker: str, most: int) -> None:
        """Have a task end after so many items, or before its next one; it may be over before it hears it."""
        run_on(self.cluster.client, worker, host.enough, _key(job, task, attempt), most)

    def over(self, job: str, workers: Collection[str]) -> None:
        """Have workers let go of what they keep for the next task of a job that is over."""
        for worker in workers:
            run_on(self.cluster.client, worker, host.over, job)

    def cancel_all(self) -> None:
        """Have every task stopped; nobody waits for them."""
        futures = list(self._futures.values())
        self._stopping.update(self._futures)
        self._futures.clear()
        if futures and self.cluster.connected():
            self.cluster.client.cancel(futures, force=True)

    def forget(self, job: str, task: int) -> None:
        """Drop what is kept of a task that is settled."""
        future = self._futures.pop((job, task), None)
        if future is not None:
            self._publish()
        self._stopping.discard((job, task))
        self._over.discard((job, task))
        self._told.pop((job, task), None)
        self._in_line.discard((job, task))
        attempt = self._attempts.pop((job, task), None)
        if future is None or attempt is None or future.status != "finished":
            self._untidy.add(job)
        elif self.cluster.shares_disk:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_receipt(self.store.home, job, task, attempt))

    def close_job(self, job: str) -> None:
        """Drop what is kept of a job that is over, receipts of earlier services included."""
        self._data.pop(job, None)
        self._work.pop(job, None)
        self._handing.close_job(job)
        # A look at the folder for each small job would cost as much as writing down how it ended.
        if job in self._untidy:
            self._untidy.discard(job)
            self._drop_receipts(f"{job}-")

    def _drop_receipts(self, prefix: str) -> None:
        if not self.cluster.shares_disk:
            return
        # `Path.glob` takes ten times as long.
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.store.home / "receipts"):
                if name.startswith(prefix):
                    (self.store.home / "receipts" / name).unlink(missing_ok=True)

    def leave_to_successor(self) -> None:
        """Let go of every task, now that another service is in charge, which may follow them."""
        if self.published is None:
            self.cancel_all()
            return
        self._futures.clear()
        self.published.close(withdraw=False)
        self.published = None

    def close(self) -> None:
        """Stop listening."""
        self._answers.close()
        self._futures.clear()
        self._data.clear()
        if self.published is not None:
            self.published.close(withdraw=self.cluster.connected())
        if self.cluster.connected():
            # The client may be somebody else's and live on.
            self.cluster.client.unsubscribe_topic(self.topic)

    def receipt(self, job: str, task: int, attempt: int) -> TaskOutcome | None:
        """Return the outcome that a supervisor left on the shared disk, or None."""
        self._untidy.add(job)
        path = _receipt(self.store.home, job, task, attempt)
        try:
            return TaskOutcome.unpack(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, JobnbError, TypeError) as error:
            logger.warning("receipt %s cannot be read: %s", path.name, error)
            return None

    def _pack(self, errand: Errand) -> tuple[TaskRequest, Any, list[Any]]:
        job, task, span, attempt = errand.job, errand.task, errand.span, errand.attempt
        handed = self._handing.of(job.id) if job.options.get("given") else Handed()
        blobs = tuple(dict.fromkeys((*self.store.jobs.blobs(job.id), *handed.blobs)))
        options, snapshot = job.options, job.snapshot
        shared = self.cluster.shares_disk
        seed = snapshot.get("seed")
        request = TaskRequest(
            job=job.id,
            task=task,
            attempt=attempt,
            name=job.name,
            start=span[0],
            stop=span[1],
            budget=errand.budget,
            timeout=options.get("timeout"),
            memory_limit=options.get("memory_limit"),
            cancel_grace=float(options.get("cancel_grace") or 0.3),
            cwd=snapshot.get("cwd"),
            sys_path=tuple(snapshot.get("sys_path", ())),
            # Items of one job must not all draw the same numbers; the same item always draws the same.
            seed=None if seed is None else (int(seed) + span[0]) % 2**32,
            payload_hash=job.payload,
            blobs=blobs,
            blob_dir=str(self.store.blobs.folder) if shared else None,
            share_token=self._share,
            receipt_path=str(_receipt(self.store.home, job.id, task, attempt)) if shared else None,
            topic=self.topic,
            fire_at=None if job.fire_at is None else to_us(job.fire_at),
            by_hand=bool(snapshot.get("by_hand")),
            versions={"python": platform.python_version(), "cloudpickle": cloudpickle.__version__}
            | {str(k): str(v) for k, v in dict(snapshot.get("versions", {})).items()},
            carried=tuple(self.store.tasks.carried(job.id)) if plans.needs_others(job.plan, span[1]) else (),
            given=handed.packed,
        )
        known = self._data.setdefault(job.id, {})
        if not shared:
            for sha in blobs:
                if sha not in known:
                    known[sha] = self.cluster.client.scatter(
                        self.store.blobs.get(sha), hash=False, timeout=SCATTER_SECONDS
                    )
        data = [] if shared else [known[sha] for sha in blobs]
        payload: Any = self._work.get(job.id)
        if payload is None:
            payload = self._work[job.id] = self.store.payloads.get(job.payload)
        if len(payload) > INLINE_BYTES and shared:
            # The supervisor reads it from the store. A task that depends on data goes where the data is, busy or
            # not, and the embedded cluster does not steal it from there.
            payload = b""
        elif len(payload) > INLINE_BYTES:
            if "work" not in known:
                known["work"] = self.cluster.client.scatter(payload, hash=False, timeout=SCATTER_SECONDS)
            payload = known["work"]
        return request, payload, data

    # Called by Dask's threads

    def _on_done(self, future: Any, job: str, task: int, attempt: int, start: int) -> None:
        try:
            message = self._message(future, job, task, attempt, start)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with an outcome, the dispatcher must hear of it
            logger.warning("the outcome of task %s-%d did not arrive: %r", job, task, error)
            message = Lost(job=job, task=task, why=f"its outcome did not arrive: {error!r}")
        if message is not None:
            self.inbox.put(message)

    def _message(self, future: Any, job: str, task: int, attempt: int, start: int) -> Ended | Lost | None:
        if future.status == "finished":
            told, packed = self._told.pop((job, task), (0, b""))
            if told != attempt:
                packed = future.result(timeout=RESULT_SECONDS)
            if not packed:
                packed = _receipt(self.store.home, job, task, attempt).read_bytes()
            try:
                return Ended(outcome=TaskOutcome.unpack(packed))
            except (ValueError, TypeError) as error:
                return Ended(outcome=_failed(job, task, attempt, start, "OUTCOME_UNREADABLE", error))
        if future.status == "error":
            raised = future.exception()
            if isinstance(raised, JobnbError):
                return Ended(outcome=_failed(job, task, attempt, start, raised.code, raised))
            if isinstance(raised, ImportError):
                return Ended(outcome=_failed(job, task, attempt, start, "VERSION_MISMATCH", raised))
            self._data.pop(job, None)
            if (
                isinstance(raised, KilledWorker)
                and (job, task) in self._in_line
                and not self._began(job, task, attempt)
            ):
                return Lost(job=job, task=task, why="the worker at which it waited is gone", code="CLUSTER_LOST")
            return Lost(job=job, task=task, why=f"{type(raised).__name__}: {raised}")
        # Dask says "cancelled" for lost dependencies and lost schedulers as well; a stop that we asked for is
        # reported by the supervisor, or given up by the dispatcher.
        if (job, task) in self._stopping or self._futures.get((job, task)) is not future:
            return None
        self._data.pop(job, None)
        if not self.cluster.connected():
            if self.published is not None:
                # The cluster may still have it: the next dispatcher looks.
                self.broken.set()
                return None
            return Lost(job=job, task=task, why="the Dask scheduler went away", code="CLUSTER_LOST")
        return Lost(job=job, task=task, why="the cluster dropped it: data that it needs was lost with a worker")

    def _began(self, job: str, task: int, attempt: int) -> bool:
        """Tell whether a worker may have begun an attempt: Dask blames all that waited at a worker for its death."""
        if not self.cluster.shares_disk:
            return True
        paper = _receipt(self.store.home, job, task, attempt)
        return receipt.claim_path(paper).exists() or paper.exists()

    def _on_event(self, event: tuple[float, Any]) -> None:
        said = event[1]
        if said.get("kind") == "question":
            self._answers.put(said)
            return
        key = job, task = str(said["job"]), int(said["task"])
        if said.get("kind") == "ended":
            if key in self._stopping or said.get("state") == "cancelled":
                self.inbox.put(Lost(job=job, task=task, why="stopped"))
                return
            if key in self._futures:
                self._over.add(key)
                if said.get("outcome") is not None:
                    # Before the news that the future is done: both come by way of the scheduler, in this order.
                    self._told[key] = int(said["attempt"]), bytes(said["outcome"])
        progress = said.get("progress")
        self.inbox.put(
            Said(
                job=job,
                task=task,
                worker=str(said.get("worker") or ""),
                done=int(said.get("done") or 0),
                most=None if said.get("most") is None else int(said["most"]),
                progress=tuple(progress) if progress else None,
                log=tuple(tuple(line) for line in said.get("log") or ()),
            )
        )


def _alone(packed: tuple[Errand, bytes, Any, list[Any]]) -> bool:
    """Tell whether a packed task needs nothing but what it carries."""
    return isinstance(packed[2], bytes) and not packed[3]


def _key(job: str, task: int, attempt: int) -> str:
    # Dask keeps statistics by the first word of keys for ever: one word for all of ours.
    return f"jobnb-{job}-{task}:{attempt}"


def _receipt(home: Path, job: str, task: int, attempt: int) -> Path:
    return home / "receipts" / f"{job}-{task}-{attempt}"


def _share_token(home: Path) -> tuple[str, str]:
    """Return a file of the home folder and what it holds: whoever can read it there shares the disk."""
    path = home / "share-token"
    token = secrets.token_hex(16)
    part = path.with_suffix(".new")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    part.replace(path)
    return str(path), token


def _failed(job: str, task: int, attempt: int, start: int, code: str, error: BaseException) -> TaskOutcome:
    return TaskOutcome(
        job=job,
        task=task,
        attempt=attempt,
        state="failed",
        start=start,
        stop=start,
        error={"code": code, "type": type(error).__name__, "message": str(error)},
    )
