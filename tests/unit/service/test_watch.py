"""Warnings about jobs that are stuck and too many that fail; removal of old ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobnb.job import Status
from jobnb.service.ledger import Ledger
from jobnb.service.watch import FAILURE_LEAST, Watch
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "home", clock)


@pytest.fixture
def lease(store: Store) -> Lease:
    taken = store.leases.take("local", "me", 10**6, {})
    assert taken is not None
    return taken


def add(store: Store) -> str:
    return store.jobs.add(NewJob(name="a", kind="job", cluster="local", payload="0" * 64))


def end(store: Store, lease: Lease, status: Status) -> str:
    job = add(store)
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        store.tasks.finish(job, status)
    return job


def warnings(store: Store, job: str) -> list[str]:
    return [e.event for e in store.jobs.events(job) if e.event in ("stuck", "failure rate")]


def test_a_silent_job_is_a_warning_once_until_it_moves(store: Store, lease: Lease) -> None:
    job = store.jobs.get(add(store))
    assert job is not None
    books = Ledger.of(job, [])
    books.hand_out(1)
    books.heard_at = 0.0
    watch = Watch(store=store, stuck_after=10.0)
    for now, seen in ((5.0, 0), (20.0, 1), (40.0, 1)):
        watch.look(lease, now, [books])
        assert len(warnings(store, job.id)) == seen
    books.heard_at = 45.0
    watch.look(lease, 51.0, [books])
    watch.look(lease, 70.0, [books])
    assert len(warnings(store, job.id)) == 2


def test_too_many_failures_are_a_warning_once(store: Store, lease: Lease, clock: Clock) -> None:
    watch = Watch(store=store)
    for _ in range(FAILURE_LEAST // 2):
        end(store, lease, Status.COMPLETED)
    for _ in range(FAILURE_LEAST // 2):
        last = end(store, lease, Status.FAILED)
    watch.look(lease, 0.0, [])
    assert warnings(store, last) == []
    last = end(store, lease, Status.FAILED)
    for now in (100.0, 200.0):
        watch.look(lease, now, [])
    assert warnings(store, last) == ["failure rate"]
    ((job, event),) = store.jobs.warnings_since(store.jobs.events(last)[0].at)
    assert job == last
    assert "6 of the 11 jobs" in event.detail
    clock.now += 2 * 3600 * 1_000_000
    watch.look(lease, 300.0, [])
    assert len(warnings(store, last)) == 1


def test_old_jobs_go_but_dead_letters_stay(store: Store, lease: Lease, clock: Clock) -> None:
    old, dead = end(store, lease, Status.COMPLETED), end(store, lease, Status.FAILED)
    clock.now += 60 * 1_000_000
    young = end(store, lease, Status.COMPLETED)
    Watch(store=store, keep_completed=30.0).look(lease, 0.0, [])
    assert store.jobs.get(old) is None
    assert store.jobs.get(dead) is not None
    assert store.jobs.get(young) is not None
