"""Handlers: stored with their code, by version; what is enqueued by name."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobnb import JobManager, Retry
from jobnb.errors import UnknownName, UsageProblem
from jobnb.job import Status
from jobnb.work import Part


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(type(made.daemon), "ensure", lambda self: None)
    yield made
    made.store.close()


def sync(user: str, full: bool = False) -> tuple[str, bool]:
    return user, full


def seeds(args: dict[str, Any]) -> dict[str, Any]:
    return {**args, "seen": True}


async def later(user: str) -> str:
    return user.upper()


def run(manager: JobManager, job: Any) -> Any:
    work = pickle.loads(manager.store.payloads.get(job.record.payload))
    part: Part = work.run(0, 1, None, lambda done: None)
    return pickle.loads(part.result)


@pytest.mark.parametrize(
    ("fn", "args", "value"),
    [
        (sync, {"user": "ann"}, ("ann", False)),
        (sync, {"user": "ann", "full": True}, ("ann", True)),
        (seeds, {"user": "ann"}, {"user": "ann", "seen": True}),
        (seeds, None, {"seen": True}),
        (later, {"user": "ann"}, "ANN"),
    ],
)
def test_a_handler_gets_its_arguments(manager: JobManager, fn: Any, args: Any, value: Any) -> None:
    manager.register_handler("h", fn)
    job = manager.enqueue("h", args)
    assert run(manager, job) == value
    assert (job.name, job.kind, job.status) == ("h", "handler", Status.QUEUED)
    assert job.snapshot["handler"] == {"name": "h", "version": 1}


def test_its_options_are_those_of_its_jobs_unless_something_else_is_said(manager: JobManager) -> None:
    retry = Retry(max_retries=7, delay="2m")
    manager.register_handler("h", seeds, retry=retry, timeout=60, priority="high", tags=["sync"], queue="collection")
    record = manager.enqueue("h").record
    assert Retry.of(record.options["retry"]) == retry
    assert (record.options["timeout"], record.priority.value, record.tags, record.queue) == (
        60,
        "high",
        ("sync",),
        "collection",
    )
    other = manager.enqueue("h", retry=0, timeout="5m", priority="low").record
    assert (other.options["timeout"], other.options["max_attempts"], other.priority.value) == (300, 1, "low")


def test_later(manager: JobManager) -> None:
    manager.register_handler("h", seeds)
    job = manager.enqueue("h", scheduled_at=datetime(2099, 1, 1, tzinfo=UTC))
    assert job.status is Status.SCHEDULED


def test_versions(manager: JobManager) -> None:
    assert manager.register_handler("h", seeds) == 1
    assert manager.register_handler("h", seeds) == 1
    assert manager.register_handler("h", seeds, timeout=5) == 2
    assert manager.register_handler("h", sync, timeout=5) == 3
    manager.register_handler("a", later)
    assert [(each.name, each.version) for each in manager.handlers()] == [("a", 1), ("h", 3)]
    found = manager.store.handlers.get("h", 1)
    assert found is not None
    assert found.version == 1


def test_another_process_needs_no_code(manager: JobManager) -> None:
    manager.register_handler("h", seeds)
    other = JobManager(home=manager.store.home)
    assert run(other, other.enqueue("h", {"user": "bob"})) == {"user": "bob", "seen": True}
    other.store.close()


def test_a_schedule_of_a_handler(manager: JobManager) -> None:
    manager.register_handler("h", seeds, timeout=60)
    schedule = manager.schedule("nightly", "h", "1h", kwargs={"user": "ann"}, priority="high")
    record = schedule.run().record
    assert (record.schedule, record.kind, record.options["timeout"], record.priority.value) == (
        "nightly",
        "handler",
        60,
        "high",
    )
    with pytest.raises(UnknownName, match="Did you mean 'h'"):
        manager.schedule("nightly", "hh", "1h")
    with pytest.raises(UsageProblem, match="by name"):
        manager.schedule("nightly", "h", "1h", args=(1,))


def test_nothing_is_vacuumed(manager: JobManager) -> None:
    manager.register_handler("h", seeds)
    manager.vacuum()
    assert run(manager, manager.enqueue("h")) == {"seen": True}


def test_what_is_said_wrongly(manager: JobManager) -> None:
    manager.register_handler("sync_portfolio", seeds)
    with pytest.raises(UnknownName, match="Did you mean 'sync_portfolio'"):
        manager.enqueue("sync_portfolios")
    with pytest.raises(UnknownName, match="retry"):
        manager.register_handler("h", seeds, retyr=3)
    for name, fn in (("", seeds), ("h", 3)):
        with pytest.raises(UsageProblem):
            manager.register_handler(name, fn)  # type: ignore[arg-type]
    assert len(manager.jobs()) == 0
