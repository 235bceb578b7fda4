"""Jobs that wait for others: the links between them, and what the end of one does to those that wait for it.

A link is written with the job it belongs to and never changed, so that a parent is always older than its child.
Whoever ends a job settles its links in the same transaction: nothing can come between a parent's end and what follows.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobnb.errors import BlobMissing, UnknownName
from jobnb.job import Status
from jobnb.store.database import Database

#: Which end of a parent lets its child run: it completed; it did not, for a reason other than a condition; whatever.
Wanted = Literal["success", "failure", "any"]
#: How a parent has ended. ``skipped``: it was not to run, because a condition said no or nothing had failed.
Ended = Literal["completed", "failed", "cancelled", "skipped"]
#: The code of a job that was not to run.
SKIPPED = "SKIPPED"


@dataclass(frozen=True, kw_only=True)
class Link:
    """One parent of a new job.

    Attributes
    ----------
    parent : str or int
        Its id, or its place among the jobs that are handed in together.
    wanted : {"success", "failure", "any"}
    given : bool
        Whether the job's work asks for its result, by the place of this link among the job's links.
    ended, why
        What was known of it, where a job's work is done again and the parent may have been removed meanwhile.
    """

    parent: str | int
    wanted: Wanted = "success"
    given: bool = False
    ended: Ended | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class ParentRecord:
    """A link as it stands: ``ended`` is None as long as the parent may still do anything, ``why`` says how it ended."""

    id: str
    name: str
    wanted: Wanted
    given: bool
    ended: Ended | None
    why: str
    #: False once the parent was removed from the store.
    kept: bool = True

    @property
    def blocks(self) -> bool:
        """True if the job cannot run because of how this parent has ended."""
        return self.ended is not None and verdict(self.wanted, self.ended) != "run"


@dataclass(frozen=True, kw_only=True)
class End:
    """How a parent has ended: what its children are told of it, and what was at the root of it."""

    how: Ended
    told: str
    root: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """The result of a parent on its way to its child.

    Attributes
    ----------
    place : int
        By which the child's work asks for it.
    plan : mapping
        How its parts make up the value; see `jobnb.results.load`.
    parts : sequence of bytes or str
        What its tasks gave: the content, or the hash of its blob.
    failed : mapping or None
        Why there is none: ``error``, ``type``, ``traceback``.
    """

    place: int
    plan: Mapping[str, Any]
    parts: Sequence[bytes | str] = ()
    failed: Mapping[str, str] | None = None


def verdict(wanted: Wanted, ended: Ended) -> Literal["run", "cancel", "skip"]:
    """Decide what the end of one parent means for its child.

    Examples
    --------
    >>> verdict("success", "failed"), verdict("failure", "cancelled"), verdict("failure", "completed")
    ('cancel', 'run', 'skip')
    """
    if wanted == "any":
        return "run"
    if ended == "skipped":
        # Nothing went wrong: who waits for an alarm must not hear one.
        return "skip"
    if wanted == "success":
        return "run" if ended == "completed" else "cancel"
    return "skip" if ended == "completed" else "run"


class Chains:
    """The links between the jobs of one store.

    Attributes
    ----------
    moved : int
        How many children this process has released or ended; a service looks whether there is something new for it,
        since SQLite tells a connection of everybody's writes but its own.
    """

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock
        self.moved = 0

    # Front doors

    def link(self, job: str, links: Sequence[Link]) -> None:
        """Make a job that was just inserted wait for its parents; call in that transaction.

        Raises
        ------
        UnknownName
            A parent is not in the store any more. Nothing was enqueued.
        """
        left = 0
        against: tuple[End, Wanted] | None = None
        for place, link in enumerate(links):
            end = self._end_of(str(link.parent), link)
            if end is None:
                left += 1
            elif against is None and verdict(link.wanted, end.how) != "run":
                against = end, link.wanted
            ended, why = (None, "") if end is None else (end.how, end.told)
            self._db.rows(
                "INSERT INTO parents (job, place, parent, wanted, given, ended, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job, place, str(link.parent), link.wanted, link.given, ended, why),
            )
        if not left and against is None:
            return
        self._db.rows(
            "UPDATE jobs SET status = 'scheduled', not_before = run_at, run_at = NULL, open_parents = ? WHERE id = ?",
            (left, job),
        )
        if against is None:
            self._note(job, left)
        elif self._stop(job, *against):
            self._settle(deque([job]))

    def circle(self, job: str, parents: Sequence[str]) -> bool:
        """Tell whether a live job is among these jobs, or among those that they wait for."""
        row = self._db.row(
            "WITH RECURSIVE up (id) AS (SELECT value FROM json_each(?2) UNION "
            "SELECT parent FROM parents JOIN up ON parents.job = up.id WHERE ended IS NULL) "
            "SELECT 1 FROM up JOIN jobs USING (id) WHERE id = ?1 AND finished_at IS NULL",
            (job, json.dumps(list(parents))),
        )
        return row is not None

    def parents(self, job: str) -> list[ParentRecord]:
        """Return the links of a job, in the order in which they were said."""
        sql = (
            "SELECT parent, coalesce(name, ''), wanted, given, ended, why, jobs.id IS NOT NULL FROM parents "
            "LEFT JOIN jobs ON jobs.id = parent WHERE job = ? ORDER BY place"
        )
        return [
            ParentRecord(id=id_, name=name, wanted=wanted, given=bool(given), ended=ended, why=why, kept=bool(kept))
            for id_, name, wanted, given, ended, why, kept in self._db.rows(sql, (job,))
        ]

    def children(self, job: str) -> list[str]:
        """Return the jobs that wait for a job or have waited for it, oldest first."""
        sql = "SELECT DISTINCT id FROM parents JOIN jobs ON id = job WHERE parent = ? ORDER BY seq"
        return [str(row[0]) for row in self._db.rows(sql, (job,))]

    def newest_retry(self, job: str) -> str:
        """Return the newest job that does a job's work again, or the job itself."""
        row = self._db.row(
            "WITH RECURSIVE again (id) AS (SELECT ?1 UNION "
            "SELECT jobs.id FROM jobs JOIN again ON rerun_of = again.id AND rerun_of <> '') "
            "SELECT id FROM again JOIN jobs USING (id) ORDER BY seq DESC LIMIT 1",
            (job,),
        )
        return str(row[0]) if row else job

    # Whoever ends a job

    def ended(self, job: str) -> None:
        """Release or end the jobs that wait for one that has just ended; call in the transaction that ends it."""
        if self._db.row("SELECT 1 FROM parents WHERE parent = ? AND ended IS NULL LIMIT 1", (job,)) is not None:
            self._settle(deque([job]))

    def _settle(self, over: deque[str]) -> None:
        while over:
            parent = over.popleft()
            end = self._end_of(parent)
            assert end is not None
            waiting = self._db.rows(
                "UPDATE parents SET ended = ?, why = ? WHERE parent = ? AND ended IS NULL RETURNING job, wanted",
                (end.how, end.told, parent),
            )
            for job, wanted in waiting:
                if verdict(wanted, end.how) == "run":
                    self._count_down(job)
                elif self._stop(job, end, wanted):
                    over.append(job)

    def _end_of(self, job: str, link: Link | None = None) -> End | None:
        """Return how a job has ended, or None if it has not."""
        row = self._db.row(
            "SELECT name, status, error ->> 'code', error ->> 'message', error ->> 'cause', cancelled_by FROM jobs "
            "WHERE id = ?",
            (job,),
        )
        if row is None and link is not None and link.ended is not None:
            return End(how=link.ended, told=link.why, root=link.why)
        if row is None:
            raise UnknownName(f"job {job} is not in the store any more; no job can wait for it.")
        name, status, code, message, cause, by = row
        named = f"{job} ({name})"
        how: Ended
        match status:
            case Status.COMPLETED:
                how, told = "completed", f"{named} completed"
            case Status.FAILED:
                how, told = "failed", f"{named} failed: {code or 'UNKNOWN'}"
            case Status.CANCELLED if code == SKIPPED:
                root = str(cause or message)
                return End(how="skipped", told=f"{named} was skipped: {root}", root=root)
            case Status.CANCELLED if cause:
                # The root of it, so that the last job of a long chain says what went wrong.
                return End(how="cancelled", told=f"{named} was cancelled: {cause}", root=str(cause))
            case Status.CANCELLED:
                how, told = "cancelled", f"{named} was cancelled{f' by {by}' if by else ''}"
            case _:
                return None
        return End(how=how, told=told, root=told)

    def _count_down(self, job: str) -> None:
        """Note that one parent less is waited for; the last one lets the job go to its place in the queue."""
        row = self._db.row(
            "UPDATE jobs SET open_parents = open_parents - 1 WHERE id = ? AND finished_at IS NULL "
            "RETURNING open_parents",
            (job,),
        )
        if row is None:
            return
        if row[0]:
            self._note(job, row[0])
            return
        self._db.rows(
            "UPDATE jobs SET status = CASE WHEN not_before > ?1 THEN 'scheduled' ELSE 'queued' END, "
            "run_at = not_before, note = '' WHERE id = ?2",
            (self._clock(), job),
        )
        self._event(job, "released", "its parents have ended")
        self.moved += 1

    def _stop(self, job: str, end: End, wanted: Wanted) -> bool:
        """End a waiting job because of how a parent ended; False if it is over already."""
        cancel = verdict(wanted, end.how) == "cancel"
        code = "PARENT_FAILED" if cancel else "SKIPPED"
        text = f"{'cancelled' if cancel else 'skipped'} because its parent {end.told}"
        if end.how == "completed":
            text += ", and it was to run only if that failed"
        error = {"code": code, "message": text, "cause": end.root}
        row = self._db.row(
            "UPDATE jobs SET status = 'cancelled', finished_at = ?, error = ?, note = '' "
            "WHERE id = ? AND finished_at IS NULL RETURNING id",
            (self._clock(), json.dumps(error), job),
        )
        if row is None:
            return False
        self._event(job, "cancelled", text)
        self.moved += 1
        return True

    def _note(self, job: str, left: int) -> None:
        row = self._db.row(
            # By itself SQLite reads past all that have ended, which of ten thousand parents takes thrice as long.
            "SELECT parent, name FROM parents INDEXED BY parents_open CROSS JOIN jobs ON id = parent "
            "WHERE job = ? AND ended IS NULL ORDER BY place LIMIT 1",
            (job,),
        )
        if row is not None:
            more = f" and {left - 1:,} other{'s' * (left > 2)}" if left > 1 else ""
            self._db.rows("UPDATE jobs SET note = ? WHERE id = ?", (f"waits for {row[0]} ({row[1]}){more}", job))

    def _event(self, job: str, event: str, detail: str) -> None:
        self._db.rows(
            "INSERT INTO events (job, at, event, who, detail) VALUES (?, ?, ?, 'chain', ?)",
            (job, self._clock(), event, detail),
        )

    # The service

    def given(self, job: str) -> list[Given]:
        """Return the results of its parents for which a job's work asks.

        Raises
        ------
        BlobMissing
            One is gone.
        """
        sql = (
            "SELECT place, parent, ended, why, plan, error FROM parents LEFT JOIN jobs ON jobs.id = parent "
            "WHERE job = ? AND given = 1 ORDER BY place"
        )
        found = []
        for place, parent, ended, why, plan, error in self._db.rows(sql, (job,)):
            if ended == "completed":
                sql = "SELECT result, result_sha FROM tasks WHERE job = ? AND state = 'completed' ORDER BY start"
                parts = [sha if inline is None else bytes(inline) for inline, sha in self._db.rows(sql, (parent,))]
                if plan is None:
                    raise BlobMissing(f"the result of its parent {parent} is gone. Run that one again, and then this.")
                found.append(Given(place=place, plan=json.loads(plan), parts=parts))
                continue
            said = json.loads(error) if error else {}
            about = {"error": str(said.get("message") or why), "type": str(said.get("type") or said.get("code") or "")}
            traceback = str(said.get("traceback") or "")
            found.append(
                Given(place=place, plan={}, failed={**about, "type": about["type"] or ended, "traceback": traceback})
            )
        return found
