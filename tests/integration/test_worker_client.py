"""Dask clients, processes and pools of a job's own, on a worker with one slot that the job itself takes."""

from __future__ import annotations

import os
import pickle
import threading
import time

import pytest
from distributed import Client, Event, LocalCluster, get_worker
from distributed.security import Security
from worker_kit import Running, alive, ask, eventually, read_pid, run

from jobnb.errors import UsageProblem
from jobnb.worker import context
from jobnb.worker.cancellation import JobnbPlugin
from jobnb.worker.client import access
from jobnb.worker.request import TaskOutcome
from jobnb.worker.slot import Slot
from jobnb.worker.supervisor import run_task


@pytest.fixture(scope="module")
def client():
    security = Security.temporary()
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            protocol="tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        made.register_plugin(JobnbPlugin())
        yield made


def submit(client, fn, *args, **options):
    request, payload = ask(fn, *args, **options)
    return client.submit(run_task, request.pack(), payload, key=request.key, pure=False, retries=0)


def outcome(future) -> TaskOutcome:
    return TaskOutcome.unpack(future.result(timeout=30))


def value(future):
    found = outcome(future)
    assert found.state == "completed", found.error
    return pickle.loads(found.result)


def pool_size(client) -> int:
    """How many threads the worker's pool counts."""

    def count(dask_worker):
        return len(dask_worker.executors["default"]._threads)

    (found,) = client.run(count).values()
    return found


def test_tasks_of_the_jobs_own_run_although_it_takes_the_only_slot(client):
    def job():
        with context.client() as dask:
            return sum(dask.gather([dask.submit(pow, n, 2) for n in (1, 2, 3)]))

    assert value(submit(client, job)) == 14
    assert value(submit(client, lambda: "next")) == "next"
    eventually(lambda: pool_size(client) == 1)


def test_collections_find_the_client(client):
    def job():
        import dask

        with context.client():
            return dask.delayed(lambda: type(get_worker()).__name__)().compute()

    assert value(submit(client, job)) == "Worker"


def test_inside_a_coroutine(client):
    async def job():
        with context.client() as dask:
            return dask.submit(abs, -1).result()

    assert value(submit(client, job)) == 1


def test_several_jobs_wait_for_tasks_of_their_own(client):
    def job(n):
        with context.client() as dask:
            return dask.submit(pow, n, 2, pure=False).result()

    futures = [submit(client, job, n) for n in range(3)]
    assert [value(future) for future in futures] == [0, 1, 4]


def test_a_failed_job_leaves_no_client_behind(client):
    def job():
        dask = context.client()
        raise ValueError(dask.id)

    found = outcome(submit(client, job))
    assert found.error["type"] == "ValueError"
    name = found.error["message"]
    eventually(lambda: not client.run_on_scheduler(lambda dask_scheduler: name in dask_scheduler.clients))
    assert value(submit(client, lambda: "next")) == "next"
    eventually(lambda: pool_size(client) == 1)


def test_a_spawned_child(monkeypatch):
    monkeypatch.setenv("JOBNB_LAUNCHER", "spawn")

    def job():
        with context.client() as dask:
            return dask.submit(abs, -1).result()

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster, set_as_default=False) as plain,
    ):
        assert value(submit(plain, job)) == 1


def test_clients_one_after_the_other_and_within_each_other(client):
    def job():
        found = []
        for n in range(2):
            with context.client() as outer, context.client() as inner:
                found.append(inner.submit(abs, -n).result() + outer.submit(abs, -1).result())
        return found

    assert value(submit(client, job)) == [1, 2]
    assert value(submit(client, lambda: "next")) == "next"
    eventually(lambda: pool_size(client) == 1)


def test_a_client_that_was_left_open_is_closed_with_the_task(client):
    def job():
        dask = context.client()
        return dask.submit(abs, -1).result(), dask.id

    one, name = value(submit(client, job))
    assert one == 1

    def known(dask_scheduler):
        return name in dask_scheduler.clients

    eventually(lambda: not client.run_on_scheduler(known))


def test_a_cancelled_job_with_tasks_of_its_own_is_gone_with_them(client, tmp_path):
    note = tmp_path / "pid"
    inner = Event("inner-runs", client)

    def job():
        with context.client() as dask:

            def hold():
                Event("inner-runs").set()
                Event("inner-goes-on").wait(30)

            running = dask.submit(hold, key="inner-1", pure=False)
            waiting = dask.submit(hold, key="inner-2", pure=False)
            note.write_text(str(os.getpid()))
            dask.gather([running, waiting])

    future = submit(client, job)
    pid = read_pid(note)
    assert inner.wait(20)
    asked = time.monotonic()
    future.cancel()
    eventually(lambda: not alive(pid))
    assert time.monotonic() - asked < 2

    def left(dask_scheduler):
        return [key for key in dask_scheduler.tasks if str(key).startswith("inner")]

    eventually(lambda: not client.run_on_scheduler(left))
    Event("inner-goes-on", client).set()
    assert value(submit(client, lambda: "next")) == "next"


def test_the_slot_is_taken_back_when_the_client_is_closed(client, tmp_path):
    closed, go = tmp_path / "closed", tmp_path / "go"

    def job():
        with context.client() as dask:
            dask.submit(int).result()
        closed.write_text("1")
        while not go.exists():
            time.sleep(0.01)
        return os.getpid()

    future = submit(client, job)
    read_pid(closed)
    # The job's thread is counted again, and no other: what comes now waits for it.
    eventually(lambda: pool_size(client) == 1)
    other = client.submit(os.getpid, pure=False)
    eventually(lambda: next(iter(client.processing().values())))
    assert not other.done()
    go.touch()
    assert value(future)
    assert other.result(timeout=20)


def test_without_dask_there_is_no_cluster():
    outcome = run(lambda: context.client())
    assert outcome.error["code"] == "CLUSTER_UNREACHABLE"
    with pytest.raises(UsageProblem):
        context.client()
    assert access(None) is None


def test_a_scheduler_in_another_process_only():
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = outcome(submit(client, lambda: context.client()))
        assert found.error["code"] == "CLUSTER_UNREACHABLE"
        assert "inproc" in found.error["message"]


class TestSlotContract:
    """What `jobnb.worker.slot` takes for granted about the installed `distributed`."""

    def test_leave_and_come_back(self, client, tmp_path):
        def task():
            worker = get_worker()
            pool = worker.executors["default"]
            me = threading.current_thread()
            key = worker.get_current_task()
            slot = Slot()
            before = me in pool._threads
            slot.leave()
            away = me in pool._threads
            deadline = time.monotonic() + 10
            while worker.state.tasks[key].state != "long-running" and time.monotonic() < deadline:
                time.sleep(0.005)
            state = worker.state.tasks[key].state
            slot.come_back()
            slot.come_back()
            while me not in pool._threads and time.monotonic() < deadline:
                time.sleep(0.005)
            back = me in pool._threads
            slot.leave()
            again = me in pool._threads
            slot.come_back()
            slot.close()
            slot.close()
            return before, away, state, back, again, len(pool._rejoin_list)

        assert client.submit(task, pure=False).result(timeout=20) == (True, False, "long-running", True, False, 0)
        assert client.submit(abs, -1, pure=False).result(timeout=20) == 1
        eventually(lambda: pool_size(client) == 1)

    def test_outside_a_pool(self):
        slot = Slot()
        slot.leave()
        slot.come_back()
        slot.close()


class TestProcesses:
    def test_multiprocessing(self, client):
        def job(method):
            import multiprocessing

            with multiprocessing.get_context(method).Pool(2) as pool:
                return pool.map(abs, [-1, -2])

        for method in ("fork", "spawn", "forkserver"):
            assert value(submit(client, job, method)) == [1, 2]

    def test_joblib(self, client):
        def job():
            from joblib import Parallel, delayed

            pids = Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(8))
            return Parallel(n_jobs=2)(delayed(pow)(n, 2) for n in range(5)), pids

        squares, pids = value(submit(client, job))
        assert squares == [0, 1, 4, 9, 16]
        # loky keeps its workers for the job's next tasks; they go with its process.
        eventually(lambda: not any(alive(pid) for pid in pids), 15)

    def test_process_pool_executor(self):
        def job():
            from concurrent.futures import ProcessPoolExecutor

            with ProcessPoolExecutor(2) as pool:
                return list(pool.map(abs, [-1, -2]))

        assert pickle.loads(Running(job).outcome(30).result) == [1, 2]
