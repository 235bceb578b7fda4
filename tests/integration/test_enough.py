"""Tasks end before their next item where their places are wanted: here they would go on for ten minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import pandas as pd
import pytest
import service_kit as kit
from distributed import Client, LocalCluster
from service_kit import end, until

from jobnb import JobManager, Status
from jobnb.job import Priority
from jobnb.option import Options
from jobnb.service import cluster as clusters
from jobnb.service import plans


@pytest.fixture(params=[1, 2])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobManager]:
    """Two places: of a cluster to which nothing is sent ahead, as of one that is not our own; of one like our own."""
    borrowed = clusters.borrowed
    monkeypatch.setattr(clusters, "borrowed", lambda *a, **k: replace(borrowed(*a, **k), window=request.param))
    monkeypatch.setattr(plans, "TASK_SECONDS", 600.0)
    monkeypatch.setattr(plans, "SWEEP_SECONDS", 600.0)
    made = JobManager(home=tmp_path / "home")
    with (
        dask.config.set({"distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0",
                     scheduler_kwargs={"dashboard": False}) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        made.connect(client)
        yield made
        end(made)


def moment(item: tuple[float, str]) -> int:
    seconds, mark = item
    Path(mark).touch()
    time.sleep(seconds)
    return os.getpid()


def lasting(folder: Path, items: int = 20_000) -> list[tuple[float, str]]:
    return [(0.005, str(folder / "mark"))] * items


def test_a_small_job_need_not_wait_for_the_task_of_a_large_one(manager: JobManager, tmp_path: Path) -> None:
    large = manager.map(moment, lasting(tmp_path))
    until((tmp_path / "mark").exists)
    for _ in range(2):
        assert manager.submit(kit.add, (1, 2)).result(timeout=30) == 3
    assert large.status is Status.RUNNING
    # What its tasks had done by then is kept.
    assert large.record.done > 0
    large.cancel()
    until(large.done)


def test_a_more_urgent_one_gets_all_places(manager: JobManager, tmp_path: Path) -> None:
    large = manager.map(moment, lasting(tmp_path))
    until((tmp_path / "mark").exists)
    gates = [str(tmp_path / name) for name in ("one", "other")]
    urgent = [manager.submit(kit.wait_for, (gate,), options=Options(priority=Priority.HIGH)) for gate in gates]
    until(lambda: [job.record.running for job in urgent] == [1, 1])
    until(lambda: large.record.running == 0 or large.attempts[-1].started_at is None)
    for gate in gates:
        Path(gate).touch()
    assert [job.result(timeout=30) for job in urgent] == ["open", "open"]
    large.cancel()
    until(large.done)


def test_what_is_left_of_a_task_is_shared_with_a_place_that_has_nothing_to_do(
    manager: JobManager, tmp_path: Path
) -> None:
    # Each place gets half of them, and one is done with its half at once.
    slow = [(0.02, str(tmp_path / "slow"))] * 100
    job = manager.map(moment, [*slow, *[(0.0, str(tmp_path / "quick"))] * 100])
    processes = job.result(timeout=60)
    assert len(set(processes[:100])) == 2
    assert sorted((a.start, a.stop) for a in manager.store.tasks.of(job.id))[0][1] < 100


def prices() -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=50, freq="B", tz="UTC")
    return pd.DataFrame({name: range(100, 150) for name in ("open", "high", "low", "close")}, index=days, dtype=float)


def score(data: pd.DataFrame, n: int) -> dict[str, float]:
    time.sleep(0.005)
    return {"score": float(n)}


def uneven(data: pd.DataFrame, n: int) -> dict[str, float]:
    time.sleep(0.02 if n < 150 else 0.0)
    return {"score": float(n)}


def test_a_task_of_a_search_leaves_its_last_runs_to_a_place_that_has_nothing_to_do_and_goes_on(
    manager: JobManager,
) -> None:
    # Each place gets half of them, and one is done with its half at once.
    job = manager.optimize(uneven, prices(), {"n": range(300)}, objective="score")
    assert sorted(job.result(timeout=60).trials["score"]) == [float(n) for n in range(300)]
    tasks = sorted(manager.store.tasks.of(job.id), key=lambda row: row.start)
    assert [row.start for row in tasks] == [0, *(row.stop for row in tasks[:-1])]
    assert tasks[0].stop < 150
    # They ran side by side: nobody ended for the first of the others to begin. Of the last ones little is left to see.
    ran = {attempt.task: attempt for attempt in job.attempts}
    began = [ran[row.task].started_at for row in tasks[1:] if row.start < 150]
    ended = ran[tasks[0].task].finished_at
    assert ended is not None
    assert any(each is not None and each < ended for each in began)


def test_a_search_that_is_to_finish_does_so_with_all_that_is_done(manager: JobManager) -> None:
    job = manager.optimize(score, prices(), {"n": range(50_000)}, objective="score")
    until(lambda: job.record.progress.current >= 10)
    assert job.record.done == 0
    assert job.finish()
    until(job.done, 10)
    assert job.status is Status.COMPLETED
    assert len(job.result()) == job.record.done >= 10
