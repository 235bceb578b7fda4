"""What the service writes: jobs taken up, tasks begun, outcomes recorded exactly once, progress.

Only the service calls the methods that change something, each with its lease, whose epoch is checked in the
same transaction; front doors read results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobnb.errors import BlobMissing
from jobnb.job import Attempt, ErrorRecord, JobRecord, Status
from jobnb.store.blobs import Blobs
from jobnb.store.chains import Chains
from jobnb.store.database import Database, Durability
from jobnb.store.jobs import _COLUMNS, Jobs, from_us, record
from jobnb.store.leases import Lease, Leases
from jobnb.store.queues import MAY_BEGIN
from jobnb.store.runs import Runs

#: Results up to this size are kept in the task's row; larger ones become a blob.
INLINE_BYTES = 100_000
#: Log lines kept of one job.
LOG_LINES = 10_000


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task as it stands in the store."""

    task: int
    start: int
    stop: int
    attempt: int
    epoch: int
    state: str
    #: Why it did not complete: ``code``, ``message``, …; None while it runs, and of a completed one.
    error: Mapping[str, Any] | None = None
    #: µs; when the items of a failed one are to be tried again.
    retry_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """A log line on its way into the store; (job, task, seq) is unique, so a line may be sent twice."""

    job: str
    task: int
    seq: int
    at: int
    stream: str
    text: str


class Tasks:
    """The tasks of one store's jobs."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], int],
        jobs: Jobs,
        leases: Leases,
        blobs: Blobs,
        chains: Chains,
    ) -> None:
        self._db = database
        self._clock = clock
        self._jobs = jobs
        self._leases = leases
        self._blobs = blobs
        self._chains = chains
        self._runs = Runs(database)

    @contextmanager
    def fenced(self, lease: Lease, durability: Durability = "full") -> Iterator[None]:
        """Write in one transaction, only while the lease is the present one (else `LeaseLost`)."""
        with self._db.writing(durability):
            self._leases.check(lease)
            yield

    # Taking up work

    def wake_scheduled(self, cluster: str) -> None:
        """Queue the jobs whose time has come, or the time of their next attempt; call inside `fenced`."""
        self._db.rows(
            "UPDATE jobs SET status = 'queued', attempt = attempt + (status = 'retrying') "
            "WHERE cluster = ? AND status IN ('scheduled', 'retrying') AND run_at <= ?",
            (cluster, self._clock()),
        )

    def next_scheduled(self, cluster: str) -> int | None:
        """Return when (µs) the next scheduled job is due, or None."""
        # Jobs that wait for others have no time.
        sql = (
            "SELECT min(run_at) FROM jobs WHERE cluster = ? AND status IN ('scheduled', 'retrying') "
            "AND run_at IS NOT NULL"
        )
        row = self._db.row(sql, (cluster,))
        return row[0] if row else None

    def waiting(self, cluster: str, limit: int) -> list[JobRecord]:
        """Return the next jobs to start, the most urgent and then the oldest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM jobs WHERE cluster = ? AND status = 'queued' "  # noqa: S608
            "ORDER BY priority DESC, seq LIMIT ?"
        )
        return [record(row) for row in self._db.rows(sql, (cluster, limit))]

    def waiting_at(self, places: Sequence[int]) -> list[JobRecord]:
        """Return the waiting jobs at these places of the order of acceptance, in the order of ``places``."""
        marks = ", ".join("?" * len(places))
        sql = f"SELECT seq, {_COLUMNS} FROM jobs WHERE seq IN ({marks}) AND status = 'queued'"  # noqa: S608
        found = {row[0]: record(row[1:]) for row in self._db.rows(sql, places)}
        return [found[seq] for seq in places if seq in found]

    def running(self, cluster: str) -> list[JobRecord]:
        """Return the jobs that were taken up and are not final, oldest first."""
        sql = f"SELECT {_COLUMNS} FROM jobs WHERE cluster = ? AND status = 'running' ORDER BY seq"  # noqa: S608
        return [record(row) for row in self._db.rows(sql, (cluster,))]

    def cancel_requests(self, cluster: str) -> list[str]:
        """Return the ids of running jobs whose end was asked for."""
        sql = "SELECT id FROM jobs WHERE cluster = ? AND status = 'running' AND cancel_requested = 1"
        return [str(row[0]) for row in self._db.rows(sql, (cluster,))]

    def finish_requests(self, cluster: str) -> list[str]:
        """Return the ids of running jobs that are to end with what they have."""
        sql = "SELECT id FROM jobs WHERE cluster = ? AND status = 'running' AND finish_requested = 1"
        return [str(row[0]) for row in self._db.rows(sql, (cluster,))]

    def start_job(self, job_id: str) -> bool:
        """Make a waiting job running; False if it is not waiting any more, or its queue lets none begin now.

        Call inside `fenced`.
        """
        sql = (
            "UPDATE jobs SET status = 'running', started_at = coalesce(started_at, ?), note = '' "  # noqa: S608
            f"WHERE id = ? AND status = 'queued' AND cancel_requested = 0 AND {MAY_BEGIN} RETURNING id"
        )
        row = self._db.row(sql, (self._clock(), job_id))
        if row is None:
            return False
        self._jobs.event(job_id, "started", "service")
        return True

    def requeue(self, job_id: str, why: str) -> None:
        """Put a running job without tasks back into the queue; call inside `fenced`.

        One whose end was asked for meanwhile ends here: nobody would start it again.
        """
        row = self._db.row(
            "UPDATE jobs SET status = 'queued', running = 0, note = ? "
            "WHERE id = ? AND status = 'running' AND cancel_requested = 0 RETURNING id",
            (why, job_id),
        )
        if row is None:
            self.finish(job_id, Status.CANCELLED)
        else:
            self._jobs.event(job_id, "queued again", "service", why)

    def leave_if_idle(self, lease: Lease) -> bool:
        """Give the lease back unless a job is there to be run; False if one is.

        In one transaction: whoever hands in a job after it sees that no service is in charge.
        """
        with self.fenced(lease):
            if self._jobs.any_live(lease.cluster):
                return False
            self._leases.release(lease)
            return True

    def begin(self, job_id: str, task: int, start: int, stop: int, attempt: int, epoch: int) -> None:
        """Write down that a task is about to go to the cluster; call inside `fenced`."""
        self._db.rows(
            "INSERT INTO tasks (job, task, start, stop, attempt, epoch, state) VALUES (?, ?, ?, ?, ?, ?, 'running')",
            (job_id, task, start, stop, attempt, epoch),
        )
        self._db.rows("UPDATE jobs SET running = running + 1 WHERE id = ?", (job_id,))

    def shorten(self, job_id: str, task: int, stop: int) -> None:
        """Write down that a running task leaves the items from ``stop`` on to others; call inside `fenced`."""
        self._db.rows(
            "UPDATE tasks SET stop = ? WHERE job = ? AND task = ? AND state = 'running'", (stop, job_id, task)
        )

    def take_over(self, job_id: str, task: int, epoch: int) -> None:
        """Write down that a running task is followed by the service of a later epoch; call inside `fenced`."""
        self._db.rows(
            "UPDATE tasks SET epoch = ? WHERE job = ? AND task = ? AND state = 'running'", (epoch, job_id, task)
        )

    def of(self, job_id: str) -> list[TaskRow]:
        """Return the tasks of a job, oldest first."""
        sql = "SELECT task, start, stop, attempt, epoch, state, error, retry_at FROM tasks WHERE job = ? ORDER BY task"
        return [
            TaskRow(
                task=task,
                start=start,
                stop=stop,
                attempt=attempt,
                epoch=epoch,
                state=state,
                error=json.loads(error) if error else None,
                retry_at=retry_at,
            )
            for task, start, stop, attempt, epoch, state, error, retry_at in self._db.rows(sql, (job_id,))
        ]

    # Recording what happened

    def keep(self, result: bytes) -> tuple[bytes | None, str | None]:
        """Put a large result into a blob; return what goes into the task's row: (content, hash of the blob).

        Call it outside a transaction: writing a large file must not keep others from writing.
        """
        return (result, None) if len(result) <= INLINE_BYTES else (None, self._blobs.put(result))

    def settle(
        self,
        job_id: str,
        task: int,
        *,
        state: str,
        stop: int,
        kept: tuple[bytes | None, str | None] = (None, None),
        failed_items: int = 0,
        error: Mapping[str, Any] | None = None,
        worker: str = "",
        started_at: int | None = None,
        finished_at: int | None = None,
        artifacts: Iterable[tuple[str, bytes]] = (),
        retry_at: int | None = None,
        carry: bytes | None = None,
    ) -> bool:
        """Record how a task ended, once: False if that is recorded already. Call inside `fenced`.

        ``stop`` is how far the task got: the span of a completed one ends there. ``kept`` is what `keep` returned
        for its result.
        """
        inline, sha = kept
        row = self._db.row(
            "UPDATE tasks SET state = ?, stop = CASE WHEN ?1 = 'completed' THEN ? ELSE stop END, result = ?, "
            "result_sha = ?, error = ?, worker = ?, started_at = ?, finished_at = ?, retry_at = ?, carry = ? "
            "WHERE job = ? AND task = ? AND state = 'running' RETURNING start",
            (
                state,
                stop,
                inline,
                sha,
                json.dumps(error) if error else None,
                worker,
                started_at,
                finished_at or self._clock(),
                retry_at,
                carry,
                job_id,
                task,
            ),
        )
        if row is None:
            return False
        done = stop - int(row[0]) if state == "completed" else 0
        self._db.rows(
            "UPDATE jobs SET running = max(0, running - 1), settled = settled + 1, done = done + ?, "
            "failed_items = failed_items + ?, lost = lost + ? WHERE id = ?",
            (done, failed_items, int(state == "lost"), job_id),
        )
        if state in ("failed", "lost"):
            detail = f"task {task}: {(error or {}).get('code', '')} {(error or {}).get('message', '')}"[:500]
            self._jobs.event(job_id, f"task {state}", "service", detail)
        for name, content in artifacts:
            self._db.rows(
                "INSERT OR REPLACE INTO artifacts (job, name, sha, size) VALUES (?, ?, ?, ?)",
                (job_id, name, self._blobs.put(content), len(content)),
            )
        return True

    def finish(self, job_id: str, status: Status, *, error: Mapping[str, Any] | None = None) -> bool:
        """Record a job's outcome, once: False if it has one; its children go or end with it. Call inside `fenced`."""
        row = self._db.row(
            "UPDATE jobs SET status = ?1, error = ?2, finished_at = ?3, running = 0, note = '', dead = ?1 = 'failed' "
            "WHERE id = ?4 AND finished_at IS NULL RETURNING id",
            (status, json.dumps(error) if error else None, self._clock(), job_id),
        )
        if row is None:
            return False
        said = (error or {}).get("message" if status is Status.CANCELLED else "code", "")
        self._jobs.event(job_id, status, "service", str(said))
        self._runs.ended(job_id, status, error)
        self._chains.ended(job_id)
        return True

    def put_off(self, job_id: str, *, retry_at: int, timeout: float | None, error: Mapping[str, Any] | None) -> None:
        """Make a running job wait for its next attempt; call inside `fenced`. One to be cancelled ends instead."""
        row = self._db.row(
            "UPDATE jobs SET status = 'retrying', run_at = ?, options = json_set(options, '$.timeout', ?, "
            "'$.first_timeout', coalesce(options ->> 'first_timeout', options ->> 'timeout')), error = ?, "
            "running = 0, note = '' WHERE id = ? AND status = 'running' AND cancel_requested = 0 RETURNING id",
            (retry_at, timeout, json.dumps(error) if error else None, job_id),
        )
        if row is None:
            self.finish(job_id, Status.CANCELLED)
        else:
            self._jobs.event(job_id, "retrying", "service", str((error or {}).get("code", "")))

    def put_forward(self, cluster: str, *, by: int) -> None:
        """Make due earlier, by so many µs, what waits for its next attempt; call inside `fenced`.

        The clock was set back. What a user has said (``run_at``) stays as it was said.
        """
        self._db.rows(
            "UPDATE jobs SET run_at = run_at - ? WHERE cluster = ? AND status = 'retrying'",
            (by, cluster),
        )
        self._db.rows(
            "UPDATE tasks SET retry_at = retry_at - ?1 WHERE state = 'failed' AND retry_at > ?2 "
            "AND job IN (SELECT id FROM jobs WHERE cluster = ?3 AND status = 'running')",
            (by, self._clock(), cluster),
        )

    def expired(self, cluster: str) -> list[str]:
        """Return the waiting jobs that have not begun in time."""
        sql = (
            "SELECT id FROM jobs WHERE cluster = ? AND expires_at IS NOT NULL AND finished_at IS NULL "
            "AND expires_at <= ? AND started_at IS NULL"
        )
        return [str(row[0]) for row in self._db.rows(sql, (cluster, self._clock()))]

    def overdue(self, cluster: str) -> list[str]:
        """Return the live jobs that have not ended by their deadline."""
        sql = (
            "SELECT id FROM jobs WHERE cluster = ? AND deadline_at IS NOT NULL AND finished_at IS NULL "
            "AND deadline_at <= ?"
        )
        return [str(row[0]) for row in self._db.rows(sql, (cluster, self._clock()))]

    def update(
        self,
        job_id: str,
        *,
        progress: tuple[float, float, str] | None = None,
        summary: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> None:
        """Write down how a live job stands; one that is over stays as it ended. Call inside `fenced`."""
        if progress is not None:
            self._db.rows(
                "UPDATE jobs SET progress_current = ?, progress_total = ?, progress_message = ? "
                "WHERE id = ? AND finished_at IS NULL",
                (*progress, job_id),
            )
        if summary is not None:
            sql = "UPDATE jobs SET summary = ? WHERE id = ? AND finished_at IS NULL"
            self._db.rows(sql, (json.dumps(summary), job_id))
        if note is not None:
            sql = "UPDATE jobs SET note = ? WHERE id = ? AND note <> ? AND finished_at IS NULL"
            self._db.rows(sql, (note, job_id, note))

    def note_waiting(self, cluster: str, note: str) -> None:
        """Say on every waiting job why it waits; call inside `fenced`."""
        self._db.rows(
            "UPDATE jobs SET note = ?1 WHERE cluster = ?2 AND status IN ('queued', 'retrying') AND note <> ?1",
            (note, cluster),
        )

    def add_log(self, lines: Sequence[LogEntry]) -> None:
        """Keep log lines; those that are there already are left alone. Call inside `fenced`."""
        for line in lines:
            self._db.rows(
                "INSERT OR IGNORE INTO logs (job, task, seq, at, stream, text) VALUES (?, ?, ?, ?, ?, ?)",
                (line.job, line.task, line.seq, line.at, line.stream, line.text),
            )

    def trim_log(self, job_id: str) -> None:
        """Drop the oldest log lines of a job beyond `LOG_LINES`; call inside `fenced`."""
        self._db.rows(
            "DELETE FROM logs WHERE job = ?1 AND id <= "
            "(SELECT id FROM logs WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (job_id, LOG_LINES),
        )

    # Reading results

    def results(self, job_id: str) -> list[bytes]:
        """Return the results of the completed tasks, in the order of their items.

        Raises
        ------
        BlobMissing
            One of them is gone or damaged.
        """
        sql = "SELECT result, result_sha FROM tasks WHERE job = ? AND state = 'completed' ORDER BY start"
        found = []
        for inline, sha in self._db.rows(sql, (job_id,)):
            if inline is None and sha is None:
                raise BlobMissing(f"job {job_id} has a completed task without a result.")
            try:
                found.append(inline if inline is not None else self._blobs.get(sha))
            except BlobMissing as error:
                raise BlobMissing(
                    f"the result of job {job_id} cannot be read any more: {error.message} "
                    "Run the job again: job.rerun()."
                ) from error
        return found

    def carried(self, job_id: str) -> list[bytes]:
        """Return what the completed tasks left for later ones, in the order of their items."""
        sql = "SELECT carry FROM tasks WHERE job = ? AND state = 'completed' AND carry IS NOT NULL ORDER BY start"
        return [bytes(row[0]) for row in self._db.rows(sql, (job_id,))]

    def finished(self, job_id: str, known: Container[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield number, first item and result of the completed tasks that are not known yet.

        Raises
        ------
        BlobMissing
            One of the results is gone or damaged.
        """
        sql = "SELECT task FROM tasks WHERE job = ? AND state = 'completed' ORDER BY start"
        for (task,) in self._db.rows(sql, (job_id,)):
            if task in known:
                continue
            sql = "SELECT start, result, result_sha FROM tasks WHERE job = ? AND task = ?"
            for start, inline, sha in self._db.rows(sql, (job_id, task)):
                yield task, start, inline if inline is not None else self._blobs.get(sha)

    def attempts(self, job_id: str) -> list[Attempt]:
        """Return every attempt at every task, oldest first."""
        sql = (
            "SELECT task, attempt, state, worker, started_at, finished_at, error FROM tasks WHERE job = ? ORDER BY task"
        )
        return [
            Attempt(
                task=task,
                attempt=attempt,
                state=state,
                worker=worker,
                started_at=from_us(began) if began else None,
                finished_at=from_us(ended) if ended else None,
                error=ErrorRecord.of(json.loads(error)) if error else None,
            )
            for task, attempt, state, worker, began, ended, error in self._db.rows(sql, (job_id,))
        ]
