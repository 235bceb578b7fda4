"""Whatever a job does costs one attempt of its own and never a neighbour, and nothing of it is left."""

from __future__ import annotations

import os
import pickle
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import misbehaviour as table
import psutil
import pytest
from distributed import Client
from misbehaviour import Case, Deaths, alive, outcome, processes, submit, until

pytestmark = pytest.mark.chaos

#: Of an attempt that is ended; the benchmark measures, this only catches what is quite wrong.
LONGEST_DEATH_SECONDS = 2.0


class Setting:
    """The worker, and what its supervisors say."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.worker = next(iter(client.run(os.getpid).values()))
        self._told: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        self._states: dict[object, object] = {}
        client.subscribe_topic(table.TOPIC, lambda event: self._told.put(event[1]))

    def end_of(self, job: str) -> object:
        """Wait for what a supervisor says of the end of its job."""

        def said() -> object:
            while not self._told.empty():
                event = self._told.get()
                if event["kind"] == "ended":
                    self._states[event["job"]] = event["state"]
            return self._states.get(job)

        return until(said)


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    with table.cluster() as cluster, table.connect(cluster) as client:
        made = Setting(client)
        assert outcome(submit(client, int)[1]).state == "completed"
        yield made


def neighbour(note: str, go: str) -> tuple[int, int]:
    """Work until told to stop; a healthy job."""
    table.begin(note)
    rounds = 0
    while not os.path.exists(go):
        rounds += sum(range(1000)) > 0
        time.sleep(0.002)
    return os.getpid(), rounds


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", table.TABLE, ids=lambda case: case.name)
def test_it_costs_one_attempt_of_its_own(case: Case, setting: Setting, tmp_path: Path) -> None:
    note, beside, go = tmp_path / "note", tmp_path / "beside", tmp_path / "go"
    _, healthy = submit(setting.client, neighbour, str(beside), str(go))
    (neighbours_pid,) = processes(beside)

    job, future = submit(setting.client, case.fn, str(note), **case.options)
    pids = processes(note)
    if case.ends == "CANCELLED":
        deaths = Deaths(pids)
        asked = time.monotonic()
        future.cancel()
        assert deaths.wait() - asked < LONGEST_DEATH_SECONDS
        assert setting.end_of(job) == "cancelled"
    else:
        found = outcome(future)
        said = found.state if found.error is None else found.error["code"]
        assert said == case.ends, found.error
        if case.fn is table.large_result:
            assert len(found.result or b"") >= table.LARGE_BYTES
        elif case.ends == "completed":
            assert pickle.loads(found.result or b"") == "done"
        else:
            until(lambda: not any(alive(pid) for pid in pids), LONGEST_DEATH_SECONDS)

    # Its slot is free, on the same worker.
    _, after = submit(setting.client, os.getpid)
    assert outcome(after).state == "completed"
    assert next(iter(setting.client.run(os.getpid).values())) == setting.worker

    go.touch()
    untouched = outcome(healthy)
    assert untouched.state == "completed"
    pid, rounds = pickle.loads(untouched.result or b"")
    assert pid == neighbours_pid
    assert rounds > 0


def test_nothing_is_left_of_any(setting: Setting) -> None:
    """The children of completed jobs wait a few seconds for more of their job."""

    servers = psutil.Process(setting.worker).children()
    assert 1 <= len(servers) <= 2
    assert all("jobnb.worker.forkserver" in " ".join(server.cmdline()) for server in servers)
    # Each keeps a spare child, which has run nothing yet.
    until(lambda: all(len(server.children(recursive=True)) <= 1 for server in servers), 20)
    for server in servers:
        for spare in server.children():
            assert not spare.children()
