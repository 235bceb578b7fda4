"""Breakers and rate limits by name: every decision about them, each in one transaction, and what the jobs learn of it.

Front doors ask here for themselves; for jobs the service asks (`jobnb.service.answers`), and holds back those that need
a breaker which is open (`jobnb.service.needs`). What is decided is pure: `jobnb.circuit`, `jobnb.limit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jobnb.circuit import (
    PROBE_SECONDS,
    SECOND,
    Ask,
    Circuit,
    Event,
    Failed,
    Phase,
    Released,
    Reset,
    Rule,
    Succeeded,
    Tripped,
    counts,
    step,
)
from jobnb.errors import UsageProblem, unknown
from jobnb.job import JobRecord, Priority
from jobnb.limit import RateLimit, admit, free
from jobnb.store.database import Database, Row
from jobnb.store.jobs import from_us

#: A question may be asked again for so long, and still get its first answer.
ANSWERS_SECONDS = 600
#: So many answers are given between two looks for old ones.
TIDY_EVERY = 500
#: Values kept of the calls of one breaker.
VALUES_KEPT = 1_000
#: A job that tries whether a service is back may take its time: whether it still runs is looked up.
_LONG_SECONDS = 30 * 86_400
_COLUMNS = "name, rule, state, succeeded, failed, refused, error"
#: The part of a holder's name that says which job it is in.
JOB = "job:"


@dataclass(frozen=True, kw_only=True)
class BreakerRecord:
    """A breaker as it stands in the store.

    Attributes
    ----------
    succeeded, failed, refused : int
        Calls so far.
    error : str
        The last failure.
    waiting : int
        Jobs that were put off because of it.
    now : datetime
        When this was so.
    """

    name: str
    rule: Rule
    circuit: Circuit
    succeeded: int
    failed: int
    refused: int
    error: str
    waiting: int
    now: datetime
    phase: Phase

    @property
    def opens_until(self) -> datetime | None:
        """When it lets a probe through; None while it is closed."""
        return None if self.circuit.until is None else from_us(self.circuit.until)


@dataclass(frozen=True, kw_only=True)
class LimitRecord:
    """A rate limit as it stands in the store.

    Attributes
    ----------
    taken : int
        Calls so far.
    free : int
        Calls that could be made at once now.
    """

    name: str
    rate: RateLimit
    taken: int
    free: int


class Limits:
    """The breakers and rate limits of one store."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock
        self._answered = 0
        #: Grows whenever this process has put jobs off, or called them back.
        self.moves = 0

    # Questions

    @contextmanager
    def together(self) -> Iterator[None]:
        """Answer several questions in one transaction."""
        with self._db.writing("normal"):
            yield

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Decide on a question, and return the answer; one with an ``id`` counts once however often it is asked.

        Raises
        ------
        UsageProblem
            There is no such rate limit, or what is asked makes no sense.
        """
        asked = str(question.get("id") or "")
        with self._db.writing("normal"):
            row = self._db.row("SELECT answer FROM answers WHERE question = ?", (asked,)) if asked else None
            if row is not None:
                known: dict[str, Any] = json.loads(row[0])
                return self._with_value(known, question)
            given = self._decide(question)
            if asked:
                self._db.rows(
                    "INSERT INTO answers (question, at, answer) VALUES (?, ?, ?)",
                    (asked, self._clock(), json.dumps(given)),
                )
                self._tidy()
            return self._with_value(given, question)

    def _decide(self, question: Mapping[str, Any]) -> dict[str, Any]:
        op, name = str(question["op"]), str(question["name"])
        if op == "take":
            return self._take(name, question.get("rate"), int(question["count"]), question.get("most"))
        if op == "last":
            return {}
        if op == "show":
            return self._shown(self.breaker(name))
        if op == "keep":
            self._keep(name, question)
            return {}
        record = self._breaker(name, dict(question.get("rule") or {}))
        if op == "rule":
            return {}
        if op == "ask":
            return self._ask(record, question)
        self._hear(record, op, question)
        return {}

    def _tidy(self) -> None:
        self._answered += 1
        if self._answered % TIDY_EVERY == 0:
            self._db.rows("DELETE FROM answers WHERE at < ?", (self._clock() - ANSWERS_SECONDS * SECOND,))

    # Rate limits

    def _take(self, name: str, said: Sequence[float] | None, count: int, most: float | None) -> dict[str, Any]:
        rate = None if said is None else RateLimit(int(said[0]), float(said[1]))
        if rate is not None:
            self._set_rate(name, rate)
        row = self._db.row("SELECT calls, per, due FROM rate_limits WHERE name = ?", (name,))
        if row is None:
            raise self._no_rate(name)
        rate = RateLimit(row[0], row[1])
        if not 0 <= count <= rate.calls:
            raise UsageProblem(f"rate limit {name!r} is {rate}: {count} calls at once are more than there ever are.")
        if count == 0:
            return {"pause": 0.0}
        due, pause = admit(row[2], self._clock() / SECOND, rate, count)
        if most is not None and pause > most:
            return {"pause": pause, "refused": True}
        self._db.rows("UPDATE rate_limits SET due = ?, taken = taken + ? WHERE name = ?", (due, count, name))
        return {"pause": pause}

    def _set_rate(self, name: str, rate: RateLimit) -> None:
        self._db.rows(
            "INSERT INTO rate_limits (name, calls, per) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE "
            "SET calls = ?2, per = ?3 WHERE calls <> ?2 OR per <> ?3",
            (name, rate.calls, rate.per),
        )

    def _no_rate(self, name: str) -> UsageProblem:
        known = [str(row[0]) for row in self._db.rows("SELECT name FROM rate_limits")]
        error = unknown("rate limit", name, known)
        return type(error)(f"{error.message} Say it once: jobnb.rate_limit({name!r}, '100/min').")

    def rate_limits(self) -> list[LimitRecord]:
        """Return all rate limits, by name."""
        now = self._clock() / SECOND
        rows = self._db.rows("SELECT name, calls, per, due, taken FROM rate_limits ORDER BY name")
        return [
            LimitRecord(name=name, rate=(rate := RateLimit(calls, per)), taken=taken, free=free(due, now, rate))
            for name, calls, per, due, taken in rows
        ]

    def rate_limit(self, name: str) -> LimitRecord:
        """Return a rate limit.

        Raises
        ------
        UnknownName
            There is none of that name.
        """
        found = {record.name: record for record in self.rate_limits()}
        if name not in found:
            raise self._no_rate(name)
        return found[name]

    def remove_rate(self, name: str) -> None:
        """Forget a rate limit."""
        with self._db.writing("normal"):
            self._db.rows("DELETE FROM rate_limits WHERE name = ?", (name,))

    # Breakers

    def breakers(self) -> list[BreakerRecord]:
        """Return all breakers, by name."""
        return [self._record(row) for row in self._db.rows(f"SELECT {_COLUMNS} FROM breakers ORDER BY name")]  # noqa: S608

    def breaker(self, name: str) -> BreakerRecord:
        """Return a breaker; one that was never asked is closed."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM breakers WHERE name = ?", (name,))  # noqa: S608
        return self._record(row or (name, "{}", "{}", 0, 0, 0, ""))

    def known(self) -> tuple[set[str], set[str]]:
        """Return the names of the breakers and of the rate limits."""
        breakers = {str(row[0]) for row in self._db.rows("SELECT name FROM breakers")}
        return breakers, {str(row[0]) for row in self._db.rows("SELECT name FROM rate_limits")}

    def remove_breaker(self, name: str) -> None:
        """Forget a breaker, and what its calls gave; the jobs that wait for it wait no more."""
        with self._db.writing("normal"):
            self._write(self._breaker(name, {}), Circuit())
            self._db.rows("DELETE FROM breakers WHERE name = ?", (name,))
            self._db.rows("DELETE FROM last_values WHERE breaker = ?", (name,))

    def _shown(self, record: BreakerRecord) -> dict[str, Any]:
        circuit = record.circuit
        return {
            "phase": record.phase.value,
            "failures": len(circuit.failures),
            "until": circuit.until,
            "cause": circuit.cause,
            "text": record.rule.text,
        }

    def _record(self, row: Row) -> BreakerRecord:
        name, rule, state, succeeded, failed, refused, error = row
        waiting = self._db.row("SELECT count(*) FROM jobs WHERE waits_for = ? AND status = 'scheduled'", (name,))
        now = self._clock()
        circuit = Circuit.of(json.loads(state))
        return BreakerRecord(
            name=name,
            rule=_rule(rule),
            circuit=circuit,
            succeeded=succeeded,
            failed=failed,
            refused=refused,
            error=error,
            waiting=int(waiting[0]) if waiting else 0,
            now=from_us(now),
            phase=circuit.phase(now),
        )

    def _breaker(self, name: str, said: Mapping[str, Any]) -> BreakerRecord:
        """Return a breaker to decide on: made where there is none, its rule changed by what is said of it."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM breakers WHERE name = ?", (name,))  # noqa: S608
        if row is None:
            self._db.rows("INSERT INTO breakers (name) VALUES (?)", (name,))
            row = (name, "{}", "{}", 0, 0, 0, "")
        rule = _rule(row[1])
        if said and (new := rule.merge(said)) != rule:
            self._db.rows("UPDATE breakers SET rule = ? WHERE name = ?", (json.dumps(new.to_json()), name))
            rule = new
        now = self._clock()
        circuit = Circuit.of(json.loads(row[2]))
        record = BreakerRecord(
            name=name,
            rule=rule,
            circuit=circuit,
            succeeded=row[3],
            failed=row[4],
            refused=row[5],
            error=row[6],
            waiting=0,
            now=from_us(now),
            phase=circuit.phase(now),
        )
        if circuit.probe.startswith(JOB) and not self._runs(_job_of(circuit.probe)):
            # It was cancelled, or its service died; nobody else will say so.
            vacant = step(circuit, Released(holder=circuit.probe), now, rule)
            self._write(record, vacant)
            record = replace(record, circuit=vacant, phase=vacant.phase(now))
        return record

    def _runs(self, job: str) -> bool:
        return self._db.row("SELECT 1 FROM jobs WHERE id = ? AND status = 'running'", (job,)) is not None

    def _ask(self, record: BreakerRecord, question: Mapping[str, Any]) -> dict[str, Any]:
        now, job = self._clock(), str(question.get("job") or "")
        holder, forced = str(question["holder"]), False
        if job:
            needs, critical = self._needs(job)
            if record.name in needs:
                self._db.rows("INSERT OR IGNORE INTO breaker_users (job, breaker) VALUES (?, ?)", (job, record.name))
                forced = critical
            # A job that was let go as the probe may call as often as it likes.
            holder = f"{JOB}{job}" if record.circuit.probe == f"{JOB}{job}" else f"{JOB}{job}:{holder}"
        circuit = step(record.circuit, Ask(holder=holder), now, record.rule)
        self._write(record, circuit)
        if forced or circuit.admits(holder):
            return {"ok": True, "holder": holder, "since": now, "on": list(record.rule.on)}
        self._db.rows("UPDATE breakers SET refused = refused + 1 WHERE name = ?", (record.name,))
        # The verdict of a probe comes sooner than its place is given up.
        again = circuit.again_at(now)
        if circuit.phase(now) is Phase.HALF_OPEN:
            again = min(again, now + int(record.rule.open_for * SECOND))
        return {"ok": False, "again": again, "now": now, "cause": reason(circuit, now), "on": list(record.rule.on)}

    def _needs(self, job: str) -> tuple[Sequence[str], bool]:
        """Return the breakers that a job has declared, and whether it goes in spite of them."""
        row = self._db.row("SELECT options ->> 'needs', priority FROM jobs WHERE id = ?", (job,))
        if row is None or row[0] is None:
            return (), False
        return json.loads(row[0]), row[1] >= Priority.CRITICAL.rank

    def _hear(self, record: BreakerRecord, op: str, question: Mapping[str, Any]) -> None:
        holder, since = str(question.get("holder") or ""), int(question.get("since") or 0)
        event: Event
        match op:
            case "succeeded":
                event = Succeeded(holder=holder, since=since)
                if question.get("value") is not None:
                    self._keep(record.name, question)
            case "failed":
                event = Failed(holder=holder, since=since)
            case "released":
                event = Released(holder=holder)
            case "trip":
                length = float(question.get("seconds") or record.rule.open_for)
                event = Tripped(seconds=length, who=str(question.get("who") or "somebody"))
            case "reset":
                event = Reset()
            case _:
                raise UsageProblem(f"unknown question {op!r} about breaker {record.name!r}.")
        self._take_note(record, event, str(question.get("error") or ""))

    def _take_note(self, record: BreakerRecord, event: Event, error: str = "") -> None:
        now = self._clock()
        self._write(record, step(record.circuit, event, now, record.rule))
        if isinstance(event, Succeeded):
            self._db.rows("UPDATE breakers SET succeeded = succeeded + 1 WHERE name = ?", (record.name,))
        elif isinstance(event, Failed):
            self._db.rows("UPDATE breakers SET failed = failed + 1, error = ? WHERE name = ?", (error, record.name))

    def _write(self, record: BreakerRecord, circuit: Circuit) -> None:
        """Store a new state, and tell the jobs that wait."""
        before = record.circuit
        if circuit == before:
            return
        self._db.rows("UPDATE breakers SET state = ? WHERE name = ?", (json.dumps(circuit.to_json()), record.name))
        now = self._clock()
        closed = before.until is not None and circuit.until is None
        # Nobody tries it any more, and it did not open again: somebody else may.
        vacant = circuit.phase(now) is Phase.HALF_OPEN and not circuit.probe
        self.moves += 1
        if closed or vacant:
            self._db.rows(
                "UPDATE jobs SET run_at = ?, note = '', waits_for = '' WHERE waits_for = ? AND status = 'scheduled'",
                (now, record.name),
            )
        elif circuit.until is not None and circuit.until != before.until:
            self._db.rows(
                "UPDATE jobs SET run_at = ?, note = ? WHERE waits_for = ? AND status = 'scheduled'",
                (circuit.until, note(record.name, circuit, now), record.name),
            )

    # Jobs that need a breaker

    def may_start(self, job: JobRecord, needs: Sequence[str]) -> str | None:
        """Tell whether a waiting job may start; return the breaker for which it has to wait, or None.

        A breaker that lets a probe through takes this job for it. Call inside `fenced`.
        """
        holder, now = f"{JOB}{job.id}", self._clock()
        steps: list[tuple[BreakerRecord, Circuit]] = []
        for name in needs:
            record = self._breaker(name, {})
            circuit = step(record.circuit, Ask(holder=holder), now, record.rule)
            if circuit.probe == holder:
                circuit = replace(circuit, probe_until=now + _LONG_SECONDS * SECOND)
            if not circuit.admits(holder):
                return name
            steps.append((record, circuit))
        for record, circuit in steps:
            self._write(record, circuit)
        return None

    def shut(self, name: str) -> bool:
        """Tell whether a breaker lets nobody through now."""
        row, now = self._db.row("SELECT state FROM breakers WHERE name = ?", (name,)), self._clock()
        circuit = Circuit.of(json.loads(row[0])) if row else Circuit()
        return circuit.until is not None and circuit.again_at(now) > now

    def put_off(self, cluster: str, name: str) -> int:
        """Put off all waiting jobs of a cluster that need a breaker which is not closed; return how many.

        Critical ones stay. Call inside `fenced`.
        """
        record, now = self.breaker(name), self._clock()
        circuit = record.circuit
        patience = int(max(PROBE_SECONDS, record.rule.open_for) * SECOND)
        opens = circuit.phase(now) is Phase.OPEN
        again = circuit.again_at(now) if opens else min(max(circuit.again_at(now), now + SECOND), now + patience)
        text = note(name, circuit, now)
        rows = self._db.rows(
            "UPDATE jobs SET status = 'scheduled', run_at = ?1, waits_for = ?2, note = ?3 "
            "WHERE cluster = ?4 AND status = 'queued' AND options ->> 'needs' IS NOT NULL AND finished_at IS NULL "
            "AND priority < ?5 AND EXISTS (SELECT 1 FROM json_each(jobs.options, '$.needs') WHERE value = ?2) "
            "RETURNING id",
            (again, name, text, cluster, Priority.CRITICAL.rank),
        )
        self.moves += bool(rows)
        if opens:
            self._db.connection.executemany(
                "INSERT INTO events (job, at, event, who, detail) VALUES (?, ?, 'put off', 'service', ?)",
                [(row[0], now, text) for row in rows],
            )
        return len(rows)

    def task_over(
        self, job: str, needs: Sequence[str], *, state: str, since: int, error: Mapping[str, Any] | None
    ) -> None:
        """Count how a task of a job ended that needs breakers, unless it asked them itself; call inside `fenced`."""
        holder = f"{JOB}{job}"
        for name in needs:
            used = self._db.row("SELECT 1 FROM breaker_users WHERE job = ? AND breaker = ?", (job, name)) is not None
            record = self._breaker(name, {})
            code, bases = str((error or {}).get("code") or ""), str((error or {}).get("bases") or "")
            event: Event = Released(holder=holder)
            if not used and state == "completed":
                event = Succeeded(holder=holder, since=since)
            elif not used and state == "failed" and counts(record.rule, code=code, bases=bases, declared=True):
                event = Failed(holder=holder, since=since)
            self._take_note(record, event, f"{code}: {(error or {}).get('message', '')}"[:300])

    # Last values

    def keep(self, values: Iterable[tuple[str, str, int, bytes]]) -> None:
        """Keep what calls gave: breaker, call, µs, pickled value. Call inside `fenced`."""
        for name, call, at, value in values:
            self._keep(name, {"call": call, "at": at, "value": value})

    def _keep(self, name: str, question: Mapping[str, Any]) -> None:
        at = int(question.get("at") or self._clock())
        self._db.rows(
            "INSERT INTO last_values (breaker, call, at, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE "
            "SET at = ?3, value = ?4 WHERE at <= ?3",
            (name, str(question["call"]), at, bytes(question["value"])),
        )
        self._db.rows(
            "DELETE FROM last_values WHERE breaker = ?1 AND at < (SELECT at FROM last_values WHERE breaker = ?1 "
            "ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            (name, VALUES_KEPT - 1),
        )

    def _with_value(self, given: dict[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
        """Add the last value that is asked for: too large to be kept with the answer, and as good when it is newer."""
        if question.get("op") != "last":
            return given
        row = self._db.row(
            "SELECT at, value FROM last_values WHERE breaker = ? AND call = ?",
            (str(question["name"]), str(question["call"])),
        )
        return {**given, "at": row[0], "value": bytes(row[1])} if row else given


def reason(circuit: Circuit, now: int) -> str:
    """Return why a breaker lets nobody through."""
    return circuit.cause if circuit.phase(now) is Phase.OPEN else "is being tried again"


def note(name: str, circuit: Circuit, now: int) -> str:
    """Return what the card of a job says that waits for a breaker."""
    text = f"waits for {name}, which {reason(circuit, now)}"
    if circuit.until is None or circuit.phase(now) is not Phase.OPEN:
        return text
    return f"{text}; again at {clock_time(circuit.until, now)}"


def clock_time(moment: int, now: int) -> str:
    """Return a moment (µs) as this machine's clock shows it: with seconds if it is near, with the date if it is far."""
    away = (moment - now) / SECOND
    shape = "%H:%M:%S" if away < 600 else "%H:%M" if away < 86_400 else "%Y-%m-%d %H:%M"
    return from_us(moment).astimezone().strftime(shape)


def _rule(said: str) -> Rule:
    known = json.loads(said)
    return Rule(**{**known, "on": tuple(known.get("on", ()))})


def _job_of(holder: str) -> str:
    return holder.removeprefix(JOB).partition(":")[0]
