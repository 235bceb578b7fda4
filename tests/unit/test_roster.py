"""Schedules under the names of the seed systems, and from a configuration that may be applied again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask.config
import pytest

import jobnb
from jobnb import JobManager, Priority, ScheduleType
from jobnb.errors import UnknownName, UsageProblem
from jobnb.store import Store
from jobnb.store.jobs import to_us

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
SEED = {
    "trading_bot": {"enabled": True, "interval": "1h", "market_hours_only": True},
    "process_orders": {"enabled": True, "interval": "5s", "market_hours_only": True, "priority": "critical"},
    "update_market_data": {"enabled": True, "interval": "1m", "market_hours_only": False},
    "update_positions": {"enabled": False, "interval": 600, "market_hours_only": False, "priority": "medium"},
}


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobManager:
    import jobnb.manager

    made = JobManager(home=tmp_path / "home")
    made._store = Store(tmp_path / "home", clock=lambda: to_us(MONDAY))
    monkeypatch.setattr(made, "ensure_service", lambda: None)
    monkeypatch.setattr(jobnb.manager, "get_job_manager", lambda: made)
    for name in (*SEED, "sync"):
        made.register_handler(name, handler)
    return made


async def handler(args: dict[str, Any]) -> dict[str, Any]:
    return args


def all_rows(manager: JobManager) -> list[Any]:
    return [manager.store.schedules.get(schedule.name) for schedule in manager.schedules()]


def test_the_names_of_the_seeds(manager: JobManager) -> None:
    scheduler = jobnb.job_scheduler
    made = scheduler.register(
        name="portfolio_sync", job_name="sync", schedule_type=ScheduleType.INTERVAL, interval_seconds=300,
        priority=Priority.HIGH, args={"user_id": "u"},
    )  # fmt: skip
    assert made.when == "every 5m"
    job = scheduler.run("portfolio_sync")
    assert (job.kind, job.record.priority, job.record.params) == ("handler", Priority.HIGH, {"user_id": "u"})
    scheduler.register("report", "sync", "CRON", cron_expression="0 8 * * *", tz="America/New_York")
    later = MONDAY + timedelta(days=1)
    scheduler.register(name="once", job_name="sync", schedule_type=ScheduleType.ONCE, run_at=later, enabled=False)
    assert [each.name for each in scheduler.list()] == ["once", "portfolio_sync", "report"]
    assert not scheduler.get("once").enabled
    assert scheduler.enable("once").next_run == later
    assert not scheduler.disable("once").enabled
    assert scheduler.stats()["total_tasks"] == 3
    assert scheduler.unregister("once")
    assert not scheduler.unregister("once")
    assert repr(scheduler) == "<jobnb.job_scheduler: 2 schedules>"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"schedule_type": "intervall", "interval_seconds": 1}, "Did you mean 'interval'"),
        ({"schedule_type": "cron", "interval_seconds": 1}, "says cron_expression and none of the others"),
        ({"schedule_type": "once"}, "says run_at"),
        ({"schedule_type": "interval", "interval_seconds": 60, "job_name": "snyc"}, "Did you mean 'sync'"),
        ({"schedule_type": "interval", "interval_seconds": 60, "overlap": "never"}, "overlap"),
    ],
)
def test_what_is_registered_wrongly(manager: JobManager, said: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        jobnb.job_scheduler.register(**{"name": "x", "job_name": "sync", **said})
    assert len(manager.schedules()) == 0


def test_the_configuration_of_the_seed(manager: JobManager) -> None:
    made = jobnb.configure_schedules(SEED)
    assert {each.name: (each.when, each.enabled) for each in made} == {
        "trading_bot": ("every 1h, only XNYS regular hours", True),
        "process_orders": ("every 5s, only XNYS regular hours", True),
        "update_market_data": ("every 1m", True),
        "update_positions": ("every 10m", False),
    }
    assert manager.find_schedule("update_positions").note == "disabled by its configuration"
    assert manager.find_schedule("process_orders").record.job["priority"] == "critical"
    assert manager.find_schedule("trading_bot").run().record.params == {}


def test_applied_again_it_changes_nothing(manager: JobManager) -> None:
    jobnb.configure_schedules(SEED)
    manager.find_schedule("trading_bot").run()
    manager.find_schedule("process_orders").pause()
    before = all_rows(manager)
    jobnb.configure_schedules(SEED)
    assert all_rows(manager) == before
    assert len(manager.find_schedule("trading_bot").ticks()) == 1
    # What is changed is changed, and nothing else.
    changed = {**SEED, "trading_bot": {**SEED["trading_bot"], "interval": "2h"}}
    changed["update_positions"] = {**SEED["update_positions"], "enabled": True}
    jobnb.configure_schedules(changed)
    assert manager.find_schedule("trading_bot").when.startswith("every 2h")
    assert len(manager.find_schedule("trading_bot").ticks()) == 1
    assert manager.find_schedule("update_positions").enabled
    assert not manager.find_schedule("process_orders").enabled
    assert [row for row in all_rows(manager) if row.name == "update_market_data"] == [
        row for row in before if row.name == "update_market_data"
    ]


def test_registered_again_it_stays_as_it_is(manager: JobManager) -> None:
    def register() -> None:
        jobnb.job_scheduler.register("s", "sync", "interval", interval_seconds=60, args={"a": 1})

    register()
    manager.find_schedule("s").run()
    before = all_rows(manager)
    register()
    assert all_rows(manager) == before
    manager.register_handler("sync", len)
    register()
    assert all_rows(manager) != before


def test_from_the_configuration_of_dask(manager: JobManager) -> None:
    assert list(jobnb.configure_schedules()) == []
    said = {"cron": "0 18 * * 1-5", "tz": "America/New_York", "job": "sync", "args": {"n": 1}, "max-runs": 3}
    section = {"nightly": said}
    with dask.config.set({"jobnb.schedules": section}):
        (made,) = jobnb.configure_schedules()
        jobnb.config.load()
    assert made.when == "0 18 * * 1-5 America/New_York"
    assert made.record.policy["max_runs"] == 3
    assert made.run().record.params == {"n": 1}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"intervall": "5m"}, "Did you mean 'interval'"),
        ({"interval": "5m", "name": "y"}, "unknown setting 'name'"),
        ({}, "one of interval, cron and run_at"),
        ({"interval": "5m", "cron": "0 8 * * *"}, "one of interval, cron and run_at"),
        ({"cron": "5m"}, "no cron expression"),
        ({"interval": "5m", "enabled": "yes"}, "enabled of the schedule x must be true or false"),
        ({"interval": "5m", "job": "snyc"}, "Did you mean 'sync'"),
        ({"interval": "5m", "job": "sync", "market": "XNYSE"}, "XNYS"),
        ("5m", "'5m'"),
    ],
)
def test_a_wrong_entry_changes_none(manager: JobManager, said: Any, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        jobnb.configure_schedules({"trading_bot": {"interval": "1h"}, "x": said})
    assert len(manager.schedules()) == 0


def test_a_handler_that_is_not_there(manager: JobManager) -> None:
    with pytest.raises(UnknownName, match="handler 'nobody'"):
        jobnb.configure_schedules({"nobody": {"interval": "1h"}})
