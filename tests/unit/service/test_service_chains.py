"""The service's part in chains: what a child is given, and a condition that says no."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jobnb.errors import BlobMissing
from jobnb.job import JobRecord, Status
from jobnb.retry import Retry
from jobnb.service.courier import Ended
from jobnb.service.handing import FRESH_SECONDS, INLINE_BYTES, Handing
from jobnb.service.ledger import Ledger
from jobnb.service.recorder import Recorder
from jobnb.store import Store
from jobnb.store.chains import Link
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
    store: Store
    lease: Lease

    def add(self, items: int = 1, **changes: Any) -> str:
        plan = {"type": "map" if items > 1 else "single", "items": items}
        return self.store.jobs.add(
            NewJob(name="x", kind="job", cluster="local", payload="0" * 64, plan=plan, **changes)
        )

    def row(self, job: str) -> JobRecord:
        found = self.store.jobs.get(job)
        assert found is not None
        return found

    def completed(self, *results: bytes) -> str:
        job = self.add(items=len(results))
        kept = [self.store.tasks.keep(result) for result in results]
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.start_job(job)
            for task, each in enumerate(kept):
                self.store.tasks.begin(job, task, task, task + 1, 1, self.lease.epoch)
                self.store.tasks.settle(job, task, state="completed", stop=task + 1, kept=each)
            self.store.tasks.finish(job, Status.COMPLETED)
        return job

    def recorder(self, *jobs: str) -> Recorder:
        """A recorder that follows running jobs with one task for each item out."""
        ledgers = {}
        with self.store.tasks.fenced(self.lease):
            for job in jobs:
                assert self.store.tasks.start_job(job)
                ledger = ledgers[job] = Ledger.of(self.row(job), [])
                while (handed := ledger.hand_out(ledger.job.items)) is not None:
                    self.store.tasks.begin(job, handed[0], *handed[1], 1, self.lease.epoch)
        keeper: Any = FakeKeeper(self.lease)
        courier: Any = FakeCourier()
        return Recorder(store=self.store, keeper=keeper, courier=courier, ledgers=ledgers)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    store = Store(tmp_path / "home")
    lease = store.leases.take("local", "me", 15, {"host": "elsewhere", "pid": 1})
    assert lease is not None
    return Bench(store, lease)


def refusal(job: str, task: int = 0) -> Ended:
    error = {"code": "SKIPPED", "message": "its condition enough said no"}
    return Ended(
        outcome=TaskOutcome(
            job=job, task=task, attempt=1, state="failed", start=task, stop=task, refused=True, error=error
        )
    )


def test_a_condition_that_says_no_is_no_failure(bench: Bench) -> None:
    retry = Retry(max_retries=5, on=["SKIPPED"], delay=0.1)
    job = bench.add(options={"retry": retry.to_json()})
    child = bench.add(parents=[Link(parent=job)])
    (ledger,) = bench.recorder(job).take_in([refusal(job)])
    assert ledger.outcome() is not None
    seen, after = bench.row(job), bench.row(child)
    assert (seen.status, seen.dead) == (Status.CANCELLED, False)
    assert seen.error is not None
    assert (seen.error.code, seen.error.message) == ("SKIPPED", "its condition enough said no")
    assert [row.state for row in bench.store.tasks.of(job)] == ["cancelled"]
    assert "task failed" not in [event.event for event in bench.store.jobs.events(job)]
    assert after.status is Status.CANCELLED
    assert after.error is not None
    assert after.error.message == f"skipped because its parent {job} (x) was skipped: its condition enough said no"


def test_one_task_that_is_refused_speaks_for_all(bench: Bench) -> None:
    job = bench.add(items=2)
    recorder = bench.recorder(job)
    (ledger,) = recorder.take_in([refusal(job, 1)])
    assert ledger.ending is not None
    assert ledger.ending.status is Status.CANCELLED
    assert bench.row(job).status is Status.RUNNING
    recorder.take_in([refusal(job, 0)])
    assert bench.row(job).status is Status.CANCELLED


def test_the_user_cannot_say_it_by_an_error_of_that_code(bench: Bench) -> None:
    job = bench.add()
    error = {"code": "SKIPPED", "message": "mine"}
    outcome = TaskOutcome(job=job, task=0, attempt=1, state="failed", start=0, stop=0, error=error)
    bench.recorder(job).take_in([Ended(outcome=outcome)])
    assert bench.row(job).status is Status.FAILED


def test_what_a_child_is_given(bench: Bench) -> None:
    small, large = bench.completed(b"one"), bench.completed(b"two", b"x" * (INLINE_BYTES + 1))
    job = bench.add(parents=[Link(parent=p, given=True) for p in (small, large)])
    handing = Handing(store=bench.store)
    handed = handing.of(job)
    sha = bench.store.blobs.put(b"x" * (INLINE_BYTES + 1))
    assert handed.blobs == (sha,)
    assert msgpack.unpackb(handed.packed) == [
        [0, {"type": "single", "items": 1}, [b"one"], {}],
        [1, {"type": "map", "items": 2}, [b"two", sha], {}],
    ]
    assert handing.of(job) is handed
    handing.close_job(job)
    assert handing.of(job) is not handed


def test_much_that_is_given_becomes_a_blob_that_is_kept_young(bench: Bench) -> None:
    parents = [bench.completed(bytes([n]) * 60_000) for n in range(4)]
    job = bench.add(parents=[Link(parent=p, given=True) for p in parents])
    now = [0.0]
    handing = Handing(store=bench.store, monotonic=lambda: now[0])
    handed = handing.of(job)
    (sha,) = handed.blobs
    assert msgpack.unpackb(handed.packed) == sha
    assert [entry[2] for entry in msgpack.unpackb(bench.store.blobs.get(sha))] == [
        [bytes([n]) * 60_000] for n in range(4)
    ]
    bench.store.blobs.path(sha).unlink()
    assert handing.of(job) is handed
    now[0] += FRESH_SECONDS + 1
    assert handing.of(job).blobs == (sha,)
    assert bench.store.blobs.get(sha)


def test_a_result_that_is_gone_is_told(bench: Bench) -> None:
    parent = bench.completed(b"x")
    job = bench.add(parents=[Link(parent=parent, given=True)])
    bench.store.database.rows("DELETE FROM jobs WHERE id = ?", (parent,))
    with pytest.raises(BlobMissing, match=f"the result of its parent {parent} is gone"):
        Handing(store=bench.store).of(job)
