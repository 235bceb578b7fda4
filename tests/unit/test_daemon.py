from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
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
    store.leases.take("local", "me", 60, {"pid": os.getpid(), "host": socket.gethostname()})
    daemon = Daemon(store)
    monkeypatch.setattr(daemon, "_spawn", lambda: pytest.fail("started another one"))
    daemon.ensure()
    assert daemon.lease() is not None


def test_nobody_to_stop(store: Store) -> None:
    assert Daemon(store).stop() is False


#: Its first thread ends, which is all that one sees from outside; another one goes on until it is told.
HALF_DEAD = """
import ctypes, os, sys, threading
threading.Thread(target=lambda: os._exit(len(sys.stdin.read()))).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_one_that_is_dying_is_no_reason_not_to_start_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobnb.daemon import process_exists

    started = []
    daemon = Daemon(store)
    monkeypatch.setattr(daemon, "_spawn", lambda: started.append(1) or 1)
    with subprocess.Popen([sys.executable, "-c", HALF_DEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        dying.stdout.readline()
        while process_exists(dying.pid):
            pass
        daemon._pid, daemon._started_at = dying.pid, time.monotonic() - 2
        end, wait = dying.stdin.close, os.waitpid
        monkeypatch.setattr(os, "waitpid", lambda *asked: end() or wait(*asked))
        daemon.ensure()
        monkeypatch.undo()
    assert started
