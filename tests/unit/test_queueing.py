"""Queues at the front door, on a real store without a service."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import jobnb
from jobnb import JobManager, Priority, Retry
from jobnb.errors import QueueDraining, UnknownName, UsageProblem
from jobnb.option import Options
from jobnb.queueing import Queue, row, state_words
from jobnb.store.queues import QueueRecord


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobManager]:
    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(made, "ensure_service", lambda: None)
    monkeypatch.setattr(made.daemon, "ensure", lambda: None)
    yield made
    made.store.close()


def double(x: int) -> int:
    return 2 * x


def start(manager: JobManager, job: jobnb.Job) -> None:
    store = manager.store
    lease = store.leases.take("local", "me", 3600, {}) or store.leases.get("local")
    assert lease is not None
    with store.tasks.fenced(lease):
        assert store.tasks.start_job(job.id)


def test_a_queue_is_defined_found_and_changed(manager: JobManager) -> None:
    made = manager.queue(
        "collection", max_concurrent=2, timeout="1h", max_retries=3, retry_delay="60s", priority="high"
    )
    assert made == manager.queue("collection")
    assert (made.state, made.waiting, made.running) == ("open", 0, 0)
    settings = made.settings
    assert (settings["max_concurrent"], settings["timeout"], settings["priority"]) == (2, 3600.0, "high")
    assert Retry(**settings["retry"]) == Retry(max_retries=3, delay=60)
    manager.queue("collection", max_concurrent=None, timeout=None, retry_delay="3h")
    changed = made.settings
    assert set(changed) == {"priority", "retry"}
    assert Retry(**changed["retry"]) == Retry(max_retries=3, delay="3h", max_delay="3h")
    manager.queue("collection", retry=None)
    assert set(made.settings) == {"priority"}


def test_the_names_of_the_seeds_are_understood(manager: JobManager) -> None:
    made = manager.queue("processing", max_concurrent_jobs=2, job_timeout=3600, retry_attempts=3, retry_delay=60.0)
    assert made.settings == manager.queue("p", max_concurrent=2, timeout="1h", max_retries=3, retry_delay="1m").settings
    assert manager.queue("q", max_runtime=60).settings == {"timeout": 60.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_concurent": 2}, "unknown setting 'max_concurent' of queue. Did you mean 'max_concurrent'?"),
        ({"max_concurrent": 0}, "max_concurrent must be a whole number of at least 1, not 0"),
        ({"max_concurrent": 1.5}, "whole number"),
        ({"max_tasks": True}, "whole number"),
        ({"max_retries": -1}, "max_retries must be a whole number of at least 0"),
        ({"timeout": "soon"}, "timeout 'soon' is not a duration"),
        ({"priority": "hihg"}, "Did you mean 'high'?"),
        ({"memory_limit": "much"}, "not a size"),
        ({"retry": 3, "retry_delay": "1m"}, "not both"),
        ({"timeout": 1, "job_timeout": 2}, "job_timeout says timeout a second time"),
        ({"unique": "x"}, "unknown setting 'unique'"),
    ],
)
def test_what_does_not_fit_changes_nothing(manager: JobManager, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageProblem) as error:
        manager.queue("c", **{"max_concurrent": 7, **settings})
    assert words in error.value.message
    assert manager.queues() == []


def test_a_name_that_nobody_has_defined_or_used_is_unknown(manager: JobManager) -> None:
    manager.queue("collection", max_concurrent=2)
    with pytest.raises(UnknownName, match=r"Did you mean 'collection'\? Define it by what holds for it"):
        manager.queue("colection")
    for bad in ("", "x" * 201):
        with pytest.raises(UsageProblem, match="1 to 200 characters"):
            manager.queue(bad, max_concurrent=1)
    assert manager.queue("default").settings == {}
    job = manager.submit(double, (1,), None, Options().merge(queue="used"))
    assert manager.queue("used").jobs() == [job]
    assert [each.name for each in manager.queues()] == ["collection", "used"]


def test_its_jobs_get_its_defaults_where_they_say_nothing(manager: JobManager) -> None:
    queue = manager.queue("c", timeout="1h", priority="low", memory_limit="1GiB", max_retries=1, tags=["night"])
    plain = queue.submit(double, 1).record
    assert (plain.options["timeout"], plain.options["memory_limit"]) == (3600.0, 2**30)
    assert (plain.priority, plain.tags, plain.options["max_attempts"]) == (Priority.LOW, ("night",), 2)
    own = Options().merge(queue="c", timeout=5, priority="normal", retry=0, tags=())
    said = manager.submit(double, (1,), None, own).record
    assert (said.options["timeout"], said.priority, said.tags) == (5.0, Priority.NORMAL, ())
    assert said.options["max_attempts"] == 1
    assert said.options["memory_limit"] == 2**30
    nothing = Options().merge(queue="c", timeout=5).merge(timeout=None)
    assert manager.submit(double, (1,), None, nothing).record.options["timeout"] == 3600.0
    assert manager.submit(double, (1,)).record.options["timeout"] is None
    many = queue.map(double, [1, 2]).record
    assert (many.queue, many.options["timeout"]) == ("c", 3600.0)


def test_a_rerun_runs_as_the_job_did(manager: JobManager) -> None:
    queue = manager.queue("c", timeout="1h", priority="low")
    job = manager.submit(double, (1,), None, Options().merge(queue="c", priority="normal", timeout=5))
    manager.queue("c", priority="critical", timeout="2h", memory_limit="1GiB")
    again = job.rerun().record
    assert (again.priority, again.options["timeout"], again.queue) == (Priority.NORMAL, 5.0, "c")
    assert queue.submit(double, 1).record.priority is Priority.CRITICAL


def test_handlers_and_schedules_take_the_defaults_of_the_moment(manager: JobManager) -> None:
    manager.queue("c", timeout="1h", priority="low")
    manager.register_handler("sync", double, queue="c", retry=1)
    schedule = manager.schedule("nightly", double, "1h", args=(1,), queue="c", priority="normal")
    manager.queue("c", timeout="2h", max_retries=9)
    by_name = manager.enqueue("sync", {"x": 1}).record
    assert (by_name.options["timeout"], by_name.priority, by_name.options["max_attempts"]) == (7200.0, Priority.LOW, 2)
    run = schedule.run().record
    assert (run.options["timeout"], run.priority, run.options["max_attempts"]) == (7200.0, Priority.NORMAL, 10)
    assert manager.enqueue("sync", {"x": 1}, queue="other").record.options["timeout"] is None


def test_a_draining_queue_refuses_at_the_door(manager: JobManager) -> None:
    queue = manager.queue("c", max_concurrent=1)
    there = queue.submit(double, 1)
    schedule = manager.schedule("nightly", double, "1h", args=(1,), queue="c")
    queue.drain(wait=False)
    assert queue.state == "draining"
    before = len(manager.jobs())
    for attempt in (lambda: queue.submit(double, 2), there.rerun, schedule.run, lambda: queue.map(double, [1])):
        with pytest.raises(
            QueueDraining, match=r"takes no new job\. Nothing was enqueued\. jobnb\.queue\('c'\).resume\(\)"
        ):
            attempt()
    assert len(manager.jobs()) == before
    with pytest.raises(TimeoutError, match=r"queue 'c' is not empty after 0\.01 s: 1 job to go"):
        queue.drain(timeout=0.01)
    there.cancel()
    queue.drain()
    assert queue.state == "drained"
    assert "drained by" in repr(queue)
    queue.resume()
    assert queue.submit(double, 2).record.queue == "c"


def test_waiting_for_a_drain_ends_when_somebody_opens_the_queue(manager: JobManager, monkeypatch) -> None:
    queue = manager.queue("c", max_concurrent=1)
    queue.submit(double, 1)
    monkeypatch.setattr("time.sleep", lambda _: manager.queue("c").resume())
    with pytest.raises(UsageProblem, match=r"queue 'c' is not drained any more: it was opened\. 1 job to go"):
        queue.drain()


def test_why_a_job_waits(manager: JobManager) -> None:
    queue = manager.queue("c", max_concurrent=1)
    first, second = queue.submit(double, 1), queue.submit(double, 2)
    other = manager.submit(double, (1,))
    start(manager, first)
    assert manager.view(second.id).job.note == "queue c is full (1 running)"
    assert [job.note for job in manager.records()] == ["", "queue c is full (1 running)", ""]
    assert (manager.view(second.id).queue_position, manager.view(second.id).queue_length) == (1, 1)
    queue.pause()
    note = manager.view(second.id).job.note
    assert note.startswith("queue c paused by ")
    assert note.endswith(f"at {datetime.now():%H:%M}") or ":" in note
    queue.resume()
    manager.queue("c", max_concurrent=2)
    assert manager.view(second.id).job.note == "service is starting" or not manager.view(second.id).job.note
    assert manager.view(other.id).queue_length == 2


def test_it_is_shown(manager: JobManager) -> None:
    assert repr(manager.queues()) == "no queues"
    assert "no queues" in manager.queues()._repr_html_()
    queue = manager.queue("<c>", max_concurrent=2, max_tasks=4, timeout="1h", max_retries=3, retry_delay="60s")
    queue.submit(double, 1)
    assert repr(queue) == (
        "<Queue <c>: 2 at once, 4 tasks at once · timeout 1h, 3 retries after 1m · 1 waiting, 0 running>"
    )
    assert "&lt;c&gt;" in queue._repr_html_()
    manager.queue("plain", cancel_grace=2, memory_limit="1GiB", tags=["a", "b"], priority="low", retry=0)
    table = repr(manager.queues())
    assert table.splitlines()[0].split()[:2] == ["queue", "limits"]
    assert "cancel grace 2s" in table
    assert "no retries" in table
    assert "memory limit 1,024 MiB" in table
    assert row(queue)[-1] == ""


def test_the_day_is_said_where_it_is_not_today() -> None:
    at = datetime.now(UTC) - timedelta(days=2)
    record = QueueRecord(name="c", state="paused", by="ann", at=at, created_at=at)
    assert state_words(record) == f"paused by ann at {at.astimezone():%Y-%m-%d %H:%M}"


def test_it_can_be_removed(manager: JobManager) -> None:
    queue = manager.queue("c", max_concurrent=1, timeout=5)
    job = queue.submit(double, 1)
    queue.pause()
    queue.remove()
    assert manager.queue("c").settings == {}
    assert job.record.options["timeout"] == 5.0
    assert isinstance(manager.queues()[0], Queue)
    assert hash(queue) == hash(manager.queues()[0])
