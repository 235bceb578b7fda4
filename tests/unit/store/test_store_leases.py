"""Leases under a clock that the test moves: taking, renewing, expiring, fencing."""

import os
import socket
from typing import Any

import pytest
from tests_store import Clock, new

from jobnb.errors import LeaseLost
from jobnb.store import Store
from jobnb.store.leases import process_exists

FAR: dict[str, Any] = {"host": "elsewhere", "pid": 1}


def here(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid}


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_only_one_holds_it(store: Store) -> None:
    first = store.leases.take("local", "a", 15, FAR)
    assert first is not None
    assert first.epoch == 1
    assert store.leases.take("local", "b", 15, FAR) is None
    other = store.leases.take("tcp://somewhere", "b", 15, FAR)
    assert other is not None
    assert [lease.cluster for lease in store.leases.all()] == ["local", "tcp://somewhere"]


def test_an_expired_one_can_be_taken_and_the_former_holder_is_fenced_off(store: Store, clock: Clock) -> None:
    first = store.leases.take("local", "a", 15, FAR)
    assert first is not None
    clock.pass_(16)
    assert store.leases.live("local") is None
    second = store.leases.take("local", "b", 15, FAR)
    assert second is not None
    assert second.epoch == 2
    job = store.jobs.add(new())
    with pytest.raises(LeaseLost), store.tasks.fenced(first):
        store.tasks.start_job(job)
    with pytest.raises(LeaseLost):
        store.leases.renew(first, 15, FAR)
    store.leases.release(first)
    assert store.leases.live("local") == second
    with store.tasks.fenced(second):
        assert store.tasks.start_job(job)


def test_renewing_keeps_it(store: Store, clock: Clock) -> None:
    lease = store.leases.take("local", "a", 15, FAR)
    assert lease is not None
    for _ in range(5):
        clock.pass_(10)
        renewed = store.leases.renew(lease, 15, {**FAR, "slots": 2})
    assert renewed.epoch == lease.epoch
    assert renewed.info["slots"] == 2
    assert store.leases.take("local", "b", 15, FAR) is None


def test_a_holder_that_was_late_but_not_replaced_goes_on(store: Store, clock: Clock) -> None:
    """A laptop that slept for an hour."""
    lease = store.leases.take("local", "a", 15, FAR)
    assert lease is not None
    clock.pass_(3600)
    assert store.leases.renew(lease, 15, FAR).live(clock())


def test_a_dead_process_holds_nothing(store: Store) -> None:
    assert store.leases.take("local", "a", 15, here(dead_pid())) is not None
    assert store.leases.live("local") is None
    assert store.leases.take("local", "b", 15, here(os.getpid())) is not None
    assert store.leases.live("local") is not None


def test_giving_back(store: Store) -> None:
    lease = store.leases.take("local", "a", 15, here(os.getpid()))
    assert lease is not None
    store.leases.release(lease)
    given_back = store.leases.get("local")
    assert given_back is not None
    assert not given_back.breathing()
    with pytest.raises(LeaseLost):
        store.leases.renew(lease, 15, FAR)
    with pytest.raises(LeaseLost), store.tasks.fenced(lease):
        pass


def test_breathing_is_expired_but_alive_here(store: Store, clock: Clock) -> None:
    for info, expected in ((here(os.getpid()), True), (here(dead_pid()), False), (FAR, False)):
        lease = store.leases.take("local", f"{info}", 15, info)
        assert lease is not None
        clock.pass_(16)
        assert (lease.live(clock()), lease.breathing()) == (False, expected)


def test_idle_means_that_nobody_handed_in_a_job_before(store: Store) -> None:
    lease = store.leases.take("local", "a", 15, FAR)
    assert lease is not None
    job = store.jobs.add(new())
    assert not store.tasks.leave_if_idle(lease)
    assert store.leases.live("local") is not None
    store.jobs.request_cancel(job, "me")
    assert store.tasks.leave_if_idle(lease)
    assert store.leases.live("local") is None


def test_a_stop_can_be_asked_for(store: Store) -> None:
    assert not store.leases.request_stop("local")
    lease = store.leases.take("local", "a", 15, FAR)
    assert lease is not None
    assert store.leases.request_stop("local")
    assert store.leases.renew(lease, 15, FAR).stop_requested
    store.leases.release(lease)
    again = store.leases.take("local", "b", 15, FAR)
    assert again is not None
    assert not again.stop_requested


def test_processes() -> None:
    assert process_exists(os.getpid())
    assert not process_exists(0)
    assert not process_exists(dead_pid())
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    assert not process_exists(zombie)
    os.waitpid(zombie, 0)
