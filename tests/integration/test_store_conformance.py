"""What every store must do, whatever is underneath: the suite that a store of another kind has to pass as well.

A factory makes two handles on one store, as two processes would have them.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobnb.errors import BlobMissing, LeaseLost
from jobnb.job import Priority, Status
from jobnb.store import Store, database
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease
from jobnb.store.tasks import LogEntry

INFO = {"host": "elsewhere", "pid": 1}
LEASE_SECONDS = 60


@dataclass
class Pair:
    """The service's handle and a front door's."""

    service: Store
    door: Store

    def lease(self) -> Lease:
        taken = self.service.leases.take("local", "service", LEASE_SECONDS, INFO)
        assert taken is not None
        return taken

    def add(self, items: int = 1, **changes: object) -> str:
        plan = {"type": "map" if items > 1 else "single", "items": items}
        said: dict[str, object] = {"name": "x", "kind": "job", "cluster": "local", "payload": "0" * 64, "plan": plan}
        return self.door.jobs.add(NewJob(**{**said, **changes}))  # type: ignore[arg-type]


Factory = Callable[[Path, pytest.MonkeyPatch], Pair]


def on_a_local_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    return Pair(Store(home), Store(home))


def on_a_network_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(database, "file_system", lambda path: "nfs4")
    return Pair(Store(home), Store(home))


@pytest.fixture(params=[on_a_local_disk, on_a_network_disk])
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made: Pair = request.param(tmp_path / "home", monkeypatch)
    yield made
    made.service.close()
    made.door.close()


def test_what_one_writes_the_other_sees(pair: Pair) -> None:
    before = pair.service.version()
    job = pair.add()
    assert pair.service.version() != before
    assert pair.service.version() == pair.service.version()
    seen = pair.service.jobs.get(job)
    assert seen == pair.door.jobs.get(job)
    assert pair.service.id == pair.door.id


def test_the_life_of_a_job(pair: Pair) -> None:
    job, lease = pair.add(items=4), pair.lease()
    with pair.service.tasks.fenced(lease):
        assert [waiting.id for waiting in pair.service.tasks.waiting("local", 5)] == [job]
        assert pair.service.tasks.start_job(job)
        pair.service.tasks.begin(job, 0, 0, 3, 1, lease.epoch)
        pair.service.tasks.begin(job, 1, 3, 4, 1, lease.epoch)
    with pair.service.tasks.fenced(lease, "normal"):
        pair.service.tasks.update(job, progress=(1.0, 4.0, "one"), summary={"best": 1})
        pair.service.tasks.add_log([LogEntry(job=job, task=0, seq=0, at=1, stream="stdout", text="hello")])
    view = pair.door.view(job)
    assert view is not None
    assert (view.job.status, view.job.progress.current, view.job.summary) == (Status.RUNNING, 1.0, {"best": 1})
    assert [line.text for line in view.log] == ["hello"]
    with pair.service.tasks.fenced(lease):
        assert pair.service.tasks.settle(job, 1, state="completed", stop=4, kept=(b"b", None))
        assert pair.service.tasks.settle(job, 0, state="completed", stop=3, kept=(b"a", None))
        assert pair.service.tasks.finish(job, Status.COMPLETED)
    assert pair.door.tasks.results(job) == [b"a", b"b"]
    assert pair.door.jobs.finals([job]) == {job}


def test_urgency_then_age(pair: Pair) -> None:
    low, first = pair.add(priority=Priority.LOW), pair.add()
    second, critical = pair.add(), pair.add(priority=Priority.CRITICAL)
    assert [job.id for job in pair.service.tasks.waiting("local", 9)] == [critical, first, second, low]


def test_outcomes_are_recorded_once_and_by_the_holder_only(pair: Pair) -> None:
    job, former = pair.add(), pair.lease()
    with pair.service.tasks.fenced(former):
        pair.service.tasks.start_job(job)
        pair.service.tasks.begin(job, 0, 0, 1, 1, former.epoch)
    pair.service.leases.release(former)
    present = pair.door.leases.take("local", "successor", LEASE_SECONDS, INFO)
    assert present is not None
    assert present.epoch == former.epoch + 1
    with pytest.raises(LeaseLost), pair.service.tasks.fenced(former):
        pair.service.tasks.settle(job, 0, state="failed", stop=0)
    with pair.door.tasks.fenced(present):
        assert pair.door.tasks.settle(job, 0, state="completed", stop=1, kept=(b"r", None))
        assert not pair.door.tasks.settle(job, 0, state="lost", stop=0)
        assert pair.door.tasks.finish(job, Status.COMPLETED)
        assert not pair.door.tasks.finish(job, Status.FAILED)


def test_a_lease_has_one_holder_however_many_ask(pair: Pair) -> None:
    taken: list[Lease | None] = []
    barrier = threading.Barrier(4)

    def ask(name: str) -> None:
        barrier.wait()
        taken.append(pair.service.leases.take("local", name, LEASE_SECONDS, INFO))
        pair.service.close()

    threads = [threading.Thread(target=ask, args=(f"service {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in taken if lease is not None]) == 1


def test_no_job_is_lost_when_many_write_at_once(pair: Pair) -> None:
    accepted: list[str] = []

    def submit() -> None:
        accepted.extend(pair.add() for _ in range(10))
        pair.door.close()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(accepted)) == 40
    assert {job.id for job in pair.service.tasks.waiting("local", 99)} == set(accepted)


def test_leaving_and_handing_in_exclude_each_other(pair: Pair) -> None:
    lease = pair.lease()
    job = pair.add()
    assert not pair.service.tasks.leave_if_idle(lease)
    pair.door.jobs.request_cancel(job, "me")
    assert pair.service.tasks.leave_if_idle(lease)
    pair.add()
    assert pair.door.leases.live("local") is None


def test_a_cancel_request_reaches_the_service(pair: Pair) -> None:
    job, lease = pair.add(), pair.lease()
    with pair.service.tasks.fenced(lease):
        pair.service.tasks.start_job(job)
    assert pair.door.jobs.request_cancel(job, "ann")
    assert pair.service.tasks.cancel_requests("local") == [job]


def test_a_transaction_is_seen_whole(pair: Pair) -> None:
    job, lease = pair.add(), pair.lease()

    def half() -> None:
        with pair.service.tasks.fenced(lease):
            pair.service.tasks.start_job(job)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    seen = pair.door.jobs.get(job)
    assert seen is not None
    assert seen.status is Status.QUEUED


def test_blobs_are_shared_by_content(pair: Pair) -> None:
    sha = pair.door.blobs.put(b"data")
    assert pair.service.blobs.get(sha) == b"data"
    with pytest.raises(BlobMissing):
        pair.service.blobs.get("f" * 64)


# Breakers and rate limits


def ask(store: Store, op: str, **more: object) -> dict[str, object]:
    return store.limits.answer({"op": op, "name": "yahoo", "holder": "me", **more})


def test_a_breaker_is_one_for_all_and_a_question_counts_once(pair: Pair) -> None:
    ask(pair.door, "rule", rule={"failures": 2, "open_for": 3600.0})
    for _ in range(3):
        ask(pair.service, "failed", id="the same", since=pair.service.clock())
    assert ask(pair.door, "ask")["ok"]
    ask(pair.door, "failed", since=pair.door.clock())
    assert not ask(pair.service, "ask")["ok"]
    assert pair.service.limits.shut("yahoo")
    before = pair.service.version()
    ask(pair.door, "reset")
    assert pair.service.version() != before
    assert ask(pair.service, "ask")["ok"]


def test_a_rate_is_one_for_all(pair: Pair) -> None:
    ask(pair.door, "take", rate=[3, 3600.0], count=0)
    pauses = [ask(store, "take", count=1)["pause"] for store in (pair.door, pair.service) * 2]
    assert pauses[:3] == [0.0] * 3
    assert pauses[3] == pytest.approx(1200.0, abs=60.0)


def test_one_probe_however_many_ask(pair: Pair) -> None:
    ask(pair.door, "trip", seconds=1e-6, who="ann")
    let_in: list[object] = []
    barrier = threading.Barrier(8)

    def probe(number: int) -> None:
        mine = Store(pair.door.home)
        barrier.wait()
        let_in.append(mine.limits.answer({"op": "ask", "name": "yahoo", "holder": f"holder {number}"})["ok"])
        mine.close()

    threads = [threading.Thread(target=probe, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, let_in)) == [False] * 7 + [True]


def test_jobs_that_need_a_breaker_are_put_off_and_called_back(pair: Pair) -> None:
    lease = pair.lease()
    jobs = [pair.add(options={"needs": ["yahoo"]}) for _ in range(3)]
    plain = pair.add()
    ask(pair.door, "trip", seconds=3600.0, who="ann")
    with pair.service.tasks.fenced(lease):
        first = pair.service.jobs.get(jobs[0])
        assert first is not None
        assert pair.service.limits.may_start(first, ["yahoo"]) == "yahoo"
        assert pair.service.limits.put_off("local", "yahoo") == 3
    assert [job.id for job in pair.service.tasks.waiting("local", 9)] == [plain]
    assert pair.door.limits.breaker("yahoo").waiting == 3
    ask(pair.door, "reset")
    with pair.service.tasks.fenced(lease):
        pair.service.tasks.wake_scheduled("local")
    assert [job.id for job in pair.service.tasks.waiting("local", 9)] == [*jobs, plain]
