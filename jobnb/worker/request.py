"""What the service says to a supervisor (`TaskRequest`) and what comes back (`TaskOutcome`), as plain records.

Service, supervisor and child import this module; it must stay free of heavy imports and never hold an object
that needs the user's code to be unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

import msgpack

from jobnb.errors import VersionMismatch

#: Version of both records on the wire.
WIRE_VERSION = 1

State = Literal["completed", "failed", "cancelled", "lost"]
#: A line of output: sequence number, time in µs UTC, stream ("stdout", "stderr", "log"), text.
LogLine = tuple[int, int, str, str]
#: current, total (None when unknown), message.
ProgressValue = tuple[float, float | None, str]

Record = TypeVar("Record", bound="_Wire")


@dataclass(frozen=True, kw_only=True)
class _Wire:
    """What both records share: the way to and from bytes."""

    v: int = WIRE_VERSION

    def pack(self) -> bytes:
        """Return the record as msgpack bytes."""
        return bytes(msgpack.packb({f.name: getattr(self, f.name) for f in fields(self)}))

    @classmethod
    def unpack(cls: type[Record], data: bytes) -> Record:
        """Return the record that `pack` wrote.

        Fields that this version does not know are ignored, so that a newer peer may add some.

        Raises
        ------
        VersionMismatch
            When the peer speaks another version of the wire format.
        """
        raw = msgpack.unpackb(data)
        if raw.get("v") != WIRE_VERSION:
            raise VersionMismatch(
                f"{cls.__name__} of wire version {raw.get('v')!r}, this process speaks {WIRE_VERSION}: "
                "install the same jobnb on the service and the workers."
            )
        known = {f.name for f in fields(cls)}
        return cls(**{name: cls._restored(value) for name, value in raw.items() if name in known})

    @classmethod
    def _restored(cls, value: Any) -> Any:
        """Return a field's value as it was: msgpack makes tuples to lists."""
        if not isinstance(value, list):
            return value
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)


@dataclass(frozen=True, kw_only=True)
class TaskRequest(_Wire):
    """One attempt at one task: which items, within which limits, in which surroundings.

    Attributes
    ----------
    job, task, attempt
        Together they name the attempt; the Dask key is ``f"{job}-{task}:{attempt}"``.
    start, stop
        The span of items ``[start, stop)``.
    budget
        Seconds after which the work may end early, between items.
    timeout
        Seconds after which the task is ended; None for no limit.
    memory_limit
        Bytes which the child and its own children may hold together; None for no limit.
    cancel_grace
        Seconds between SIGINT and SIGKILL.
    cwd, sys_path
        The submitter's working directory and what it added to its module path.
    seed
        Seeds ``random`` and ``numpy.random`` at the start of the task; fresh entropy when None. Each task of a
        job gets its own from the service.
    payload_hash
        Names the payload: a warm child that holds it already does not unpickle it again.
    blobs
        SHA-256 names of the data which the work needs.
    blob_dir
        The store's folder of blobs, usable when this host shares the disk.
    share_token
        ``(path, token)``: the disk is shared when the file can be read here and holds the token.
    receipt_path
        Where the outcome is also written, when the disk is shared.
    topic
        The Dask event topic for live updates; empty for none.
    versions
        Python and package versions of the submitter, for example ``{"python": "3.11.7"}``.
    fire_at
        µs UTC; of a run of a schedule, the moment that it is for.
    carried
        What finished tasks of the job left for later ones, in the order of their items.
    given
        The packed results of the job's parents, see `jobnb.handover`.
    by_hand
        Of a run of a schedule: somebody started it, and it is not to ask whether it is its time.
    """

    job: str
    task: int
    attempt: int
    start: int
    stop: int
    payload_hash: str
    name: str = ""
    budget: float | None = None
    timeout: float | None = None
    memory_limit: int | None = None
    cancel_grace: float = 0.3
    cwd: str | None = None
    sys_path: tuple[str, ...] = ()
    seed: int | None = None
    blobs: tuple[str, ...] = ()
    blob_dir: str | None = None
    share_token: tuple[str, str] | None = None
    receipt_path: str | None = None
    topic: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    fire_at: int | None = None
    carried: tuple[bytes, ...] = ()
    given: bytes = b""
    by_hand: bool = False

    @property
    def key(self) -> str:
        """The Dask key of this attempt."""
        return f"{self.job}-{self.task}:{self.attempt}"


@dataclass(frozen=True, kw_only=True)
class TaskError:
    """Why an attempt did not complete.

    Attributes
    ----------
    code
        For example ``USER_ERROR``, ``TIMEOUT_ERROR``, ``CHILD_CRASHED``.
    type
        Name of the exception's class; empty where there was none.
    where
        ``file:line in function`` of the user's innermost frame; empty where unknown.
    hint
        What to do about it; empty where there is nothing to say.
    bases
        Names of the exception's class and its bases below ``Exception``, blank-separated; empty for deaths.
    retry
        What the exception itself says of another attempt: empty, ``"never"``, ``"later"``, or seconds as text.
    """

    code: str
    message: str
    type: str = ""
    where: str = ""
    traceback: str = ""
    hint: str = ""
    bases: str = ""
    retry: str = ""

    def as_map(self) -> dict[str, str]:
        """Return the error as a plain map."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TaskOutcome(_Wire):
    """How an attempt ended.

    Attributes
    ----------
    state
        ``lost`` when neither the user nor the job ended it: the worker left, or the attempt ran before.
    stop
        How far it got: items ``[start, stop)`` are in ``result``. Equals ``start`` unless completed.
    error
        The fields of `TaskError`; None when completed.
    log, log_dropped
        The last lines of output, and how many earlier ones were let go.
    artifacts
        ``(name, content)`` of what the job saved.
    started_at, finished_at
        µs UTC.
    max_rss
        Bytes, the highest of the child's life so far.
    carry
        What later tasks of the job have to know of this one.
    refused
        Of a failed one: the job is not to be done, because its condition said no.
    kept
        Values that guarded calls gave: breaker, call, µs UTC, pickled value.
    """

    job: str
    task: int
    attempt: int
    state: State
    start: int
    stop: int
    result: bytes | None = None
    summary: Mapping[str, object] | None = None
    failed: int = 0
    error: Mapping[str, str] | None = None
    log: tuple[LogLine, ...] = ()
    log_dropped: int = 0
    progress: ProgressValue | None = None
    artifacts: tuple[tuple[str, bytes], ...] = ()
    started_at: int = 0
    finished_at: int = 0
    worker: str = ""
    host: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    max_rss: int = 0
    carry: bytes | None = None
    refused: bool = False
    kept: tuple[tuple[str, str, int, bytes], ...] = ()
