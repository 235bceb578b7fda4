"""Queues at the front door: the handle people hold, and what `JobManager` can do with them.

It checks what people write and stores it; the service keeps to it at its next claim. (Not ``queue.py``: a submodule of
that name would hide ``jobnb.queue(…)``.)
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from jobnb import config, submission
from jobnb.durations import seconds, spoken
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Job, JobRecord, Status, utcnow
from jobnb.option import Options
from jobnb.retry import Retry
from jobnb.store.queues import INHERITED, QueueRecord
from jobnb.waiter import POLL_SECONDS, SERVICE_CHECK_SECONDS

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.research.instruments import Prices

_LONGEST_NAME = 200
#: The queue of jobs that name none.
DEFAULT = "default"
_LIMITS = ("max_concurrent", "max_tasks")
_RETRY = ("max_retries", "retry_delay")
#: What may be said of a queue.
SETTINGS = (*_LIMITS, *_RETRY, *INHERITED)
#: The same, by the names that the seed systems have for it.
_SYNONYMS = {
    "max_concurrent_jobs": "max_concurrent",
    "job_timeout": "timeout",
    "max_runtime": "timeout",
    "retry_attempts": "max_retries",
}
#: What can be done to a queue.
WORDS = ("pause", "resume", "drain", "remove")
#: States in which a job of a queue waits.
_WAITING = (Status.QUEUED, Status.SCHEDULED, Status.RETRYING)


class Queue:
    """A queue of jobs; made and found by `jobnb.queue`.

    It keeps its name and asks the store for everything else, so it is as good after a kernel restart as before.
    """

    def __init__(self, name: str, manager: JobManager) -> None:
        self.name = name
        self._manager = manager

    # What there is

    @property
    def record(self) -> QueueRecord:
        """Everything that was said of it, as of now; of one that nobody has defined, that it has no limits."""
        found = self._manager.store.queues.get(self.name)
        if found is None:
            now = utcnow()
            found = QueueRecord(name=self.name, at=now, created_at=now)
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """What was said of it: ``max_concurrent``, ``max_tasks``, and the defaults of its jobs."""
        record = self.record
        limits = {name: value for name in _LIMITS if (value := getattr(record, name)) is not None}
        return {**limits, **record.defaults}

    @property
    def state(self) -> str:
        """``open``, ``paused``, ``draining`` or, once that is over, ``drained``."""
        state = self.record.state
        return "drained" if state == "draining" and not self._manager.store.queues.live(self.name) else state

    @property
    def counts(self) -> dict[str, int]:
        """How many of its jobs there are in each state."""
        found = self._manager.store.queues.counts(self.name)
        return {status.value: found.get(status.value, 0) for status in Status}

    @property
    def waiting(self) -> int:
        """How many of its jobs have still to run: waiting for their turn, for their time, or for another attempt."""
        counts = self.counts
        return sum(counts[status] for status in _WAITING)

    @property
    def running(self) -> int:
        """How many of its jobs run."""
        return self.counts[Status.RUNNING]

    def jobs(self, status: str | Sequence[str] | None = None, limit: int = 50) -> list[Job]:
        """Return its newest jobs, newest first."""
        manager = self._manager
        return [Job(r.id, manager) for r in manager.records(status, limit=limit, queue=self.name)]

    # Handing in jobs

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``fn(*args, **kwargs)`` as a job of this queue; see `jobnb.submit`."""
        return self._manager.submit(fn, args, kwargs, self._options)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Job:
        """Run a function over many items as one job of this queue; see `jobnb.map`."""
        return self._manager.map(fn, items, self._options)

    def backtest(self, strategy: Callable[..., Any], data: Prices, **params: Any) -> Job:
        """Run one backtest as a job of this queue; see `jobnb.backtest`."""
        return self._manager.backtest(strategy, data, params, self._options)

    def optimize(self, strategy: Callable[..., Any], data: Prices, space: Mapping[str, Any], **more: Any) -> Job:
        """Search a strategy's parameters as one job of this queue; see `jobnb.optimize`."""
        return self._manager.optimize(strategy, data, space, self._options, **more)

    def extract(self, symbols: str | Iterable[str], **more: Any) -> Job:
        """Fetch prices as one job of this queue; see `jobnb.extract`."""
        return self._manager.extract(symbols, self._options, **more)

    @property
    def _options(self) -> Options:
        return Options().merge(queue=self.name)

    # Turning it

    def pause(self) -> None:
        """Begin none of its jobs until `resume`; those that run go on, and new ones are accepted."""
        self._turn("paused")

    def resume(self) -> None:
        """Let its jobs begin again, and accept new ones."""
        self._turn("open")
        self._manager.ensure_service()

    def drain(self, timeout: float | str | None = None, *, wait: bool = True) -> None:
        """Accept no new job until `resume`, let those that are there run, and wait until they have ended.

        Jobs that are to start later and those between two attempts are there too.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or ``"5m"``, to wait at most.
        wait : bool, default True
            False: return at once.

        Raises
        ------
        TimeoutError
            After ``timeout``; the queue goes on draining.
        UsageProblem
            Somebody has paused or opened it meanwhile.
        """
        most = None if timeout is None else seconds(timeout, "timeout")
        self._turn("draining")
        if self._manager.store.queues.live(self.name):
            self._manager.ensure_service()
        if wait:
            self._wait_until_drained(most)

    def remove(self) -> None:
        """Forget all that was said of it; its jobs stay, and run without limits."""
        self._manager.store.queues.remove(self.name)

    def _turn(self, state: str) -> None:
        self._manager.store.queues.turn(self.name, state, submission.who())

    def _wait_until_drained(self, timeout: float | None) -> None:
        manager, queues = self._manager, self._manager.store.queues
        ends = None if timeout is None else time.monotonic() + timeout
        check_at = time.monotonic() + SERVICE_CHECK_SECONDS
        seen: tuple[int, int] | None = None
        while True:
            if (version := manager.version()) != seen:
                seen = version
                left = queues.live(self.name)
                if not left:
                    return
                record = self.record
                if record.state != "draining":
                    raise UsageProblem(
                        f"queue {self.name!r} is not drained any more: {state_words(record) or 'it was opened'}. "
                        f"{_jobs(left)} to go."
                    )
            now = time.monotonic()
            if ends is not None and now >= ends:
                raise TimeoutError(
                    f"queue {self.name!r} is not empty after {timeout:g} s: {_jobs(left)} to go. It goes on draining."
                )
            if now >= check_at:
                check_at = now + SERVICE_CHECK_SECONDS
                manager.ensure_service()
            time.sleep(POLL_SECONDS)

    def __repr__(self) -> str:
        return f"<Queue {self.name}: {' · '.join(part for part in row(self)[1:] if part)}>"

    def _repr_html_(self) -> str:
        return Queues([self])._repr_html_()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def row(queue: Queue) -> tuple[str, ...]:
    """Return what a table shows of a queue."""
    record, counts = queue.record, queue.counts
    limits = [f"{record.max_concurrent:,} at once"] if record.max_concurrent else []
    limits += [f"{record.max_tasks:,} tasks at once"] if record.max_tasks else []
    waiting = sum(counts[status] for status in _WAITING)
    numbers = f"{waiting:,} waiting, {counts[Status.RUNNING]:,} running"
    if failed := counts[Status.FAILED]:
        numbers += f", {failed:,} failed"
    state = state_words(record)
    if record.state == "draining" and not waiting and not counts[Status.RUNNING]:
        state = state.replace("draining", "drained", 1)
    return queue.name, ", ".join(limits) or "no limits", _defaults(record.defaults), numbers, state


def _defaults(said: Mapping[str, Any]) -> str:
    """Return the defaults of a queue's jobs in words."""
    parts: list[str] = []
    for name, value in said.items():
        match name:
            case "retry":
                retry = Retry(**value)
                often = "1 retry" if retry.max_retries == 1 else f"{retry.max_retries} retries"
                parts.append(f"{often} after {spoken(retry.delay)}" if retry.max_retries else "no retries")
            case "timeout" | "deadline" | "cancel_grace":
                parts.append(f"{name.replace('_', ' ')} {spoken(value)}")
            case "memory_limit":
                parts.append(f"memory limit {value / 2**20:,.0f} MiB")
            case "tags":
                parts.append(f"tags {', '.join(value)}")
            case _:
                parts.append(f"{name} {value}")
    return ", ".join(parts)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def state_words(record: QueueRecord) -> str:
    """Return who has paused a queue, or drains it, and when; empty for an open one."""
    if record.state == "open":
        return ""
    at, today = record.at.astimezone(), utcnow().astimezone()
    when = f"{at:%H:%M}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M}"
    return f"{record.state}{f' by {record.by}' if record.by else ''} at {when}"


class Queues(list[Queue]):
    """Several queues; a notebook shows them as a table."""

    HEAD = ("queue", "limits", "defaults of its jobs", "jobs", "state")

    def __repr__(self) -> str:
        if not self:
            return "no queues"
        rows = [self.HEAD, *(row(each) for each in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in rows)

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no queues</p>"
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row(each)) + "</tr>"
            for each in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Queueing:
    """``queue``, ``queues``; mixed into `JobManager`."""

    @property
    def _queued(self) -> JobManager:
        return cast("JobManager", self)

    def queue(self, name: str, **settings: Any) -> Queue:
        """Define a queue, change it, or find it; see `jobnb.queue`."""
        manager = self._queued
        if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
            raise UsageProblem(f"a queue needs a name of 1 to {_LONGEST_NAME} characters, not {name!r}.")
        queues = manager.store.queues
        if not settings:
            if name != DEFAULT and queues.get(name) is None and not queues.has_jobs(name):
                known = [each.name for each in self.queues()]
                error = unknown("queue", name, known)
                raise type(error)(f"{error.message} Define it by what holds for it: max_concurrent=2, timeout='1h', ….")
            return Queue(name, manager)
        said = _said(settings)
        with manager.store.database.writing():
            old = queues.get(name)
            limits = {limit: said.get(limit, getattr(old, limit, None)) for limit in _LIMITS}
            queues.put(name, **limits, defaults=_merged(old.defaults if old else {}, said))
        return Queue(name, manager)

    def queues(self) -> Queues:
        """Return the queues that were defined, and those that are named by jobs which have not ended; by name."""
        manager = self._queued
        queues = manager.store.queues
        names = {record.name for record in queues.all()} | set(queues.named_by_jobs())
        return Queues(Queue(name, manager) for name in sorted(names))


def _said(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked settings by their own names; those that are to be forgotten are None.

    Raises
    ------
    UnknownName, UsageProblem
        A name that is none, or a value that does not fit.
    """
    said: dict[str, Any] = {}
    for given, value in settings.items():
        name = _SYNONYMS.get(given, given)
        if name not in SETTINGS:
            raise unknown("setting", given, SETTINGS, of="queue")
        if name in said:
            raise UsageProblem(f"{given} says {name} a second time.")
        said[name] = value if value is None else _checked(name, value)
    if said.get("retry") is not None and any(said.get(name) is not None for name in _RETRY):
        raise UsageProblem("say retry=jobnb.Retry(…), or max_retries and retry_delay, but not both.")
    return said


def _checked(name: str, value: Any) -> Any:
    if name in _LIMITS or name == "max_retries":
        least = 0 if name == "max_retries" else 1
        whole = int(value) if isinstance(value, str) and value.isdigit() else value
        if isinstance(whole, bool) or not isinstance(whole, int) or whole < least:
            raise UsageProblem(f"{name} must be a whole number of at least {least}, not {value!r}.")
        return whole
    if name == "retry_delay":
        return 0.0 if value in (0, "0") else seconds(value, name)
    checked = getattr(Options().merge(**{name: value}), name)
    match name:
        case "priority":
            return checked.value
        case "tags":
            return list(checked)
        case "retry":
            return checked.to_json()
    return checked


def _merged(old: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a queue after a change."""
    defaults = dict(old)
    for name in INHERITED:
        if name in said:
            defaults[name] = said[name]
    if any(name in said for name in _RETRY):
        pairs = (("max_retries", said.get("max_retries")), ("delay", said.get("retry_delay")))
        own: dict[str, Any] = {field: value for field, value in pairs if value is not None}
        kept = Retry.of(defaults.get("retry") or config.retry()) or Retry()
        if own.get("delay"):
            # A longer first delay than the longest of all would be cut.
            own["max_delay"] = max(kept.max_delay, own["delay"])
        defaults["retry"] = Retry(**{**kept.to_json(), **own}).to_json() if own else None
    return {name: value for name, value in defaults.items() if value is not None}


def turned(manager: JobManager, name: str, what: str, settings: Mapping[str, Any]) -> Queue:
    """Do what ``%job queue`` and ``jobnb queue`` say: define, change, show, pause, resume, drain or remove a queue.

    Draining does not wait here.

    Raises
    ------
    UnknownName, UsageProblem
        It is not understood. Nothing was changed.
    """
    if what and what not in WORDS:
        raise unknown("word", what, WORDS, after=f"queue {name}")
    if not what:
        return manager.queue(name, **settings)
    if settings:
        raise UsageProblem(f"queue {name} {what} takes no settings: say them on a line of their own.")
    queue = manager.queue(name)
    if what == "drain":
        queue.drain(wait=False)
    else:
        getattr(queue, what)()
    return queue


def explained(manager: JobManager, jobs: Sequence[JobRecord]) -> list[JobRecord]:
    """Return jobs with the reason why those of a paused or full queue wait."""
    queues = manager.store.queues
    if not any(job.status is Status.QUEUED and not job.note for job in jobs):
        return list(jobs)
    reasons: dict[str, str] = {}
    for record in queues.all():
        if record.state == "paused":
            reasons[record.name] = f"queue {record.name} {state_words(record)}"
        elif record.max_concurrent is not None:
            running = queues.counts(record.name).get(Status.RUNNING, 0)
            if running >= record.max_concurrent:
                reasons[record.name] = f"queue {record.name} is full ({running:,} running)"
    return [
        replace(job, note=reasons[job.queue])
        if job.status is Status.QUEUED and not job.note and job.queue in reasons
        else job
        for job in jobs
    ]


def queue(name: str, **settings: Any) -> Queue:
    """Define a queue, or change or find it: what holds for all jobs that are handed in with ``queue=name``.

    Parameters
    ----------
    name : str
        ``default`` is the queue of jobs that name none. One that nobody has defined has no limits.
    max_concurrent : int, optional
        Jobs of it that run at once, on all clusters of the store together; also ``max_concurrent_jobs``.
    max_tasks : int, optional
        Tasks of its jobs that are out at once: places of the cluster that a sweep in it may take.
    priority, timeout, memory_limit, cancel_grace, retry, deadline, tags : optional
        As for `jobnb.options`: what its jobs get that do not say it themselves, from the next one on; ``timeout`` also
        as ``job_timeout`` or ``max_runtime``.
    max_retries, retry_delay : optional
        Short for ``retry=jobnb.Retry(max_retries, delay)``; ``max_retries`` also as ``retry_attempts``.

    Returns
    -------
    Queue
        With ``submit``, ``map``, ``backtest``, ``optimize``, ``extract``, ``pause()``, ``resume()``, ``drain()``,
        ``remove()``, ``settings``, ``state``, ``waiting``, ``running``, ``counts`` and ``jobs()``.

    Raises
    ------
    UnknownName
        A setting that is none; or, without settings, a queue that nobody has defined or used. Nothing was changed.
    UsageProblem
        A value that does not fit. Nothing was changed.

    Notes
    -----
    It is kept in the store, for every notebook. What is not said stays as it was; None takes a setting back. A higher
    priority goes first whatever the queue; among jobs of one priority the queue with the fewest jobs running is next,
    and within a queue the oldest. Queues that nobody has defined share one turn.

    Examples
    --------
    ::

        collection = jobnb.queue("collection", max_concurrent=2, timeout="1h", max_retries=3, retry_delay="60s")
        collection.submit(fetch, "AAPL")
        jobnb.options(queue="collection", priority="high").submit(fetch, "MSFT")
        collection.drain()
    """
    from jobnb.manager import get_job_manager

    return get_job_manager().queue(name, **settings)


def queues() -> Queues:
    """Return the queues that were defined, and those that are named by jobs which have not ended; by name."""
    from jobnb.manager import get_job_manager

    return get_job_manager().queues()
