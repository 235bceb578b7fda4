"""Recording outcomes: once, all or nothing, and whatever a job gives back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobnb.errors import LeaseLost, StoreError
from jobnb.job import JobRecord, Status
from jobnb.service.courier import Ended, Lost, Said
from jobnb.service.ledger import Ledger
from jobnb.service.recorder import LINES_HELD, Recorder
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease
from jobnb.worker.request import TaskOutcome


@dataclass
class FakeKeeper:
    lease: Lease


@dataclass
class FakeCourier:
    forgotten: list[tuple[str, int]] = field(default_factory=list)

    def forget(self, job: str, task: int) -> None:
        self.forgotten.append((job, task))


@dataclass
class Bench:
    """A store, a recorder, and a job of ten items with two tasks out."""

    store: Store
    recorder: Recorder
    courier: FakeCourier
    job: str

    @property
    def ledger(self) -> Ledger:
        return self.recorder.ledgers[self.job]

    @property
    def record(self) -> JobRecord:
        found = self.store.jobs.get(self.job)
        assert found is not None
        return found

    def ended(self, task: int = 0, **changes: Any) -> Ended:
        out = self.ledger.running.get(task)
        said: dict[str, Any] = {"state": "completed", "start": 0, "stop": out.stop if out else 0, "result": b"r"}
        if out:
            said["start"] = out.start
        return Ended(outcome=TaskOutcome(job=self.job, task=task, attempt=1, **{**said, **changes}))

    def lost(self, task: int = 0) -> Lost:
        return Lost(job=self.job, task=task, why="gone")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    store = Store(tmp_path / "home")
    lease = store.leases.take("local", "me", 15, {"host": "elsewhere", "pid": 1})
    assert lease is not None
    plan = {"type": "map", "items": 10}
    job = store.jobs.add(NewJob(name="x", kind="map", cluster="local", payload="0" * 64, plan=plan))
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
    record = store.jobs.get(job)
    assert record is not None
    ledger = Ledger.of(record, [])
    with store.tasks.fenced(lease):
        for slots in (2, 1):
            handed = ledger.hand_out(slots)
            assert handed is not None
            store.tasks.begin(job, handed[0], *handed[1], 1, lease.epoch)
    courier = FakeCourier()
    keeper: Any = FakeKeeper(lease)
    recorder = Recorder(store=store, keeper=keeper, courier=courier, ledgers={job: ledger})  # type: ignore[arg-type]
    return Bench(store, recorder, courier, job)


def test_outcomes_in_one_batch(bench: Bench) -> None:
    left = bench.ledger
    bench.recorder.take_in([bench.ended(0), bench.lost(1)])
    assert bench.ledger is not left, "the books are swapped after the commit"
    assert (bench.ledger.done, bench.ledger.running) == (5, {})
    assert (bench.record.done, bench.record.running, bench.record.settled) == (5, 0, 2)
    assert sorted(bench.courier.forgotten) == [(bench.job, 0), (bench.job, 1)]


def test_two_messages_about_one_task_count_once(bench: Bench) -> None:
    bench.recorder.take_in([bench.ended(0), bench.lost(0), bench.ended(0)])
    assert (bench.ledger.done, bench.record.settled) == (5, 1)
    bench.recorder.take_in([bench.lost(0)])
    bench.recorder.take_in([Lost(job="00000000", task=0, why="of a job that is over")])
    assert (bench.ledger.done, bench.record.settled) == (5, 1)


def test_a_task_that_the_store_has_settled_already_is_read_again(bench: Bench) -> None:
    """A commit was reported as failed and had happened: no item may be forgotten or done twice."""
    with bench.store.tasks.fenced(bench.recorder.keeper.lease):
        bench.store.tasks.settle(bench.job, 0, state="completed", stop=3, kept=(b"early", None))
    bench.recorder.take_in([bench.ended(0)])
    assert bench.ledger.done == 3
    assert bench.ledger.pending == [(3, 5)]
    assert list(bench.ledger.running) == [1]
    assert bench.record.status is Status.RUNNING


def test_only_a_stop_that_was_asked_for_is_a_cancel(bench: Bench) -> None:
    bench.ledger.running[1].stopping_since = 0.0
    bench.recorder.take_in([bench.ended(task, state="cancelled", stop=0, result=None) for task in (0, 1)])
    assert [row.state for row in bench.store.tasks.of(bench.job)] == ["lost", "cancelled"]
    assert bench.ledger.lost == 1


def test_a_store_that_cannot_be_written_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    message = bench.ended(0)

    def busy(*args: object, **kwargs: object) -> None:
        raise StoreError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store.tasks, "update", busy)
        with pytest.raises(StoreError):
            bench.recorder.take_in([message])
    assert (bench.ledger.done, list(bench.ledger.running)) == (0, [0, 1])
    assert (bench.record.done, bench.record.settled) == (0, 0)
    bench.recorder.take_in([message])
    assert (bench.ledger.done, bench.record.settled) == (5, 1)


def test_a_lost_lease_writes_nothing(bench: Bench) -> None:
    bench.store.leases.release(bench.recorder.keeper.lease)
    with pytest.raises(LeaseLost):
        bench.recorder.take_in([bench.ended(0)])
    assert bench.record.settled == 0


@pytest.mark.parametrize(
    "strange",
    [
        {"summary": {"metric": b"bytes", 1: {"nested": b"\xff"}}},
        {"progress": (float("nan"), float("inf"), "\ud800")},
        {"log": ((0, 0, "stdout", "\ud800"),)},
    ],
)
def test_strange_outcomes_are_stored(bench: Bench, strange: dict[str, Any]) -> None:
    bench.recorder.take_in([bench.ended(0, **strange)])
    assert bench.ledger.done == 5


@pytest.mark.parametrize(
    "impossible",
    [
        {"error": {"code": object()}},
        {"worker": "\ud800"},
        {"artifacts": (("\ud800", b"x"),)},
        {"log": ((0, 2**70, "stdout", "x"),)},
    ],
)
def test_an_outcome_that_cannot_be_stored_fails_its_job_alone(bench: Bench, impossible: dict[str, Any]) -> None:
    bench.recorder.take_in([bench.ended(1), bench.ended(0, **impossible)])
    assert bench.ledger.done == 5
    assert bench.ledger.ending is not None
    assert bench.ledger.ending.error is not None
    assert bench.ledger.ending.error["code"] == "OUTCOME_UNSTORABLE"


def test_what_was_asked_to_stop_is_not_lost(bench: Bench) -> None:
    bench.ledger.end(Status.CANCELLED)
    for out in bench.ledger.running.values():
        out.stopping_since = 1.0
    bench.recorder.take_in([bench.ended(1), bench.lost(0)])
    assert bench.record.status is Status.CANCELLED
    assert bench.record.done == 5
    assert [a.state for a in bench.store.tasks.attempts(bench.job)] == ["cancelled", "completed"]
    assert bench.ledger.lost == 0


def test_live_news_is_written_when_flushed(bench: Bench) -> None:
    line = (0, 5, "stdout", "hello")
    bench.recorder.take_in([Said(job=bench.job, task=0, done=3, log=(line,)), Said(job="ffffffff", task=0)])
    assert bench.record.progress.current == 0
    bench.recorder.flush()
    assert bench.record.progress.current == 3
    assert [entry.text for entry in bench.store.jobs.log(bench.job)] == ["hello"]
    version = bench.store.version()
    bench.recorder.flush()
    assert bench.store.version() == version


def test_items_that_a_task_leaves_to_others_are_written_down_before_they_are_handed_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = Said(job=bench.job, task=0, done=1, most=3)

    def busy(*args: object, **kwargs: object) -> None:
        raise StoreError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store.tasks, "shorten", busy)
        with pytest.raises(StoreError):
            bench.recorder.take_in([says])
    assert (bench.ledger.pending, bench.ledger.running[0].stop) == ([], 5)
    # It says so in each message from then on.
    bench.recorder.take_in([says, says, Said(job=bench.job, task=7, most=1)])
    assert (bench.ledger.pending, bench.ledger.running[0].stop) == ([(3, 5)], 3)
    assert [(row.start, row.stop) for row in bench.store.tasks.of(bench.job)] == [(0, 3), (5, 10)]
    # A later service reads it so.
    again = Ledger.of(bench.record, bench.store.tasks.of(bench.job))
    assert again.pending == [(3, 5)]
    bench.recorder.take_in([bench.ended(0, stop=2)])
    assert bench.ledger.pending == [(2, 5)], "its budget was used up before"


def test_whoever_did_items_that_are_somebody_elses_by_now_did_nothing(bench: Bench) -> None:
    bench.recorder.take_in([Said(job=bench.job, task=0, most=3)])
    bench.recorder.take_in([bench.ended(0, stop=4), bench.ended(1)])
    assert (bench.ledger.done, bench.ledger.pending) == (5, [(0, 5)])
    row = bench.store.tasks.of(bench.job)[0]
    assert (row.state, row.error and row.error["code"]) == ("lost", "CLUSTER_LOST")
    assert bench.ledger.losses == {}, "no item is to blame"


def test_a_flood_of_lines_is_bounded(bench: Bench) -> None:
    lines = tuple((i, 0, "stdout", "x") for i in range(50))
    for _ in range(2 * LINES_HELD // 50):
        bench.recorder.take_in([Said(job=bench.job, task=0, log=lines)])
    assert len(bench.recorder._log) <= LINES_HELD + 50
