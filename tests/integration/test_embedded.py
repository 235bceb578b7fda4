"""The embedded service, end to end: what people call, what runs, and what they get back."""

import asyncio
import importlib
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import service_kit as kit
from service_kit import alive, until

from jobnb import JobCancelled, JobFailed, JobManager, Status
from jobnb.daemon import Daemon
from jobnb.job import Job
from jobnb.option import Options
from jobnb.worker.pool import IDLE_SECONDS


def options(**said: object) -> Options:
    return Options().merge(**said)


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip()))


# What comes back


def test_a_call_returns_its_value(shared: JobManager) -> None:
    job = shared.submit(kit.add, (2,), {"b": 3})
    assert job.result(timeout=20) == 5
    assert job.status is Status.COMPLETED
    assert job.started_at is not None
    assert job.finished_at is not None
    assert [a.state for a in job.attempts] == ["completed"]


def test_a_lambda_and_a_coroutine_function_work(shared: JobManager) -> None:
    assert shared.submit(lambda x: x * 2, (21,)).result(timeout=20) == 42
    assert shared.submit(kit.later, (1,)).result(timeout=20) == 2


def test_a_map_gives_results_in_order(shared: JobManager) -> None:
    job = shared.map(kit.square, range(300))
    assert job.result(timeout=20) == [x * x for x in range(300)]
    assert (job.record.done, job.progress.current, job.progress.total) == (300, 300, 300)


def test_ten_thousand_items_are_not_ten_thousand_tasks(shared: JobManager) -> None:
    job = shared.map(kit.square, range(10_000))
    assert sum(job.result(timeout=30)) == sum(x * x for x in range(10_000))
    assert job.record.settled < 20


def test_a_failure_carries_the_users_traceback(shared: JobManager) -> None:
    job = shared.submit(kit.boom, ("the reason",))
    with pytest.raises(JobFailed, match="the reason") as caught:
        job.result(timeout=20)
    assert caught.value.error_code == "USER_ERROR"
    assert "in boom" in caught.value.traceback
    assert job.error is not None
    assert job.error.type == "ValueError"


def test_awaiting_a_job_leaves_the_loop_free(shared: JobManager) -> None:
    async def both() -> list[object]:
        return list(await asyncio.gather(shared.submit(kit.add, (1,)), shared.submit(kit.add, (2,))))

    assert asyncio.run(both()) == [1, 2]


def test_output_is_kept(shared: JobManager) -> None:
    job = shared.submit(kit.talk, (3,))
    assert job.result(timeout=20) == "said"
    assert {"line 0", "line 1", "line 2", "to the error stream"} <= set(job.logs().splitlines())
    assert len(job.logs(tail=2).splitlines()) == 2


def test_progress_is_seen_while_the_job_runs(shared: JobManager, tmp_path: Path) -> None:
    job = shared.submit(kit.walk, (4, str(tmp_path / "gate")))
    until(lambda: job.progress.current == 4)
    assert (job.progress.total, job.progress.message, job.status) == (4, "step 4", Status.RUNNING)
    (tmp_path / "gate").touch()
    assert job.result(timeout=20) == 4


def test_a_tqdm_bar_is_progress(shared: JobManager) -> None:
    job = shared.submit(kit.bar, (50,))
    assert job.result(timeout=20) == 50
    assert job.progress.total == 50


def test_progress_that_is_no_number_does_no_harm(shared: JobManager) -> None:
    before = shared.daemon.lease()
    assert shared.submit(kit.nan_progress).result(timeout=20) == "alive"
    after = shared.daemon.lease()
    assert before is not None
    assert after is not None
    assert before.pid == after.pid


def test_a_frame_is_stored_once_and_mapped(shared: JobManager) -> None:
    frame = pd.DataFrame({"x": np.arange(400_000.0)})
    blobs = shared.store.home / "blobs"
    first = shared.submit(kit.total, (frame,))
    assert first.result(timeout=30) == (frame["x"].sum(), True)
    large = {p.name for p in blobs.iterdir() if p.stat().st_size > 1_000_000}
    assert shared.submit(kit.total, (frame,)).result(timeout=30) == (frame["x"].sum(), True)
    assert {p.name for p in blobs.iterdir() if p.stat().st_size > 1_000_000} == large


def test_an_edited_module_is_fresh_in_the_next_job(
    shared: JobManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "mine_to_edit.py").write_text("def f():\n    return 'old'\n")
    import mine_to_edit  # type: ignore[import-not-found]

    assert shared.submit(mine_to_edit.f).result(timeout=20) == "old"
    (tmp_path / "mine_to_edit.py").write_text("def f():\n    return 'newer'\n")
    importlib.reload(mine_to_edit)
    assert shared.submit(mine_to_edit.f).result(timeout=20) == "newer"


def test_rerun_is_a_new_job_with_the_same_work(shared: JobManager) -> None:
    job = shared.submit(kit.add, (20, 22))
    job.result(timeout=20)
    again = job.rerun(name="again", priority="high")
    assert again.result(timeout=20) == 42
    assert (again.id != job.id, again.name, again.record.rerun_of) == (True, "again", job.id)
    assert again.snapshot["seed"] == job.snapshot["seed"]


def test_the_coroutine_api_of_the_seed_systems(shared: JobManager) -> None:
    async def use() -> None:
        one = await shared.create_job("data", {"x": 2}, kit.executor, run_sync=True)
        two = await shared.create_job("data", {"x": 2}, kit.async_executor, run_sync=False)
        assert await Job(one, shared) == {"x": 4}
        assert await Job(two, shared) == {"x": 6}
        kept = shared.get_job(one)
        assert kept is not None
        assert kept.progress.message == "half"
        assert {one, two} <= {job.id for job in shared.get_all_jobs("data")}

    asyncio.run(use())


# Stopping


@pytest.mark.parametrize("work", [kit.mark_and_spin, kit.mark_and_sleep, kit.mark_and_hold_gil])
def test_cancel_ends_a_job_within_a_second_and_no_other(
    shared: JobManager, tmp_path: Path, work: Callable[[str], None]
) -> None:
    import time

    neighbour = shared.submit(kit.mark_and_wait, (str(tmp_path / "runs"), str(tmp_path / "gate")))
    job = shared.submit(work, (str(tmp_path / "mark"),))
    pid = pid_in(tmp_path / "mark")
    began = time.monotonic()
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(timeout=20)
    assert not alive(pid)
    assert time.monotonic() - began < 1.0
    # Its place is free: with the neighbour there is one left.
    assert shared.submit(kit.add, (1,)).result(timeout=10) == 1
    (tmp_path / "gate").touch()
    assert neighbour.result(timeout=20) == "open"
    assert len((tmp_path / "runs").read_text().split()) == 1
    assert not job.cancel()


def test_a_job_that_ignores_interrupts_is_killed(shared: JobManager, tmp_path: Path) -> None:
    job = shared.submit(kit.mark_and_ignore_interrupts, (str(tmp_path / "mark"),))
    pid = pid_in(tmp_path / "mark")
    job.cancel()
    until(job.done, 2)
    assert job.status is Status.CANCELLED
    assert not alive(pid)


def test_cancelling_a_map_keeps_what_was_finished(shared: JobManager, tmp_path: Path) -> None:
    items = [(i, str(tmp_path), str(tmp_path / "gate")) for i in range(20)]
    job = shared.map(kit.item_or_gate, items)
    until(lambda: any((tmp_path / str(i)).exists() for i in range(3, 10)))
    until(lambda: job.record.done >= 1)
    job.cancel()
    until(job.done, 5)
    assert job.status is Status.CANCELLED
    kept = job.result(partial=True)
    assert len(kept) == job.record.done
    assert set(kept) <= {0, 10, 20}


def test_cancelling_a_queued_job_needs_nobody(fresh: Callable[[], JobManager], monkeypatch: pytest.MonkeyPatch) -> None:
    manager = fresh()
    monkeypatch.setattr(Daemon, "ensure", lambda self: None)
    job = manager.submit(kit.add, (1,))
    assert job.cancel()
    assert job.status is Status.CANCELLED
    assert not job.cancel()


def test_a_child_keeps_freed_memory(shared: JobManager) -> None:
    # Dask's nannies have their workers give it back at once.
    assert shared.submit(os.getenv, ("MALLOC_TRIM_THRESHOLD_",)).result(timeout=20) is None


def test_the_processes_of_a_job_leave_with_it(shared: JobManager) -> None:
    kept = shared.map(kit.process_of, range(4)).result(timeout=30)
    # Well before a process would leave by itself that waits for its job's next task.
    until(lambda: not any(alive(pid) for pid in kept), IDLE_SECONDS - 1)


def test_timeout(shared: JobManager, tmp_path: Path) -> None:
    job = shared.submit(kit.mark_and_sleep, (str(tmp_path / "m"),), options=options(timeout=0.3))
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=10)
    assert caught.value.error_code == "TIMEOUT_ERROR"


def test_timeout_of_a_map_is_that_of_the_whole(shared: JobManager) -> None:
    job = shared.map(kit.seconds_of, [0.1] * 500, options(timeout=0.8))
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=10)
    assert caught.value.error_code == "TIMEOUT_ERROR"
    assert len(job.result(partial=True)) == job.record.done > 0


def test_memory_limit(shared: JobManager) -> None:
    job = shared.submit(kit.grab, (200,), options=options(memory_limit="100MiB", retry=0))
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=20)
    assert caught.value.error_code == "MEMORY_ERROR"


# Whose turn it is


def test_a_short_job_overtakes_a_long_sweep(shared: JobManager) -> None:
    sweep = shared.map(kit.seconds_of, [0.05] * 2_000)
    until(lambda: sweep.record.done > 10)
    short = shared.submit(kit.add, (1,))
    assert short.result(timeout=5) == 1
    assert not sweep.done()
    sweep.cancel()
    until(sweep.done, 5)


def test_no_job_waits_behind_a_long_one_while_a_place_is_free(shared: JobManager, tmp_path: Path) -> None:
    long = shared.submit(kit.wait_for, (str(tmp_path / "gate"),))
    until(lambda: long.status is Status.RUNNING)
    others = [shared.submit(kit.add, (i,)) for i in range(8)]
    assert [job.result(timeout=10) for job in others] == list(range(8))
    (tmp_path / "gate").touch()
    assert long.result(timeout=10) == "open"


def test_the_most_urgent_goes_first(shared: JobManager, tmp_path: Path) -> None:
    gates = [shared.submit(kit.wait_for, (str(tmp_path / "gate"),)) for _ in range(2)]
    until(lambda: all(g.status is Status.RUNNING for g in gates))
    order = [
        shared.submit(kit.add, (1,), options=options(name=name, priority=name))
        for name in ("low", "normal", "high", "critical")
    ]
    assert {job.status for job in order} == {Status.QUEUED}
    assert shared.view(order[3].id).queue_position == 1
    (tmp_path / "gate").touch()
    for job in order:
        job.wait(timeout=20)
    started = sorted(order, key=lambda job: job.started_at or job.created_at)
    assert [job.name for job in started] == ["critical", "high", "normal", "low"]


# Who may read what


def test_the_home_is_its_owners_alone(shared: JobManager) -> None:
    shared.submit(kit.add, (1,)).result(timeout=20)
    home = shared.store.home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in [*home.iterdir(), *(home / "blobs").iterdir(), *(home / "tls").iterdir()]:
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def knock(address: str, context: ssl.SSLContext | None) -> bytes:
    """Connect as a stranger and return the first thing that the scheduler says."""
    host, port = address.removeprefix("tls://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        if context is None:
            plain.sendall(b"hello there, let me in please" * 10)
            return plain.recv(100)
        with context.wrap_socket(plain) as wrapped:
            return wrapped.recv(100)


def stranger() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_nobody_connects_without_the_certificate(shared: JobManager, tmp_path: Path) -> None:
    from distributed.security import Security

    lease = shared.daemon.lease()
    assert lease is not None
    address = str(lease.info["address"])
    assert address.startswith("tls://127.0.0.1")
    forged, own = stranger(), stranger()
    other = Security.temporary()
    for context, certificate, key in (
        (forged, other.tls_client_cert, other.tls_client_key),
        (own, *[(shared.store.home / "tls" / name).read_text() for name in ("cert.pem", "key.pem")]),
    ):
        (tmp_path / "cert").write_text(certificate)
        (tmp_path / "key").write_text(key)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    for context in (None, stranger(), forged):
        try:
            said = knock(address, context)
        except (ssl.SSLError, ConnectionError):
            said = b""
        assert said == b""
    assert knock(address, own) != b""
    with shared.client() as client:
        assert client.submit(os.getpid).result(timeout=10) != os.getpid()
