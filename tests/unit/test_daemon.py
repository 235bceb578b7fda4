from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobnb.daemon import Daemon
from jobnb.errors import ServiceUnavailable
from jobnb.manager import JobManager
from jobnb.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def wait_until_over(daemon: Daemon) -> None:
    import os

    os.waitid(os.P_PID, daemon._pid, os.WEXITED | os.WNOWAIT)


def test_a_service_that_fails_is_given_up_and_says_why(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such interpreter here' >&2\nexit 3\n")
    broken.chmod(0o755)
    daemon = Daemon(store)
    assert not daemon.gave_up()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(broken))
        daemon.ensure()
        wait_until_over(daemon)
    assert daemon.gave_up()
    assert daemon.last_error() == "no such interpreter here"
    manager = JobManager(home=store.home)
    manager._daemon = daemon
    with pytest.raises(ServiceUnavailable, match=r"no such interpreter here.*jobnb doctor"):
        manager.ensure_service()


def test_one_that_is_in_charge_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import socket

    store.leases.take("local", "me", 60, {"pid": os.getpid(), "host": socket.gethostname()})
    daemon = Daemon(store)
    monkeypatch.setattr(daemon, "_spawn", lambda: pytest.fail("started another one"))
    daemon.ensure()
    assert daemon.lease() is not None


def test_nobody_to_stop(store: Store) -> None:
    assert Daemon(store).stop() is False
