"""What `jobnb.worker.cancellation` takes for granted about the installed `distributed`."""

from __future__ import annotations

import time

import pytest
from distributed import Client, LocalCluster, WorkerPlugin
from distributed.worker import get_worker
from worker_kit import eventually, read_pid

from jobnb.worker.cancellation import is_unwanted
from jobnb.worker.heartbeat import BEAT_SECONDS, SeldomHeartbeats


class Recorder(WorkerPlugin):
    """Keeps every transition on the worker."""

    name = "recorder"

    def setup(self, worker):
        worker.jobnb_test_transitions = []
        self._worker = worker

    def transition(self, key, start, finish, **kwargs):
        self._worker.jobnb_test_transitions.append((key, start, finish))


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    ) as made:
        yield made


@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as made:
        made.register_plugin(Recorder())
        yield made


def transitions(client: Client, key: str) -> list[tuple[str, str]]:
    def read(dask_worker):
        return list(dask_worker.jobnb_test_transitions)

    (found,) = client.run(read).values()
    return [(start, finish) for name, start, finish in found if name == key]


def until(note, stop):
    """The function of a task: says that it runs, and runs until told."""

    def body():
        worker = get_worker()
        note.write_text("1")
        key = worker.get_current_task()
        while not stop.exists():
            time.sleep(0.005)
        return worker.state.tasks[key].state if key in worker.state.tasks else "gone"

    return body


def running(client, tmp_path, key):
    note, stop = tmp_path / f"{key}-note", tmp_path / f"{key}-stop"
    future = client.submit(until(note, stop), key=key, pure=False)
    read_pid(note)
    return future, stop


def test_a_task_that_completes_is_never_unwanted(client, tmp_path):
    future, stop = running(client, tmp_path, "completes")
    stop.touch()
    assert future.result(timeout=10) == "executing"
    seen = eventually(lambda: [t for t in transitions(client, "completes") if t == ("executing", "memory")])
    assert seen
    assert not any(is_unwanted(*t) for t in transitions(client, "completes"))


def test_cancel_of_a_running_task(client, tmp_path):
    future, stop = running(client, tmp_path, "cancelled")
    future.cancel()
    assert eventually(lambda: [t for t in transitions(client, "cancelled") if is_unwanted(*t)]) == [
        ("executing", "released")
    ]

    def state(dask_worker):
        task = dask_worker.state.tasks.get("cancelled")
        return None if task is None else task.state

    # What a supervisor without the plugin sees when it asks.
    assert set(client.run(state).values()) == {"cancelled"}
    stop.touch()


def test_the_owning_client_goes_away(cluster, client, tmp_path):
    with Client(cluster, set_as_default=False) as owner:
        _future, stop = running(owner, tmp_path, "orphan")
    assert eventually(lambda: [t for t in transitions(client, "orphan") if is_unwanted(*t)])
    stop.touch()


def test_the_last_future_is_dropped(client, tmp_path):
    future, stop = running(client, tmp_path, "dropped")
    del future
    assert eventually(lambda: [t for t in transitions(client, "dropped") if is_unwanted(*t)])
    stop.touch()


def test_a_task_that_waits_is_not_running(client, tmp_path):
    first, stop = running(client, tmp_path, "first")
    second = client.submit(int, key="second", pure=False)
    eventually(lambda: ("waiting", "ready") in transitions(client, "second"))
    second.cancel()
    eventually(lambda: ("ready", "released") in transitions(client, "second"))
    assert not any(is_unwanted(*t) for t in transitions(client, "second"))
    stop.touch()
    first.result(timeout=10)


def test_a_heart_may_beat_as_seldom_as_we_like(client):
    """Dask sets the pause anew with each answer of the scheduler, and ours is the last word."""

    def pause(dask_worker):
        return dask_worker.periodic_callbacks["heartbeat"].callback_time

    (before,) = client.run(pause).values()
    assert before < 1e3 * BEAT_SECONDS
    client.register_plugin(SeldomHeartbeats())
    eventually(lambda: list(client.run(pause).values()) == [1e3 * BEAT_SECONDS])
    client.unregister_worker_plugin(SeldomHeartbeats.name)
