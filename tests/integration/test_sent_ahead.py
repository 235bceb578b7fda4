"""Short calls are sent ahead, behind one that runs; one that waits behind a long call after all is called back."""

from pathlib import Path

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
