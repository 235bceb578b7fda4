"""What the end of a run does to its schedule: failures in a row, and a tick that its own filter refused. SQL.

Called in the transaction that ends the job, so that the counts are right whoever is killed when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobnb.job import Status
from jobnb.store.chains import SKIPPED
from jobnb.store.database import Database

#: Among a job's options: it is part of a run, and what comes of that is known only when the last job of it has ended.
PART = "part_of_run"


class Runs:
    """The runs of the schedules of one store."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def ended(self, job: str, status: Status, error: Mapping[str, Any] | None) -> None:
        """Count the end of a job, if it is a run of a schedule or part of one."""
        row = self._db.row("SELECT schedule, fire_at, options ->> ? FROM jobs WHERE id = ?", (PART, job))
        if row is None or not row[0]:
            return
        schedule, fire_at, part = row
        if status is Status.CANCELLED:
            if (error or {}).get("code") == SKIPPED:
                self._refused(schedule, fire_at, str((error or {}).get("message", "")))
        elif status is Status.FAILED:
            self._failed(schedule)
        elif not part:
            self._db.rows("UPDATE schedules SET failures = 0 WHERE name = ?", (schedule,))

    def _failed(self, schedule: str) -> None:
        self._db.rows("UPDATE schedules SET failures = failures + 1 WHERE name = ?", (schedule,))
        self._db.rows(
            "UPDATE schedules SET enabled = 0, note = 'paused after ' || failures || ' failures in a row' "
            "WHERE name = ? AND enabled = 1 AND failures >= policy ->> 'pause_after'",
            (schedule,),
        )

    def _refused(self, schedule: str, fire_at: int, why: str) -> None:
        """Make a fired tick a skipped one, which is no run."""
        row = self._db.row(
            "UPDATE ticks SET verdict = 'skipped', why = ? WHERE schedule = ? AND fire_at = ? AND verdict = 'fired' "
            "RETURNING fire_at",
            (why, schedule, fire_at),
        )
        if row is None:
            return
        self._db.rows("UPDATE schedules SET runs = runs - 1 WHERE name = ?", (schedule,))
        # One that was over for having run so often is not: it is due now, and the planner says when next.
        self._db.rows(
            "UPDATE schedules SET enabled = 1, note = '', next_at = decided_at WHERE name = ? AND enabled = 0 "
            "AND next_at IS NULL AND note LIKE 'over after %' AND runs < policy ->> 'max_runs'",
            (schedule,),
        )
