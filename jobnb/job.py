"""The plain records of a job: what it is, where it stands and how it ended; and the handle people hold.

Every process reads these records; only the store makes them. The `Job` handle keeps an id and asks its
manager for everything else, so it is as good after a kernel restart as before.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from jobnb.answer import Answer
from jobnb.errors import UnknownName

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from jobnb.manager import JobManager


class Status(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True once nothing more will happen to the job by itself."""
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Priority(StrEnum):
    """How urgent a job is; first come, first served within one priority."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low up to 3 for critical."""
        return list(Priority).index(self)


class JobType(StrEnum):
    """The kinds of job the seed systems name; any other text is a kind as well."""

    BACKTEST = "backtest"
    OPTIMIZATION = "optimize"
    DATA_EXTRACTION = "data"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is: ``current`` of ``total`` (0 where the total is not known) and a short message."""

    current: float = 0
    total: float = 0
    message: str = ""

    @property
    def percentage(self) -> float:
        """0 to 100; 0 where the total is not known."""
        return 100.0 * self.current / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class ErrorRecord:
    """Why an attempt or a job failed.

    ``code`` is stable (``USER_ERROR``, ``TIMEOUT_ERROR``, …), ``type`` the exception's class name, ``where``
    the user's innermost frame, ``hint`` what to do next.
    """

    code: str
    type: str = ""
    message: str = ""
    where: str = ""
    traceback: str = ""
    hint: str = ""

    @property
    def line(self) -> str:
        """One line: the exception and its message."""
        return f"{self.type}: {self.message}" if self.type else self.message

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ErrorRecord:
        """Build one from its JSON form; unknown keys are left out."""
        return cls(**{k: str(raw.get(k) or "") for k in ("code", "type", "message", "where", "traceback", "hint")})


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at one task of a job."""

    task: int
    attempt: int
    state: str
    worker: str
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorRecord | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job: what, when, by whom, and why."""

    at: datetime
    event: str
    who: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line that a job printed or logged."""

    at: datetime
    stream: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended, in the words of the seed systems: ``success``, ``data``, ``error``."""

    success: bool
    data: Any = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job's row, as of one moment."""

    id: str
    name: str
    kind: str
    status: Status
    cluster: str
    priority: Priority = Priority.NORMAL
    queue: str = "default"
    tags: tuple[str, ...] = ()
    #: What the card says was run: JSON values only.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: How the job is cut into tasks and folded: ``{"type": "single" | "map" | "grid" | …, "items": n, …}``.
    plan: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    payload: str = ""
    progress: Progress = Progress()
    #: Small JSON made for cards: the metrics of a backtest, the best rows of a sweep.
    summary: Mapping[str, Any] | None = None
    error: ErrorRecord | None = None
    #: Items of the plan done and failed, tasks in flight, and tasks settled.
    done: int = 0
    failed_items: int = 0
    running: int = 0
    settled: int = 0
    attempt: int = 1
    cancel_requested: bool = False
    cancelled_by: str = ""
    rerun_of: str = ""
    #: What the service has to say about a job that waits: no worker, cluster away.
    note: str = ""
    created_at: datetime
    #: Not before; of a job that is ``retrying``, when its next attempt is due.
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: Failed, and neither retried nor purged yet.
    dead: bool = False
    unique: str = ""
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    #: Of which schedule it is a run, and of which moment: its data are to be as of then.
    schedule: str = ""
    fire_at: datetime | None = None

    @property
    def items(self) -> int:
        """How many items the plan has: runs of a sweep, items of a map, 1 for a single call."""
        return int(self.plan.get("items", 1))

    @property
    def records(self) -> int | None:
        """How many records the job has processed, where it says so."""
        found = (self.summary or {}).get("records")
        return found if isinstance(found, int) else None

    def elapsed(self, now: datetime) -> float:
        """Seconds since the job started (since it was created while it waits), up to its end."""
        start = self.started_at or self.created_at
        return max(0.0, ((self.finished_at or now) - start).total_seconds())


@dataclass(frozen=True, kw_only=True)
class JobView:
    """Everything a card shows of a job: its row, its last log lines and its place in the queue."""

    job: JobRecord
    log: tuple[LogLine, ...] = ()
    log_total: int = 0
    #: 1 for the next one to start; 0 where that is not known or the job does not wait.
    queue_position: int = 0
    queue_length: int = 0
    now: datetime


def utcnow() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


class Job:
    """A handle on a job: what it says is read from the store each time it is asked.

    Two handles on one job are equal. A handle can be awaited (``await job``) and kept over a restart by its
    id: ``jobnb.get(id)``.
    """

    def __init__(self, job_id: str, manager: JobManager, *, duplicate: bool = False) -> None:
        self._id = job_id
        self._manager = manager
        self._duplicate = duplicate
        #: Set by the magic when it has just drawn this job's card, so that the cell's last line does not
        #: draw it again; the execution count of that cell.
        self._drawn_in: int | None = None

    @property
    def id(self) -> str:
        """The job's id; any unambiguous beginning of it works wherever an id is asked for."""
        return self._id

    @property
    def duplicate(self) -> bool:
        """True on what a submit returned whose ``unique`` key was taken: this is the job that has the key."""
        return self._duplicate

    @property
    def record(self) -> JobRecord:
        """The job's row, as of now."""
        return self._manager.record(self._id)

    @property
    def name(self) -> str:
        """The job's name."""
        return self.record.name

    @property
    def kind(self) -> str:
        """``job``, ``map``, ``backtest``, ``optimize``, …."""
        return self.record.kind

    @property
    def type(self) -> str:
        """The kind, by the name the seed systems use."""
        return self.record.kind

    @property
    def status(self) -> Status:
        """Where the job stands."""
        return self.record.status

    @property
    def progress(self) -> Progress:
        """How far the job is."""
        return self.record.progress

    @property
    def error(self) -> ErrorRecord | None:
        """Why the job failed, or None."""
        return self.record.error

    @property
    def params(self) -> Mapping[str, Any]:
        """What was run."""
        return self.record.params

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""
        return self.record.tags

    @property
    def priority(self) -> Priority:
        """The job's priority."""
        return self.record.priority

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """What is needed to run the job again: versions, seed, source, data fingerprints."""
        return self.record.snapshot

    @property
    def created_at(self) -> datetime:
        """When the job was accepted."""
        return self.record.created_at

    @property
    def started_at(self) -> datetime | None:
        """When the job's first task began, or None."""
        return self.record.started_at

    @property
    def finished_at(self) -> datetime | None:
        """When the job reached its final state, or None."""
        return self.record.finished_at

    @property
    def completed_at(self) -> datetime | None:
        """The end, by the name the seed systems use."""
        return self.record.finished_at

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Every attempt at every task, oldest first."""
        return self._manager.attempts(self._id)

    @property
    def events(self) -> Sequence[Event]:
        """The job's history: every change of its state, oldest first."""
        return self._manager.events(self._id)

    @property
    def artifacts(self) -> Mapping[str, bytes]:
        """What the job saved by ``jobnb.current().save(name, data)``."""
        return self._manager.artifacts(self._id)

    @property
    def parents(self) -> Sequence[Job]:
        """The jobs that this one waits for, or has waited for; those that were removed are left out."""
        return self._manager.parents(self._id)

    @property
    def children(self) -> Sequence[Job]:
        """The jobs that wait for this one, or have waited for it, oldest first."""
        return self._manager.children(self._id)

    @property
    def records_processed(self) -> int:
        """Records that the job has processed so far: bars of an extraction.

        Of any other job, what its function returned as ``records_processed`` or ``records_collected``; else 0.
        """
        return self.record.records or 0

    @property
    def outcome(self) -> Outcome | None:
        """``success``, ``data``, ``error`` of a finished job, None before."""
        return self._manager.outcome(self._id)

    def done(self) -> bool:
        """Return True once the job is completed, failed or cancelled."""
        return self.record.status.final

    def wait(self, timeout: float | None = None) -> Job:
        """Block until the job has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; without it, as long as it takes.

        Returns
        -------
        Job
            This job, so that calls can be chained.

        Raises
        ------
        TimeoutError
            After ``timeout`` seconds. The job goes on.
        """
        self._manager.wait([self._id], timeout=timeout)
        return self

    @property
    def result(self) -> Answer:
        """``result()`` waits for the job and returns its value, see `Answer`; ``result.data`` does not wait."""
        return Answer(self._manager, self._id)

    def report(self, path: str | os.PathLike[str], timeout: float | None = None, *, partial: bool = False) -> Path:
        """Wait for the job and write a tear sheet of its result: one HTML file that needs no network.

        There is one of backtests, of searches (with how much of the best run is luck; the best run is done once more,
        as a job of its own, for its curve), of walk-forwards and of cross-validations.

        Parameters
        ----------
        path : path
            The file. One that is there is replaced at once when the new one is complete.
        timeout : float, optional
            Seconds to wait at most.
        partial : bool, default False
            Of what the finished tasks gave, at once; see `result`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        UsageProblem
            There is no report of such a job, or the file cannot be written (code ``USAGE_ERROR``).
        JobFailed, JobCancelled, TimeoutError
            As `result`.
        """
        return self._manager.report(self._id, path, timeout, partial=partial)

    def cancel(self) -> bool:
        """Ask for the job to be stopped; return False if it had ended already."""
        return self._manager.cancel(self._id)

    def finish(self) -> bool:
        """Have a running search of parameters complete with the runs it has; return False if it had ended already.

        Raises
        ------
        UsageProblem
            The job is no search, or has not begun.
        """
        return self._manager.finish(self._id)

    def rerun(self, *, verify: bool = False, **changes: Any) -> Job:
        """Submit the same work again as a new job, with the same seed.

        Parameters
        ----------
        verify : bool, default False
            Wait for it and compare: an error if it does not give what this job gave.
        **changes
            Options to change, such as ``name``, ``priority`` or ``timeout``.

        Raises
        ------
        NotReproduced
            With ``verify``: the results differ (code ``NOT_REPRODUCED``).
        """
        return self._manager.rerun(self._id, verify=verify, **changes)

    def retry(self, **changes: Any) -> Job:
        """Try a failed or cancelled job again, as a new job that takes over what this one had finished.

        A job that waits for its next attempt gets it now. A search of parameters that was ended early, by `finish` or
        its ``max_time``, goes on where it was. One that was cancelled because a parent failed waits for the newest
        retry of that parent.
        """
        return self._manager.retry(self._id, **changes)

    def logs(self, tail: int | None = None) -> str:
        """Return what the job printed and logged, or only the last ``tail`` lines."""
        return "\n".join(line.text for line in self._manager.log(self._id, tail=tail))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._manager.wait_async(self._id).__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        try:
            job = self.record
        except UnknownName:
            return f"<Job {self._id} (removed)>"
        count = f" {job.progress.current:,.0f}/{job.progress.total:,.0f}" if job.progress.total > 1 else ""
        return f"<Job {job.id} {job.name} ({job.kind}) {job.status}{count}>"

    def _ipython_display_(self) -> None:
        from jobnb.notebook.cards import show

        show(self)
