"""What outlives what: kernels, services, cuts in the middle. Nothing accepted is lost, nothing finished runs again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import service_kit as kit
from service_kit import alive, processes_of, until

from jobnb import JobManager, Status
from jobnb.store import Store
from jobnb.store.leases import Lease

pytestmark = pytest.mark.chaos

NOTEBOOK = """
import os, sys, signal
sys.path.insert(0, sys.argv[2])
import service_kit
from jobnb import JobManager
manager = JobManager(home=sys.argv[1])
job = manager.submit(service_kit.mark_and_wait, (sys.argv[3], sys.argv[4]))
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def service(manager: JobManager) -> Lease:
    """Return the lease of the service once it runs."""

    def running() -> Lease | None:
        lease = manager.daemon.lease()
        return lease if lease is not None and lease.info.get("slots") else None

    found: Lease = until(running)
    return found


def test_a_job_outlives_the_process_that_submitted_it(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    here = str(Path(__file__).parent)
    args = [sys.executable, "-c", NOTEBOOK, str(manager.store.home), here, str(marks), str(gate)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    dead = subprocess.run(args, env=env, capture_output=True, text=True, timeout=30)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    until(marks.exists)
    one, other = manager.get(dead.stdout.strip()), fresh().get("last")
    assert one.status is other.status is Status.RUNNING
    gate.touch()
    assert one.result(timeout=20) == other.result(timeout=20) == "open"
    assert len(marks.read_text().split()) == 1


def test_two_notebooks_share_one_service(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    one, two = fresh(), fresh()
    job = one.submit(kit.wait_for, (str(tmp_path / "gate"),), params={})
    seen = two.get(job.id)
    until(lambda: seen.status is Status.RUNNING)
    assert two.submit(kit.add, (1,)).result(timeout=20) == 1
    first, second = one.daemon.lease(), two.daemon.lease()
    assert first is not None
    assert second is not None
    assert first.pid == second.pid
    assert seen.cancel()
    until(job.done, 5)
    assert job.status is Status.CANCELLED


def test_a_killed_service_is_replaced_and_finished_tasks_stay(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    items = [(i, str(tmp_path), str(tmp_path / "gate")) for i in range(12)]
    job = manager.map(kit.item_or_gate, items)
    until(lambda: job.record.done >= 2)
    until(lambda: (tmp_path / "3").exists())
    lease = service(manager)
    finished = job.record.done
    former = processes_of(manager.store.home)
    assert len(former) > 2
    os.kill(lease.pid, signal.SIGKILL)
    # Its workers as well, or they may still bring the task at the gate to its end.
    until(lambda: not any(alive(pid) for pid in former))
    (tmp_path / "gate").touch()
    assert job.result(timeout=40) == [i * 10 for i in range(12)]
    runs = [len((tmp_path / str(i)).read_text().split()) for i in range(12)]
    assert runs[:finished] == [1] * finished
    assert service(manager).epoch > lease.epoch
    assert {"completed", "lost"} == {a.state for a in job.attempts}


def test_the_receipt_of_a_finished_task_is_adopted(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    """The task ends while its service is frozen and then killed: its outcome is on disk, nobody has read it."""
    manager = fresh()
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    job = manager.submit(kit.mark_and_wait, (str(marks), str(gate)))
    until(marks.exists)
    until(lambda: job.status is Status.RUNNING)
    lease = service(manager)
    os.kill(lease.pid, signal.SIGSTOP)
    gate.touch()
    until(lambda: (manager.store.home / "receipts" / f"{job.id}-0-1").exists())
    os.kill(lease.pid, signal.SIGKILL)
    assert job.result(timeout=40) == "open"
    assert len(marks.read_text().split()) == 1
    assert [a.state for a in job.attempts] == ["completed"]
    until(lambda: not list((manager.store.home / "receipts").iterdir()))


def test_a_cancel_asked_for_without_a_service_is_done_by_the_next(
    fresh: Callable[[], JobManager], tmp_path: Path
) -> None:
    manager = fresh()
    job = manager.submit(kit.mark_and_sleep, (str(tmp_path / "mark"),))
    until((tmp_path / "mark").exists)
    lease = service(manager)
    os.kill(lease.pid, signal.SIGKILL)
    until(lambda: not alive(lease.pid))
    assert job.cancel()
    job.wait(timeout=40)
    assert job.status is Status.CANCELLED


def test_of_two_services_started_at_once_one_leaves(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "DASK_JOBNB__WORKERS": "1"}
    args = [sys.executable, "-m", "jobnb.service", "--home", str(store.home)]
    both = [subprocess.Popen(args, env=env, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        left = until(lambda: next((p for p in both if p.poll() is not None), None))
        assert left.returncode == 0
        lease = until(lambda: store.leases.live("local"))
        stayed = next(p for p in both if p is not left)
        assert lease.pid == stayed.pid
        assert store.leases.request_stop("local")
        assert stayed.wait(timeout=30) == 0
        assert store.leases.live("local") is None
    finally:
        for process in both:
            process.kill()
            process.wait()
    until(lambda: not processes_of(store.home))


def test_an_idle_service_leaves(fresh: Callable[[], JobManager], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_JOBNB__IDLE_TIMEOUT", "0.5s")
    manager = fresh()
    assert manager.submit(kit.add, (1,)).result(timeout=20) == 1
    until(lambda: manager.daemon.lease() is None)
    until(lambda: not processes_of(manager.store.home))
    # And it comes back for the next job.
    assert manager.submit(kit.add, (2,)).result(timeout=20) == 2


def test_stop_puts_running_jobs_back(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    job = manager.submit(kit.mark_and_wait, (str(marks), str(gate)))
    until(marks.exists)
    assert manager.daemon.stop()
    assert job.status is Status.QUEUED
    assert "goes on" in job.record.note
    until(lambda: not processes_of(manager.store.home))
    gate.touch()
    assert job.result(timeout=40) == "open"
    assert [a.state for a in job.attempts] == ["cancelled", "completed"]


def test_a_service_whose_home_is_removed_leaves(fresh: Callable[[], JobManager]) -> None:
    manager = fresh()
    manager.submit(kit.add, (1,)).result(timeout=20)
    lease = service(manager)
    home = manager.store.home
    home.rename(home.with_name("away"))
    until(lambda: not alive(lease.pid))
    home.with_name("away").rename(home)
