"""What may happen to a running service from outside: frozen, killed, starved of disk, clock or database."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import service_kit as kit
from distributed import Client, Future, LocalCluster
from service_kit import alive, until
from test_remote import Dask, slots

from jobnb import JobManager, Retry, Status
from jobnb.errors import BlobMissing
from jobnb.job import Job
from jobnb.option import Options
from jobnb.store import Store, blobs, database
from jobnb.store.leases import Lease

pytestmark = pytest.mark.chaos

#: Holds the database for writing from its word until a line comes in.
HOLDER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.set_busy_timeout(10_000)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def service(manager: JobManager) -> Lease:
    """Return the lease of the service once it has places; start one meanwhile, as a viewer does."""

    def running() -> Lease | None:
        manager.ensure_service()
        lease = manager.daemon.lease()
        return lease if lease is not None and lease.info.get("slots") else None

    found: Lease = until(running)
    return found


def ends(job: Job) -> list[str]:
    """Return the recorded ends of a job: there must be one."""
    return [event.event for event in job.events if event.event in ("completed", "failed", "cancelled")]


class Clock:
    """The wall clock, until somebody sets it."""

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.offset


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inside(tmp_path: Path, clock: Clock) -> Iterator[JobManager]:
    """A manager whose dispatcher is a thread of this process, where its store can be tampered with."""
    manager = JobManager(home=tmp_path / "home")
    manager._store = Store(tmp_path / "home", clock=clock)
    quiet = {"dashboard": False}
    with (
        LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0",
                     scheduler_kwargs=quiet) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        manager.connect(client)
        yield manager
        manager.close()


def begun(manager: JobManager, tmp_path: Path, name: str = "") -> tuple[Job, Path, Path]:
    """Submit a job that waits for its gate, and return once it runs: the job, its marks, the gate."""
    marks, gate = tmp_path / f"marks{name}", tmp_path / f"gate{name}"
    job = manager.submit(kit.mark_and_wait, (str(marks), str(gate)))
    until(lambda: marks.exists() and marks.read_text())
    return job, marks, gate


# Frozen


def test_a_service_frozen_past_its_lease_is_replaced_and_leaves_when_it_thaws(
    fresh: Callable[[], JobManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBNB_LEASE_SECONDS", "1")
    manager, viewer = fresh(), fresh()
    ended, ended_marks, ended_gate = begun(manager, tmp_path, "-ended")
    going, marks, gate = begun(manager, tmp_path, "-going")
    old = service(manager)
    os.kill(old.pid, signal.SIGSTOP)
    # This one ends meanwhile: the successor reads its receipt, and the resumed one hears of it from Dask.
    ended_gate.touch()
    until(lambda: (manager.store.home / "receipts" / f"{ended.id}-0-1").exists())
    until(lambda: service(viewer).pid != old.pid)
    assert ended.result(timeout=20) == "open"
    until(lambda: len(marks.read_text().split()) == 2)
    os.kill(old.pid, signal.SIGCONT)
    until(lambda: not alive(old.pid))
    # The successor's run goes on, whatever the resumed one did on its way out.
    gate.touch()
    assert going.result(timeout=20) == "open"
    assert ends(ended) == ends(going) == ["completed"]
    assert [a.state for a in ended.attempts] == ["completed"]
    assert [a.state for a in going.attempts] == ["lost", "completed"]
    assert len(ended_marks.read_text().split()) == 1
    assert len(marks.read_text().split()) == 2
    assert service(manager).epoch == old.epoch + 1


# Killed; that of the service itself is in `test_restart.py` and measured in `bench_faults.py`


def test_a_killed_worker_and_a_killed_nanny(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    dask = Dask(tmp_path / "dask")
    try:
        nanny = dask.start("worker", dask.address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard",
                           "--local-directory", str(dask.place), "--death-timeout", "10")  # fmt: skip
        manager = fresh()
        manager.connect(dask.address)
        until(lambda: slots(manager) == 1)
        import psutil

        job, marks, gate = begun(manager, tmp_path)
        worker = next(p for p in psutil.Process(nanny.pid).children() if "spawn_main" in " ".join(p.cmdline()))
        worker.kill()
        until(lambda: len(marks.read_text().split()) == 2)
        os.kill(nanny.pid, signal.SIGKILL)
        pid = int(marks.read_text().split()[-1])
        until(lambda: not alive(pid))
        dask.worker()
        until(lambda: len(marks.read_text().split()) == 3)
        gate.touch()
        assert job.result(timeout=20) == "open"
        assert ends(job) == ["completed"]
        assert manager.daemon.stop()
    finally:
        dask.close()


# Taken over on a cluster that goes on


def killed(manager: JobManager) -> Lease:
    """Kill the service, and return the lease that it had."""
    old = service(manager)
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: not alive(old.pid))
    return old


def test_a_successor_goes_on_with_what_a_remote_cluster_still_has(
    fresh: Callable[[], JobManager], tmp_path: Path
) -> None:
    dask = Dask(tmp_path / "dask")
    try:
        for _ in range(4):
            dask.worker()
        manager = fresh()
        manager.connect(dask.address)
        until(lambda: slots(manager) == 4)
        ended, ended_marks, ended_gate = begun(manager, tmp_path, "-ended")
        going, marks, gate = begun(manager, tmp_path, "-going")
        dropped, dropped_marks, dropped_gate = begun(manager, tmp_path, "-dropped")
        endless = manager.submit(kit.mark_and_spin, (str(tmp_path / "endless"),))
        child = int(until(lambda: (tmp_path / "endless").exists() and (tmp_path / "endless").read_text()))
        with Client(dask.address, set_as_default=False) as client:
            until(lambda: len(tasks_of(client)) == 4 and len(published(client)) == 4)
            old = killed(manager)
            # One ends while nobody is there to hear of it, one goes on, one the scheduler forgets.
            ended_gate.touch()
            until(lambda: "memory" in tasks_of(client).values())
            client.cancel(Future(f"jobnb-{dropped.id}-0:1", client=client), force=True)
            until(lambda: len(tasks_of(client)) == 3)
            assert service(manager).epoch == old.epoch + 1
            assert ended.result(timeout=20) == "open"
            gate.touch()
            assert going.result(timeout=20) == "open"
            for job in (ended, going):
                assert [a.state for a in job.attempts] == ["completed"]
                assert [task.epoch for task in manager.store.tasks.of(job.id)] == [old.epoch + 1]
            assert len(ended_marks.read_text().split()) == len(marks.read_text().split()) == 1
            # That it was lost is not its own fault.
            until(lambda: len(dropped_marks.read_text().split()) == 2)
            dropped_gate.touch()
            assert dropped.result(timeout=20) == "open"
            assert [a.error and a.error.code for a in dropped.attempts] == ["SERVICE_LOST", None]
            assert endless.status is Status.RUNNING
            assert endless.cancel()
            until(endless.done)
            assert endless.status is Status.CANCELLED
            assert not alive(child)
            # Nothing of the former service is left there, and nothing that is settled.
            until(lambda: (tasks_of(client), published(client)) == ({}, []), what=lambda: published(client))
            assert len(client.list_datasets()) == 1
            assert manager.daemon.stop()
            until(lambda: not client.list_datasets())
    finally:
        dask.close()


def test_a_service_that_thaws_leaves_the_tasks_to_its_successor_and_a_mute_scheduler_is_waited_for(
    fresh: Callable[[], JobManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBNB_LEASE_SECONDS", "1")
    dask = Dask(tmp_path / "dask")
    try:
        dask.worker()
        manager, viewer = fresh(), fresh()
        manager.connect(dask.address)
        until(lambda: slots(manager) == 1)
        viewer.connect(dask.address)
        job, marks, gate = begun(manager, tmp_path)
        with Client(dask.address, set_as_default=False) as client:
            until(lambda: published(client))
        old = service(manager)
        os.kill(old.pid, signal.SIGSTOP)
        until(lambda: service(viewer).pid != old.pid)
        os.kill(old.pid, signal.SIGCONT)
        until(lambda: not alive(old.pid))
        # Its scheduler does not answer for a while, either.
        present = service(manager)
        os.kill(dask.scheduler.pid, signal.SIGSTOP)
        gate.touch()
        assert not threading.Event().wait(1.5)
        assert job.status is Status.RUNNING
        os.kill(dask.scheduler.pid, signal.SIGCONT)
        assert job.result(timeout=20) == "open"
        assert ends(job) == ["completed"]
        assert len(marks.read_text().split()) == 1
        assert service(manager).epoch == present.epoch
        assert manager.daemon.stop()
    finally:
        dask.close()


class Line:
    """A line to a scheduler that can be cut: a port of this machine that hands on to another one."""

    def __init__(self, address: str) -> None:
        self._port = int(address.rpartition(":")[2])
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._mute: list[socket.socket] = []
        self._dead = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._open.append(near)
                if self._dead:
                    self._mute.append(near)  # It listens, and never answers.
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open.append(far)
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _carry(self, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 16):
                b.sendall(data)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)
        a.close()

    def cut(self) -> None:
        """Break what is open; who calls is not answered from now on."""
        self._dead = True
        self._hang_up()

    def mend(self) -> None:
        """Let calls through again."""
        self._dead = False
        self._hang_up()

    def _hang_up(self) -> None:
        ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        mute, self._mute = self._mute, []
        for end in mute:
            end.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()


def test_a_scheduler_out_of_reach_goes_on_with_its_tasks(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    dask = Dask(tmp_path / "dask")
    line = Line(dask.address)
    try:
        dask.worker()
        manager = fresh()
        manager.connect(line.address)
        until(lambda: slots(manager) == 1)
        job, marks, gate = begun(manager, tmp_path)
        with Client(dask.address, set_as_default=False) as client:
            until(lambda: published(client))
        present = service(manager)
        line.cut()
        until(lambda: "Waiting for it" in job.record.note, 30)
        assert job.status is Status.RUNNING
        gate.touch()
        line.mend()
        assert job.result(timeout=60) == "open"
        assert [a.state for a in job.attempts] == ["completed"]
        assert ends(job) == ["completed"]
        assert len(marks.read_text().split()) == 1
        assert service(manager).epoch == present.epoch
        assert manager.daemon.stop()
    finally:
        line.close()
        dask.close()


def tasks_of(client: Client) -> dict[str, str]:
    """Return the states of the tasks that the scheduler has."""
    found: dict[str, str] = client.run_on_scheduler(
        lambda dask_scheduler: {k: t.state for k, t in dask_scheduler.tasks.items() if str(k).startswith("jobnb-")}
    )
    return found


def published(client: Client) -> list[str]:
    """Return the keys that services have published."""
    found: list[str] = client.run_on_scheduler(
        lambda dask_scheduler: [
            key for data in dask_scheduler.extensions["publish"].datasets.values() for key in data["keys"]
        ]
    )
    return found


# Disk, database, clock


def test_a_disk_that_is_full_for_a_while(
    inside: JobManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = 0

    def scarce(**where: Any) -> tuple[int, str]:
        nonlocal refused
        refused += 1
        if refused < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return tempfile.mkstemp(**where)

    def large_when_open(gate: str) -> bytes:
        while not os.path.exists(gate):
            time.sleep(0.005)
        return bytes(500_000)

    job, _, gate = begun(inside, tmp_path)
    large = inside.submit(large_when_open, (str(gate),))
    # Nothing but blobs goes through this.
    monkeypatch.setattr(blobs, "tempfile", SimpleNamespace(mkstemp=scarce))
    gate.touch()
    assert len(large.result(timeout=20)) == 500_000
    assert job.result(timeout=20) == "open"
    assert refused == 3
    assert caplog.text.count(os.strerror(errno.ENOSPC)) == 2
    assert ends(large) == ends(job) == ["completed"]
    assert [a.state for a in large.attempts] == ["completed"]
    assert not [path for path in inside.store.blobs.folder.iterdir() if path.name.startswith(".new")]


@pytest.fixture
def holder() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    held: list[subprocess.Popen[str]] = []

    def hold(home: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home / "jobs.db")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        held.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in held:
        process.kill()
        process.communicate()


def test_a_database_that_is_locked_for_seconds(
    fresh: Callable[[], JobManager], tmp_path: Path, holder: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    manager = fresh()
    job, marks, gate = begun(manager, tmp_path)
    lease = service(manager)
    holding = holder(manager.store.home)
    gate.touch()
    until(lambda: (manager.store.home / "receipts" / f"{job.id}-0-1").exists())
    # Longer than a renewal of the lease is apart.
    assert not threading.Event().wait(3)
    assert job.status is Status.RUNNING
    holding.communicate("go on\n")
    assert job.result(timeout=20) == "open"
    assert ends(job) == ["completed"]
    assert len(marks.read_text().split()) == 1
    assert service(manager).epoch == lease.epoch


def test_a_database_that_is_locked_longer_than_one_waits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
    holder: Callable[[Path], "subprocess.Popen[str]"],
) -> None:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 50)
    inside: JobManager = request.getfixturevalue("inside")
    job, marks, gate = begun(inside, tmp_path)
    until(lambda: job.status is Status.RUNNING)
    holding = holder(inside.store.home)
    gate.touch()
    until(lambda: caplog.text.count("the store cannot be written now") >= 2)
    assert "busy" in caplog.text
    holding.communicate("go on\n")
    assert job.result(timeout=20) == "open"
    assert ends(job) == ["completed"]
    assert len(marks.read_text().split()) == 1


def test_a_result_that_was_cut_short_is_said_so(inside: JobManager) -> None:
    job = inside.submit(bytes, (500_000,))
    job.wait(timeout=20)
    before = {path.name for path in inside.store.blobs.folder.iterdir()}
    row = inside.store.database.row("SELECT result_sha FROM tasks WHERE job = ?", (job.id,))
    assert row is not None
    assert row[0] in before
    os.truncate(inside.store.blobs.path(row[0]), 1000)
    with pytest.raises(BlobMissing, match=rf"{job.id}.*damaged.*job\.rerun\(\)"):
        job.result()
    assert job.status is Status.COMPLETED
    assert len(job.rerun().result(timeout=20)) == 500_000


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_set(inside: JobManager, clock: Clock, tmp_path: Path, hours: int) -> None:
    job, marks, gate = begun(inside, tmp_path)
    clock.offset = hours * 3_600_000_000
    later, _, later_gate = begun(inside, tmp_path, "later")
    gate.touch()
    later_gate.touch()
    assert job.result(timeout=20) == later.result(timeout=20) == "open"
    assert inside.map(kit.square, range(20)).result(timeout=20) == [x * x for x in range(20)]
    assert ends(job) == ends(later) == ["completed"]
    assert len(marks.read_text().split()) == 1
    assert inside._thread is not None
    assert inside._thread.alive()


def refused_once(marks: str) -> str:
    path = Path(marks)
    path.touch()
    if not path.read_text():
        path.write_text("x")
        raise ConnectionError("not yet")
    return "done"


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_for_the_next_attempt(
    inside: JobManager, clock: Clock, tmp_path: Path
) -> None:
    again = Options().merge(retry=Retry(delay=4.0, jitter=False))
    job = inside.submit(refused_once, (str(tmp_path / "job"),), options=again)
    parts = inside.map(refused_once, [str(tmp_path / f"item{i}") for i in range(2)], options=again)
    until(lambda: job.status is Status.RETRYING)
    until(lambda: sum(1 for row in inside.store.tasks.of(parts.id) if row.retry_at) == 2)
    clock.offset = -2 * 3_600_000_000
    assert job.result(timeout=20) == "done"
    assert parts.result(timeout=20) == ["done", "done"]
    assert [a.state for a in job.attempts] == ["failed", "completed"]
