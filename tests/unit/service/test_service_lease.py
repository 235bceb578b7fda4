"""Taking a lease from a machine that slept, and keeping one."""

import os
import socket
import threading
from pathlib import Path

import pytest

from jobnb.service import lease_keeper, run
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.store import Store

ALIVE = {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_a_free_lease_is_taken_at_once(store: Store) -> None:
    lease = run.take_lease(store, "local")
    assert lease is not None
    assert lease.pid == os.getpid()
    assert run.take_lease(store, "local") is None


def test_a_holder_that_just_woke_up_keeps_its_jobs(store: Store) -> None:
    """Its lease expired while the lid was closed; it renews before the newcomer's patience ends."""
    lease = store.leases.take("local", "sleeper", 0.0, ALIVE)
    assert lease is not None
    renew = threading.Timer(0.1, lambda: (store.leases.renew(lease, 15, ALIVE), store.close()))
    renew.start()
    assert run.take_lease(store, "local") is None
    renew.join()
    present = store.leases.live("local")
    assert present is not None
    assert present.holder == "sleeper"


def test_a_holder_that_does_not_wake_up_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WAKE_SECONDS", 0.05)
    assert store.leases.take("local", "stuck", 0.0, ALIVE) is not None
    lease = run.take_lease(store, "local")
    assert lease is not None
    assert lease.epoch == 2


def test_the_keeper_renews_tells_and_gives_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.005)
    lease = store.leases.take("local", "me", 0.5, ALIVE)
    assert lease is not None
    keeper = LeaseKeeper(store, lease)
    keeper.tell(slots=3)
    store.leases.request_stop("local")
    assert keeper.stop_requested.wait(5)
    present = store.leases.live("local")
    assert present is not None
    assert present.info["slots"] == 3
    assert present.expires_at > lease.expires_at
    keeper.close()
    assert store.leases.live("local") is None


def test_the_keeper_notices_that_another_took_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.005)
    lease = store.leases.take("local", "me", 15, ALIVE)
    assert lease is not None
    keeper = LeaseKeeper(store, lease)
    with store.database.writing():
        store.database.rows("UPDATE leases SET epoch = 9, holder = 'other'")
    assert keeper.lost.wait(5)
    keeper.close()
    present = store.leases.live("local")
    assert present is not None
    assert present.holder == "other"


def test_a_silent_dispatcher_is_not_covered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.005)
    monkeypatch.setattr(lease_keeper, "SILENCE_SECONDS", -1.0)
    lease = store.leases.take("local", "me", 15, ALIVE)
    assert lease is not None
    keeper = LeaseKeeper(store, lease)
    keeper._thread.join(0.05)
    assert store.leases.get("local") == lease
    keeper.close()
