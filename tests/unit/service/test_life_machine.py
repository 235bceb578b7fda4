"""The life of jobs in a real store against a small model: whatever is done in whatever order, both tell the same story.

The rules are the calls that front doors and services make, each only where a service would make it, and some that
come too late: from a service that has lost its lease, or about a job that is over.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobnb.errors import LeaseLost
from jobnb.job import JobRecord, Priority, Status
from jobnb.store import Store
from jobnb.store.jobs import NewJob, from_us, to_us
from jobnb.store.leases import Lease

SECOND = 1_000_000
LIVE = {Status.SCHEDULED, Status.QUEUED, Status.RUNNING, Status.RETRYING}
WAITING = LIVE - {Status.RUNNING}
FINAL = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


class Clock:
    """A moment in µs that moves when told to, and a little each time it is asked."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now


@dataclass(kw_only=True)
class Span:
    start: int
    stop: int
    state: str = "running"


@dataclass(kw_only=True)
class Life:
    """What the model knows of a job."""

    id: str
    items: int
    rank: int
    status: Status
    run_at: int | None
    key: str | None = None
    expires_at: int | None = None
    deadline_at: int | None = None
    attempt: int = 1
    cancel: bool = False
    begun: bool = False
    dead: bool = False
    finished_at: int | None = None
    spans: dict[int, Span] = field(default_factory=dict)
    #: The row as it was when the job ended.
    last: JobRecord | None = None

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def running(self) -> list[int]:
        return [task for task, span in self.spans.items() if span.state == "running"]

    @property
    def done(self) -> int:
        return sum(s.stop - s.start for s in self.spans.values() if s.state == "completed")

    def gap(self) -> tuple[int, int] | None:
        """The first items that are neither done nor out."""
        taken = sorted((s.start, s.stop) for s in self.spans.values() if s.state in ("running", "completed"))
        at = 0
        for start, stop in [*taken, (self.items, self.items)]:
            if at < start:
                return at, start
            at = max(at, stop)
        return None


def some(wanted: Callable[[Life], bool]) -> Callable[[Any], bool]:
    return lambda self: any(wanted(job) for job in self.jobs.values())


def idle(job: Life) -> bool:
    return job.status is Status.RUNNING and not job.running


PICK = st.integers(0, 1000)
KEYS = st.sampled_from([None, None, "a", "b"])
SOON = st.sampled_from([None, None, 3, 20])


class LifeOfJobs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = Store(Path(self.folder.name) / "home", self.clock)
        #: In the order of acceptance.
        self.jobs: dict[str, Life] = {}
        self.accepted = self.removed = 0
        self.former: list[Lease] = []
        self.holder = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def pick(self, number: int, wanted: Callable[[Life], bool]) -> Life:
        fitting = [job for job in self.jobs.values() if wanted(job)]
        return fitting[number % len(fitting)]

    def ended(self, job: Life, status: Status) -> None:
        row = self.store.jobs.get(job.id)
        assert row is not None
        assert row.finished_at is not None
        job.status, job.finished_at, job.dead = status, to_us(row.finished_at), status is Status.FAILED
        job.last = replace(row, dead=False)

    # Services

    @initialize()
    def a_service_comes(self) -> None:
        self.take_over()

    def take_over(self) -> None:
        self.holder += 1
        lease = self.store.leases.take("local", f"service {self.holder}", 10, {"host": "elsewhere", "pid": 1})
        assert lease is not None
        self.lease = lease

    @rule()
    def another_service_takes_over(self) -> None:
        assert self.store.leases.take("local", "too early", 10, {"host": "elsewhere", "pid": 2}) is None
        self.former.append(self.lease)
        self.clock.now += 11 * SECOND
        self.take_over()
        # It opens the books: what ran under the former one is lost, where nobody left an outcome.
        with self.store.tasks.fenced(self.lease):
            for job in self.jobs.values():
                for task in job.running:
                    assert self.store.tasks.settle(job.id, task, state="lost", stop=job.spans[task].start)
                    job.spans[task].state = "lost"

    def write_by(self, lease: Lease, job: Life, how: str) -> None:
        tasks = self.store.tasks
        if how == "renew":
            self.store.leases.renew(lease, 10, {})
        with tasks.fenced(lease):
            match how:
                case "start":
                    tasks.start_job(job.id)
                case "begin":
                    tasks.begin(job.id, 99, 0, 1, 1, lease.epoch)
                case "finish":
                    tasks.finish(job.id, Status.FAILED)
                case "put off":
                    tasks.put_off(job.id, retry_at=0, timeout=None, error=None)
                case "requeue":
                    tasks.requeue(job.id, "late")
                case "wake":
                    tasks.wake_scheduled("local")

    @precondition(lambda self: self.former and self.jobs)
    @rule(number=PICK, how=st.sampled_from(["start", "begin", "finish", "put off", "requeue", "wake", "renew"]))
    def a_former_service_writes(self, number: int, how: str) -> None:
        old, job = self.former[number % len(self.former)], self.pick(number, lambda job: True)
        with pytest.raises(LeaseLost):
            self.write_by(old, job, how)
        self.store.leases.release(old)
        assert self.store.leases.live("local") is not None or self.clock.now >= self.lease.expires_at

    @rule(seconds=st.sampled_from([1, 4, 30]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds * SECOND
        self.lease = self.store.leases.renew(self.lease, 10, {"host": "elsewhere", "pid": 1})

    # Front doors

    @rule(
        items=st.sampled_from([1, 1, 4]),
        priority=st.sampled_from(list(Priority)),
        key=KEYS,
        period=st.sampled_from([0.0, 0.0, 25.0]),
        later=SOON,
        expires=SOON,
        deadline=SOON,
    )
    def submit(
        self,
        items: int,
        priority: Priority,
        key: str | None,
        period: float,
        later: int | None,
        expires: int | None,
        deadline: int | None,
    ) -> None:
        now = self.clock.now
        run_at, expires_at, deadline_at = (None if s is None else now + s * SECOND for s in (later, expires, deadline))
        twins = [
            job.id
            for job in self.jobs.values()
            if key is not None
            and job.key == key
            and (job.live or (job.status is Status.COMPLETED and job.finished_at > now - int(period * SECOND)))
        ]
        new = NewJob(
            name="x",
            kind="job",
            cluster="local",
            payload="0" * 64,
            priority=priority,
            plan={"type": "map" if items > 1 else "single", "items": items},
            options={"timeout": None},
            run_at=None if run_at is None else from_us(run_at),
            expires_at=None if expires_at is None else from_us(expires_at),
            deadline_at=None if deadline_at is None else from_us(deadline_at),
            unique=key,
            unique_for=period,
        )
        found = self.store.jobs.add(new)
        if twins:
            assert found == twins[-1]
            return
        assert found not in self.jobs
        self.accepted += 1
        self.jobs[found] = Life(
            id=found,
            items=items,
            rank=priority.rank,
            status=Status.SCHEDULED if run_at is not None else Status.QUEUED,
            run_at=run_at,
            key=key,
            expires_at=expires_at,
            deadline_at=deadline_at,
        )

    @precondition(some(lambda job: job.status in (Status.FAILED, Status.CANCELLED)))
    @rule(number=PICK)
    def retry(self, number: int) -> None:
        old = self.pick(number, lambda job: job.status in (Status.FAILED, Status.CANCELLED))
        row = self.store.jobs.get(old.id)
        assert row is not None
        new = NewJob(
            name="x", kind="job", cluster="local", payload="0" * 64, plan=row.plan, rerun_of=old.id, adopt=True
        )
        found = self.store.jobs.add(new)
        assert self.store.dead_letters.resolve(old.id, "me", f"retried as {found}") is old.dead
        assert not self.store.dead_letters.resolve(old.id, "me", "again")
        old.dead = False
        self.accepted += 1
        kept = {task: replace(span) for task, span in old.spans.items() if span.state == "completed"}
        self.jobs[found] = Life(
            id=found, items=old.items, rank=Priority.NORMAL.rank, status=Status.QUEUED, run_at=None, spans=kept
        )

    @precondition(lambda self: self.jobs)
    @rule(number=PICK)
    def cancel(self, number: int) -> None:
        job = self.pick(number, lambda job: True)
        assert self.store.jobs.request_cancel(job.id, "me") is job.live
        if job.live:
            job.cancel = True
            if job.status is not Status.RUNNING:
                self.ended(job, Status.CANCELLED)

    @precondition(lambda self: self.jobs)
    @rule(number=PICK)
    def retry_now(self, number: int) -> None:
        job = self.pick(number, lambda job: True)
        assert self.store.jobs.retry_now(job.id, "me") is (job.status is Status.RETRYING)
        if job.status is Status.RETRYING:
            row = self.store.jobs.get(job.id)
            assert row is not None
            assert row.run_at is not None
            job.run_at = to_us(row.run_at)
            assert job.run_at <= self.clock.now

    @precondition(some(lambda job: job.dead))
    @rule(number=PICK, every=st.booleans())
    def purge(self, number: int, every: bool) -> None:
        chosen = [job for job in self.jobs.values() if job.dead]
        if not every:
            chosen = [chosen[number % len(chosen)]]
        named = [job.id for job in chosen] + [job.id for job in self.jobs.values() if not job.dead]
        assert self.store.dead_letters.purge(None if every else named) == len(chosen)
        self.drop(chosen)

    @rule(hours=st.sampled_from([0, 10]), statuses=st.sets(st.sampled_from(sorted(FINAL)), min_size=1))
    def forget(self, hours: int, statuses: set[Status]) -> None:
        before = self.clock.now - hours * SECOND
        chosen = [
            job for job in self.jobs.values() if job.status in statuses and not job.live and job.finished_at < before
        ]
        assert self.store.jobs.forget(before=from_us(before), status=sorted(statuses)) == len(chosen)
        self.drop(chosen)

    def drop(self, jobs: list[Life]) -> None:
        for job in jobs:
            del self.jobs[job.id]
            self.removed += 1
            assert self.store.tasks.of(job.id) == []
            assert self.store.jobs.events(job.id) == []

    # The service

    @rule()
    def wake(self) -> None:
        with self.store.tasks.fenced(self.lease, "normal"):
            self.store.tasks.wake_scheduled("local")
        for job in self.jobs.values():
            if job.status in (Status.SCHEDULED, Status.RETRYING) and job.run_at <= self.clock.now:
                job.attempt += job.status is Status.RETRYING
                job.status = Status.QUEUED

    @precondition(lambda self: self.jobs)
    @rule(number=PICK)
    def start(self, number: int) -> None:
        job = self.pick(number, lambda job: True)
        with self.store.tasks.fenced(self.lease, "normal"):
            assert self.store.tasks.start_job(job.id) is (job.status is Status.QUEUED)
        if job.status is Status.QUEUED:
            job.status, job.begun = Status.RUNNING, True

    @precondition(some(lambda job: job.status is Status.RUNNING and job.gap() is not None))
    @rule(number=PICK, size=st.integers(1, 4))
    def begin(self, number: int, size: int) -> None:
        job = self.pick(number, lambda job: job.status is Status.RUNNING and job.gap() is not None)
        gap = job.gap()
        assert gap is not None
        task, start, stop = max(job.spans, default=-1) + 1, gap[0], min(gap[1], gap[0] + size)
        with self.store.tasks.fenced(self.lease, "normal"):
            self.store.tasks.begin(job.id, task, start, stop, job.attempt, self.lease.epoch)
        job.spans[task] = Span(start=start, stop=stop)

    @precondition(some(lambda job: any(job.spans[task].stop - job.spans[task].start > 1 for task in job.running)))
    @rule(number=PICK, past=st.booleans())
    def a_task_leaves_items_to_others(self, number: int, past: bool) -> None:
        long = lambda job: [t for t in job.running if job.spans[t].stop - job.spans[t].start > 1]  # noqa: E731
        job = self.pick(number, lambda job: bool(long(job)))
        task = long(job)[number % len(long(job))]
        over = [t for t, span in job.spans.items() if span.state != "running"]
        with self.store.tasks.fenced(self.lease, "normal"):
            self.store.tasks.shorten(job.id, task, job.spans[task].stop - 1)
            for other in over if past else ():
                self.store.tasks.shorten(job.id, other, 0)
        job.spans[task].stop -= 1

    @precondition(some(lambda job: bool(job.running)))
    @rule(
        number=PICK,
        state=st.sampled_from(["completed", "completed", "failed", "lost", "cancelled"]),
        twice=st.booleans(),
    )
    def settle(self, number: int, state: str, twice: bool) -> None:
        job = self.pick(number, lambda job: bool(job.running))
        task = job.running[number % len(job.running)]
        span = job.spans[task]
        stop = span.start
        kept: tuple[bytes | None, str | None] = (None, None)
        if state == "completed":
            stop = span.start + 1 + number % (span.stop - span.start)
            kept = (bytes(range(span.start, stop)), None)
        with self.store.tasks.fenced(self.lease):
            assert self.store.tasks.settle(job.id, task, state=state, stop=stop, kept=kept)
            if twice:
                assert not self.store.tasks.settle(job.id, task, state="completed", stop=span.stop, kept=(b"", None))
        span.state, span.stop = state, stop if state == "completed" else span.stop

    @precondition(some(idle))
    @rule(number=PICK, seconds=st.sampled_from([0, 5]))
    def put_off(self, number: int, seconds: int) -> None:
        job = self.pick(number, idle)
        due = self.clock.now + seconds * SECOND
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.put_off(job.id, retry_at=due, timeout=None, error={"code": "NETWORK_ERROR"})
        if job.cancel:
            self.ended(job, Status.CANCELLED)
        else:
            job.status, job.run_at = Status.RETRYING, due

    @precondition(some(idle))
    @rule(number=PICK)
    def hand_back(self, number: int) -> None:
        job = self.pick(number, idle)
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.requeue(job.id, "the service was stopped")
        if job.cancel:
            self.ended(job, Status.CANCELLED)
        else:
            job.status = Status.QUEUED

    @precondition(some(idle))
    @rule(number=PICK, status=st.sampled_from([Status.FAILED, Status.CANCELLED]))
    def finish(self, number: int, status: Status) -> None:
        job = self.pick(number, idle)
        status = Status.COMPLETED if job.gap() is None else status
        with self.store.tasks.fenced(self.lease):
            assert self.store.tasks.finish(job.id, status, error={"code": "X"} if status is Status.FAILED else None)
            assert not self.store.tasks.finish(job.id, Status.CANCELLED)
        self.ended(job, status)

    @rule()
    def end_the_overdue(self) -> None:
        """End what waits beyond its time; what runs is ended by its books, like any other failure."""
        late = [job for job in self.jobs.values() if job.status in WAITING and self.overdue(job) | self.expired(job)]
        for job in late:
            with self.store.tasks.fenced(self.lease):
                assert self.store.tasks.finish(job.id, Status.FAILED, error={"code": "EXPIRED"})
            self.ended(job, Status.FAILED)

    @precondition(some(lambda job: not job.live))
    @rule(number=PICK)
    def something_is_said_of_a_job_that_is_over(self, number: int) -> None:
        job = self.pick(number, lambda job: not job.live)
        with self.store.tasks.fenced(self.lease):
            assert not self.store.tasks.start_job(job.id)
            assert not self.store.tasks.finish(job.id, Status.COMPLETED)
            self.store.tasks.update(job.id, progress=(7.0, 9.0, "late"), summary={"late": 1}, note="late")
            self.store.tasks.note_waiting("local", "")
            self.store.tasks.put_off(job.id, retry_at=0, timeout=None, error=None)
            self.store.tasks.requeue(job.id, "late")

    # What always holds

    def overdue(self, job: Life) -> bool:
        return job.live and job.deadline_at is not None and job.deadline_at <= self.clock.now

    def expired(self, job: Life) -> bool:
        return job.live and not job.begun and job.expires_at is not None and job.expires_at <= self.clock.now

    @invariant()
    def both_tell_the_same(self) -> None:
        counts: Counter[str] = Counter()
        for job in self.jobs.values():
            row = self.store.jobs.get(job.id)
            assert row is not None, "an accepted job was lost"
            counts[row.status] += 1
            assert (row.status, row.dead, row.done, row.running, row.attempt, row.cancel_requested) == (
                job.status,
                job.dead,
                job.done,
                len(job.running) if job.live else 0,
                job.attempt,
                job.cancel,
            )
            assert (row.finished_at is not None) is (job.status in FINAL)
            assert job.last is None or replace(row, dead=False) == job.last, "it changed after it was over"
            finals = [event.event for event in self.store.jobs.events(job.id) if event.event in FINAL]
            assert finals == ([] if job.live else [job.status])
            assert {t.task: (t.start, t.stop, t.state) for t in self.store.tasks.of(job.id)} == {
                task: (span.start, span.stop, span.state) for task, span in job.spans.items()
            }
        assert self.store.jobs.counts() == {status.value: counts[status] for status in Status}
        assert sum(counts.values()) + self.removed == self.accepted

    @invariant()
    def the_lists_agree(self) -> None:
        jobs = list(self.jobs.values())
        queued = sorted((j for j in jobs if j.status is Status.QUEUED), key=lambda j: -j.rank)
        assert [row.id for row in self.store.tasks.waiting("local", 1000)] == [job.id for job in queued]
        assert [r.id for r in self.store.tasks.running("local")] == [j.id for j in jobs if j.status is Status.RUNNING]
        assert self.store.jobs.any_live("local") is any(job.live for job in jobs)
        times = [job.run_at for job in jobs if job.status in (Status.SCHEDULED, Status.RETRYING)]
        assert self.store.tasks.next_scheduled("local") == min(times, default=None)
        assert [r.id for r in self.store.dead_letters.select()] == [j.id for j in reversed(jobs) if j.dead]
        assert set(self.store.tasks.overdue("local")) == {job.id for job in jobs if self.overdue(job)}
        assert set(self.store.tasks.expired("local")) == {job.id for job in jobs if self.expired(job)}
        wanted = {job.id for job in jobs if job.status is Status.RUNNING and job.cancel}
        assert set(self.store.tasks.cancel_requests("local")) == wanted

    @invariant()
    def keys_are_unique_and_results_right(self) -> None:
        keys = [job.key for job in self.jobs.values() if job.live and job.key is not None]
        assert len(keys) == len(set(keys))
        for job in self.jobs.values():
            if job.status is Status.COMPLETED:
                assert b"".join(self.store.tasks.results(job.id)) == bytes(range(job.items))


LifeOfJobs.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    # No statements of speed: the machine may be busy with something else.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLifeOfJobs = LifeOfJobs.TestCase
