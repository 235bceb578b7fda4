"""What user code calls inside a job: progress, log lines, artifacts, and who am I.

Runs in the child process; outside a job every name here is harmless. It must stay free of heavy imports,
and a million calls of `progress` must cost next to nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    from jobnb.worker.client import JobClient

log = logging.getLogger(__name__)

Item = TypeVar("Item")
#: ``send(message)`` to the supervisor.
Send = Callable[[dict[str, object]], None]

#: Messages per second that a busy loop may cause, and how many may come at once after a quiet time.
_RATE_PER_SECOND = 20.0
_BURST = 20.0
#: A value that was held back is sent after this time, if none came after it.
_LATE_SECONDS = 0.25
#: How long a fork or the end of a task waits at most for a message that is being sent late.
_QUIET_SECONDS = 1.0
_LARGEST_ARTIFACT_BYTES = 256 << 20
#: How long a client that the job left open may take to say goodbye.
_CLOSE_SECONDS = 2.0


class Meter:
    """Relays the newest progress to the supervisor: seldom when called often, always at once when called seldom.

    A job may fall silent after a burst of calls: the value that was held back last is then sent late, by a timer. That
    is the only thread of ours in a forked child; it lives for a moment, and never across a fork.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        # Reentrant, because a signal handler of the job may report progress in the middle of a report.
        self._lock = threading.RLock()
        self._late: threading.Timer | None = None
        self._closed = False
        self._tokens = _BURST
        self._filled_at = time.monotonic()
        self._not_before = 0.0
        self._dirty = False
        self.done = 0
        self.most: int | None = None
        self.progress: tuple[float, float | None, str] | None = None

    def report(self, done: int) -> None:
        """Note how many items of the span are done."""
        self.done = done
        self._changed(False)

    def keep(self, most: int) -> None:
        """Say at once after how many items the task is going to end: the others are somebody else's."""
        self.most, self._dirty = most, True
        self.flush()

    def set(self, current: float, total: float | None, message: str) -> None:
        """Note what the user's code reports."""
        self.progress = (current, total, message)
        self._changed(current == total)

    def _changed(self, at_the_end: bool) -> None:
        self._dirty = True
        now = time.monotonic()
        if now < self._not_before and not at_the_end:
            if self._late is None:
                self._arm()
            return
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _RATE_PER_SECOND)
        self._filled_at = now
        if self._tokens < 1 and not at_the_end:
            self._not_before = now + (1 - self._tokens) / _RATE_PER_SECOND
            if self._late is None:
                self._arm()
            return
        self._tokens = max(0.0, self._tokens - 1)
        self.flush()

    def flush(self) -> None:
        """Send what was not sent yet."""
        with self._lock:
            if self._dirty and not self._closed:
                self._dirty = False
                self._send({"k": "progress", "done": self.done, "p": self.plain(), "most": self.most})

    def _arm(self) -> None:
        with self._lock:
            if self._late is not None or self._closed:
                return
            timer = threading.Timer(_LATE_SECONDS, self._send_late)
            timer.daemon = True
            self._late = timer
            try:
                timer.start()
            except RuntimeError:
                # No more threads for this process: its last value comes with the end, and nobody tries again.
                log.debug("no timer for late progress", exc_info=True)

    def _send_late(self) -> None:
        with self._lock:
            if self._late is not threading.current_thread():
                return
            self._late = None
            try:
                self.flush()
            except (OSError, ValueError, TypeError):
                # The supervisor has hung up, or the value is no number: the next call in the job's own thread says so.
                log.debug("late progress was not sent", exc_info=True)

    def quiet(self) -> None:
        """End the timer, sending at once what it would have sent: the process is about to fork."""
        timer, self._late = self._late, None
        if timer is None or timer is threading.current_thread():
            return
        timer.cancel()
        if timer.is_alive():
            timer.join(_QUIET_SECONDS)
        if self._lock.acquire(timeout=_QUIET_SECONDS):
            try:
                self.flush()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Send nothing from now on: what comes after the end of a task would count for the next one."""
        with self._lock:
            self._closed = True
            timer, self._late = self._late, None
        if timer is not None:
            timer.cancel()

    def abandon(self) -> None:
        """Send nothing from this copy of the process, whoever held the lock when it was forked."""
        self._lock = threading.RLock()
        self._closed = True
        self._late = None

    def plain(self) -> tuple[float, float | None, str] | None:
        """Return the progress in plain numbers: users count in numpy's, too."""
        if self.progress is None:
            return None
        current, total, message = self.progress
        return _plain(current), None if total is None else _plain(total), str(message)


def _plain(number: float) -> float:
    return number if type(number) in (int, float) else float(number)


class JobContext:
    """The running job, as its own code sees it.

    Attributes
    ----------
    id, name : str
        The job's id and name.
    task, attempt : int
        Which task of the job this is, and which attempt at it.
    seed : int or None
        The seed of this task's random numbers, when the job was given one.
    start, stop : int
        The span of items of this task.
    fire_at : datetime or None
        Of a run of a schedule: the moment that it is for, in UTC. Take data as of then, not as of now.
    by_hand : bool
        Of such a run: somebody started it, or does it again; no tick did.
    """

    def __init__(
        self,
        about: Mapping[str, object],
        meter: Meter,
        send: Send,
        cluster: Mapping[str, object] | None = None,
        *,
        enough: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.id = str(about["job"])
        self.name = str(about["name"])
        self.task = int(str(about["task"]))
        self.attempt = int(str(about["attempt"]))
        seed = about["seed"]
        self.seed: int | None = None if seed is None else int(str(seed))
        self.start = int(str(about["start"]))
        self.stop = int(str(about["stop"]))
        fire_at = about.get("fire_at")
        self.fire_at = None if fire_at is None else datetime.fromtimestamp(int(str(fire_at)) / 1e6, UTC)
        self.by_hand = bool(about.get("by_hand"))
        left = about.get("carried")
        self._carried: tuple[bytes, ...] = tuple(left) if isinstance(left, list | tuple) else ()
        self._meter = meter
        self._send = send
        self._cluster = cluster
        self._enough = enough
        self._lock = threading.Lock()
        self._clients: list[JobClient] = []

    def __repr__(self) -> str:
        return f"<JobContext {self.id} task {self.task} attempt {self.attempt}>"

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Report how far the job is; see `jobnb.progress`."""
        self._meter.set(current, total, message)

    def log(self, text: str) -> None:
        """Add a line to the job's log, without printing it."""
        self._send({"k": "log", "text": str(text), "t": time.time_ns() // 1000})

    def save(self, name: str, content: bytes | str | os.PathLike[str]) -> None:
        """Keep a file with the job.

        Parameters
        ----------
        name
            The artifact's name; saving the same name again replaces it.
        content
            The bytes, a text (stored as UTF-8), or the path of a file to take them from.

        Raises
        ------
        UsageProblem
            When the name is empty or has a directory in it, or the content is larger than 256 MiB.
        """
        if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name:
            raise UsageProblem(f"an artifact needs a plain file name, not {name!r}.")
        if isinstance(content, str):
            data = content.encode()
        elif isinstance(content, os.PathLike):
            data = Path(content).read_bytes()
        else:
            data = bytes(content)
        if len(data) > _LARGEST_ARTIFACT_BYTES:
            raise UsageProblem(
                f"artifact {name!r} has {len(data) >> 20} MiB; at most {_LARGEST_ARTIFACT_BYTES >> 20} MiB are "
                "kept with a job. Write it to a folder of yours and save its path."
            )
        self._send({"k": "artifact", "name": name, "data": data})

    def leave(self, carried: Sequence[bytes]) -> None:
        """Have this be what finished parts left for later ones (a work that does a whole job calls this)."""
        self._carried = tuple(carried)

    def client(self) -> JobClient:
        """Connect to the cluster that runs this job; see `jobnb.worker.context.client`."""
        from jobnb.worker.client import open_client

        opened = open_client(self._cluster, f"jobnb-{self.id}", self._client_closed)
        with self._lock:
            self._clients.append(opened)
            first = len(self._clients) == 1
        if first:
            self._send({"k": "secede"})
        return opened

    def _client_closed(self, client: JobClient) -> None:
        with self._lock:
            self._clients.remove(client)
            last = not self._clients
        if last:
            self._send({"k": "rejoin"})

    def close(self) -> None:
        """Close the clients that the job has left open (the child's main loop calls this)."""
        for opened in list(self._clients):
            try:
                opened.close(timeout=_CLOSE_SECONDS)
            except (TimeoutError, OSError, RuntimeError):
                log.warning("the job's Dask client did not close in %g s", _CLOSE_SECONDS, exc_info=True)


_current: JobContext | None = None


def enter(context: JobContext | None) -> None:
    """Make ``context`` the running job of this process (the child's main loop calls this)."""
    global _current
    _current = context


def current() -> JobContext | None:
    """Return the job that this code runs in, or None outside a job.

    Examples
    --------
    >>> current() is None
    True
    """
    return _current


def carried() -> tuple[bytes, ...]:
    """Return what finished tasks of this job left for later ones (`jobnb.work.Part.carry`); nothing outside a job."""
    return () if _current is None else _current._carried


def enough() -> int | None:
    """Return how many of its items the running task is to do at most: its place is wanted, or others can help it.

    0 or any number that it has reached is to end before its next item; None is to do all, as outside a job. A task that
    will go on for some items says so by `keep`. Never waits. It costs a call of the system: look some times a second,
    not at each item.
    """
    return None if _current is None else _current._enough()


def keep(most: int) -> None:
    """Say that the running task ends after so many of its items; those after them go to another one at once."""
    if _current is not None:
        _current._meter.keep(most)


def client() -> JobClient:
    """Return a Dask client, connected to the cluster that runs the job which calls this.

    While it is open the job's worker slot is free for other tasks, so that tasks submitted through it can run
    whatever else runs. Use it as a context manager; it is closed at the end of the task at the latest.

    Raises
    ------
    UsageProblem
        Outside a job.
    ClusterUnreachable
        The scheduler cannot be reached from the job's process.
    """
    context = _current
    if context is None:
        raise UsageProblem("there is no running job here, so there is no cluster that runs it.")
    return context.client()


def progress(current: float, total: float | None = None, message: str = "") -> None:
    """Report how far the running job is; does nothing outside a job.

    Parameters
    ----------
    current
        How much is done.
    total
        How much there is to do; None when unknown.
    message
        A few words for the card.

    Examples
    --------
    >>> progress(3, 10, "loading")
    """
    context = _current
    if context is not None:
        context.progress(current, total, message)


def track(iterable: Iterable[Item], total: float | None = None, message: str = "") -> Iterator[Item]:
    """Iterate, and report progress item by item; outside a job it only iterates.

    Parameters
    ----------
    iterable
        What to go through.
    total
        How many items there are; taken from ``len(iterable)`` when there is one.
    message
        A few words for the card.

    Examples
    --------
    >>> [x * x for x in track([1, 2, 3])]
    [1, 4, 9]
    """
    if total is None:
        try:
            total = len(iterable)  # type: ignore[arg-type]
        except TypeError:
            total = None
    progress(0, total, message)
    for done, item in enumerate(iterable, start=1):
        yield item
        progress(done, total, message)
