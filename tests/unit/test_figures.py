"""Statistics: what is counted, over which window, in which form; and that history before it costs nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from jobnb import figures
from jobnb.errors import UsageProblem
from jobnb.job import Priority, Status
from jobnb.manager import JobManager
from jobnb.store import Store, statistics
from jobnb.store.jobs import NewJob, from_us
from jobnb.store.leases import Lease

SECOND = 1_000_000


class Clock:
    """A moment in µs, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class World:
    def __init__(self, home: Path) -> None:
        self.clock = Clock()
        self.manager = JobManager(home=home)
        self.store = self.manager._store = Store(home, clock=self.clock)
        lease = self.store.leases.take("local", "me", 1e9, {"host": "elsewhere", "pid": 1})
        assert isinstance(lease, Lease)
        self.lease = lease

    def add(self, **changes: object) -> str:
        said: dict[str, object] = {"name": "x", "kind": "job", "cluster": "local", "payload": "0" * 64}
        return self.store.jobs.add(NewJob(**{**said, **changes}))  # type: ignore[arg-type]

    def run(self, seconds: float, status: Status = Status.COMPLETED, code: str = "", **changes: object) -> str:
        """Run a job that waits a second and then takes so long."""
        job = self.add(**changes)
        self.clock.move(1)
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.start_job(job)
        self.clock.move(seconds)
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.finish(job, status, error={"code": code, "message": "no"} if code else None)
        return job


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home")


def test_the_queue_is_counted_as_the_seeds_count_it(world: World) -> None:
    for priority, count in (("high", 2), ("normal", 5), ("low", 10)):
        for _ in range(count):
            world.add(priority=Priority(priority), queue="collection" if priority == "low" else "default")
    for hours in (1, 2, 3):
        world.add(run_at=from_us(world.clock.now) + timedelta(hours=hours))
    world.run(1, Status.FAILED, "USER_ERROR")
    running = world.add()
    with world.store.tasks.fenced(world.lease):
        world.store.tasks.start_job(running)
    queue = world.manager.stats()["queue"]
    assert {k: queue[k] for k in ("pending", "scheduled", "processing", "dead_letter", "total_pending")} == {
        "pending": {"critical": 0, "high": 2, "normal": 5, "low": 10},
        "scheduled": 3,
        "processing": 1,
        "dead_letter": 1,
        "total_pending": 17,
    }
    assert list(queue["pending"]) == ["critical", "high", "normal", "low"]
    assert queue["queues"]["collection"] == {"pending": 10, "scheduled": 0, "retrying": 0, "processing": 0}
    assert queue["oldest_pending_seconds"] == 2


def test_workers_and_their_success(world: World) -> None:
    for _ in range(29):
        world.run(2)
    world.run(8, Status.FAILED, "NETWORK_ERROR")
    world.run(100, Status.CANCELLED)
    workers = world.manager.stats()["workers"]
    assert workers == {
        "status": "idle",
        "workers": None,
        "jobs_processed": 30,
        "jobs_succeeded": 29,
        "jobs_failed": 1,
        "success_rate": 96.67,
        "average_processing_time": 2.2,
    }


def test_runs_of_the_window_only(world: World) -> None:
    world.run(1, Status.FAILED, "USER_ERROR")
    world.clock.move(8 * 86_400)
    seconds = [1.0, 2.0, 3.0, 4.0, 50.0]
    for each in seconds:
        world.run(each, kind="handler", snapshot={"handler": {"name": "sync", "version": 2}}, schedule="nightly")
    world.run(3, Status.FAILED, "API_ERROR", kind="backtest")
    runs = world.manager.stats()["runs"]
    assert (runs["total_runs"], runs["success_rate"]) == (6, 83.33)
    assert runs["status_counts"] == {"completed": 5, "failed": 1, "cancelled": 0}
    assert runs["errors"] == {"API_ERROR": 1}
    assert set(runs["by_kind"]) == {"backtest", "handler"}
    for found in (runs["by_handler"]["sync"], runs["by_schedule"]["nightly"]):
        assert found["total_runs"] == 5
        assert {k: found["duration"][k] for k in ("mean", "p50", "p90", "max")} == {
            "mean": 12.0, "p50": 3.0, "p90": pytest.approx(np.percentile(seconds, 90)), "max": 50.0,
        }  # fmt: skip
    assert runs["waited"]["p50"] == 1
    assert sum(day["completed"] for day in runs["by_day"].values()) == 5
    longer = world.manager.stats(days=30)["runs"]
    assert (longer["total_runs"], longer["errors"]) == (7, {"API_ERROR": 1, "USER_ERROR": 1})


def test_schedules(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.manager, "ensure_service", lambda: None)
    for name in ("a", "b", "c"):
        world.manager.schedule(name, len, "1h", args=("abc",))
    world.manager.find_schedule("b").pause()
    world.clock.move(3_601)
    scheduler = world.manager.stats()["scheduler"]
    tasks = scheduler.pop("tasks")
    assert scheduler == {"running": True, "total_tasks": 3, "enabled_tasks": 2, "disabled_tasks": 1, "due_tasks": 2}
    assert [(t["name"], t["enabled"], t["note"]) for t in tasks] == [
        ("a", True, ""), ("b", False, "paused"), ("c", True, ""),
    ]  # fmt: skip
    assert tasks[1]["next_run"] is None


def test_a_new_store_has_none_of_it(tmp_path: Path) -> None:
    manager = JobManager(home=tmp_path / "home")
    said = manager.stats()
    assert said["queue"]["total_pending"] == 0
    assert said["workers"]["status"] == "stopped"
    assert said["workers"]["success_rate"] is None
    assert said["runs"]["duration"] == dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
    assert json.loads(json.dumps(said)) == said
    assert "0 pending" in repr(said)
    assert repr(manager.stats(None)) == "jobs       0, 0 dead letters"


def test_it_reads_well(world: World) -> None:
    world.run(2, kind="handler", snapshot={"handler": {"name": "<sync>", "version": 1}}, schedule="nightly")
    said = world.manager.stats()
    text = repr(said)
    assert "workers    idle: 1 jobs processed, 0 failed (100 % succeeded), mean 2 s" in text
    assert "<sync>" in text
    page = said._repr_html_()
    assert "&lt;sync&gt;" in page
    assert "<sync>" not in page


@pytest.mark.parametrize("days", [0, -1, float("nan"), 1e9, "week"])
def test_a_window_that_is_none(world: World, days: float) -> None:
    with pytest.raises(UsageProblem, match="days must be"):
        world.manager.stats(days)


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 99, 100])
def test_percentiles_are_numpys(percent: int) -> None:
    values = sorted(np.random.default_rng(1).exponential(size=37).tolist())
    assert figures.percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-12)


def test_what_ended_before_the_window_is_not_read(world: World) -> None:
    db = world.store.database
    plan = [row[3] for row in db.rows(f"EXPLAIN QUERY PLAN {statistics.ENDED}", (0,))]
    assert plan == ["SEARCH jobs USING INDEX jobs_finished (finished_at>?)"]
    plan = [row[3] for row in db.rows(f"EXPLAIN QUERY PLAN {statistics.LIVE}")]
    assert plan[0] == "SEARCH jobs USING INDEX jobs_status (status=?)"
    assert not any("SCAN" in step for step in plan)
