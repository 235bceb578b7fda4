"""Kill anything at any moment, round after round; then the ledger must be right: nothing lost, nothing twice.

Ten rounds by default, ``JOBNB_CHAOS_ROUNDS=100`` by hand; ``JOBNB_CHAOS_SEED`` repeats a run's choices, though not the
machine's timing. The Nannies of the embedded cluster live in the service and die with it; a cluster of somebody else
has a scheduler and Nannies of its own, and the test starts again what it has killed of them, as an administrator would.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import load
import psutil
import pytest

from jobnb import JobManager
from jobnb.job import JobRecord, Status

ROUNDS = int(os.environ.get("JOBNB_CHAOS_ROUNDS", "10"))
SEED = int(os.environ.get("JOBNB_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
VICTIMS = ("kernel", "service", "worker", "fork server", "child")
#: A new scheduler knows nothing, and everything has to be connected again: that takes longest, and is drawn seldom.
REMOTE_VICTIMS = VICTIMS * 2 + ("nanny", "nanny", "scheduler")
#: What everything that this home's service starts inherits.
MARK = "JOBNB_CHAOS_HOME"
#: The longest that a round goes on before something is killed.
ROUND_SECONDS = 1.5
RECOVERY_SECONDS = 40.0
END_SECONDS = 60.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120 + 10 * ROUNDS)]


def role(process: psutil.Process) -> str:
    """Say what a process is, from its command and its parent's."""
    command = " ".join(process.cmdline())
    if "jobnb.service" in command:
        return "service"
    if "jobnb.worker.forkserver" in command:
        parent = process.parent()
        born = parent is not None and "jobnb.worker.forkserver" in " ".join(parent.cmdline())
        return "child" if born else "fork server"
    if "spawn_main" in command:
        return "worker"
    if "dask worker" in command:
        return "nanny"
    if "dask scheduler" in command:
        return "scheduler"
    return "other"


class Remote:
    """A cluster as an administrator keeps it: a scheduler and two workers with their Nannies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.mend()

    def mend(self) -> None:
        """Start what is not there; workers never join a new scheduler, so they are started again as well."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.close()
            self.scheduler = self._start("scheduler", "--host", self.address, "--no-dashboard")
            ends = time.monotonic() + 20
            while not self._answers():
                assert time.monotonic() < ends, "no scheduler"
                time.sleep(0.01)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            at = ("--host", "127.0.0.1", "--local-directory", str(self.folder), "--death-timeout", "20")
            self.workers.append(self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", *at))

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _start(self, command: str, *args: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{command}.log", "ab") as log:
            return subprocess.Popen([sys.executable, "-m", "dask", command, *args], stdout=log, stderr=log)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                process.kill()
                process.wait()


@dataclass(kw_only=True)
class Chaos:
    """One home, its stand-in for a kernel, and the means to kill."""

    home: Path
    folder: Path
    draw: random.Random
    manager: JobManager
    remote: Remote | None = None
    said: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    kernel: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    killed: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    jobs: int = 0

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Return the living processes of this home's service, with what they are."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                    and process.environ().get(MARK) == str(self.home)
                    and (self.kernel is None or process.pid != self.kernel.pid)
                ):
                    found.append((role(process), process))
            except psutil.Error:
                continue
        return found

    def begin_round(self) -> None:
        """Have the kernel hand in another load; start one if the last was killed."""
        if self.kernel is None:
            args = [sys.executable, load.__file__, str(self.home), str(self.folder)]
            args += [self.remote.address] if self.remote else []
            self.kernel = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.reader = threading.Thread(target=self._read, args=(self.kernel,))
            self.reader.start()
        assert self.kernel.stdin is not None
        self.kernel.stdin.write(f"{self.draw.getrandbits(32)}\n")
        self.kernel.stdin.flush()

    def _read(self, kernel: subprocess.Popen[str]) -> None:
        assert kernel.stdout is not None
        for line in kernel.stdout:
            self.said.put(line.strip())

    def end_kernel(self, number: int) -> None:
        """End the kernel with a signal, and note what it has said."""
        if self.kernel is None:
            return
        assert self.reader is not None
        self.kernel.send_signal(number)
        self.kernel.wait()
        self.reader.join()
        for stream in (self.kernel.stdin, self.kernel.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.kernel = self.reader = None
        # What it would have cancelled itself.
        for record in self.live():
            if record.name == "sleeper":
                self.manager.cancel(record.id)

    def kill(self, victim: str) -> int:
        """Kill a process of that role and return its id; 0 if there is none now."""
        if victim == "kernel":
            if self.kernel is None:
                return 0
            pid = self.kernel.pid
            self.end_kernel(signal.SIGKILL)
        else:
            here = [process for name, process in self.processes() if name == victim]
            if not here:
                return 0
            chosen = self.draw.choice(here)
            try:
                chosen.kill()
            except psutil.NoSuchProcess:
                return 0
            pid = chosen.pid
            if victim in ("nanny", "scheduler"):
                chosen.wait()
        self.killed[victim] += 1
        if self.remote is not None:
            self.remote.mend()
        return pid

    def live(self) -> list[JobRecord]:
        """Return the jobs that are not final."""
        return self.manager.records([s.value for s in Status if not s.final], limit=100_000)

    def await_events(self, number: int, seconds: float) -> bool:
        """Wait until that many more things have happened to jobs, or for so long; False in the second case."""
        since, ends = self.manager.store.jobs.last_event(), time.monotonic() + seconds
        while self.manager.store.jobs.last_event() < since + number:
            self.manager.ensure_service()
            if time.monotonic() > ends:
                return False
            time.sleep(0.002)
        return True

    def round(self) -> None:
        """Load, wait for a random moment, kill something, and see that the rest goes on."""
        self.begin_round()
        self.await_events(self.draw.randrange(1, 60), ROUND_SECONDS)
        victim = self.draw.choice(REMOTE_VICTIMS if self.remote else VICTIMS)
        lease, began = self.manager.daemon.lease(), time.monotonic()
        pid = self.kill(victim)
        if not pid:
            return
        since = self.manager.store.jobs.last_event()
        # A service that was only about to leave, because another is in charge, needs no successor.
        in_charge = lease is not None and lease.pid == pid
        if lease is not None and in_charge:
            self.await_going_on(lambda: (self.manager.daemon.lease() or lease).epoch > lease.epoch)
        self.await_going_on(lambda: not self.live() or self.service_did_something(since))
        if in_charge:
            self.recoveries.append(time.monotonic() - began)

    def service_did_something(self, since: int) -> bool:
        """Tell whether a service has moved a job on since an event."""
        return any(event.who == "service" for _, _, event in self.manager.store.jobs.events_after(since))

    def await_going_on(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, as somebody with a card open does."""
        ends = time.monotonic() + RECOVERY_SECONDS
        while not true():
            self.manager.ensure_service()
            assert time.monotonic() < ends, f"nothing went on within {RECOVERY_SECONDS} s"
            time.sleep(0.005)


@pytest.fixture
def chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Chaos]:
    home = tmp_path / "home"
    monkeypatch.setenv(MARK, str(home))
    monkeypatch.setenv("DASK_JOBNB__WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "marks").mkdir()
    remote = Remote(tmp_path) if request.param == "remote" else None
    manager = JobManager(home=home)
    if remote is not None:
        manager.connect(remote.address)
    made = Chaos(home=home, folder=tmp_path / "marks", draw=random.Random(SEED), manager=manager, remote=remote)
    yield made
    made.end_kernel(signal.SIGKILL)
    manager.close()
    if remote is not None:
        remote.close()
    for _, process in made.processes():
        process.kill()


@pytest.mark.parametrize(("chaos", "rounds"), [("embedded", ROUNDS), ("remote", ROUNDS // 2)], indirect=["chaos"])
def test_nothing_is_lost_and_nothing_is_twice(chaos: Chaos, rounds: int, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        for _ in range(rounds):
            chaos.round()
        settle(chaos)
        audit(chaos)
        end(chaos)
    except BaseException as error:
        error.add_note(f"JOBNB_CHAOS_SEED={SEED} JOBNB_CHAOS_ROUNDS={ROUNDS}, killed: {dict(chaos.killed)}")
        error.add_note(chaos.manager.daemon.log_tail(60))
        raise
    with capsys.disabled():
        worst = max(chaos.recoveries, default=0.0)
        said = (
            f"\nseed {SEED}: {chaos.jobs} jobs, killed {dict(chaos.killed)}, replaced a service within {worst:.1f} s "
        )
        sys.stdout.write(said)


def settle(chaos: Chaos) -> None:
    """Let the kernel finish, as a user would, and wait for every job's end."""
    if chaos.kernel is not None:
        chaos.end_kernel(signal.SIGKILL)
    ends = time.monotonic() + END_SECONDS + ROUNDS
    while live := chaos.live():
        chaos.manager.ensure_service()
        assert time.monotonic() < ends, [(r.id, r.name, r.status, r.note) for r in live]
        time.sleep(0.02)


def end(chaos: Chaos) -> None:
    """Stop the service; no process may be left."""
    assert chaos.manager.daemon.stop()
    if chaos.remote is not None:
        # They end with the workers; nobody has to wait until Dask has told them that they are not needed.
        chaos.remote.close()
    ends = time.monotonic() + 20
    while left := chaos.processes():
        assert time.monotonic() < ends, left
        time.sleep(0.01)


def audit(chaos: Chaos) -> None:
    """Check the ledger against what was handed in."""
    store = chaos.manager.store
    records = {record.id: record for record in chaos.manager.records(limit=100_000)}
    chaos.jobs = len(records)
    accepted = set()
    while not chaos.said.empty():
        accepted.add(chaos.said.get())
    assert accepted - {"round over"} <= set(records), "an accepted job is not there"
    counts = store.jobs.counts()
    assert sum(counts.values()) == counts["completed"] + counts["failed"] + counts["cancelled"] == len(records)
    for record in records.values():
        told = f"{record.id} {record.name} {record.status} {record.error}"
        finals = [e.event for e in store.jobs.events(record.id) if e.event in ("completed", "failed", "cancelled")]
        assert finals == [record.status.value], told
        tasks = store.tasks.of(record.id)
        assert all(task.state != "running" for task in tasks), told
        done = sorted((t.start, t.stop) for t in tasks if t.state == "completed")
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(done)), told
        assert record.done == sum(stop - start for start, stop in done), told
        assert record.settled == len(tasks), told
        assert record.running == 0, told
        check_end(chaos, record, told)
    assert store.database.row("PRAGMA integrity_check") == ("ok",)


def check_end(chaos: Chaos, record: JobRecord, told: str) -> None:
    """Check how a job ended, and its value, against what was to be expected."""
    expected = json.loads(record.tags[0])
    assert record.status.value in expected["ends"], told
    if record.status is Status.FAILED:
        assert record.error is not None
        assert record.error.code == expected["value"], told
    if record.status is not Status.COMPLETED:
        return
    assert record.done == record.items, told
    value = chaos.manager.result(record.id)
    if record.name == "sweep":
        value = len(value.trials)
    elif record.name == "blob":
        value = len(value)
    assert value == expected["value"], told
