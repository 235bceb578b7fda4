"""``jobnb stop`` lets running tasks end; ``--now`` does not; queued jobs are there at the next start."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import service_kit as kit

from jobnb import JobManager, Status


def test_running_tasks_end_and_nothing_new_begins(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    gate, marks = str(tmp_path / "gate"), str(tmp_path / "marks")
    running = manager.submit(kit.mark_and_wait, (marks, gate))
    kit.until(lambda: os.path.exists(marks))
    lease = manager.daemon.lease()
    assert lease is not None
    assert manager.store.leases.request_stop("local")
    # It is asked twice at least while the job still runs: the first answer could be luck.
    version = manager.version()
    kit.until(lambda: manager.version() != version)
    queued = manager.store.jobs.add(_plain(manager))
    assert kit.alive(lease.pid)
    assert running.status is Status.RUNNING
    Path(gate).touch()
    kit.until(lambda: not kit.alive(lease.pid))
    assert running.status is Status.COMPLETED
    assert Path(marks).read_text().count("\n") == 1
    assert manager.record(queued).status is Status.QUEUED
    assert manager.result(queued, 30) == 3


def test_a_terminated_service_does_the_same(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    gate, marks = str(tmp_path / "gate"), str(tmp_path / "marks")
    running = manager.submit(kit.mark_and_wait, (marks, gate))
    kit.until(lambda: os.path.exists(marks))
    lease = manager.daemon.lease()
    assert lease is not None
    os.kill(lease.pid, signal.SIGTERM)
    Path(gate).touch()
    kit.until(lambda: not kit.alive(lease.pid))
    assert running.status is Status.COMPLETED


def test_now_means_now(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    gate, marks = str(tmp_path / "gate"), str(tmp_path / "marks")
    running = manager.submit(kit.mark_and_wait, (marks, gate))
    kit.until(lambda: os.path.exists(marks))
    assert manager.daemon.stop(now=True)
    assert running.status is Status.QUEUED
    Path(gate).touch()
    assert running.result(30) == "open"
    assert Path(marks).read_text().count("\n") == 2


def _plain(manager: JobManager) -> object:
    """Hand a job in without starting a service, which `submit` would do."""
    from jobnb import submission
    from jobnb.option import Options
    from jobnb.work import CallWork

    work = CallWork(fn=kit.add, args=(1, 2))
    return submission.new_job(manager.store, "local", work, "job", Options(), name="plain", params={}, source=kit.add)
