"""The jobs of a store: accepting, reading, asking for a stop, forgetting. SQL and records, no decisions.

Front doors write a job's first row and requests; what happens to it after that is written by the service
(`jobnb.store.tasks`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem
from jobnb.job import ErrorRecord, Event, JobRecord, LogLine, Priority, Progress, Status
from jobnb.store.chains import Chains, Link
from jobnb.store.database import Database, Row
from jobnb.store.payloads import Payload, Payloads

if TYPE_CHECKING:
    from jobnb.store.queues import Queues

_COLUMNS = (
    "id, name, kind, status, cluster, priority, queue, tags, params, plan, options, snapshot, payload, "
    "progress_current, progress_total, progress_message, summary, error, done, failed_items, running, settled, "
    "attempt, cancel_requested, cancelled_by, rerun_of, note, created_at, run_at, started_at, finished_at, "
    "dead, unique_key, expires_at, deadline_at, schedule, fire_at"
)
LIVE = "('scheduled', 'queued', 'running', 'retrying')"
_PRIORITIES = list(Priority)


def to_us(moment: datetime) -> int:
    """Return a moment as integer microseconds since 1970, UTC."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_us(us: int) -> datetime:
    """Return the moment of integer microseconds since 1970, in UTC."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


def _from_us_or_none(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def record(row: Row) -> JobRecord:
    """Build a record from a row of `_COLUMNS`."""
    (id_, name, kind, status, cluster, priority, queue, tags, params, plan, options, snapshot, payload,
     current, total, message, summary, error, done, failed_items, running, settled,
     attempt, cancel_requested, cancelled_by, rerun_of, note, created_at, run_at, started_at, finished_at,
     dead, unique_key, expires_at, deadline_at, schedule, fire_at) = row  # fmt: skip
    return JobRecord(
        id=id_,
        name=name,
        kind=kind,
        status=Status(status),
        cluster=cluster,
        priority=_PRIORITIES[priority],
        queue=queue,
        tags=tuple(json.loads(tags)),
        params=json.loads(params),
        plan=json.loads(plan),
        options=json.loads(options),
        snapshot=json.loads(snapshot),
        payload=payload,
        progress=Progress(current=current, total=total, message=message),
        summary=json.loads(summary) if summary else None,
        error=ErrorRecord.of(json.loads(error)) if error else None,
        done=done,
        failed_items=failed_items,
        running=running,
        settled=settled,
        attempt=attempt,
        cancel_requested=bool(cancel_requested),
        cancelled_by=cancelled_by,
        rerun_of=rerun_of,
        note=note,
        created_at=from_us(created_at),
        run_at=_from_us_or_none(run_at),
        started_at=_from_us_or_none(started_at),
        finished_at=_from_us_or_none(finished_at),
        dead=bool(dead),
        unique=unique_key or "",
        expires_at=_from_us_or_none(expires_at),
        deadline_at=_from_us_or_none(deadline_at),
        schedule=schedule,
        fire_at=_from_us_or_none(fire_at),
    )


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What a front door says about a job when it hands it in."""

    name: str
    kind: str
    cluster: str
    payload: str
    #: The packed work itself, where it is not stored yet.
    content: bytes | None = None
    blobs: Sequence[str] = ()
    priority: Priority = Priority.NORMAL
    queue: str = "default"
    tags: Sequence[str] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    run_at: datetime | None = None
    rerun_of: str = ""
    #: Take over what the finished tasks of ``rerun_of`` gave.
    adopt: bool = False
    who: str = ""
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    unique: str | None = None
    #: Seconds for which a finished job of the key still counts.
    unique_for: float = 0.0
    #: Of which schedule this is a run, and of which moment.
    schedule: str = ""
    fire_at: datetime | None = None
    #: The jobs that it waits for.
    parents: Sequence[Link] = ()
    #: Which of the options somebody has said for this job: its queue's defaults stand in for the others.
    said: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What became of a job that was handed in: its id, or that of the job which has its unique key already."""

    id: str
    #: False where a job of the same unique key was there, and this is that one.
    new: bool = True


class Jobs:
    """The jobs of one store."""

    def __init__(
        self, database: Database, clock: Callable[[], int], payloads: Payloads, chains: Chains, queues: Queues
    ) -> None:
        self._db = database
        self._clock = clock
        self._payloads = payloads
        self._chains = chains
        self._queues = queues

    def add(self, new: NewJob) -> str:
        """Accept a job and return its id; see `accept`."""
        return self.accept(new).id

    def accept(self, new: NewJob) -> Accepted:
        """Accept a job; once this returns, the job is not lost.

        A job of a unique key that is taken is not accepted: the other one is returned.

        Raises
        ------
        UnknownName, UsageProblem
            A parent is gone, or waits itself for the job that has the key. Nothing was enqueued.
        QueueDraining
            Its queue takes no new jobs. Nothing was enqueued.
        """
        return self.accept_all([new])[0]

    def accept_all(self, jobs: Sequence[NewJob]) -> list[Accepted]:
        """Accept jobs together, all of them or none; parents may be said by their place among them."""
        accepted: list[Accepted] = []
        with self._db.writing():
            for job in jobs:
                links = [
                    replace(e, parent=accepted[p].id) if isinstance(p := e.parent, int) else e for e in job.parents
                ]
                accepted.append(self._accept(replace(job, parents=links) if links else job))
        return accepted

    def _accept(self, new: NewJob) -> Accepted:
        if new.unique is not None and (twin := self._twin(new.unique, new.unique_for)) is not None:
            if new.parents and self._chains.circle(twin, [str(link.parent) for link in new.parents]):
                raise UsageProblem(
                    f"a circle: job {twin} has the unique key {new.unique!r}, and what was to come before it waits for "
                    "it. Nothing was enqueued."
                )
            self.event(twin, "submitted again", new.who, f"unique key {new.unique!r}")
            return Accepted(id=twin, new=False)
        return Accepted(id=self.insert(new))

    def insert(self, new: NewJob) -> str:
        """Write the row of a new job and return its id; call inside a transaction."""
        now = self._clock()
        new = self._queues.admit(new, now)
        while True:
            job_id = secrets.token_hex(4)
            if self._db.row("SELECT 1 FROM jobs WHERE id = ?", (job_id,)) is None:
                break
        run_at = to_us(new.run_at) if new.run_at else None
        waiting = run_at is not None and run_at > now
        self._db.rows(
            "INSERT INTO jobs (id, name, kind, status, cluster, priority, queue, tags, params, plan, options, "
            "snapshot, payload, blobs, progress_total, rerun_of, created_at, run_at, unique_key, expires_at, "
            "deadline_at, schedule, fire_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job_id,
                new.name,
                new.kind,
                Status.SCHEDULED if waiting else Status.QUEUED,
                new.cluster,
                new.priority.rank,
                new.queue,
                json.dumps(list(new.tags)),
                json.dumps(new.params),
                json.dumps(new.plan),
                json.dumps(new.options),
                json.dumps(new.snapshot),
                new.payload,
                json.dumps(list(new.blobs)),
                float(new.plan.get("items", 1)) if int(new.plan.get("items", 1)) > 1 else 0.0,
                new.rerun_of,
                now,
                run_at,
                new.unique,
                to_us(new.expires_at) if new.expires_at else None,
                to_us(new.deadline_at) if new.deadline_at else None,
                new.schedule,
                to_us(new.fire_at) if new.fire_at else None,
            ),
        )
        self._payloads.add(Payload(sha=new.payload, content=new.content))
        if new.adopt:
            self._adopt(job_id, new.rerun_of)
        self.event(job_id, "submitted", new.who, f"as a rerun of {new.rerun_of}" if new.rerun_of else "")
        if new.parents:
            self._chains.link(job_id, new.parents)
        return job_id

    def _adopt(self, job_id: str, old: str) -> None:
        self._db.rows(
            "INSERT INTO tasks (job, task, start, stop, attempt, epoch, state, worker, result, result_sha, carry, "
            "started_at, finished_at) SELECT ?, task, start, stop, attempt, epoch, state, worker, result, result_sha, "
            "carry, started_at, finished_at FROM tasks WHERE job = ? AND state = 'completed'",
            (job_id, old),
        )
        self._db.rows(
            "UPDATE jobs SET (done, failed_items, progress_current, summary) = "
            "(SELECT done, failed_items, done, json_remove(summary, '$.stopped') FROM jobs AS old WHERE old.id = ?2) "
            "WHERE id = ?1",
            (job_id, old),
        )

    def _twin(self, key: str, seconds: float) -> str | None:
        """Return the job that a unique key stands for: a live one, or one that completed that recently."""
        row = self._db.row(
            "SELECT id FROM jobs WHERE unique_key = ?1 AND unique_key IS NOT NULL AND (finished_at IS NULL OR "
            "(status = 'completed' AND finished_at > ?2)) ORDER BY seq DESC LIMIT 1",
            (key, self._clock() - int(seconds * 1e6)),
        )
        return str(row[0]) if row else None

    def event(self, job_id: str, event: str, who: str, detail: str = "") -> None:
        """Write down who did what to a job, when and why; call inside a transaction."""
        self._db.rows(
            "INSERT INTO events (job, at, event, who, detail) VALUES (?, ?, ?, ?, ?)",
            (job_id, self._clock(), event, who, detail),
        )

    def events(self, job_id: str) -> list[Event]:
        """Return the job's history, oldest first."""
        sql = "SELECT at, event, who, detail FROM events WHERE job = ? ORDER BY id"
        return [
            Event(at=from_us(at), event=event, who=who, detail=detail)
            for at, event, who, detail in self._db.rows(sql, (job_id,))
        ]

    def events_after(self, number: int) -> list[tuple[int, str, Event]]:
        """Return what has happened since an event: (number, job, event), oldest first."""
        sql = "SELECT id, job, at, event, who, detail FROM events WHERE id > ? ORDER BY id"
        return [
            (each, job, Event(at=from_us(at), event=event, who=who, detail=detail))
            for each, job, at, event, who, detail in self._db.rows(sql, (number,))
        ]

    def failures_since(self, cluster: str, since: datetime) -> tuple[int, int, str | None]:
        """Return how many jobs have ended since, how many of them failed, and the last one that did."""
        # The plus keeps SQLite from the index of states, in which nearly every job is of one of these.
        row = self._db.row(
            "SELECT count(*), count(*) FILTER (WHERE status = 'failed'), "
            "(SELECT id FROM jobs WHERE finished_at > ?1 AND +status = 'failed' AND cluster = ?2 "
            "ORDER BY finished_at DESC LIMIT 1) "
            "FROM jobs WHERE finished_at > ?1 AND cluster = ?2 AND +status IN ('completed', 'failed')",
            (to_us(since), cluster),
        )
        assert row is not None
        return int(row[0]), int(row[1]), row[2]

    def warnings_since(self, since: datetime) -> list[tuple[str, Event]]:
        """Return the warnings since: (job, event), oldest first."""
        sql = (
            "SELECT job, at, event, who, detail FROM events WHERE at > ? AND event IN ('stuck', 'failure rate') "
            "ORDER BY id DESC LIMIT 20"
        )
        return [
            (job, Event(at=from_us(at), event=event, who=who, detail=detail))
            for job, at, event, who, detail in reversed(self._db.rows(sql, (to_us(since),)))
        ]

    def last_event(self) -> int:
        """Return a number that grows whenever somebody does something to a job."""
        row = self._db.row("SELECT coalesce(max(id), 0) FROM events")
        assert row is not None
        return int(row[0])

    def get(self, job_id: str) -> JobRecord | None:
        """Return the job of exactly that id, or None."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))  # noqa: S608
        return record(row) if row else None

    def find(self, ref: str) -> list[str]:
        """Return the ids that ``ref`` may mean: an id, the beginning of ids, or a name (newest first)."""
        if self._db.row("SELECT 1 FROM jobs WHERE id = ?", (ref,)):
            return [ref]
        named = self._db.rows("SELECT id FROM jobs WHERE name = ? ORDER BY seq DESC LIMIT 2", (ref,))
        if named:
            return [str(named[0][0])]
        if not ref or set(ref) - set("0123456789abcdef"):
            return []
        sql = "SELECT id FROM jobs WHERE id >= ? AND id < ? ORDER BY seq DESC LIMIT 10"
        return [str(row[0]) for row in self._db.rows(sql, (ref, ref + "g"))]

    def select(
        self,
        *,
        status: Sequence[str] = (),
        kind: str | None = None,
        tag: str | None = None,
        cluster: str | None = None,
        queue: str | None = None,
        limit: int = 50,
    ) -> list[JobRecord]:
        """Return the newest jobs first, at most ``limit`` of them."""
        where, values = ["1"], list[Any]()
        if status:
            where.append(f"status IN ({', '.join('?' * len(status))})")
            values.extend(status)
        if kind is not None:
            where.append("kind = ?")
            values.append(kind)
        if cluster is not None:
            where.append("cluster = ?")
            values.append(cluster)
        if queue is not None:
            where.append("queue = ?" if queue == "default" else "queue = ? AND queue <> 'default'")
            values.append(queue)
        if tag is not None:
            where.append("EXISTS (SELECT 1 FROM json_each(jobs.tags) WHERE json_each.value = ?)")
            values.append(tag)
        # Only fixed text and question marks go into the statement; every value is bound.
        sql = f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"  # noqa: S608
        return [record(row) for row in self._db.rows(sql, (*values, limit))]

    def names(self, limit: int = 200) -> list[str]:
        """Return the ids and names of the newest jobs, for completion and for nearest names."""
        rows = self._db.rows("SELECT id, name FROM jobs ORDER BY seq DESC LIMIT ?", (limit,))
        return [id_ for id_, _ in rows] + list(dict.fromkeys(name for _, name in rows))

    def newest(self) -> str | None:
        """Return the id of the newest job, or None."""
        row = self._db.row("SELECT id FROM jobs ORDER BY seq DESC LIMIT 1")
        return str(row[0]) if row else None

    def finals(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are final, or gone."""
        marks = ", ".join("?" * len(ids))
        sql = f"SELECT id FROM jobs WHERE id IN ({marks}) AND finished_at IS NULL"  # noqa: S608
        return set(ids) - {str(row[0]) for row in self._db.rows(sql, ids)}

    def place(self, job: JobRecord) -> tuple[int, int]:
        """Return a waiting job's place (from 1) and how many wait: for its cluster, in its queue if that is defined."""
        mine = "AND queue = ?4" if self._queues.get(job.queue) is not None else "AND ?4 IS NOT NULL"
        row = self._db.row(
            "SELECT count(*), count(*) FILTER (WHERE priority > ?1 OR (priority = ?1 AND seq <= "  # noqa: S608
            f"(SELECT seq FROM jobs WHERE id = ?2))) FROM jobs WHERE cluster = ?3 AND status = 'queued' {mine}",
            (job.priority.rank, job.id, job.cluster, job.queue),
        )
        assert row is not None
        return int(row[1]), int(row[0])

    def counts(self, cluster: str | None = None) -> dict[str, int]:
        """Return how many jobs there are in each state."""
        # Without a cluster the index of states is enough; with "or it is null" the whole table would be read.
        where, values = ("", ()) if cluster is None else ("WHERE cluster = ?", (cluster,))
        sql = f"SELECT status, count(*) FROM jobs {where} GROUP BY status"  # noqa: S608
        found: dict[str, int] = dict(self._db.rows(sql, values))
        return {status.value: int(found.get(status.value, 0)) for status in Status}

    def error_codes(self) -> dict[str, int]:
        """Return how many of the failed jobs that are kept failed with each code, the most frequent first."""
        sql = (
            "SELECT coalesce(error ->> 'code', '') AS code, count(*) FROM jobs WHERE status = 'failed' "
            "GROUP BY code ORDER BY count(*) DESC, code"
        )
        return {str(code): int(count) for code, count in self._db.rows(sql)}

    def any_live(self, cluster: str) -> bool:
        """Tell whether a job of the cluster is not final, or going to come by an enabled schedule."""
        sql = f"SELECT 1 FROM jobs WHERE cluster = ? AND status IN {LIVE} LIMIT 1"  # noqa: S608
        if self._db.row(sql, (cluster,)) is not None:
            return True
        # A schedule that is going to fire needs a service, and so does a notice that is to be sent.
        for sql in (
            "SELECT 1 FROM schedules WHERE cluster = ? AND enabled = 1 LIMIT 1",
            "SELECT 1 FROM outbox WHERE cluster = ? AND done_at IS NULL LIMIT 1",
        ):
            if self._db.row(sql, (cluster,)) is not None:
                return True
        return False

    def request_cancel(self, job_id: str, who: str) -> bool:
        """Ask for a job's end; one that has not begun ends here and now. False if it was final already."""
        with self._db.writing():
            now = self._clock()
            row = self._db.row("SELECT status, running FROM jobs WHERE id = ?", (job_id,))
            if row is None or Status(row[0]).final:
                return False
            self._db.rows(
                "UPDATE jobs SET cancel_requested = 1, cancelled_by = ? WHERE id = ? AND cancel_requested = 0",
                (who, job_id),
            )
            self.event(job_id, "cancel requested", who)
            if row[0] != Status.RUNNING:
                sql = "UPDATE jobs SET status = 'cancelled', finished_at = ?, note = '' WHERE id = ?"
                self._db.rows(sql, (now, job_id))
                self.event(job_id, "cancelled", who, "it had not started")
                self._chains.ended(job_id)
        return True

    def request_finish(self, job_id: str, who: str) -> bool:
        """Ask for a job to end with what it has; False if it is final, or has not begun."""
        with self._db.writing():
            row = self._db.row(
                "UPDATE jobs SET finish_requested = 1 WHERE id = ? AND finished_at IS NULL AND started_at IS NOT NULL "
                "RETURNING id",
                (job_id,),
            )
            if row is not None:
                self.event(job_id, "finish requested", who)
        return row is not None

    def retry_now(self, job_id: str, who: str) -> bool:
        """Make a retrying job's next attempt due at once; False if it is not waiting for one."""
        with self._db.writing():
            sql = "UPDATE jobs SET run_at = ? WHERE id = ? AND status = 'retrying' RETURNING id"
            row = self._db.row(sql, (self._clock(), job_id))
            if row is not None:
                self.event(job_id, "retry now", who)
        return row is not None

    def log(self, job_id: str, tail: int | None = None) -> list[LogLine]:
        """Return the job's log lines, or the last ``tail`` of them, oldest first."""
        sql = "SELECT at, stream, text FROM logs WHERE job = ? ORDER BY at DESC, task DESC, seq DESC LIMIT ?"
        rows = self._db.rows(sql, (job_id, -1 if tail is None else tail))
        return [LogLine(at=from_us(at), stream=stream, text=text) for at, stream, text in reversed(rows)]

    def log_count(self, job_id: str) -> int:
        """Return how many log lines are kept of the job."""
        row = self._db.row("SELECT count(*) FROM logs WHERE job = ?", (job_id,))
        return int(row[0]) if row else 0

    def artifacts(self, job_id: str) -> dict[str, str]:
        """Return the names of the job's artifacts and the hashes of their blobs."""
        return dict(self._db.rows("SELECT name, sha FROM artifacts WHERE job = ? ORDER BY name", (job_id,)))

    def blobs(self, job_id: str) -> list[str]:
        """Return the hashes of the blobs that the job's work needs."""
        row = self._db.row("SELECT blobs FROM jobs WHERE id = ?", (job_id,))
        return [str(sha) for sha in json.loads(row[0])] if row else []

    def forget(self, *, before: datetime, status: Sequence[str]) -> int:
        """Remove jobs of those final states that ended before a moment; return how many.

        One whose result a live job is going to be given, or a dead letter when it is retried, stays until then.
        """
        assert set(status) <= {s.value for s in Status if s.final}
        with self._db.writing():
            marks = ", ".join("?" * len(status))
            sql = (
                f"DELETE FROM jobs WHERE status IN ({marks}) AND finished_at < ? AND NOT EXISTS "  # noqa: S608
                "(SELECT 1 FROM parents JOIN jobs AS child ON child.id = parents.job "
                "WHERE parent = jobs.id AND given = 1 AND (child.finished_at IS NULL OR child.dead = 1))"
            )
            self._db.rows(sql, (*status, to_us(before)))
            row = self._db.row("SELECT changes()")
        return int(row[0]) if row else 0
