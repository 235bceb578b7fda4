from __future__ import annotations

from pathlib import Path

import pytest

from jobnb import JobManager, waiter
from jobnb.store.jobs import NewJob
from jobnb.waiter import Waiter


def test_many_jobs_are_over_when_the_last_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "LOOK_AT", 3)
    manager = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(manager, "ensure_service", lambda: None)
    jobs = [manager.store.jobs.add(NewJob(name="a", kind="job", cluster="local", payload="0" * 64)) for _ in range(10)]
    waits = Waiter(manager, [*jobs, jobs[0]], None)
    for job in reversed(jobs):
        assert not waits.over()
        manager.cancel(job)
    assert waits.over()


def test_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(manager, "ensure_service", lambda: None)
    jobs = [manager.store.jobs.add(NewJob(name="a", kind="job", cluster="local", payload="0" * 64)) for _ in range(7)]
    with pytest.raises(TimeoutError, match=r"still not done after 0 s: .*, …\. The job goes on"):
        Waiter(manager, jobs, 0.0).over()


def test_nothing_to_wait_for(tmp_path: Path) -> None:
    assert Waiter(JobManager(home=tmp_path / "home"), [], None).over()


def test_who_has_waited_long_looks_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waiter(JobManager(home=tmp_path / "home"), [], None)
    pauses = []
    for passed in (0.0, 0.1, 2.0, 1000.0):
        with monkeypatch.context() as patch:
            patch.setattr(waiter.time, "monotonic", lambda passed=passed: waits._since + passed)
            pauses.append(waits.pause())
    assert pauses == [waiter.POLL_SECONDS, waiter.POLL_SECONDS, 2.0 * waiter.POLL_SHARE, waiter.MOST_POLL_SECONDS]
