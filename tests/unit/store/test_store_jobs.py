"""Jobs: accepted whole, found again, cancelled at once while they wait, forgotten with all that is theirs."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests_store import Clock, new

from jobnb.job import Priority, Status
from jobnb.store import Store
from jobnb.store.jobs import from_us, to_us
from jobnb.store.leases import Lease
from jobnb.store.tasks import LogEntry


def rows(store: Store) -> dict[str, int]:
    tables = ("jobs", "tasks", "logs", "artifacts", "events")
    return {t: store.database.rows(f"SELECT count(*) FROM {t}")[0][0] for t in tables}


def test_moments_go_there_and_back() -> None:
    moment = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
    assert from_us(to_us(moment)) == moment


def test_a_job_is_read_as_it_was_handed_in(store: Store) -> None:
    job = store.jobs.get(
        store.jobs.add(
            new(
                "sweep",
                kind="optimize",
                priority=Priority.HIGH,
                tags=["a", "b"],
                params={"fast": 1},
                plan={"type": "grid", "items": 7},
                options={"timeout": 3},
                snapshot={"seed": 4},
                blobs=["f" * 64],
            )
        )
    )
    assert job is not None
    assert (job.name, job.kind, job.priority, job.tags) == ("sweep", "optimize", Priority.HIGH, ("a", "b"))
    assert (job.params, job.items, job.options, job.snapshot) == ({"fast": 1}, 7, {"timeout": 3}, {"seed": 4})
    assert (job.status, job.progress.total, job.done) == (Status.QUEUED, 7, 0)
    assert store.jobs.blobs(job.id) == ["f" * 64]
    assert [each.event for each in store.jobs.events(job.id)] == ["submitted"]


def test_what_cannot_be_stored_leaves_no_row(store: Store) -> None:
    for bad in ({"params": {"x": object()}}, {"name": "\ud800"}, {"plan": {"items": "many"}}):
        with pytest.raises((TypeError, ValueError)):
            store.jobs.add(new(**bad))  # type: ignore[arg-type]
    assert set(rows(store).values()) == {0}


def test_finding(store: Store) -> None:
    first, second, other = store.jobs.add(new("a")), store.jobs.add(new("a")), store.jobs.add(new("b"))
    assert store.jobs.find(first) == [first]
    assert store.jobs.find(first[:6]) == [first]
    assert store.jobs.find("a") == [second]
    assert store.jobs.find("b") == [other]
    assert store.jobs.find("nothing") == store.jobs.find("") == []
    assert store.jobs.newest() == other
    assert store.jobs.names() == [other, second, first, "b", "a"]


def test_a_prefix_that_fits_several_gives_them_all(store: Store) -> None:
    ids = [store.jobs.add(new(f"job {i}")) for i in range(40)]
    by_start: dict[str, list[str]] = {}
    for job in ids:
        by_start.setdefault(job[0], []).append(job)
    start, several = max(by_start.items(), key=lambda item: len(item[1]))
    assert len(several) > 1
    assert store.jobs.find(start) == sorted(several, key=ids.index, reverse=True)[:10]


def test_selecting(store: Store) -> None:
    a = store.jobs.add(new("a", kind="backtest", tags=["x"]))
    b = store.jobs.add(new("b", tags=["x", "y"]))
    store.jobs.request_cancel(a, "me")
    assert [j.id for j in store.jobs.select()] == [b, a]
    assert [j.id for j in store.jobs.select(status=["queued"])] == [b]
    assert [j.id for j in store.jobs.select(kind="backtest")] == [a]
    assert [j.id for j in store.jobs.select(tag="x")] == [b, a]
    assert [j.id for j in store.jobs.select(tag="y", cluster="local", limit=1)] == [b]
    assert store.jobs.select(tag="x' OR 1 --") == []
    assert store.jobs.counts() == {**dict.fromkeys([s.value for s in Status], 0), "queued": 1, "cancelled": 1}


def test_places_in_the_queue_follow_priority_then_age(store: Store) -> None:
    low = store.jobs.add(new("low", priority=Priority.LOW))
    normal = store.jobs.add(new("normal"))
    critical = store.jobs.add(new("critical", priority=Priority.CRITICAL))
    later = store.jobs.add(new("later"))
    store.jobs.add(new("elsewhere", cluster="tcp://x"))
    places = {
        job: store.jobs.place(record) for job in (low, normal, critical, later) if (record := store.jobs.get(job))
    }
    assert places == {critical: (1, 4), normal: (2, 4), later: (3, 4), low: (4, 4)}
    assert [job.id for job in store.tasks.waiting("local", 9)] == [critical, normal, later, low]


def test_a_waiting_job_is_cancelled_at_once(store: Store) -> None:
    job = store.jobs.add(new())
    assert store.jobs.request_cancel(job, "ann")
    record = store.jobs.get(job)
    assert record is not None
    assert (record.status, record.cancelled_by) == (Status.CANCELLED, "ann")
    assert record.finished_at is not None
    assert not store.jobs.request_cancel(job, "bob")
    assert not store.jobs.request_cancel("no such job", "bob")
    assert store.jobs.finals([job, "gone"]) == {job, "gone"}


def test_a_running_job_is_only_asked_to_end(store: Store, lease: Lease) -> None:
    job = store.jobs.add(new())
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
    assert store.jobs.request_cancel(job, "ann")
    assert store.jobs.request_cancel(job, "bob")
    record = store.jobs.get(job)
    assert record is not None
    assert (record.status, record.cancel_requested, record.cancelled_by) == (Status.RUNNING, True, "ann")
    assert store.tasks.cancel_requests("local") == [job]
    assert store.jobs.finals([job]) == set()


def test_cancelled_or_started_but_never_both(store: Store, lease: Lease) -> None:
    for _ in range(20):
        job = store.jobs.add(new())
        barrier = threading.Barrier(2)

        def cancel(job: str = job, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            store.jobs.request_cancel(job, "me")
            store.close()

        thread = threading.Thread(target=cancel)
        thread.start()
        barrier.wait()
        with store.tasks.fenced(lease):
            started = store.tasks.start_job(job)
        thread.join()
        record = store.jobs.get(job)
        assert record is not None
        assert record.status is (Status.RUNNING if started else Status.CANCELLED)
        assert record.cancel_requested


def test_a_job_of_the_future_waits_for_its_time(store: Store, lease: Lease, clock: Clock) -> None:
    when = from_us(clock()) + timedelta(seconds=60)
    job = store.jobs.add(new(run_at=when))
    past = store.jobs.add(new(run_at=when - timedelta(days=1)))
    assert [j.id for j in store.tasks.waiting("local", 9)] == [past]
    assert store.tasks.next_scheduled("local") == to_us(when)
    clock.pass_(61)
    with store.tasks.fenced(lease):
        store.tasks.wake_scheduled("local")
    assert [j.id for j in store.tasks.waiting("local", 9)] == [job, past]
    assert store.tasks.next_scheduled("local") is None


def test_forgetting_takes_everything_of_a_job(store: Store, lease: Lease, clock: Clock) -> None:
    old, running = store.jobs.add(new("old")), store.jobs.add(new("running"))
    for job in (old, running):
        with store.tasks.fenced(lease):
            store.tasks.start_job(job)
            store.tasks.begin(job, 0, 0, 1, 1, lease.epoch)
            store.tasks.add_log([LogEntry(job=job, task=0, seq=0, at=1, stream="stdout", text="hello")])
    with store.tasks.fenced(lease):
        store.tasks.settle(old, 0, state="completed", stop=1, kept=(b"1", None), artifacts=[("a", b"b")])
        store.tasks.finish(old, Status.COMPLETED)
    clock.pass_(3600)
    assert store.jobs.forget(before=from_us(clock()), status=["failed"]) == 0
    assert store.jobs.forget(before=from_us(clock()), status=["completed"]) == 1
    assert store.jobs.get(old) is None
    assert rows(store) == {"jobs": 1, "tasks": 1, "logs": 1, "artifacts": 0, "events": 2}


def test_a_view_is_of_one_moment(store: Store, lease: Lease) -> None:
    job = store.jobs.add(new())
    view = store.view(job)
    assert view is not None
    assert (view.queue_position, view.queue_length, view.log, view.log_total) == (1, 1, (), 0)
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        store.tasks.add_log([LogEntry(job=job, task=0, seq=i, at=i, stream="stdout", text=str(i)) for i in range(20)])
    view = store.view(job, log_lines=3)
    assert view is not None
    assert [line.text for line in view.log] == ["17", "18", "19"]
    assert (view.log_total, view.queue_position) == (20, 0)
    assert store.view("nothing") is None


def test_json_is_all_that_rows_hold(store: Store) -> None:
    job = store.jobs.add(new(params={"nan": float("nan"), "text": "é\n\x00"}))
    raw = store.database.rows("SELECT params FROM jobs WHERE id = ?", (job,))[0][0]
    assert json.loads(raw)["text"] == "é\n\x00"
