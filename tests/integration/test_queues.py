"""Queues with a real service: limits, pauses and drains hold at once, and leave everybody else alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import service_kit as kit
from service_kit import until

from jobnb import JobManager, Status
from jobnb.errors import QueueDraining
from jobnb.option import Options
from jobnb.queueing import Queue


def gated(queue: Queue, tmp_path: Path, count: int) -> tuple[list, list[Path]]:
    gates = [tmp_path / f"{queue.name}-{i}" for i in range(count)]
    return [queue.submit(kit.wait_for, str(gate)) for gate in gates], gates


def test_no_more_of_a_queue_run_at_once_than_it_says(shared: JobManager, tmp_path: Path) -> None:
    queue = shared.queue("one at a time", max_concurrent=1)
    (first, second, third), gates = gated(queue, tmp_path, 3)
    until(lambda: first.status is Status.RUNNING)
    # The other place is free for everybody else, at once.
    assert shared.submit(kit.add, (1, 2)).result(timeout=20) == 3
    assert second.status is third.status is Status.QUEUED
    assert shared.view(second.id).job.note == "queue one at a time is full (1 running)"
    assert (queue.running, queue.waiting) == (1, 2)
    for gate in gates[1:]:
        gate.write_text("open")
    assert second.status is Status.QUEUED, "its gate is open, but it has not begun"
    gates[0].write_text("open")
    assert third.result(timeout=20) == "open"
    spans = [(a.started_at, a.finished_at) for job in (first, second, third) for a in job.attempts]
    assert len(spans) == 3
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert end is not None
        assert begin is not None
        assert end <= begin
    # A wider limit holds from the next claim on.
    later = tmp_path / "later"
    later.mkdir()
    (fourth, fifth), gates = gated(queue, later, 2)
    until(lambda: fourth.status is Status.RUNNING)
    shared.queue("one at a time", max_concurrent=2)
    until(lambda: fifth.status is Status.RUNNING)
    for gate in gates:
        gate.write_text("open")
    assert [job.result(timeout=20) for job in (fourth, fifth)] == ["open", "open"]
    queue.remove()


def test_a_paused_queue_begins_nothing_and_goes_on_at_once(shared: JobManager, tmp_path: Path) -> None:
    queue = shared.queue("paused", timeout="1m")
    (running,), (gate,) = gated(queue, tmp_path, 1)
    until(lambda: running.status is Status.RUNNING)
    queue.pause()
    waits = queue.submit(kit.add, 1, 2)
    # One that was handed in later, without a queue, passes by.
    assert shared.submit(kit.add, (1, 2)).result(timeout=20) == 3
    assert waits.status is Status.QUEUED
    assert "queue paused paused by " in shared.view(waits.id).job.note
    assert running.status is Status.RUNNING
    gate.write_text("open")
    assert running.result(timeout=20) == "open"
    assert waits.status is Status.QUEUED
    queue.resume()
    assert waits.result(timeout=20) == 3
    assert waits.record.options["timeout"] == 60.0
    queue.remove()


def test_a_drained_queue_is_empty_and_refuses(shared: JobManager, tmp_path: Path) -> None:
    queue = shared.queue("drained", max_concurrent=1)
    jobs, gates = gated(queue, tmp_path, 3)
    until(lambda: jobs[0].status is Status.RUNNING)
    thread = threading.Thread(target=queue.drain, args=("1m",))
    thread.start()
    until(lambda: queue.state == "draining")
    with pytest.raises(QueueDraining):
        queue.submit(kit.add, 1)
    for gate in gates:
        gate.write_text("open")
    thread.join(30)
    assert not thread.is_alive()
    assert queue.state == "drained"
    assert all(job.status is Status.COMPLETED for job in jobs)
    queue.resume()
    assert queue.submit(kit.add, 1, 2).result(timeout=20) == 3
    queue.remove()


def test_a_sweep_in_a_queue_takes_only_its_places(shared: JobManager, tmp_path: Path) -> None:
    queue = shared.queue("narrow", max_tasks=1)
    gate = tmp_path / "gate"
    sweep = queue.map(kit.wait_for, [str(gate)] * 20)
    until(lambda: sweep.status is Status.RUNNING)
    for i in range(3):
        assert shared.submit(kit.add, (i, 1)).result(timeout=20) == i + 1
        assert sweep.record.running == 1
    gate.write_text("open")
    assert sweep.result(timeout=20) == ["open"] * 20
    queue.remove()


def test_a_pause_outlives_the_service(fresh: Callable[[], JobManager]) -> None:
    manager, other = fresh(), fresh()
    queue = manager.queue("c", max_concurrent=1)
    assert queue.submit(kit.add, 1, 2).result(timeout=60) == 3
    queue.pause()
    waits = queue.submit(kit.add, 1, 2)
    manager.daemon.stop()
    urgent = other.submit(kit.add, (5, 6), None, Options().merge(priority="low"))
    assert urgent.result(timeout=60) == 11
    assert waits.status is Status.QUEUED
    other.queue("c").resume()
    assert waits.result(timeout=20) == 3
