"""The queues of a store: what holds for all of their jobs, and which of those may begin next. SQL and records.

Front doors define, pause and resume them; the service reads them at each claim. Limits hold for the whole store: two
services of two clusters share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from jobnb.errors import QueueDraining
from jobnb.job import Priority
from jobnb.retry import Retry
from jobnb.store.database import Database, Row
from jobnb.store.jobs import LIVE, NewJob, from_us

_COLUMNS = "name, max_concurrent, max_tasks, defaults, state, state_by, state_at, created_at"
#: Options of a job for which its queue may have a default.
INHERITED = ("priority", "timeout", "memory_limit", "cancel_grace", "retry", "deadline", "tags")
#: True of a row of ``jobs`` whose queue lets a job begin now; it is asked in the statement that makes it running, so
#: that neither a pause nor a limit is passed, however many services claim.
MAY_BEGIN = (
    "NOT EXISTS (SELECT 1 FROM queues WHERE name = jobs.queue AND (state = 'paused' OR max_concurrent <= "
    "(SELECT count(*) FROM jobs AS other WHERE other.status = 'running' AND other.queue = queues.name)))"
)


@dataclass(frozen=True, kw_only=True)
class QueueRecord:
    """A queue as it stands.

    Attributes
    ----------
    max_concurrent : int or None
        Jobs of it that run at once.
    max_tasks : int or None
        Tasks of its jobs that are out at once, on each cluster.
    defaults : mapping
        What its jobs get that say nothing of it themselves; names of `INHERITED`.
    state : {"open", "paused", "draining"}
        Paused: nothing begins. Draining: nothing is accepted, what is there goes on.
    by, at
        Who brought it into that state, and when.
    """

    name: str
    max_concurrent: int | None = None
    max_tasks: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    state: str = "open"
    by: str = ""
    at: datetime
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the service has to keep of a queue."""

    paused: bool
    max_concurrent: int | None
    max_tasks: int | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """The jobs of a queue that may begin next: (rank of the priority, place in the order of acceptance)."""

    queue: str
    running: int
    heads: tuple[tuple[int, int], ...]


class Queues:
    """The queues of one store."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock

    # Front doors

    def put(
        self,
        name: str,
        *,
        max_concurrent: int | None,
        max_tasks: int | None,
        defaults: Mapping[str, Any],
    ) -> None:
        """Define a queue, or change it; call inside a transaction. Whether it is paused stays."""
        now = self._clock()
        self._db.rows(
            "INSERT INTO queues (name, max_concurrent, max_tasks, defaults, state_at, created_at) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?5) "
            "ON CONFLICT (name) DO UPDATE SET max_concurrent = ?2, max_tasks = ?3, defaults = ?4",
            (name, max_concurrent, max_tasks, json.dumps(dict(defaults)), now),
        )

    def turn(self, name: str, state: str, who: str) -> None:
        """Open, pause or drain a queue, also one that nobody has defined; one that is so already stays as it is."""
        now = self._clock()
        with self._db.writing():
            self._db.rows(
                "INSERT INTO queues (name, state, state_by, state_at, created_at) VALUES (?1, ?2, ?3, ?4, ?4) "
                "ON CONFLICT (name) DO UPDATE SET state = ?2, state_by = ?3, state_at = ?4 WHERE state <> ?2",
                (name, state, who, now),
            )

    def remove(self, name: str) -> None:
        """Remove what is said of a queue; its jobs stay, without limits."""
        with self._db.writing():
            self._db.rows("DELETE FROM queues WHERE name = ?", (name,))

    def get(self, name: str) -> QueueRecord | None:
        """Return the queue of a name, or None if nobody has defined it."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM queues WHERE name = ?", (name,))  # noqa: S608
        return _record(row) if row else None

    def all(self) -> list[QueueRecord]:
        """Return the queues that were defined, by name."""
        return [_record(row) for row in self._db.rows(f"SELECT {_COLUMNS} FROM queues ORDER BY name")]  # noqa: S608

    def counts(self, name: str) -> dict[str, int]:
        """Return how many jobs of a queue there are in each state that occurs."""
        if name != "default":
            sql = "SELECT status, count(*) FROM jobs WHERE queue = ? AND queue <> 'default' GROUP BY status"
        else:
            sql = "SELECT status, count(*) FROM jobs WHERE queue = ? GROUP BY status"
        return {str(status): int(count) for status, count in self._db.rows(sql, (name,))}

    def live(self, name: str) -> int:
        """Return how many jobs of a queue have not ended."""
        also = "" if name == "default" else "AND queue <> 'default'"
        sql = f"SELECT count(*) FROM jobs WHERE queue = ? {also} AND status IN {LIVE}"  # noqa: S608
        row = self._db.row(sql, (name,))
        return int(row[0]) if row else 0

    def named_by_jobs(self) -> list[str]:
        """Return the queues that jobs name which have not ended."""
        rows = self._db.rows(f"SELECT DISTINCT queue FROM jobs WHERE status IN {LIVE} ORDER BY queue")  # noqa: S608
        return [str(row[0]) for row in rows]

    def has_jobs(self, name: str) -> bool:
        """Tell whether any job that is kept names the queue."""
        also = "" if name == "default" else "AND queue <> 'default'"
        return self._db.row(f"SELECT 1 FROM jobs WHERE queue = ? {also} LIMIT 1", (name,)) is not None  # noqa: S608

    # Accepting a job

    def refusal(self, name: str) -> str:
        """Return why a queue takes no new job; empty if it does."""
        row = self._db.row("SELECT state_by FROM queues WHERE name = ? AND state = 'draining'", (name,))
        if row is None:
            return ""
        return f"queue {name!r} is being drained{f' by {row[0]}' if row[0] else ''} and takes no new job"

    def admit(self, new: NewJob, now: int) -> NewJob:
        """Return a new job with the defaults of its queue filled in; call inside the transaction that accepts it.

        Raises
        ------
        QueueDraining
            The queue takes none.
        """
        row = self._db.row("SELECT defaults, state FROM queues WHERE name = ?", (new.queue,))
        if row is None:
            return new
        if row[1] == "draining":
            raise QueueDraining(
                f"{self.refusal(new.queue)}. Nothing was enqueued. "
                f"jobnb.queue({new.queue!r}).resume() opens it again, or name another queue."
            )
        defaults = json.loads(row[0])
        return inherit(new, defaults, from_us(now)) if defaults else new

    # The service

    def rules(self) -> dict[str, Rule]:
        """Return what has to be kept of each queue that was defined."""
        rows = self._db.rows("SELECT name, state = 'paused', max_concurrent, max_tasks FROM queues")
        return {
            str(name): Rule(paused=bool(paused), max_concurrent=jobs, max_tasks=tasks)
            for name, paused, jobs, tasks in rows
        }

    def lines(self, cluster: str, rules: Mapping[str, Rule], limit: int) -> list[Line]:
        """Return the jobs that may begin next, at most ``limit`` of each queue that was defined and has room.

        The queues that nobody has defined make one line together, named ``""``. Full and paused queues cost one
        look-up, whatever waits in them.
        """
        running = dict[str, int](
            self._db.rows("SELECT queue, count(*) FROM jobs WHERE status = 'running' GROUP BY queue")
        )
        found: list[Line] = []
        waits = False
        for name, rule in rules.items():
            out = running.pop(name, 0)
            room = limit if rule.max_concurrent is None else min(limit, rule.max_concurrent - out)
            closed = rule.paused or room <= 0
            heads = self._heads(cluster, name, 1 if closed else room)
            waits = waits or bool(heads)
            if heads and not closed:
                found.append(Line(queue=name, running=out, heads=heads))
        rest = self._others(cluster, rules, limit) if waits else self._first(cluster, limit)
        if rest:
            found.append(Line(queue="", running=sum(running.values()), heads=rest))
        return found

    def _heads(self, cluster: str, name: str, limit: int) -> tuple[tuple[int, int], ...]:
        return tuple(self._db.rows(HEADS, (cluster, name, limit)))

    def _first(self, cluster: str, limit: int) -> tuple[tuple[int, int], ...]:
        return tuple(self._db.rows(FIRST, (cluster, limit)))

    def _others(self, cluster: str, rules: Mapping[str, Rule], limit: int) -> tuple[tuple[int, int], ...]:
        names = [str(row[0]) for row in self._db.rows(NAMES, (cluster,)) if row[0] not in rules]
        heads = [head for name in names for head in self._heads(cluster, name, limit)]
        heads.sort(key=lambda head: (-head[0], head[1]))
        return tuple(heads[:limit])


#: The next jobs of one queue, of all queues, and the names of the queues in which any wait: each by an index alone.
HEADS = (
    "SELECT priority, seq FROM jobs INDEXED BY jobs_queued WHERE cluster = ? AND queue = ? AND status = 'queued' "
    "ORDER BY priority DESC, seq LIMIT ?"
)
FIRST = (
    "SELECT priority, seq FROM jobs INDEXED BY jobs_waiting WHERE cluster = ? AND status = 'queued' "
    "ORDER BY priority DESC, seq LIMIT ?"
)
NAMES = (
    "WITH RECURSIVE names (queue) AS ("
    "SELECT min(queue) FROM jobs INDEXED BY jobs_queued WHERE cluster = ?1 AND status = 'queued' UNION ALL "
    "SELECT (SELECT min(queue) FROM jobs INDEXED BY jobs_queued "
    "WHERE cluster = ?1 AND status = 'queued' AND queue > names.queue) FROM names WHERE queue IS NOT NULL) "
    "SELECT queue FROM names WHERE queue IS NOT NULL"
)


def inherit(new: NewJob, defaults: Mapping[str, Any], now: datetime) -> NewJob:
    """Return a new job in which the defaults of its queue stand for what nobody has said. Pure.

    Examples
    --------
    >>> from datetime import UTC
    >>> job = NewJob(name="x", kind="job", cluster="local", payload="", options={"timeout": None}, said=["priority"])
    >>> made = inherit(job, {"timeout": 60.0, "priority": "high"}, datetime.now(UTC))
    >>> made.options["timeout"], made.priority.value
    (60.0, 'normal')
    """
    left = {name: value for name, value in defaults.items() if name not in new.said}
    options = dict(new.options)
    changes: dict[str, Any] = {}
    for name, value in left.items():
        match name:
            case "priority":
                changes["priority"] = Priority(value)
            case "tags":
                changes["tags"] = tuple(value)
            case "deadline":
                if new.deadline_at is None:
                    changes["deadline_at"] = max(now, new.run_at or now) + timedelta(seconds=value)
            case "retry":
                retry = Retry(**value)
                options |= {"retry": retry.to_json(), "max_attempts": retry.max_retries + 1}
            case _:
                options[name] = value
    return replace(new, options=options, **changes)


def _record(row: Row) -> QueueRecord:
    name, max_concurrent, max_tasks, defaults, state, by, at, created_at = row
    return QueueRecord(
        name=name,
        max_concurrent=max_concurrent,
        max_tasks=max_tasks,
        defaults=json.loads(defaults),
        state=state,
        by=by,
        at=from_us(at),
        created_at=from_us(created_at),
    )
