"""Short calls are sent ahead, behind one that runs; one that waits behind a long call after all is called back.

What is called here travels by value: a child that had to import this module would take too long to be sent ahead.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from service_kit import until

from jobnb import JobManager, Status
from jobnb.service.intake import AHEAD_SECONDS

Call = Callable[..., str]


@pytest.fixture
def perhaps_wait() -> Call:
    """A function that says which process it runs under, if told where, and waits until the gate is there, if any."""

    def perhaps_wait(gate: str | None = None, mark: str | None = None) -> str:
        import os
        import time

        if mark is not None:
            with open(mark, "w") as file:
                print(os.getppid(), file=file)
        while gate is not None and not os.path.exists(gate):
            time.sleep(0.005)
        return "open" if gate else "at once"

    return perhaps_wait


def learn(manager: JobManager, call: Call) -> None:
    """Have the service know that calls of this name are short, as the last one of it must have been."""

    def short() -> bool:
        job = manager.submit(call)
        assert job.result(timeout=60) == "at once"
        (attempt,) = job.attempts
        assert attempt.started_at is not None
        assert attempt.finished_at is not None
        return (attempt.finished_at - attempt.started_at).total_seconds() < AHEAD_SECONDS / 2

    until(short, 60)


def test_a_call_behind_one_that_takes_longer_than_thought_is_called_back(
    shared: JobManager, tmp_path: Path, perhaps_wait: Call
) -> None:
    learn(shared, perhaps_wait)
    gate = tmp_path / "gate"
    # One of the two places is taken for long; whatever was sent behind it must end at the other one.
    long = shared.submit(perhaps_wait, (str(gate),))
    short = [shared.submit(perhaps_wait) for _ in range(12)]
    assert [job.result(timeout=20) for job in short] == ["at once"] * 12
    assert long.status is Status.RUNNING
    gate.write_text("open")
    assert long.result(timeout=20) == "open"
    assert any(len(job.attempts) > 1 for job in short)
    for job in [long, *short]:
        *called_back, last = job.attempts
        assert last.state == "completed"
        assert all(a.state == "cancelled" and a.started_at is None for a in called_back)
        assert job.record.done == 1


def test_a_call_that_was_sent_ahead_can_be_cancelled(shared: JobManager, tmp_path: Path, perhaps_wait: Call) -> None:
    learn(shared, perhaps_wait)
    gate = tmp_path / "gate"
    long = [shared.submit(perhaps_wait, (str(gate),)) for _ in range(2)]
    until(lambda: all(job.status is Status.RUNNING for job in long))
    behind = [shared.submit(perhaps_wait) for _ in range(3)]
    for job in behind:
        job.cancel()
    until(lambda: all(job.status is Status.CANCELLED for job in behind))
    gate.write_text("open")
    assert all(job.result(timeout=20) for job in long)


def test_a_worker_that_dies_costs_only_what_it_ran(
    fresh: Callable[[], JobManager], tmp_path: Path, perhaps_wait: Call
) -> None:
    manager = fresh()
    learn(manager, perhaps_wait)
    gate = tmp_path / "gate"
    marks = [tmp_path / "one", tmp_path / "other"]
    long = [manager.submit(perhaps_wait, (str(gate), str(mark))) for mark in marks]
    # Some wait in line at each of the workers.
    behind = [manager.submit(perhaps_wait) for _ in range(12)]
    server = int(until(lambda: marks[0].exists() and marks[0].read_text().strip()))
    os.kill(psutil.Process(server).ppid(), signal.SIGKILL)
    gate.touch()
    assert [job.result(timeout=60) for job in [*long, *behind]] == ["open"] * 2 + ["at once"] * 12
    lost = [a.error.code for job in [*long, *behind] for a in job.attempts if a.state == "lost" and a.error]
    assert lost.count("WORKER_LOST") == 1
    assert set(lost) <= {"WORKER_LOST", "CLUSTER_LOST"}


@pytest.fixture
def wait_or_take_a_moment() -> Call:
    """A function of an item, long enough for the cut to make many tasks of them."""

    def wait_or_take_a_moment(gate: str | None) -> str:
        import os
        import time

        while gate is not None and not os.path.exists(gate):
            time.sleep(0.005)
        time.sleep(0.03)
        return "open" if gate else "at once"

    return wait_or_take_a_moment


def test_items_behind_one_that_takes_longer_than_thought_are_called_back(
    shared: JobManager, tmp_path: Path, wait_or_take_a_moment: Call
) -> None:
    # The first ones after it is known how long items take: what is sent with them is sent behind them.
    gates = {20: tmp_path / "first", 32: tmp_path / "second"}
    job = shared.map(wait_or_take_a_moment, [str(gates[i]) if i in gates else None for i in range(120)])

    def spans(state: str) -> list[range]:
        return [range(row.start, row.stop) for row in shared.store.tasks.of(job.id) if row.state == state]

    def only_out(*held: int) -> bool:
        return sorted([item for item in held if item in span] for span in spans("running")) == [[i] for i in held]

    # Both places are taken for long: nothing may wait behind one of them for the place that becomes free first.
    until(lambda: only_out(20, 32))
    gates[32].write_text("open")
    until(lambda: only_out(20) and len({i for span in spans("completed") + spans("running") for i in span}) == 120)
    gates[20].write_text("open")
    assert job.result(timeout=20) == ["open" if i in gates else "at once" for i in range(120)]
    assert job.record.done == 120
    assert {row.state for row in shared.store.tasks.of(job.id)} == {"completed", "cancelled"}
