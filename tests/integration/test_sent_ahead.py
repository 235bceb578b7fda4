"""Short calls are sent ahead, behind one that runs; one that waits behind a long call after all is called back."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import service_kit as kit
from service_kit import until

from jobnb import JobManager, Status


def perhaps_wait(gate: str | None) -> str:
    return kit.wait_for(gate) if gate else "at once"


def test_a_call_behind_one_that_takes_longer_than_thought_is_called_back(shared: JobManager, tmp_path: Path) -> None:
    # The service learns that calls of this name are short.
    for job in [shared.submit(perhaps_wait, (None,)) for _ in range(6)]:
        assert job.result(timeout=20) == "at once"
    gate = tmp_path / "gate"
    # One of the two places is taken for long; whatever was sent behind it must end at the other one.
    long = shared.submit(perhaps_wait, (str(gate),))
    short = [shared.submit(perhaps_wait, (None,)) for _ in range(12)]
    assert [job.result(timeout=20) for job in short] == ["at once"] * 12
    assert long.status is Status.RUNNING
    gate.write_text("open")
    assert long.result(timeout=20) == "open"
    for job in [long, *short]:
        *called_back, last = job.attempts
        assert last.state == "completed"
        assert all(a.state == "cancelled" and a.started_at is None for a in called_back)
        assert job.record.done == 1


def test_a_call_that_was_sent_ahead_can_be_cancelled(shared: JobManager, tmp_path: Path) -> None:
    for job in [shared.submit(perhaps_wait, (None,)) for _ in range(6)]:
        job.result(timeout=20)
    gate = tmp_path / "gate"
    long = [shared.submit(perhaps_wait, (str(gate),)) for _ in range(2)]
    until(lambda: all(job.status is Status.RUNNING for job in long))
    behind = [shared.submit(perhaps_wait, (None,)) for _ in range(3)]
    for job in behind:
        job.cancel()
    until(lambda: all(job.status is Status.CANCELLED for job in behind))
    gate.write_text("open")
    assert all(job.result(timeout=20) for job in long)


def say_where_and_wait(mark: str | None, gate: str) -> str:
    if mark is None:
        return "at once"
    Path(mark).write_text(str(os.getppid()))
    return kit.wait_for(gate)


def test_a_worker_that_dies_costs_only_what_it_ran(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    for job in [manager.submit(say_where_and_wait, (None, "")) for _ in range(6)]:
        job.result(timeout=60)
    gate = tmp_path / "gate"
    marks = [tmp_path / "one", tmp_path / "other"]
    long = [manager.submit(say_where_and_wait, (str(mark), str(gate))) for mark in marks]
    # Some wait in line at each of the workers.
    behind = [manager.submit(say_where_and_wait, (None, "")) for _ in range(12)]
    server = int(until(lambda: marks[0].exists() and marks[0].read_text()))
    os.kill(psutil.Process(server).ppid(), signal.SIGKILL)
    gate.touch()
    assert [job.result(timeout=60) for job in [*long, *behind]] == ["open"] * 2 + ["at once"] * 12
    lost = [a.error.code for job in [*long, *behind] for a in job.attempts if a.state == "lost" and a.error]
    assert lost.count("WORKER_LOST") == 1
    assert set(lost) <= {"WORKER_LOST", "CLUSTER_LOST"}
