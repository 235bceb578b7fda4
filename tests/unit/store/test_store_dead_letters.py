"""Dead letters, unique keys, retries that wait, deadlines, and the clean-up of files nobody needs."""

import os
from datetime import timedelta

from tests_store import Clock, new

from jobnb.job import Status
from jobnb.store import Store
from jobnb.store.jobs import Accepted, from_us
from jobnb.store.leases import Lease


def fail(store: Store, lease: Lease, job: str, code: str = "USER_ERROR") -> None:
    with store.tasks.fenced(lease):
        assert store.tasks.start_job(job)
        store.tasks.finish(job, Status.FAILED, error={"code": code, "message": "no"})


def take(store: Store) -> Lease:
    lease = store.leases.take("local", "me", 60, {})
    assert lease is not None
    return lease


def test_a_failed_job_is_a_dead_letter_until_it_is_retried_or_purged(store: Store) -> None:
    lease = take(store)
    a, b, c = (store.jobs.add(new(name)) for name in "abc")
    fail(store, lease, a)
    fail(store, lease, b, "NETWORK_ERROR")
    fail(store, lease, c)
    assert [job.id for job in store.dead_letters.select()] == [c, b, a]
    assert [job.id for job in store.dead_letters.select(code="NETWORK_ERROR")] == [b]
    assert store.dead_letters.count() == 3
    assert store.jobs.error_codes() == {"USER_ERROR": 2, "NETWORK_ERROR": 1}
    assert store.dead_letters.resolve(a, "me", "retried as x")
    assert not store.dead_letters.resolve(a, "me", "again")
    assert store.jobs.events(a)[-1].detail == "retried as x"
    assert store.dead_letters.purge([b, a]) == 1
    assert store.jobs.get(b) is None
    assert store.jobs.get(a) is not None
    assert store.dead_letters.purge() == 1
    assert store.dead_letters.count() == 0


def test_purging_by_age_and_kind(store: Store, clock: Clock) -> None:
    lease = take(store)
    old, young = store.jobs.add(new("old", kind="map")), store.jobs.add(new("young"))
    fail(store, lease, old)
    fail(store, lease, young)
    later = from_us(clock() + 1)
    assert store.dead_letters.purge(before=later - timedelta(days=1)) == 0
    assert store.dead_letters.purge(kind="map", before=later) == 1
    assert store.jobs.get(young) is not None


def test_a_live_unique_key_stands_for_its_job(store: Store) -> None:
    first = store.jobs.add(new("a", unique="k"))
    assert store.jobs.add(new("b", unique="k")) == first
    assert store.jobs.accept(new("b", unique="k")) == Accepted(id=first, new=False)
    assert store.jobs.accept(new("b", unique="other")).new
    assert [e.event for e in store.jobs.events(first)] == ["submitted", "submitted again", "submitted again"]
    assert store.jobs.request_cancel(first, "me")
    assert store.jobs.add(new("c", unique="k")) != first


def test_a_completed_unique_job_counts_for_its_period(store: Store, clock: Clock) -> None:
    lease = take(store)
    first = store.jobs.add(new("a", unique="k"))
    with store.tasks.fenced(lease):
        store.tasks.start_job(first)
        store.tasks.finish(first, Status.COMPLETED)
    clock.now += 10_000_000
    assert store.jobs.add(new("b", unique="k", unique_for=60)) == first
    assert store.jobs.add(new("b", unique="k", unique_for=5)) != first


def test_a_retrying_job_waits_for_its_time_and_counts_its_attempts(store: Store, clock: Clock) -> None:
    lease = take(store)
    job = store.jobs.add(new("a", options={"timeout": 3.0}))
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        due = clock() + 5_000_000
        store.tasks.put_off(job, retry_at=due, timeout=6.0, error={"code": "NETWORK_ERROR"})
    record = store.jobs.get(job)
    assert record is not None
    assert (record.status, record.attempt) == (Status.RETRYING, 1)
    assert record.options == {"timeout": 6.0, "first_timeout": 3.0}
    assert store.tasks.waiting("local", 9) == []
    assert store.tasks.next_scheduled("local") == due
    clock.now += 5_000_000
    with store.tasks.fenced(lease):
        store.tasks.wake_scheduled("local")
    (record,) = store.tasks.waiting("local", 9)
    assert (record.status, record.attempt) == (Status.QUEUED, 2)


def test_what_waits_for_its_next_attempt_is_put_forward_and_what_a_user_said_is_not(store: Store, clock: Clock) -> None:
    lease = take(store)
    retrying, sweep, scheduled = (
        store.jobs.add(new(name, run_at=run_at))
        for name, run_at in (("a", None), ("b", None), ("c", from_us(clock() + 7_000_000)))
    )
    due = clock() + 5_000_000
    with store.tasks.fenced(lease):
        for job in (retrying, sweep):
            store.tasks.start_job(job)
        store.tasks.put_off(retrying, retry_at=due, timeout=None, error=None)
        for task, retry_at in enumerate((due, 5)):
            store.tasks.begin(sweep, task, task, task + 1, 1, lease.epoch)
            store.tasks.settle(sweep, task, state="failed", stop=task, error={}, retry_at=retry_at)
    said = store.jobs.get(scheduled)
    with store.tasks.fenced(lease):
        store.tasks.put_forward("local", by=2_000_000)
        store.tasks.put_forward("elsewhere", by=1_000_000)
    assert store.tasks.next_scheduled("local") == due - 2_000_000
    assert [row.retry_at for row in store.tasks.of(sweep)] == [due - 2_000_000, 5]
    assert store.jobs.get(scheduled) == said


def test_retry_now_and_cancel_while_it_waits(store: Store, clock: Clock) -> None:
    lease = take(store)
    jobs = [store.jobs.add(new("a")), store.jobs.add(new("b"))]
    for job in jobs:
        with store.tasks.fenced(lease):
            store.tasks.start_job(job)
            store.tasks.put_off(job, retry_at=clock() + 10**9, timeout=None, error=None)
    assert store.jobs.retry_now(jobs[0], "me")
    due = store.tasks.next_scheduled("local")
    assert due is not None
    assert due <= clock()
    assert store.jobs.request_cancel(jobs[1], "me")
    record = store.jobs.get(jobs[1])
    assert record is not None
    assert record.status is Status.CANCELLED
    assert not store.jobs.retry_now(jobs[1], "me")


def test_a_retry_takes_over_what_was_finished(store: Store) -> None:
    lease = take(store)
    old = store.jobs.add(new("map", plan={"type": "map", "items": 10}))
    with store.tasks.fenced(lease):
        store.tasks.start_job(old)
        store.tasks.begin(old, 0, 0, 4, 1, lease.epoch)
        store.tasks.begin(old, 1, 4, 10, 1, lease.epoch)
        store.tasks.settle(old, 0, state="completed", stop=4, kept=(b"abcd", None))
        store.tasks.settle(old, 1, state="failed", stop=4, error={"code": "USER_ERROR"})
        store.tasks.finish(old, Status.FAILED, error={"code": "USER_ERROR"})
    again = store.jobs.add(new("map", plan={"type": "map", "items": 10}, rerun_of=old, adopt=True))
    record = store.jobs.get(again)
    assert record is not None
    assert (record.done, record.progress.current, record.rerun_of) == (4, 4.0, old)
    assert store.tasks.results(again) == [b"abcd"]
    assert [(t.start, t.stop) for t in store.tasks.of(again)] == [(0, 4)]


def test_expired_and_overdue(store: Store, clock: Clock) -> None:
    lease = take(store)
    soon = from_us(clock() + 1_000_000)
    expiring = store.jobs.add(new("a", expires_at=soon))
    begun = store.jobs.add(new("b", expires_at=soon, deadline_at=soon))
    store.jobs.add(new("c"))
    with store.tasks.fenced(lease):
        store.tasks.start_job(begun)
    assert store.tasks.expired("local") == store.tasks.overdue("local") == []
    clock.now += 1_000_000
    assert store.tasks.expired("local") == [expiring]
    assert store.tasks.overdue("local") == [begun]


def test_vacuum_removes_old_files_that_no_row_needs(store: Store) -> None:
    kept = [store.blobs.put(content) for content in (b"payload", b"data", b"result", b"artifact")]
    lease = take(store)
    job = store.jobs.add(new("a", payload=kept[0], blobs=[kept[1]]))
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        store.tasks.begin(job, 0, 0, 1, 1, lease.epoch)
        store.tasks.settle(job, 0, state="completed", stop=1, kept=(None, kept[2]), artifacts=[("x", b"artifact")])
    orphan, young = store.blobs.put(b"orphan"), store.blobs.put(b"young orphan")
    for sha in (*kept, orphan):
        os.utime(store.blobs.path(sha), (1, 1))
    assert store.dead_letters.vacuum() == (1, len(b"orphan"))
    assert not store.blobs.path(orphan).exists()
    assert store.blobs.path(young).exists()
    assert all(store.blobs.path(sha).exists() for sha in kept)


def test_storing_an_old_file_again_makes_it_young(store: Store) -> None:
    sha = store.blobs.put(b"x")
    os.utime(store.blobs.path(sha), (1, 1))
    store.blobs.put(b"x")
    assert store.dead_letters.vacuum() == (0, 0)
