"""Carries tasks to the cluster and messages back: everything the dispatcher says to Dask goes through here.

Dask's own threads call back into this module; they only put a message into the inbox. Dask is never the truth:
a future that vanished means that a task was lost, unless the store says that somebody wanted it stopped.
"""

from __future__ import annotations

import logging
import platform
import queue
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from jobnb.errors import JobnbError
from jobnb.job import JobRecord
from jobnb.service.cluster import Cluster
from jobnb.store import Store
from jobnb.worker.request import TaskOutcome, TaskRequest
from jobnb.worker.supervisor import run_task

logger = logging.getLogger(__name__)

#: Work up to this size travels with each task; larger work is put on the cluster once.
INLINE_BYTES = 64_000


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

    @property
    def key(self) -> tuple[str, int]:
        """The job and the task."""
        return self.job, self.task


@dataclass(frozen=True, kw_only=True)
class Said:
    """A running task says how far it is and what it printed. A hint: it may be lost, late, or twice."""

    job: str
    task: int
    done: int = 0
    progress: tuple[float, float, str] | None = None
    log: tuple[tuple[int, int, str, str], ...] = ()


Inbox = queue.SimpleQueue[Ended | Lost | Said | None]


@dataclass(kw_only=True)
class Courier:
    """Sends tasks to one cluster and puts what comes back into the inbox."""

    store: Store
    cluster: Cluster
    inbox: Inbox
    _futures: dict[tuple[str, int], Any] = field(default_factory=dict)
    _data: dict[str, dict[str, Any]] = field(default_factory=dict)
    _work: dict[str, bytes] = field(default_factory=dict)
    _stopping: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.topic = f"jobnb-{self.store.id}"
        self._share = _share_token(self.store.home) if self.cluster.shares_disk else None

    def listen(self) -> None:
        """Begin to receive what running tasks say."""
        self.cluster.client.subscribe_topic(self.topic, self._on_event)

    def send(self, job: JobRecord, task: int, span: tuple[int, int], attempt: int, budget: float | None) -> None:
        """Give a task to the cluster; what becomes of it arrives in the inbox."""
        try:
            request, payload, data = self._pack(job, task, span, attempt, budget)
            future = self.cluster.client.submit(
                run_task,
                request.pack(),
                payload,
                *data,
                key=request.key,
                pure=False,
                retries=0,
                priority=job.priority.rank,
            )
        except JobnbError as error:
            self.inbox.put(Ended(outcome=_refused(job, task, span, attempt, error)))
            return
        self._futures[job.id, task] = future
        future.add_done_callback(lambda done, key=(job.id, task): self._on_done(key, done))

    def cancel(self, job: str, task: int) -> None:
        """Have a task stopped; its supervisor reports when the child is dead."""
        future = self._futures.get((job, task))
        if future is not None:
            self._stopping.add((job, task))
            future.cancel(reason="user", msg="cancelled", force=True)

    def cancel_all(self) -> None:
        """Have every task stopped."""
        futures = list(self._futures.values())
        self._stopping.update(self._futures)
        if futures:
            self.cluster.client.cancel(futures, force=True)
        self._futures.clear()

    def forget(self, job: str, task: int) -> None:
        """Drop what is kept of a task that is settled."""
        self._futures.pop((job, task), None)
        self._stopping.discard((job, task))
        if self.cluster.shares_disk:
            for path in (self.store.home / "receipts").glob(f"{job}-{task}-*"):
                path.unlink(missing_ok=True)

    def close_job(self, job: str) -> None:
        """Drop what is kept of a job that is over."""
        self._data.pop(job, None)
        self._work.pop(job, None)

    def close(self) -> None:
        """Stop listening."""
        self._futures.clear()
        self._data.clear()

    def receipt(self, job: str, task: int, attempt: int) -> TaskOutcome | None:
        """Return the outcome that a supervisor left on the shared disk, or None."""
        path = _receipt(self.store.home, job, task, attempt)
        try:
            return TaskOutcome.unpack(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, JobnbError, TypeError) as error:
            logger.warning("receipt %s cannot be read: %s", path.name, error)
            return None

    def _pack(
        self, job: JobRecord, task: int, span: tuple[int, int], attempt: int, budget: float | None
    ) -> tuple[TaskRequest, Any, list[Any]]:
        blobs = tuple(self.store.jobs.blobs(job.id))
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
            budget=budget,
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
            versions={"python": platform.python_version(), "cloudpickle": cloudpickle.__version__}
            | {str(k): str(v) for k, v in dict(snapshot.get("versions", {})).items()},
        )
        known = self._data.setdefault(job.id, {})
        if not shared:
            for sha in blobs:
                if sha not in known:
                    known[sha] = self.cluster.client.scatter(self.store.blobs.get(sha), hash=False)
        data = [] if shared else [known[sha] for sha in blobs]
        payload: Any = self._work.get(job.id)
        if payload is None:
            payload = self._work[job.id] = self.store.blobs.get(job.payload)
        if len(payload) > INLINE_BYTES:
            if "work" not in known:
                known["work"] = self.cluster.client.scatter(payload, hash=False)
            payload = known["work"]
        return request, payload, data

    # Called by Dask's threads

    def _on_done(self, key: tuple[str, int], future: Any) -> None:
        job, task = key
        if future.status == "finished":
            self.inbox.put(Ended(outcome=TaskOutcome.unpack(future.result())))
            return
        if future.status == "error":
            error = future.exception()
            why = f"{type(error).__name__}: {error}"
        else:
            # Dask says "cancelled" for lost dependencies and lost schedulers as well; a stop that we asked for
            # is reported by the supervisor, or given up by the dispatcher.
            if key in self._stopping or self._futures.get(key) is not future:
                return
            why = "the cluster dropped it (lost data, or its scheduler went away)"
        self._data.pop(job, None)
        self.inbox.put(Lost(job=job, task=task, why=why))

    def _on_event(self, event: tuple[float, Any]) -> None:
        said = event[1]
        job, task = str(said["job"]), int(said["task"])
        if said.get("kind") == "ended" and said.get("state") == "cancelled":
            self.inbox.put(Lost(job=job, task=task, why="stopped"))
            return
        progress = said.get("progress")
        self.inbox.put(
            Said(
                job=job,
                task=task,
                done=int(said.get("done") or 0),
                progress=(float(progress[0]), float(progress[1] or 0), str(progress[2])) if progress else None,
                log=tuple(tuple(line) for line in said.get("log") or ()),
            )
        )


def _receipt(home: Path, job: str, task: int, attempt: int) -> Path:
    return home / "receipts" / f"{job}-{task}-{attempt}"


def _share_token(home: Path) -> tuple[str, str]:
    """Return a file of the home folder and what it holds: whoever can read it there shares the disk."""
    path = home / "share-token"
    token = secrets.token_hex(16)
    path.write_text(token)
    return str(path), token


def _refused(job: JobRecord, task: int, span: tuple[int, int], attempt: int, error: JobnbError) -> TaskOutcome:
    return TaskOutcome(
        job=job.id,
        task=task,
        attempt=attempt,
        state="failed",
        start=span[0],
        stop=span[0],
        error={"code": error.code, "type": type(error).__name__, "message": error.message},
    )
