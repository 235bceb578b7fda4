"""A cluster started with Dask's own commands, whose workers share no folder with the service; and borrowed clients."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import service_kit as kit
from service_kit import alive, processes_of, until

from jobnb import JobCancelled, JobManager, Status
from jobnb.errors import ClusterUnreachable, VersionMismatch
from jobnb.option import Options
from jobnb.service import cluster as clusters

ROOT = str(Path(__file__).parents[2])


class Dask:
    """`dask scheduler` and `dask worker` in a place of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.file = place / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                                    "--scheduler-file", str(self.file))  # fmt: skip
        until(lambda: self.file.exists() and self.file.stat().st_size)
        self.address = clusters._scheduler_address(str(self.file))

    def start(self, command: str, *args: str) -> "subprocess.Popen[bytes]":
        home = self.place / f"{command}-{len(self.processes)}"
        (home / "tmp").mkdir(parents=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JOBNB", "DASK_JOBNB"))}
        env |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONPATH": ROOT}
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", command, *args], cwd=home, env=env, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self) -> "subprocess.Popen[bytes]":
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1",
                          "--no-dashboard", "--local-directory", str(self.place), "--death-timeout", "10")  # fmt: skip

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    made = Dask(tmp_path_factory.mktemp("dask"))
    made.worker()
    made.worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def far(dask: Dask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobManager]:
    """A manager whose jobs go to that cluster."""
    manager = JobManager(home=tmp_path_factory.mktemp("far") / "home")
    manager.connect(dask.address)
    until(lambda: slots(manager) == 2)
    yield manager
    manager.close()
    manager.daemon.stop()
    until(lambda: not processes_of(manager.store.home))


def slots(manager: JobManager) -> int:
    lease = manager.daemon.lease()
    return int(lease.info.get("slots", 0)) if lease else 0


def test_a_local_module_travels_along(far: JobManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_far_away.py").write_text(
        "K = 7\ndef helper(x):\n    return x * K\ndef f(x):\n    return helper(x)\ndef odd(x):\n    return x % 2 == 1\n"
    )
    import mine_far_away  # type: ignore[import-not-found]

    assert far.submit(mine_far_away.f, (6,)).result(timeout=30) == 42
    assert far.map(mine_far_away.f, [1, 2, 3]).result(timeout=30) == [7, 14, 21]
    first = far.submit(mine_far_away.f, (3,))
    asked = far.submit(kit.add, (first,), options=Options().merge(condition=mine_far_away.odd))
    assert asked.result(timeout=30) == 21


def test_nothing_is_read_from_the_home(far: JobManager) -> None:
    """The request names no folder, so no receipt is written, and the data comes over the wire."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"x": np.arange(300_000.0)})
    value, mapped = far.submit(kit.total, (frame,)).result(timeout=30)
    assert (value, mapped) == (frame["x"].sum(), True)
    assert list((far.store.home / "receipts").iterdir()) == []
    assert not (far.store.home / "share-token").exists()


def test_a_large_result_comes_over_the_wire(far: JobManager) -> None:
    assert len(far.submit(bytes, (5_000_000,)).result(timeout=30)) == 5_000_000


@pytest.mark.parametrize("size", [10, 140_000, 3_000_000])
def test_results_are_passed_on_over_the_wire(far: JobManager, size: int) -> None:
    parts = [far.submit(bytes, (size,)) for _ in range(2)]
    joined = far.submit(b"-".join, (parts,))
    assert far.chain([(len, (joined,)), (kit.add, (1,))]).result(timeout=60) == 2 * size + 2


def test_backtest_and_optimize(far: JobManager) -> None:
    from jobnb import Strategy
    from jobnb.research.sample import goog

    class Cross(Strategy):
        fast: int = 10
        slow: int = 30

        def positions(self, bars):  # type: ignore[no-untyped-def]
            return bars.sma(self.fast) > bars.sma(self.slow)

    prices = goog()
    single = far.backtest(Cross, prices, {"fast": 5, "slow": 20}).result(timeout=60)
    sweep = far.optimize(Cross, prices, {"fast": [5, 10], "slow": [20, 40]}).result(timeout=60)
    trials = sweep.trials
    one = trials[(trials["fast"] == 5) & (trials["slow"] == 20)]
    assert len(trials) == 4
    assert one["sharpe_ratio"].iloc[0] == pytest.approx(single.get_performance_metrics()["sharpe_ratio"])


def test_cancel(far: JobManager, tmp_path: Path) -> None:
    job = far.submit(kit.mark_and_hold_gil, (str(tmp_path / "mark"),))
    pid = int(until(lambda: (tmp_path / "mark").exists() and (tmp_path / "mark").read_text()))
    job.cancel()
    until(job.done, 2)
    with pytest.raises(JobCancelled):
        job.result()
    assert not alive(pid)


def test_a_worker_that_leaves_takes_nothing_along(dask: Dask, far: JobManager, tmp_path: Path) -> None:
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    extra = dask.worker()
    until(lambda: slots(far) == 3)
    jobs = [far.submit(kit.mark_and_wait, (str(marks), str(gate))) for _ in range(3)]
    until(lambda: marks.exists() and len(marks.read_text().split()) == 3)
    os.killpg(extra.pid, signal.SIGKILL)
    extra.wait()
    until(lambda: slots(far) == 2)
    gate.touch()
    assert [job.result(timeout=30) for job in jobs] == ["open"] * 3
    # Somebody else's scheduler runs a task again by itself when its worker dies; the outcome is recorded once.
    assert len(marks.read_text().split()) == 4
    assert {job.record.settled for job in jobs} <= {1, 2}


def test_stop_ends_what_runs_there_and_the_next_service_goes_on(far: JobManager, tmp_path: Path) -> None:
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    job = far.submit(kit.mark_and_wait, (str(marks), str(gate)))
    until(lambda: marks.exists() and marks.read_text())
    assert far.daemon.stop()
    until(lambda: not alive(int(marks.read_text())))
    assert job.status is Status.QUEUED
    gate.touch()
    assert job.result(timeout=30) == "open"


# Clusters that cannot be used


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "/no/such/file.json"])
def test_an_unreachable_address_is_an_error_of_connect(
    fresh: Callable[[], JobManager], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1)
    manager = fresh()
    with pytest.raises(ClusterUnreachable) as caught:
        manager.connect(address)
    assert address in caught.value.message
    assert manager.cluster == "local"
    assert manager.store.leases.all() == []


def test_other_versions_are_an_error_of_connect(
    dask: Dask, fresh: Callable[[], JobManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    import jobnb

    monkeypatch.setattr(jobnb, "__version__", "99.0")
    manager = fresh()
    with pytest.raises(VersionMismatch, match=r"jobnb 0\.\d+.*99\.0"):
        manager.connect(dask.address)
    assert manager.cluster == "local"


def test_a_scheduler_that_dies_is_waited_for(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    first = Dask(tmp_path / "first")
    second: Dask | None = None
    try:
        first.worker()
        manager = fresh()
        manager.connect(str(first.file))
        until(lambda: slots(manager) == 1)
        marks, gate = tmp_path / "marks", tmp_path / "gate"
        job = manager.submit(kit.mark_and_wait, (str(marks), str(gate)))
        until(lambda: marks.exists() and marks.read_text())
        os.killpg(first.scheduler.pid, signal.SIGKILL)
        until(lambda: job.status is Status.QUEUED and "goes on when it is back" in job.record.note, 30)
        # Another scheduler in the place of the first.
        second = Dask(tmp_path / "second")
        second.worker()
        second.file.replace(first.file)
        gate.touch()
        assert job.result(timeout=40) == "open"
        assert [a.state for a in job.attempts][-1] == "completed"
        assert manager.daemon.stop()
    finally:
        first.close()
        if second is not None:
            second.close()


# Objects that somebody holds


def test_a_client_of_a_cluster_in_this_process(fresh: Callable[[], JobManager]) -> None:
    from distributed import Client, LocalCluster

    manager = fresh()
    quiet = {"dashboard": False}
    with (
        LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0",
                     scheduler_kwargs=quiet) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        manager.connect(client)
        assert manager.map(kit.square, range(50)).result(timeout=30) == [x * x for x in range(50)]
        manager.close()
        assert client.submit(kit.add, 1, 2).result(timeout=10) == 3
        manager.connect(cluster)
        assert manager.submit(kit.add, (1, 1)).result(timeout=30) == 2
        manager.close()
    assert not processes_of(manager.store.home)
