"""What becomes of running jobs while their cluster is away."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from jobnb.job import Status
from jobnb.service.absence import PATIENCE_SECONDS, Absence, refused
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease


class Away:
    """A cluster that is away, as its `Absence` sees it."""

    def __init__(self, home: Path) -> None:
        self.store = Store(home)
        lease = self.store.leases.take("tcp://there:1", "me", 10**6, {})
        assert lease is not None
        self.lease: Lease = lease
        self.now = 100.0
        self.dead = False
        self.absence = Absence(
            store=self.store,
            lease=lease,
            address="tcp://there:1",
            monotonic=lambda: self.now,
            probe=lambda address: self.dead,
        )

    def job(self) -> str:
        job = self.store.jobs.add(NewJob(name="a", kind="job", cluster="tcp://there:1", payload="0" * 64))
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.start_job(job)
            self.store.tasks.begin(job, 0, 0, 1, 1, self.lease.epoch)
        return job

    def state(self, job: str) -> tuple[Status, str]:
        record = self.store.jobs.get(job)
        assert record is not None
        return record.status, self.store.tasks.of(job)[0].state


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away(tmp_path / "home")


def test_it_is_waited_for_and_then_given_up(away: Away) -> None:
    job = away.job()
    away.absence.look_after()
    away.now += PATIENCE_SECONDS
    away.absence.look_after()
    assert away.state(job) == (Status.RUNNING, "running")
    away.now += 1
    away.absence.look_after()
    assert away.state(job) == (Status.QUEUED, "cancelled")


def test_a_dead_one_is_not_waited_for(away: Away) -> None:
    job = away.job()
    away.dead = True
    away.absence.look_after()
    assert away.state(job) == (Status.QUEUED, "cancelled")
    record = away.store.jobs.get(job)
    assert record is not None
    assert "went away" in record.note


def test_a_cancel_counts_meanwhile_and_other_jobs_wait_on(away: Away) -> None:
    job, other = away.job(), away.job()
    assert away.store.jobs.request_cancel(job, "me")
    away.absence.look_after()
    assert away.state(job) == (Status.CANCELLED, "cancelled")
    assert away.state(other) == (Status.RUNNING, "running")


def test_a_stop_hands_everything_back(away: Away) -> None:
    job = away.job()
    away.absence.hand_back("stopped")
    away.absence.look_after()
    assert away.state(job) == (Status.QUEUED, "cancelled")


def test_who_listens_does_not_refuse() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not refused(f"tcp://127.0.0.1:{port}")
    assert refused(f"tls://127.0.0.1:{port}")
    assert not refused("inproc://10.0.0.1/123/1")
