"""Breakers and rate limits under a real service: one state for jobs on whatever worker, and for this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import limits_kit as kit
import pytest
from distributed import Client
from service_kit import processes_of, until
from test_faults import published
from test_remote import Dask, slots

import jobnb
from jobnb import BreakerOpen, JobFailed, JobManager, StaleValue, Status
from jobnb.option import Options


def options(**said: object) -> Options:
    return jobnb.options(**said).options


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    made = Dask(tmp_path_factory.mktemp("dask"))
    made.worker()
    made.worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def far(dask: Dask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobManager]:
    """A manager whose jobs go to a cluster that shares no folder."""
    manager = JobManager(home=tmp_path_factory.mktemp("far") / "home")
    manager.connect(dask.address)
    until(lambda: slots(manager) == 2)
    yield manager
    manager.close()
    manager.daemon.stop()
    until(lambda: not processes_of(manager.store.home))


@pytest.fixture(params=["shared", "far"])
def manager(request: pytest.FixtureRequest) -> JobManager:
    found: JobManager = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An outside service of this test's own."""
    return request.node.name


def test_jobs_and_this_process_share_a_breaker(manager: JobManager, name: str) -> None:
    manager.breaker(name, failures=3, open_for="1h")
    for _ in range(3):
        with pytest.raises(JobFailed, match="down"):
            manager.submit(kit.fail, (name,), None, options(retry=False)).result(timeout=30)
    with pytest.raises(BreakerOpen, match="failed 3 times"), manager.breaker(name):
        pass
    refused = manager.submit(kit.through, (name,))
    until(lambda: refused.status is Status.RETRYING, what=lambda: refused.record)
    error = refused.error
    assert error is not None
    assert error.code == "BREAKER_OPEN"
    assert error.where.endswith("in through"), "the user's line, not jobnb's"
    wait = refused.record.run_at - manager.store.limits.breaker(name).opens_until
    assert abs(wait.total_seconds()) < 30, "it comes back when a probe may go"
    assert manager.submit(kit.seen, (name,)).result(timeout=30) == ("open", 3)
    manager.breaker(name).reset()
    refused.retry()
    assert refused.result(timeout=30) == "through"
    record = manager.store.limits.breaker(name)
    assert (record.succeeded, record.failed, record.refused) == (1, 3, 2)


def test_a_limit_holds_over_all_workers(manager: JobManager, name: str) -> None:
    manager.rate_limit(name, "7/h")
    job = manager.map(kit.take_as_item, [(name, 5)] * 6)
    assert sum(job.result(timeout=60)) == 7
    assert manager.store.limits.rate_limit(name).taken == 7
    with pytest.raises(TimeoutError):
        manager.rate_limit(name).wait(timeout=1)
    assert "Say it once" in manager.submit(kit.unknown_rate, (name + "-nobody",)).result(timeout=30)


def test_a_job_that_waits_for_its_turn_can_be_cancelled(manager: JobManager, name: str, tmp_path: Path) -> None:
    manager.rate_limit(name, "2/h")
    job = manager.submit(kit.wait_long, (name, str(tmp_path / "mark")))
    until(lambda: manager.store.limits.rate_limit(name).taken == 4)
    assert job.status is Status.RUNNING
    job.cancel()
    until(job.done, 5)
    assert job.status is Status.CANCELLED


def test_a_job_that_needs_it_waits_and_says_why(manager: JobManager, name: str) -> None:
    breaker = manager.breaker(name)
    breaker.trip("1h")
    waiting = [manager.submit(kit.through, (name,), None, options(needs=name)) for _ in range(3)]
    critical = manager.submit(kit.through, (name + "-other",), None, options(needs=name, priority="critical"))
    until(lambda: all(job.status is Status.SCHEDULED for job in waiting), what=lambda: [j.record for j in waiting])
    assert waiting[0].record.note.startswith(f"waits for {name}, which was tripped by ")
    assert critical.result(timeout=30) == "through"
    # Its outcome says that the service is back: the others go by themselves.
    assert [job.result(timeout=30) for job in waiting] == ["through"] * 3
    assert {(job.record.attempt, len(job.attempts)) for job in waiting} == {(1, 1)}


def test_the_probe_and_the_rest(manager: JobManager, name: str) -> None:
    manager.breaker(name, failures=1, open_for="300ms")
    failing = manager.submit(kit.just_fail, (), None, options(needs=name, retry=False))
    failing.wait(timeout=30)
    rest = [manager.submit(kit.through, (name,), None, options(needs=name)) for _ in range(10)]
    assert [job.result(timeout=30) for job in rest] == ["through"] * 10
    assert {len(job.attempts) for job in rest} == {1}
    assert manager.breaker(name).state == "closed"


def test_a_map_that_runs_waits_too_and_goes_on(manager: JobManager, name: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    breaker = manager.breaker(name, failures=2, open_for="1h")
    retry = jobnb.Retry(max_retries=2, delay=0.01, jitter=False)
    job = manager.map(kit.fail_until, [str(gate)] * 6, options(needs=name, retry=retry))
    # Without it all items would use up their retries within a second, and the job would fail.
    until(lambda: job.status is Status.SCHEDULED, what=lambda: (job.record, job.attempts))
    assert job.record.note.startswith(f"waits for {name}, which failed 2 times; again at ")
    assert manager.store.limits.breaker(name).failed < 12
    gate.touch()
    breaker.reset()
    assert job.result(timeout=30) == ["there"] * 6


@pytest.mark.parametrize("size", [10, 300_000])
def test_the_last_value_of_one_job_stands_in_for_another(manager: JobManager, name: str, size: int) -> None:
    good = manager.submit(kit.quote, (name, "AAPL", size, True)).result(timeout=30)
    assert good[:2] == (size, False)
    job = manager.submit(kit.quote, (name, "AAPL", size, False))
    assert job.result(timeout=30) == (size, True, good[2])
    assert any("is used" in line.text for line in manager.log(job.id)), manager.log(job.id)
    # The breaker is open now, and no call is made; of another symbol nothing is known.
    assert manager.submit(kit.quote, (name, "AAPL", size, True)).result(timeout=30) == (size, True, good[2])
    unknown = manager.submit(kit.quote, (name, "MSFT", size, True), None, options(retry=False))
    with pytest.raises(JobFailed, match="is left alone"):
        unknown.result(timeout=30)


def test_in_this_process_too(shared: JobManager, name: str) -> None:
    breaker = shared.breaker(name, failures=1, fallback="last")
    assert breaker.call(len, "abc") == 3
    shared.breaker(name).trip("1h")
    with pytest.warns(StaleValue):
        assert breaker.call(len, "abc") == 3


def test_threads_processes_and_coroutines_of_a_job(shared: JobManager, name: str) -> None:
    shared.rate_limit(name, "11/h")
    assert shared.submit(kit.from_threads, (name,)).result(timeout=60) == 11
    assert "only be asked by the job's own process" in shared.submit(kit.from_a_process, (name,)).result(timeout=60)
    assert shared.submit(kit.later, (name + "-later",)).result(timeout=60) == ("called", 0.0)


def test_a_question_outlives_the_service(dask: Dask, tmp_path: Path, name: str) -> None:
    manager = JobManager(home=tmp_path / "home")
    try:
        manager.connect(dask.address)
        until(lambda: slots(manager) == 2)
        mark, gate = tmp_path / "mark", tmp_path / "gate"
        job = manager.submit(kit.ask_after, (name, str(mark), str(gate)))
        until(mark.exists)
        with Client(dask.address, set_as_default=False) as client:
            # So that the cluster keeps it for the next service.
            until(lambda: any(job.id in str(key) for key in published(client)))
        lease = manager.daemon.lease()
        assert lease is not None
        os.kill(lease.pid, signal.SIGKILL)
        until(lambda: manager.daemon.lease() is None)
        gate.touch()
        until((tmp_path / "mark-2").exists)
        # It has asked by now, and nobody was there.
        manager.ensure_service()
        assert job.result(timeout=60) == ("through", 1)
        record = manager.store.limits.breaker(name)
        assert record.succeeded == 2, "what was told meanwhile counts, once"
    finally:
        manager.close()
        manager.daemon.stop()
        until(lambda: not processes_of(manager.store.home))


def test_a_client_that_somebody_holds(fresh: Callable[[], JobManager], name: str) -> None:
    from distributed import Client, LocalCluster

    manager = fresh()
    with (
        LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0",
                     scheduler_kwargs={"dashboard": False}) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        manager.connect(client)
        manager.rate_limit(name, "7/h")
        assert sum(manager.map(kit.take_as_item, [(name, 5)] * 4).result(timeout=60)) == 7
        manager.close()
