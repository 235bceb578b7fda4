"""The schedules of a store, and the rows that their ticks leave. SQL and records, no decisions.

Front doors write schedules; only the service of a schedule's cluster writes ticks, in the same transaction as the jobs
that they start, fenced by its lease: so a tick has one row and at most one job, however many processes live.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobnb.job import Priority
from jobnb.store.chains import Link
from jobnb.store.database import Database, Row
from jobnb.store.jobs import Jobs, NewJob, from_us, to_us
from jobnb.store.payloads import Payload, Payloads
from jobnb.store.runs import PART

_COLUMNS = (
    "name, cluster, trigger, policy, job, payload, blobs, enabled, note, created_at, decided_at, next_at, runs, "
    "failures, beside, changed"
)
#: Rows of ticks kept of one schedule.
TICKS_KEPT = 10_000
#: Once in so many decisions on a schedule, older ones are removed.
TICKS_PRUNED = 100


@dataclass(frozen=True, kw_only=True)
class ScheduleRecord:
    """A schedule as it stands.

    Attributes
    ----------
    trigger, policy : mapping
        See `jobnb.triggers`.
    job : mapping
        What every run of it is made of; see `NewJob`.
    enabled : bool
    note : str
        Why it is paused, or what is wrong with it.
    decided_at : datetime
        Ticks up to here are decided.
    next_at : datetime or None
        The next tick; None if there is none any more.
    runs, failures : int
        Runs so far, and failures in a row.
    beside : mapping
        The other jobs of each run, and how they hang together; see `_beside`.
    changed : int
        How often somebody has changed it.
    """

    name: str
    cluster: str
    trigger: Mapping[str, Any]
    policy: Mapping[str, Any]
    job: Mapping[str, Any]
    payload: str
    blobs: tuple[str, ...] = ()
    enabled: bool = True
    note: str = ""
    created_at: datetime
    decided_at: datetime
    next_at: datetime | None
    runs: int = 0
    failures: int = 0
    beside: Mapping[str, Any] = field(default_factory=dict)
    changed: int = 0


@dataclass(frozen=True, kw_only=True)
class TickRecord:
    """What became of one moment of a schedule."""

    fire_at: datetime
    at: datetime
    verdict: str
    why: str
    job: str


def template(new: NewJob) -> dict[str, Any]:
    """Return what of a job is the same for every run, JSON-able; payload and blobs are kept apart."""
    said = {k: v for k, v in asdict(new).items() if k not in _APART}
    return {**said, "priority": new.priority.value, "tags": list(new.tags)}


def _same(
    known: ScheduleRecord, jobs: Sequence[NewJob], place: int, trigger: Mapping[str, Any], policy: Mapping[str, Any]
) -> bool:
    """Compare what matters: the surroundings of the front door and the drawn seed differ each time."""
    new = jobs[place]
    wanted = [trigger, policy, new.cluster, new.payload, _lasting(template(new)), _lasting_beside(_beside(jobs, place))]
    there = [known.trigger, known.policy, known.cluster, known.payload, _lasting(known.job)]
    return bool(json.loads(json.dumps(wanted)) == [*there, _lasting_beside(known.beside)])


def _lasting_beside(beside: Mapping[str, Any]) -> dict[str, Any]:
    jobs = [{**each, "job": _lasting(each["job"])} for each in beside.get("jobs", ())]
    return {**beside, "jobs": jobs}


def _lasting(job: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in job.items() if k not in ("snapshot", "who")}


def _beside(jobs: Sequence[NewJob], place: int) -> dict[str, Any]:
    """Return the jobs of a run but the one at ``place``, JSON-able, and the links of that one."""
    if len(jobs) == 1:
        return {}
    return {
        "place": place,
        "links": _links(jobs[place]),
        "jobs": [
            {"job": template(each), "payload": each.payload, "blobs": list(each.blobs), "links": _links(each)}
            for i, each in enumerate(jobs)
            if i != place
        ],
    }


def _links(new: NewJob) -> list[Any]:
    return [[link.parent, link.wanted, link.given] for link in new.parents]


def _linked(links: Sequence[Any], ids: Sequence[str]) -> list[Link]:
    return [Link(parent=ids[place], wanted=wanted, given=given) for place, wanted, given in links]


_APART = frozenset(
    {
        "payload",
        "content",
        "blobs",
        "cluster",
        "run_at",
        "rerun_of",
        "adopt",
        "expires_at",
        "deadline_at",
        "schedule",
        "fire_at",
        "parents",
    }
)


class Schedules:
    """The schedules of one store."""

    def __init__(self, database: Database, clock: Callable[[], int], jobs: Jobs, payloads: Payloads) -> None:
        self._db = database
        self._clock = clock
        self._jobs = jobs
        self._payloads = payloads
        self._decided: Counter[str] = Counter()

    # Front doors

    def put(
        self,
        name: str,
        jobs: NewJob | Sequence[NewJob],
        *,
        place: int = 0,
        trigger: Mapping[str, Any],
        policy: Mapping[str, Any],
        next_at: datetime | None,
        decided_at: datetime,
        keep: bool = False,
    ) -> bool:
        """Add a schedule, or change the one of that name; return whether it is new. Its history stays.

        Parameters
        ----------
        jobs : NewJob or sequence of NewJob
            What each run is made of, in order; parents are said by their place.
        place : int
            Which of them is the run itself: the one that its tick names.
        keep : bool
            Leave one that is the same already as it is.
        """
        listed = [jobs] if isinstance(jobs, NewJob) else list(jobs)
        new = listed[place]
        with self._db.writing():
            now = self._clock()
            known = self.get(name)
            if keep and known is not None and _same(known, listed, place, trigger, policy):
                return False
            self._db.rows(
                "INSERT INTO schedules (name, cluster, trigger, policy, job, payload, blobs, created_at, decided_at, "
                "next_at, beside) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (name) DO UPDATE "
                "SET cluster = ?2, trigger = ?3, policy = ?4, job = ?5, payload = ?6, blobs = ?7, decided_at = ?9, "
                "next_at = ?10, beside = ?11, runs = 0, failures = 0, note = '', enabled = 1, changed = changed + 1",
                (
                    name,
                    new.cluster,
                    json.dumps(trigger),
                    json.dumps(policy),
                    json.dumps(template(new)),
                    new.payload,
                    json.dumps(list(new.blobs)),
                    now,
                    to_us(decided_at),
                    None if next_at is None else to_us(next_at),
                    json.dumps(_beside(listed, place)),
                ),
            )
            for each in listed:
                self._payloads.add(Payload(sha=each.payload, content=each.content))
        return known is None

    def remove(self, name: str) -> bool:
        """Remove a schedule and the rows of its ticks; its jobs stay."""
        with self._db.writing():
            return self._db.row("DELETE FROM schedules WHERE name = ? RETURNING name", (name,)) is not None

    def enable(
        self, name: str, enabled: bool, *, next_at: datetime | None = None, decided_at: datetime | None = None
    ) -> None:
        """Pause a schedule, or let it go on from a moment."""
        with self._db.writing():
            if not enabled:
                self.pause(name, "paused")
                return
            assert decided_at is not None
            self._db.rows(
                "UPDATE schedules SET enabled = 1, note = '', failures = 0, decided_at = ?, next_at = ?, "
                "changed = changed + 1 WHERE name = ?",
                (to_us(decided_at), None if next_at is None else to_us(next_at), name),
            )

    def disable(self, name: str, why: str) -> None:
        """Pause a schedule for a reason."""
        with self._db.writing():
            self.pause(name, why)

    def get(self, name: str) -> ScheduleRecord | None:
        """Return the schedule of a name, or None."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM schedules WHERE name = ?", (name,))  # noqa: S608
        return _record(row) if row else None

    def all(self) -> list[ScheduleRecord]:
        """Return all schedules by name."""
        return [_record(row) for row in self._db.rows(f"SELECT {_COLUMNS} FROM schedules ORDER BY name")]  # noqa: S608

    def ticks(self, name: str, limit: int = 50) -> list[TickRecord]:
        """Return what became of the newest moments of a schedule, newest first."""
        sql = "SELECT fire_at, at, verdict, why, job FROM ticks WHERE schedule = ? ORDER BY fire_at DESC LIMIT ?"
        return [
            TickRecord(fire_at=from_us(fire_at), at=from_us(at), verdict=verdict, why=why, job=job)
            for fire_at, at, verdict, why, job in self._db.rows(sql, (name, limit))
        ]

    # The service

    def next_due(self, cluster: str) -> int | None:
        """Return when (µs) the next tick of an enabled schedule is due, or None."""
        row = self._db.row("SELECT min(next_at) FROM schedules WHERE cluster = ? AND enabled = 1", (cluster,))
        return row[0] if row else None

    def due(self, cluster: str, now: datetime, limit: int = 1_000) -> list[ScheduleRecord]:
        """Return the enabled schedules with a tick up to ``now``, the longest due first."""
        sql = (
            f"SELECT {_COLUMNS} FROM schedules WHERE cluster = ? AND enabled = 1 AND next_at <= ? "  # noqa: S608
            "ORDER BY next_at LIMIT ?"
        )
        return [_record(row) for row in self._db.rows(sql, (cluster, to_us(now), limit))]

    def unchanged(self, known: ScheduleRecord) -> bool:
        """Tell whether a schedule that is due stands as it was read; call inside a transaction."""
        row = self._db.row(
            "SELECT 1 FROM schedules WHERE name = ? AND enabled = 1 AND decided_at = ? AND runs = ? AND changed = ?",
            (known.name, to_us(known.decided_at), known.runs, known.changed),
        )
        return row is not None

    def waiting(self, cluster: str) -> list[tuple[str, datetime]]:
        """Return the ticks that wait for the run before them to end: (schedule, moment), oldest first."""
        sql = (
            "SELECT schedule, fire_at FROM ticks JOIN schedules ON name = schedule "
            "WHERE verdict = 'waiting' AND cluster = ? ORDER BY fire_at"
        )
        return [(name, from_us(at)) for name, at in self._db.rows(sql, (cluster,))]

    def live(self, name: str) -> list[str]:
        """Return the jobs of a schedule that have not ended, oldest first."""
        sql = "SELECT id FROM jobs WHERE schedule = ? AND finished_at IS NULL ORDER BY seq"
        return [str(row[0]) for row in self._db.rows(sql, (name,))]

    def fire(
        self,
        schedule: ScheduleRecord,
        fire_at: datetime,
        run_at: datetime,
        why: str,
        *,
        deadline: float | None = None,
        by_hand: bool = False,
    ) -> str | None:
        """Start the run of a moment, once: None if it has a job already. Call inside a transaction.

        ``deadline`` is in seconds from ``run_at`` on; ``by_hand``: somebody wants it, whatever its filters say.
        """
        if not self.settle(schedule.name, fire_at, "fired", why):
            return None
        own = {"job": schedule.job, "payload": schedule.payload, "blobs": schedule.blobs}
        place = schedule.beside.get("place", 0)
        parts = list(schedule.beside.get("jobs", ()))
        parts.insert(place, {**own, "links": schedule.beside.get("links", ())})
        ids: list[str] = []
        for i, part in enumerate(parts):
            said = {**part["job"], "priority": Priority(part["job"]["priority"]), "tags": tuple(part["job"]["tags"])}
            if by_hand:
                said["snapshot"] = {**said["snapshot"], "by_hand": True}
            if i + 1 < len(parts):
                said["options"] = {**said["options"], PART: True}
            new = NewJob(
                **{**said, "who": f"schedule {schedule.name}"},
                cluster=schedule.cluster,
                payload=part["payload"],
                blobs=part["blobs"],
                schedule=schedule.name,
                fire_at=fire_at,
                run_at=run_at,
                deadline_at=None if deadline is None else run_at + timedelta(seconds=deadline),
                parents=_linked(part["links"], ids),
            )
            ids.append(self._jobs.insert(new))
        job = ids[int(place)]
        self._db.rows(
            "UPDATE ticks SET job = ? WHERE schedule = ? AND fire_at = ?", (job, schedule.name, to_us(fire_at))
        )
        self._db.rows("UPDATE schedules SET runs = runs + 1 WHERE name = ?", (schedule.name,))
        return job

    def settle(self, name: str, fire_at: datetime, verdict: str, why: str) -> bool:
        """Write down what becomes of a moment, once; False if that is so already. Call inside a transaction.

        One that was waiting may be settled later.
        """
        row = self._db.row(
            "INSERT INTO ticks (schedule, fire_at, at, verdict, why) VALUES (?1, ?2, ?3, ?4, ?5) "
            "ON CONFLICT (schedule, fire_at) DO UPDATE SET at = ?3, verdict = ?4, why = ?5 WHERE verdict = 'waiting' "
            "RETURNING fire_at",
            (name, to_us(fire_at), self._clock(), verdict, why),
        )
        return row is not None

    def decided(self, name: str, until: datetime, next_at: datetime | None, note: str | None = None) -> None:
        """Write down how far a schedule is decided, and its next tick; call inside `Tasks.fenced`."""
        self._db.rows(
            "UPDATE schedules SET decided_at = ?2, next_at = ?3, note = coalesce(?4, note), "
            "enabled = CASE WHEN ?3 IS NULL THEN 0 ELSE enabled END WHERE name = ?1",
            (name, to_us(until), None if next_at is None else to_us(next_at), note),
        )
        # Now and then, because it reads past all that are kept.
        self._decided[name] += 1
        if self._decided[name] % TICKS_PRUNED:
            return
        self._db.rows(
            "DELETE FROM ticks WHERE schedule = ?1 AND verdict <> 'waiting' AND fire_at < "
            "(SELECT fire_at FROM ticks WHERE schedule = ?1 ORDER BY fire_at DESC LIMIT 1 OFFSET ?2)",
            (name, TICKS_KEPT),
        )

    def pause(self, name: str, why: str) -> None:
        """Pause a schedule and say why; call inside `Tasks.fenced`."""
        self._db.rows("UPDATE schedules SET enabled = 0, note = ?, changed = changed + 1 WHERE name = ?", (why, name))


def _record(row: Row) -> ScheduleRecord:
    (name, cluster, trigger, policy, job, payload, blobs, enabled, note, created_at, decided_at, next_at, runs,
     failures, beside, changed) = row  # fmt: skip
    return ScheduleRecord(
        name=name,
        cluster=cluster,
        trigger=json.loads(trigger),
        policy=json.loads(policy),
        job=json.loads(job),
        payload=payload,
        blobs=tuple(json.loads(blobs)),
        enabled=bool(enabled),
        note=note,
        created_at=from_us(created_at),
        decided_at=from_us(decided_at),
        next_at=None if next_at is None else from_us(next_at),
        runs=runs,
        failures=failures,
        beside=json.loads(beside) if len(beside) > 2 else {},
        changed=changed,
    )
