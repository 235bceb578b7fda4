"""Tasks: begun, settled exactly once, their results in order, their log bounded."""

import pytest
from tests_store import new

from jobnb.errors import BlobMissing
from jobnb.job import Status
from jobnb.store import Store, tasks
from jobnb.store.leases import Lease
from jobnb.store.tasks import INLINE_BYTES, LogEntry


def begun(store: Store, lease: Lease, spans: list[tuple[int, int]]) -> str:
    items = max(stop for _, stop in spans)
    job = store.jobs.add(new(plan={"type": "map", "items": items}))
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        for task, (start, stop) in enumerate(spans):
            store.tasks.begin(job, task, start, stop, 1, lease.epoch)
    return job


def test_a_task_is_settled_once(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 10)])
    with store.tasks.fenced(lease):
        assert store.tasks.settle(job, 0, state="completed", stop=4, kept=(b"r", None), failed_items=1)
        assert not store.tasks.settle(job, 0, state="lost", stop=0)
        assert not store.tasks.settle(job, 7, state="completed", stop=10)
    record = store.jobs.get(job)
    assert record is not None
    assert (record.done, record.failed_items, record.running, record.settled) == (4, 1, 0, 1)
    (row,) = store.tasks.of(job)
    assert (row.start, row.stop, row.state, row.error) == (0, 4, "completed", None)


def test_a_running_task_may_leave_items_to_others(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 10), (10, 20)])
    with store.tasks.fenced(lease):
        store.tasks.settle(job, 1, state="completed", stop=20, kept=(b"r", None))
        store.tasks.shorten(job, 0, 6)
        store.tasks.shorten(job, 1, 16)
    assert [(row.start, row.stop, row.state) for row in store.tasks.of(job)] == [
        (0, 6, "running"),
        (10, 20, "completed"),
    ]


def test_a_job_ends_once(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 1)])
    with store.tasks.fenced(lease):
        assert store.tasks.finish(job, Status.FAILED, error={"code": "USER_ERROR", "message": "no"})
        assert not store.tasks.finish(job, Status.COMPLETED)
        assert not store.tasks.start_job(job)
    record = store.jobs.get(job)
    assert record is not None
    assert (record.status, record.error and record.error.code) == (Status.FAILED, "USER_ERROR")


def test_results_come_in_the_order_of_items(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 2), (2, 4), (4, 6)])
    large = b"b" * (INLINE_BYTES + 1)
    with store.tasks.fenced(lease):
        store.tasks.settle(job, 2, state="completed", stop=6, kept=(b"c", None))
        store.tasks.settle(job, 1, state="completed", stop=4, kept=store.tasks.keep(large))
        store.tasks.settle(job, 0, state="completed", stop=2, kept=(b"a", None))
    assert store.tasks.results(job) == [b"a", large, b"c"]
    assert list(store.tasks.finished(job, {0})) == [(1, 2, large), (2, 4, b"c")]
    assert not list(store.tasks.finished(job, {0, 1, 2}))
    (blob,) = store.blobs.folder.iterdir()
    blob.unlink()
    with pytest.raises(BlobMissing):
        store.tasks.results(job)


def test_requeueing_keeps_what_was_done(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 2), (2, 4)])
    with store.tasks.fenced(lease):
        store.tasks.settle(job, 0, state="completed", stop=2, kept=(b"a", None))
        store.tasks.settle(job, 1, state="cancelled", stop=2)
        store.tasks.requeue(job, "because")
    record = store.jobs.get(job)
    assert record is not None
    assert (record.status, record.done, record.note) == (Status.QUEUED, 2, "because")
    assert store.jobs.request_cancel(job, "me")
    assert store.tasks.results(job) == [b"a"]


def test_requeueing_a_job_that_was_to_be_cancelled_ends_it(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 2)])
    store.jobs.request_cancel(job, "me")
    with store.tasks.fenced(lease):
        store.tasks.requeue(job, "because")
    record = store.jobs.get(job)
    assert record is not None
    assert record.status is Status.CANCELLED


def test_a_log_line_sent_twice_is_kept_once(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 1)])
    line = LogEntry(job=job, task=0, seq=1, at=5, stream="stdout", text="once")
    with store.tasks.fenced(lease):
        store.tasks.add_log([line, line])
        store.tasks.add_log([line])
    assert [entry.text for entry in store.jobs.log(job)] == ["once"]


def test_the_log_is_bounded(store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LOG_LINES", 10)
    job, other = begun(store, lease, [(0, 1)]), begun(store, lease, [(0, 1)])
    with store.tasks.fenced(lease):
        for name in (job, other):
            store.tasks.add_log(
                [LogEntry(job=name, task=0, seq=i, at=i, stream="stdout", text=f"{i}") for i in range(25)]
            )
        store.tasks.trim_log(job)
    assert [line.text for line in store.jobs.log(job)] == [str(i) for i in range(15, 25)]
    assert store.jobs.log_count(other) == 25


def test_attempts_tell_what_happened(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 1), (0, 1)])
    with store.tasks.fenced(lease):
        store.tasks.settle(job, 0, state="lost", stop=0, error={"code": "WORKER_LOST", "message": "gone"})
        store.tasks.settle(
            job, 1, state="completed", stop=1, kept=(b"", None), worker="tcp://w", started_at=1, finished_at=2
        )
    lost, completed = store.tasks.attempts(job)
    assert lost.error is not None
    assert (lost.state, lost.error.code) == ("lost", "WORKER_LOST")
    assert (completed.worker, completed.started_at is not None, completed.error) == ("tcp://w", True, None)


def test_notes_say_why_a_job_waits(store: Store, lease: Lease) -> None:
    job = store.jobs.add(new())
    with store.tasks.fenced(lease):
        store.tasks.note_waiting("local", "the cluster has no worker")
    record = store.jobs.get(job)
    assert record is not None
    assert record.note == "the cluster has no worker"
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
    record = store.jobs.get(job)
    assert record is not None
    assert record.note == ""


def test_what_tasks_carry_is_returned_in_the_order_of_their_items_and_adopted(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 4), (4, 8), (8, 12), (12, 16)])
    with store.tasks.fenced(lease):
        for task, carry in ((2, b"c"), (0, b"a"), (1, None)):
            start = 4 * task
            assert store.tasks.settle(job, task, state="completed", stop=start + 4, kept=(b"r", None), carry=carry)
        assert store.tasks.settle(job, 3, state="lost", stop=12, carry=b"never")
        store.tasks.finish(job, Status.CANCELLED)
    assert store.tasks.carried(job) == [b"a", b"c"]
    again = store.jobs.accept(new(plan={"type": "map", "items": 16}, rerun_of=job, adopt=True)).id
    assert store.tasks.carried(again) == [b"a", b"c"]


def test_the_end_of_a_search_is_asked_for_once_it_has_begun(store: Store, lease: Lease) -> None:
    waiting = store.jobs.add(new())
    assert not store.jobs.request_finish(waiting, "me")
    job = begun(store, lease, [(0, 4)])
    assert store.jobs.request_finish(job, "me")
    record = store.jobs.get(job)
    assert record is not None
    assert store.tasks.finish_requests(record.cluster) == [job]
    assert store.jobs.events(job)[-1].event == "finish requested"
    with store.tasks.fenced(lease):
        store.tasks.finish(job, Status.COMPLETED)
    assert store.tasks.finish_requests(record.cluster) == []
    assert not store.jobs.request_finish(job, "me")


def test_a_search_that_goes_on_is_not_called_ended_any_more(store: Store, lease: Lease) -> None:
    job = begun(store, lease, [(0, 4)])
    with store.tasks.fenced(lease):
        store.tasks.update(job, summary={"stopped": "finish", "runs": 3})
        store.tasks.finish(job, Status.COMPLETED)
    again = store.jobs.get(store.jobs.accept(new(rerun_of=job, adopt=True)).id)
    assert again is not None
    assert again.summary == {"runs": 3}
