"""A small job behind a long sweep of the same priority begins within one of its tasks, and the sweep goes on too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import service_kit as kit
from service_kit import end, until

from jobnb import Job, JobManager, Status

ITEMS = 10_000


def item(said: tuple[int, str, str, str]) -> int:
    index, marks, stop, gate = said
    if Path(stop).exists() and not Path(gate).exists():
        Path(marks, str(index)).touch()
        kit.wait_for(gate)
        # What was written down before the gate opened has time to arrive at the cluster.
        time.sleep(0.3)
    time.sleep(0.02)
    return index


@pytest.fixture(params=[1, 2])
def slots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("DASK_JOBNB__WORKERS", str(request.param))
    return int(request.param)


@pytest.fixture
def manager(slots: int, tmp_path: Path) -> Iterator[JobManager]:
    made = JobManager(home=tmp_path / "home")
    yield made
    end(made)


class Sweep:
    """A sweep that is stopped in the middle, with tasks on all places and more sent ahead, until it is let go."""

    def __init__(self, manager: JobManager, folder: Path, slots: int) -> None:
        marks = folder / "marks"
        marks.mkdir()
        self.gate = folder / "gate"
        stop = folder / "stop"
        self.job = manager.map(item, [(i, str(marks), str(stop), str(self.gate)) for i in range(ITEMS)])
        # Once it is known that its items are short, others are sent behind them. Of the very first tasks of a new
        # cluster Dask's scheduler keeps none in its own line.
        until(lambda: self.job.record.done >= 100, 60, what=lambda: self.job.record)
        until(lambda: self.job.record.running == 2 * slots, what=lambda: self.job.record)
        stop.touch()
        until(lambda: len(list(marks.iterdir())) >= slots)
        until(lambda: self.job.record.running == 2 * slots, what=lambda: self.job.record)

    def let_go(self) -> None:
        self.gate.write_text("open")

    def began_before(self, job: Job) -> int:
        """Return how many of its tasks began after the job was handed in and before the job did."""
        (mine,) = job.attempts
        assert mine.started_at is not None
        found = [a.started_at for a in self.job.attempts if a.started_at is not None]
        return sum(job.created_at < at < mine.started_at for at in found)


def test_a_small_job_goes_before_what_was_sent_ahead(manager: JobManager, slots: int, tmp_path: Path) -> None:
    sweep = Sweep(manager, tmp_path, slots)
    small = manager.submit(kit.add, (1, 2))
    until(lambda: small.record.running == 1, what=lambda: small.record)
    # It has its place before the sweep's next tasks; no more of them are sent before it.
    sweep.let_go()
    assert small.result(timeout=20) == 3
    until(lambda: sweep.job.record.running == 2 * slots or sweep.job.done())
    # On the other place the sweep's next task may begin at the very same moment.
    assert sweep.began_before(small) <= slots - 1
    sweep.job.cancel()


def test_many_small_jobs_and_a_sweep_share_the_places(manager: JobManager, slots: int, tmp_path: Path) -> None:
    sweep = Sweep(manager, tmp_path, slots)
    small = [manager.submit(kit.seconds_of, (0.05,)) for _ in range(24)]
    until(lambda: small[0].record.running == 1)
    sweep.let_go()
    assert [job.result(timeout=60) for job in small] == [0.05] * 24
    sweep.job.cancel()
    until(sweep.job.done)
    began = sorted(a.started_at for job in small for a in job.attempts if a.started_at is not None)
    between = [a for a in sweep.job.attempts if a.started_at is not None and began[0] < a.started_at < began[-1]]
    assert len(between) >= 3, "small jobs that keep coming must not hold up the sweep"


def test_a_long_job_that_went_ahead_keeps_nothing_waiting(
    fresh: Callable[[], JobManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_JOBNB__WORKERS", "2")
    manager = fresh()
    sweep = Sweep(manager, tmp_path, 2)
    gate = tmp_path / "long"
    long = manager.submit(kit.wait_for, (str(gate),))
    until(lambda: long.record.running == 1)
    sweep.let_go()
    done = sweep.job.record.done
    until(lambda: sweep.job.record.done > done + 200, 60)
    # Every task of the sweep that was sent has ended or runs: none waits behind the long job.
    assert sweep.job.record.running <= 3
    assert long.status is Status.RUNNING
    gate.write_text("open")
    assert long.result(timeout=20) == "open"
    sweep.job.cancel()
