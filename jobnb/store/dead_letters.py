"""Dead letters: failed jobs that nobody has retried or purged yet; and the clean-up of what is no longer wanted.

Front doors list, retry and purge them; the service cleans up by age. A blob is removed only when no row refers to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from jobnb.job import JobRecord
from jobnb.store.blobs import Blobs
from jobnb.store.database import Database
from jobnb.store.jobs import _COLUMNS, Jobs, record, to_us
from jobnb.store.payloads import Payloads

#: A blob is written before the row that refers to it: a young one is never removed.
BLOB_AGE_SECONDS = 3600.0


class DeadLetters:
    """The dead letters of one store."""

    def __init__(
        self, database: Database, clock: Callable[[], int], jobs: Jobs, blobs: Blobs, payloads: Payloads
    ) -> None:
        self._db = database
        self._clock = clock
        self._jobs = jobs
        self._blobs = blobs
        self._payloads = payloads

    def select(self, *, kind: str | None = None, code: str | None = None, limit: int = 100) -> list[JobRecord]:
        """Return the dead letters, the newest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM jobs WHERE dead = 1 AND (?1 IS NULL OR kind = ?1) "  # noqa: S608
            "AND (?2 IS NULL OR error ->> 'code' = ?2) ORDER BY seq DESC LIMIT ?3"
        )
        return [record(row) for row in self._db.rows(sql, (kind, code, limit))]

    def count(self) -> int:
        """Return how many there are."""
        row = self._db.row("SELECT count(*) FROM jobs WHERE dead = 1")
        return int(row[0]) if row else 0

    def resolve(self, job_id: str, who: str, how: str) -> bool:
        """Take a job off the list, because it was retried for example; False if it was not on it."""
        with self._db.writing():
            row = self._db.row("UPDATE jobs SET dead = 0 WHERE id = ? AND dead = 1 RETURNING id", (job_id,))
            if row is not None:
                self._jobs.event(job_id, "dead letter resolved", who, how)
        return row is not None

    def purge(
        self, ids: Sequence[str] | None = None, *, before: datetime | None = None, kind: str | None = None
    ) -> int:
        """Remove dead letters with everything that is kept of them; return how many."""
        with self._db.writing():
            self._db.rows(
                "DELETE FROM jobs WHERE dead = 1 AND (?1 IS NULL OR id IN (SELECT value FROM json_each(?1))) "
                "AND (?2 IS NULL OR finished_at < ?2) AND (?3 IS NULL OR kind = ?3)",
                (None if ids is None else json.dumps(list(ids)), to_us(before) if before else None, kind),
            )
            row = self._db.row("SELECT changes()")
        return int(row[0]) if row else 0

    def vacuum(self) -> tuple[int, int]:
        """Remove the works and blobs that no job refers to, and give the room back; return how many, and bytes."""
        works, freed = self._payloads.vacuum()
        used = {str(row[0]) for row in self._db.rows(_USED)}
        files = size = 0
        for path in self._blobs.folder.iterdir():
            try:
                stat = path.stat()
                if path.name in used or time.time() - stat.st_mtime < BLOB_AGE_SECONDS:
                    continue
                # Between the list and now a job may have come that uses it, and keeps an old file as it is: the
                # file is removed only if still nobody refers to it, while nobody can hand in a job.
                with self._db.writing("normal"):
                    if self._db.row(_USED_ONE, (path.name,)) is not None:
                        continue
                    path.unlink()
            except FileNotFoundError:
                continue
            files += 1
            size += stat.st_size
        self._db.rows("PRAGMA incremental_vacuum")
        self._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return works + files, freed + size


_USED = (
    "SELECT payload FROM jobs UNION SELECT value FROM jobs, json_each(jobs.blobs) "
    "UNION SELECT payload FROM handlers UNION SELECT value FROM handlers, json_each(handlers.blobs) "
    "UNION SELECT payload FROM schedules UNION SELECT value FROM schedules, json_each(schedules.blobs) "
    "UNION SELECT value ->> 'payload' FROM schedules, json_each(beside, '$.jobs') "
    "UNION SELECT one.value FROM schedules, json_each(beside, '$.jobs') AS each, json_each(each.value, '$.blobs') "
    "AS one "
    "UNION SELECT result_sha FROM tasks WHERE result_sha IS NOT NULL UNION SELECT sha FROM artifacts"
)
_USED_ONE = f"WITH used (sha) AS ({_USED}) SELECT sha FROM used WHERE sha = ?"  # noqa: S608
