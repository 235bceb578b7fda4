"""Whose a process is, and how a job reaches the cluster: what is read from marks and from a worker's settings."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from types import SimpleNamespace

import pytest
from distributed.security import Security

from jobnb.errors import ClusterUnreachable
from jobnb.worker import orphan
from jobnb.worker.client import access, open_client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans over")


@pytest.fixture
def sleeper():
    """Start a process with an environment; it has been executed when it has printed."""
    started = []

    def start(**environment):
        process = subprocess.Popen(
            ["sh", "-c", "echo; read x"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.communicate(b"\n", timeout=10)


def test_an_executed_process_says_whose_it_is_by_its_environment(sleeper):
    assert orphan.owner(sleeper(A="1", JOBNB_CHILD="4711")) == 4711
    assert orphan.owner(sleeper(JOBNB_CHILD="12", Z="JOBNB_CHILD=5")) == 12
    assert orphan.owner(sleeper(XJOBNB_CHILD="12")) is None


def test_a_process_that_is_gone_says_nothing():
    assert orphan.owner(2**22 + 1) is None


def test_a_forked_process_says_whose_it_is_by_its_name():
    script = (
        "import os; from jobnb.worker import orphan; orphan.mark()\n"
        "if os.fork() == 0: print(orphan.owner(os.getpid()) == os.getppid(), flush=True); os._exit(0)\n"
        "os.wait()"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "True"


def test_which_are_to_go(monkeypatch):
    owners = {11: 1, 12: 2, 13: None}
    monkeypatch.setattr(orphan, "adopted", lambda own: [p for p in owners if p not in own])
    monkeypatch.setattr(orphan, "owner", owners.get)
    assert orphan.unwanted({1, 2}) == []
    assert orphan.unwanted({1}) == [12]
    assert orphan.unwanted(set()) == [11, 12, 13]


def test_children_that_are_not_ones_own(sleeper):
    mine = sleeper()
    # Started by this very thread, so the kernel lists it here.
    assert mine in orphan.adopted(())
    assert mine not in orphan.adopted({mine})


def worker(**fields):
    return SimpleNamespace(security=Security(**fields), scheduler=SimpleNamespace(address="tls://h:1"))


def test_a_job_gets_the_clients_certificate_or_the_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = access(worker(tls_ca_file="ca.pem", tls_worker_cert="w.pem", tls_worker_key="w.key"))
    assert own["address"] == "tls://h:1"
    assert own["tls"] == {
        "require_encryption": True,
        "tls_ca_file": os.path.join(tmp_path, "ca.pem"),
        "tls_client_cert": os.path.join(tmp_path, "w.pem"),
        "tls_client_key": os.path.join(tmp_path, "w.key"),
        "tls_min_version": int(ssl.TLSVersion.TLSv1_2),
    }
    both = access(worker(tls_ca_file="a\nb", tls_client_cert="c\nd", tls_client_key="e\nf", tls_worker_cert="w.pem"))
    assert (both["tls"]["tls_ca_file"], both["tls"]["tls_client_cert"]) == ("a\nb", "c\nd")


def test_no_scheduler_answers():
    with pytest.raises(ClusterUnreachable, match="not run by a Dask worker"):
        open_client(None, "n", lambda client: None)
    with pytest.raises(ClusterUnreachable, match="another one"):
        open_client({"address": "inproc://1", "tls": {}}, "n", lambda client: None)
