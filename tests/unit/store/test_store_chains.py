"""Links between jobs: what the end of a parent does to its children, in one transaction with it."""

import json
from datetime import timedelta

import pytest
from tests_store import Clock, new

from jobnb.errors import UnknownName, UsageProblem
from jobnb.job import JobRecord, Status
from jobnb.store import Store
from jobnb.store.chains import Link, Wanted, verdict
from jobnb.store.jobs import from_us
from jobnb.store.leases import Lease


def child(store: Store, *parents: str, wanted: Wanted = "success", given: bool = False, **said: object) -> str:
    links = [Link(parent=parent, wanted=wanted, given=given) for parent in parents]
    return store.jobs.add(new("child", parents=links, **said))


def row(store: Store, job: str) -> JobRecord:
    found = store.jobs.get(job)
    assert found is not None
    return found


def finish(store: Store, lease: Lease, job: str, status: Status, code: str = "USER_ERROR") -> None:
    error = {"code": code, "message": "broken"} if status is Status.FAILED or code == "SKIPPED" else None
    with store.tasks.fenced(lease):
        assert store.tasks.start_job(job)
        store.tasks.begin(job, 0, 0, 1, 1, lease.epoch)
        done = "completed" if status is Status.COMPLETED else "failed"
        store.tasks.settle(
            job, 0, state=done, stop=1, kept=(b"r", None) if status is Status.COMPLETED else (None, None)
        )
        assert store.tasks.finish(job, status, error=error)


def test_a_child_waits_and_says_for_whom(store: Store, lease: Lease) -> None:
    first, second, third = (store.jobs.add(new(name)) for name in ("load", "clean", "fit"))
    job = child(store, first, second, third)
    seen = row(store, job)
    assert (seen.status, seen.run_at) == (Status.SCHEDULED, None)
    assert seen.note == f"waits for {first} (load) and 2 others"
    assert store.tasks.next_scheduled("local") is None
    with store.tasks.fenced(lease):
        store.tasks.wake_scheduled("local")
    finish(store, lease, first, Status.COMPLETED)
    assert row(store, job).note == f"waits for {second} (clean) and 1 other"
    finish(store, lease, third, Status.COMPLETED)
    assert row(store, job).note == f"waits for {second} (clean)"
    moved = store.chains.moved
    finish(store, lease, second, Status.COMPLETED)
    assert (row(store, job).status, row(store, job).note) == (Status.QUEUED, "")
    assert store.chains.moved == moved + 1
    assert [event.event for event in store.jobs.events(job)] == ["submitted", "released"]
    assert [(e.id, e.ended) for e in store.chains.parents(job)] == [(j, "completed") for j in (first, second, third)]
    assert store.chains.children(first) == [job]


def test_a_released_job_stands_where_it_was_submitted(store: Store, lease: Lease) -> None:
    first = store.jobs.add(new())
    job, later = child(store, first), store.jobs.add(new())
    finish(store, lease, first, Status.COMPLETED)
    assert [each.id for each in store.tasks.waiting("local", 5)] == [job, later]


def test_a_job_of_a_later_time_waits_for_both(store: Store, lease: Lease, clock: Clock) -> None:
    first, at = store.jobs.add(new()), from_us(clock()) + timedelta(seconds=60)
    early, late = child(store, first, run_at=from_us(clock())), child(store, first, run_at=at)
    assert row(store, late).run_at is None
    finish(store, lease, first, Status.COMPLETED)
    assert row(store, early).status is Status.QUEUED
    assert (row(store, late).status, row(store, late).run_at) == (Status.SCHEDULED, at)
    assert from_us(store.tasks.next_scheduled("local") or 0) == at


@pytest.mark.parametrize("before", [True, False], ids=["submitted before", "submitted after"])
@pytest.mark.parametrize("wanted", ["success", "failure", "any"])
@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "skipped"])
def test_every_end_of_a_parent(store: Store, lease: Lease, how: str, wanted: Wanted, before: bool) -> None:
    first = store.jobs.add(new("load"))
    job = child(store, first, wanted=wanted) if before else ""
    status = Status.CANCELLED if how == "skipped" else Status(how)
    finish(store, lease, first, status, "SKIPPED" if how == "skipped" else "USER_ERROR")
    job = job or child(store, first, wanted=wanted)
    seen = row(store, job)
    expected = verdict(wanted, how)  # type: ignore[arg-type]
    assert seen.status is (Status.QUEUED if expected == "run" else Status.CANCELLED)
    assert (seen.finished_at is None) == (expected == "run")
    if expected != "run":
        assert seen.error is not None
        assert seen.error.code == {"cancel": "PARENT_FAILED", "skip": "SKIPPED"}[expected]
        assert f"because its parent {first} (load) " in seen.error.message


def test_the_reason_of_a_long_chain_is_its_root(store: Store, lease: Lease) -> None:
    steps = [new("load: all"), *(new("child", parents=[Link(parent=i)]) for i in range(3_000))]
    jobs = [each.id for each in store.jobs.accept_all(steps)]
    finish(store, lease, jobs[0], Status.FAILED, "DATA_ERROR")
    last = row(store, jobs[-1])
    assert last.error is not None
    assert last.error.message == (
        f"cancelled because its parent {jobs[-2]} (child) was cancelled: {jobs[0]} (load: all) failed: DATA_ERROR"
    )
    assert not store.jobs.any_live("local")


def test_a_front_door_that_cancels_what_waits(store: Store) -> None:
    first = store.jobs.add(new("load"))
    second, cleanup = child(store, first), child(store, first, wanted="any")
    third = child(store, second)
    assert store.jobs.request_cancel(first, "ann")
    assert [row(store, job).status for job in (first, second, third)] == [Status.CANCELLED] * 3
    assert row(store, cleanup).status is Status.QUEUED
    error = row(store, third).error
    assert error is not None
    assert error.message.endswith(f"was cancelled: {first} (load) was cancelled by ann")


def test_a_cancelled_child_stays_so(store: Store, lease: Lease) -> None:
    first = store.jobs.add(new())
    job = child(store, first)
    assert store.jobs.request_cancel(job, "ann")
    before = row(store, job)
    finish(store, lease, first, Status.FAILED)
    assert row(store, job) == before
    assert store.chains.parents(job)[0].ended == "failed"


def test_a_parent_that_is_tried_again_is_waited_for(store: Store, lease: Lease) -> None:
    first = store.jobs.add(new())
    job = child(store, first)
    with store.tasks.fenced(lease):
        store.tasks.start_job(first)
        store.tasks.put_off(first, retry_at=0, timeout=None, error=None)
    assert row(store, job).status is Status.SCHEDULED
    with store.tasks.fenced(lease):
        store.tasks.wake_scheduled("local")
    finish(store, lease, first, Status.COMPLETED)
    assert row(store, job).status is Status.QUEUED


def test_a_waiting_job_can_expire_and_keeps_the_service(store: Store, lease: Lease, clock: Clock) -> None:
    first = store.jobs.add(new())
    job = child(store, first, expires_at=from_us(clock()) + timedelta(seconds=5))
    after = child(store, job)
    assert not store.tasks.leave_if_idle(lease)
    clock.pass_(6)
    assert store.tasks.expired("local") == [job]
    with store.tasks.fenced(lease):
        store.tasks.finish(job, Status.FAILED, error={"code": "EXPIRED", "message": "late"})
    error = row(store, after).error
    assert error is not None
    assert error.message == f"cancelled because its parent {job} (child) failed: EXPIRED"


def test_a_parent_that_is_not_there(store: Store) -> None:
    with pytest.raises(UnknownName, match="00000000 is not in the store any more"):
        child(store, "00000000")
    assert store.jobs.newest() is None


def test_jobs_handed_in_together_are_all_accepted_or_none(store: Store) -> None:
    jobs = [new("a"), new("b", parents=[Link(parent=0)]), new("c", parents=[Link(parent=1)])]
    made = [each.id for each in store.jobs.accept_all(jobs)]
    assert [e.id for e in store.chains.parents(made[2])] == [made[1]]
    with pytest.raises(UnknownName):
        store.jobs.accept_all([*jobs, new("d", parents=[Link(parent="00000000")])])
    assert len(store.jobs.select()) == 3


def test_a_circle_by_a_unique_key_is_refused(store: Store, lease: Lease) -> None:
    first = store.jobs.add(new(unique="k"))
    second = child(store, first)
    third = child(store, second)
    for parent in (first, second, third):
        with pytest.raises(UsageProblem, match=f"a circle: job {first} has the unique key 'k'"):
            child(store, parent, unique="k")
    other = store.jobs.add(new())
    assert child(store, other, unique="k") == first
    with pytest.raises(UsageProblem, match="a circle"):
        store.jobs.accept_all([new("a", unique="x"), new("b", unique="x", parents=[Link(parent=0)])])
    # Over is over: nobody waits for it any more.
    finish(store, lease, first, Status.COMPLETED)
    assert store.jobs.accept(new(unique="k", unique_for=1e6, parents=[Link(parent=third)])).id == first


def test_a_result_stays_as_long_as_a_child_needs_it(store: Store, lease: Lease, clock: Clock) -> None:
    first, slow, plain = (store.jobs.add(new()) for _ in range(3))
    job = child(store, first, slow, given=True)
    child(store, plain, slow)
    for each in (first, plain):
        finish(store, lease, each, Status.COMPLETED)
    clock.pass_(10)
    assert store.jobs.forget(before=from_us(clock()), status=["completed"]) == 1
    assert store.jobs.get(plain) is None
    finish(store, lease, slow, Status.COMPLETED)
    given = store.chains.given(job)
    assert [(each.place, each.parts) for each in given] == [(0, [b"r"]), (1, [b"r"])]
    finish(store, lease, job, Status.FAILED)
    clock.pass_(10)
    # Of a dead letter everything is kept that a retry needs.
    store.jobs.forget(before=from_us(clock()), status=["completed"])
    assert store.jobs.get(first) is not None
    store.dead_letters.purge([job])
    store.jobs.forget(before=from_us(clock()), status=["completed"])
    assert store.jobs.get(first) is None
    assert store.database.row("SELECT count(*) FROM parents WHERE job = ?", (job,)) == (0,)


def test_a_removed_parent_counts_as_what_it_ended_as(store: Store, lease: Lease) -> None:
    bad, slow = store.jobs.add(new("bad")), store.jobs.add(new("slow"))
    job = child(store, bad, slow, wanted="any", given=True)
    finish(store, lease, bad, Status.FAILED)
    assert store.dead_letters.purge([bad]) == 1
    finish(store, lease, slow, Status.COMPLETED)
    assert row(store, job).status is Status.QUEUED
    known = store.chains.parents(job)
    assert [(each.ended, each.kept) for each in known] == [("failed", False), ("completed", True)]
    failed = store.chains.given(job)[0].failed
    assert failed == {"error": f"{bad} (bad) failed: USER_ERROR", "type": "failed", "traceback": ""}


def test_the_newest_retry_of_a_job_that_was_removed(store: Store, lease: Lease) -> None:
    first = store.jobs.add(new())
    second = store.jobs.add(new(rerun_of=first))
    third = store.jobs.add(new(rerun_of=second))
    assert store.chains.newest_retry(first) == third
    finish(store, lease, first, Status.FAILED)
    store.dead_letters.purge([first])
    assert store.chains.newest_retry(first) == third
    assert store.chains.newest_retry(third) == third


def test_what_looks_for_the_next_moment_reads_an_index(store: Store) -> None:
    for sql, index in [
        ("SELECT 1 FROM parents WHERE parent = '1' AND ended IS NULL LIMIT 1", "parents_parent"),
        (
            "SELECT min(run_at) FROM jobs WHERE cluster = 'local' AND status IN ('scheduled', 'retrying') "
            "AND run_at IS NOT NULL",
            "jobs_scheduled",
        ),
    ]:
        plan = json.dumps(store.database.rows(f"EXPLAIN QUERY PLAN {sql}"))
        assert index in plan
        assert "SCAN" not in plan
