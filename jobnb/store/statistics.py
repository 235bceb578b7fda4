"""What statistics are made of: the jobs that wait and run now, those that ended in a window, the schedules. SQL only.

Read by front doors. What has ended before the window is never read: each query goes by an index of what is live, of
when jobs ended, or by a table that is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jobnb.job import Priority
from jobnb.store.database import Database
from jobnb.store.jobs import from_us, to_us

_PRIORITIES = list(Priority)


@dataclass(frozen=True, kw_only=True)
class Live:
    """How many live jobs there are of one state, priority and queue."""

    status: str
    priority: str
    queue: str
    count: int
    #: When the oldest of them was accepted.
    oldest: datetime


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job that has ended: how, when, and how long it took."""

    status: str
    kind: str
    handler: str
    schedule: str
    at: datetime
    #: Seconds from its first start to its end, and from when it could have begun to its start; None if it never began.
    ran: float | None
    waited: float | None
    #: The code of its error.
    code: str


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A schedule, as the statistics list it."""

    name: str
    enabled: bool
    next_at: datetime | None
    runs: int
    failures: int
    note: str


class Statistics:
    """Reads what is counted in one store."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock

    def now(self) -> datetime:
        """Return the store's present moment."""
        return from_us(self._clock())

    def live(self) -> list[Live]:
        """Return how many jobs wait and run, by state, priority and queue."""
        return [
            Live(status=status, priority=_PRIORITIES[rank].value, queue=queue, count=count, oldest=from_us(oldest))
            for status, rank, queue, count, oldest in self._db.rows(LIVE)
        ]

    def ended(self, since: datetime) -> list[Ended]:
        """Return the jobs that have ended after a moment, oldest first."""
        return [
            Ended(
                status=status,
                kind=kind,
                handler=handler or "",
                schedule=schedule,
                at=from_us(at),
                ran=None if ran is None else max(0, ran) / 1e6,
                waited=None if waited is None else max(0, waited) / 1e6,
                code=code or "",
            )
            for status, kind, handler, schedule, at, ran, waited, code in self._db.rows(ENDED, (to_us(since),))
        ]

    def schedules(self) -> list[Scheduled]:
        """Return all schedules, by name."""
        return [
            Scheduled(
                name=name,
                enabled=bool(enabled),
                next_at=None if next_at is None else from_us(next_at),
                runs=runs,
                failures=failures,
                note=note,
            )
            for name, enabled, next_at, runs, failures, note in self._db.rows(SCHEDULES)
        ]


LIVE = (
    "SELECT status, priority, queue, count(*), min(created_at) FROM jobs "
    "WHERE status IN ('scheduled', 'queued', 'running', 'retrying') GROUP BY status, priority, queue"
)
# A handler's job may have a name of its own: which handler it was, its snapshot says.
ENDED = (
    "SELECT status, kind, CASE kind WHEN 'handler' THEN snapshot ->> '$.handler.name' END, schedule, finished_at, "
    "finished_at - started_at, started_at - max(created_at, coalesce(fire_at, 0), "
    # Of one that was tried again it is when the last attempt was due.
    "CASE attempt WHEN 1 THEN coalesce(run_at, 0) ELSE 0 END), "
    "CASE status WHEN 'failed' THEN error ->> 'code' END "
    "FROM jobs WHERE finished_at > ? ORDER BY finished_at"
)
SCHEDULES = "SELECT name, enabled, next_at, runs, failures, note FROM schedules ORDER BY name"
