"""The service as a system starts it: in the foreground, for good, standing by while another one is in charge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from service_kit import add, alive, until

from jobnb import JobManager

Start = Callable[[JobManager], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services as a unit does; they are ended as a system does."""
    made: list[subprocess.Popen[bytes]] = []

    def run(manager: JobManager) -> subprocess.Popen[bytes]:
        env = {**os.environ, "DASK_JOBNB__IDLE_TIMEOUT": "0.1"}
        command = [sys.executable, "-m", "jobnb.cli", "--home", str(manager.store.home), "service", "run"]
        made.append(subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL))
        return made[-1]

    yield run
    for process in made:
        process.terminate()
    for process in made:
        assert process.wait(30) in (0, -signal.SIGKILL)


def in_charge(manager: JobManager) -> int:
    lease = manager.daemon.lease()
    return lease.pid if lease is not None and lease.info.get("state") == "running" else 0


def test_it_stays_without_work_and_leaves_when_told(fresh: Callable[[], JobManager], start: Start) -> None:
    manager = fresh()
    process = start(manager)
    until(lambda: in_charge(manager) == process.pid, 60)
    for i in range(2):
        assert manager.submit(add, (i,)).result(timeout=60) == i
        # It renews its lease every few seconds: after the next time it has long been idle by its time-out.
        lease = manager.daemon.lease()
        assert lease is not None
        until(lambda before=lease.expires_at: manager.store.leases.get("local").expires_at != before)
        assert in_charge(manager) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert manager.daemon.lease() is None


def test_it_stands_by_and_follows(fresh: Callable[[], JobManager], start: Start) -> None:
    manager = fresh()
    first = manager.daemon.start().pid
    process = start(manager)
    assert in_charge(manager) == first
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    until(lambda: in_charge(manager) == process.pid, 60)
    assert manager.submit(add, (1,)).result(timeout=60) == 1
    # Asked to leave it has not failed: a system does not start it again.
    assert manager.daemon.stop()
    assert process.wait(30) == 0
