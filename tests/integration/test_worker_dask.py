"""The supervisor under a real Dask cluster: cancel, neighbours, live events, teardown, crashes of the worker."""

# ruff: noqa: T201 - what jobs print is under test

from __future__ import annotations

import os
import pickle
import queue
import signal
import time

import pytest
from distributed import Client, LocalCluster
from distributed.client import Future
from worker_kit import TOPIC, alive, ask, eventually, read_pid

from jobnb.worker.cancellation import JobnbPlugin
from jobnb.worker.request import TaskOutcome
from jobnb.worker.supervisor import run_task


def _cluster(workers: int, *, threads: int = 1, processes: bool = True) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=processes,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    )


class Events:
    """The live events of all jobs."""

    def __init__(self, client: Client) -> None:
        self._new: queue.SimpleQueue = queue.SimpleQueue()
        self.seen: list[dict] = []
        client.subscribe_topic(TOPIC, lambda event: self._new.put(event[1]))

    def of(self, job: str) -> list[dict]:
        while not self._new.empty():
            self.seen.append(self._new.get())
        return [event for event in self.seen if event["job"] == job]

    def wait(self, job: str, kind: str) -> dict:
        return eventually(lambda: next((e for e in self.of(job) if e["kind"] == kind), None))


@pytest.fixture(scope="module")
def cluster():
    with _cluster(1, threads=2) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as made:
        made.register_plugin(JobnbPlugin())
        yield made


@pytest.fixture(scope="module")
def events(client):
    return Events(client)


def submit(client: Client, fn, *args, **options) -> tuple[str, Future]:
    request, payload = ask(fn, *args, **options)
    return request.job, client.submit(run_task, request.pack(), payload, key=request.key, pure=False, retries=0)


def outcome(future: Future) -> TaskOutcome:
    return TaskOutcome.unpack(future.result(timeout=20))


def writer(note, then):
    def job():
        note.write_text(str(os.getpid()))
        return then()

    return job


def test_a_task_and_its_events(client, events, tmp_path):
    def work():
        from jobnb.worker import context

        print("hello")
        while not go.exists():
            time.sleep(0.005)
        for _ in context.track(range(3), message="bars"):
            pass
        return "done"

    go = tmp_path / "go"
    job, future = submit(client, work)
    events.wait(job, "started")
    go.touch()
    found = outcome(future)
    assert pickle.loads(found.result) == "done"
    assert found.worker.startswith("tcp://")
    events.wait(job, "ended")
    mine = events.of(job)
    assert mine[0]["kind"] == "started"
    assert [e["seq"] for e in mine] == list(range(1, len(mine) + 1))
    assert mine[-1]["state"] == "completed"
    assert tuple(mine[-1]["progress"]) == (3, 3, "bars")
    assert [line[3] for e in mine for line in e["log"]] == ["hello"]
    assert TaskOutcome.unpack(mine[-1]["outcome"]) == found


def test_a_short_task_tells_its_end_alone(client, events):
    job, future = submit(client, lambda: 7)
    found = outcome(future)
    assert TaskOutcome.unpack(events.wait(job, "ended")["outcome"]) == found
    # On a busy machine even this one may take so long that its start is told.
    assert [e["kind"] for e in events.of(job)][-1] == "ended"


def test_a_large_outcome_does_not_travel_with_the_news(client, events):
    job, future = submit(client, lambda: bytes(100_000))
    assert len(outcome(future).result) > 100_000
    assert events.wait(job, "ended")["outcome"] is None


def test_events_are_few(client, events):
    def work():
        from jobnb.worker import context

        end = time.monotonic() + 0.5
        i = 0
        while time.monotonic() < end:
            i += 1
            print(i)
            context.progress(i)

    job, future = submit(client, work)
    assert outcome(future).log_dropped > 0
    events.wait(job, "ended")
    mine = events.of(job)
    assert 3 <= len(mine) <= 12
    assert all(len(e["log"]) <= 50 for e in mine)


@pytest.mark.parametrize("kind", ["loop", "gil"])
def test_cancel_frees_the_slot_and_disturbs_no_neighbour(client, events, tmp_path, kind):
    def loop():
        while True:
            pass

    def gil():
        import itertools

        sum(itertools.repeat(0))

    go = tmp_path / "go"

    def neighbour():
        while not go.exists():
            time.sleep(0.01)
        return os.getpid()

    _, beside = submit(client, writer(tmp_path / "beside", neighbour))
    neighbours_pid = read_pid(tmp_path / "beside")
    job, future = submit(client, writer(tmp_path / "pid", {"loop": loop, "gil": gil}[kind]))
    pid = read_pid(tmp_path / "pid")
    asked = time.monotonic()
    future.cancel()
    ended = events.wait(job, "ended")
    assert ended["state"] == "cancelled"
    assert not alive(pid)
    _, after = submit(client, lambda: 1)
    assert outcome(after).state == "completed"
    assert time.monotonic() - asked < 1.5
    go.touch()
    found = outcome(beside)
    assert found.state == "completed"
    assert pickle.loads(found.result) == neighbours_pid


def test_the_end_of_the_owning_client_ends_the_job(cluster, events, tmp_path):
    with Client(cluster, set_as_default=False) as owner:
        job, _ = submit(owner, writer(tmp_path / "pid", lambda: time.sleep(1000)))
        pid = read_pid(tmp_path / "pid")
    assert events.wait(job, "ended")["state"] == "cancelled"
    assert not alive(pid)


def test_a_cancel_before_the_task_runs_keeps_it_from_running(client, tmp_path):
    blockers = [submit(client, writer(tmp_path / f"b{i}", lambda: time.sleep(1000)))[1] for i in range(2)]
    for i in range(2):
        read_pid(tmp_path / f"b{i}")
    _, waiting = submit(client, writer(tmp_path / "never", lambda: None))
    waiting.cancel()
    for blocker in blockers:
        blocker.cancel()
    assert outcome(submit(client, lambda: 1)[1]).state == "completed"
    assert not (tmp_path / "never").exists()


def test_data_that_is_sent_through_dask(client):
    import hashlib

    content = os.urandom(2_000_000)
    sha = hashlib.sha256(content).hexdigest()

    def work():
        from jobnb.worker import blobs

        return len(blobs.path(sha).read_bytes())

    request, payload = ask(work, blobs=(sha,))
    (blob,) = client.scatter([content], hash=False)
    future = client.submit(run_task, request.pack(), payload, blob, key=request.key, pure=False, retries=0)
    assert pickle.loads(outcome(future).result) == 2_000_000


def _started_by(pid: int) -> set[int]:
    import psutil

    return {p.pid for p in psutil.Process(pid).children(recursive=True)}


def test_nothing_is_left_after_the_cluster_is_closed(tmp_path):
    with _cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        client.register_plugin(JobnbPlugin())
        submit(client, lambda: 1)[1].result(timeout=20)
        _, future = submit(client, writer(tmp_path / "pid", lambda: time.sleep(1000)))
        read_pid(tmp_path / "pid")
        pids = _started_by(os.getpid())
        assert len(pids) >= 4  # nanny's worker, fork server, child, and what they need
        mine = {read_pid(tmp_path / "pid")}
        workers = set(client.run(os.getpid).values())
        mine |= set().union(*(_started_by(pid) for pid in workers))
        del future
    eventually(lambda: not any(alive(pid) for pid in mine), 5)


@pytest.mark.parametrize("launcher", ["fork", "spawn"])
def test_a_killed_worker_takes_its_children_along(tmp_path, monkeypatch, launcher):
    monkeypatch.setenv("JOBNB_LAUNCHER", launcher)

    def work():
        import itertools
        import subprocess

        (tmp_path / "grandchild").write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
        (tmp_path / "pid").write_text(str(os.getpid()))
        sum(itertools.repeat(0))

    with _cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        client.register_plugin(JobnbPlugin())
        worker_pid = next(iter(client.run(os.getpid).values()))
        _, future = submit(client, work)
        pids = {read_pid(tmp_path / "pid")}
        if launcher == "fork":
            # A spawned child has nobody who could end its own children when worker and child are shot.
            pids.add(read_pid(tmp_path / "grandchild"))
        pids |= _started_by(worker_pid) - {read_pid(tmp_path / "grandchild")}
        os.kill(worker_pid, signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in pids), 5)
        future.cancel()
    if launcher == "spawn":
        os.kill(read_pid(tmp_path / "grandchild"), signal.SIGKILL)


def test_an_in_process_cluster(tmp_path):
    with _cluster(1, processes=False) as cluster, Client(cluster, set_as_default=False) as client:
        client.register_plugin(JobnbPlugin())
        events = Events(client)
        job, future = submit(client, writer(tmp_path / "pid", lambda: time.sleep(1000)))
        pid = read_pid(tmp_path / "pid")
        future.cancel()
        assert events.wait(job, "ended")["state"] == "cancelled"
        assert not alive(pid)
        found = outcome(submit(client, os.getpid)[1])
        assert pickle.loads(found.result) != os.getpid()
    eventually(lambda: not alive(found.pid))


def test_a_worker_without_the_plugin(tmp_path):
    with _cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        events = Events(client)
        job, future = submit(client, writer(tmp_path / "pid", lambda: time.sleep(1000)))
        pid = read_pid(tmp_path / "pid")
        asked = time.monotonic()
        future.cancel()
        assert events.wait(job, "ended")["state"] == "cancelled"
        assert time.monotonic() - asked < 1
        assert not alive(pid)
