"""Puts a service together: lease, cluster, dispatcher; and takes it apart again, whatever happens.

Used by the service process, and by a thread in the process of whoever holds a Dask object.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from jobnb.config import Config
from jobnb.daemon import EMBEDDED
from jobnb.errors import JobnbError
from jobnb.service import cluster as clusters
from jobnb.service.absence import Absence
from jobnb.service.cluster import Cluster, ClusterLost, Size
from jobnb.service.dispatcher import CLUSTER_LOST, LEASE_LOST, STOPPED, Dispatcher
from jobnb.service.herald import Herald
from jobnb.service.lease_keeper import LEASE_SECONDS, LeaseKeeper
from jobnb.service.watch import Watch
from jobnb.store import Store
from jobnb.store.leases import Lease

logger = logging.getLogger(__name__)

NOT_NEEDED = "another service is in charge"
#: How long the holder of an expired lease, if its process lives, gets to renew it.
WAKE_SECONDS = LEASE_SECONDS / 3
_STOPPED = "the service was stopped; it goes on with the next one"
#: How often a cluster that went away is looked for.
AGAIN_SECONDS = 2.0
#: How often a service that stands by looks whether it is needed.
RESERVE_SECONDS = 2.0


def serve(settings: Config, name: str, stop: threading.Event, *, stay: bool = False) -> str:
    """Serve a store and cluster until idle, stopped or replaced; return why it ended.

    Parameters
    ----------
    stay : bool, default False
        Never leave because there is nothing to do; while another service is in charge, stand by to follow it.
    """
    reason = _serve(settings, name, stop, None if stay else settings.idle_timeout)
    while stay and reason in (NOT_NEEDED, LEASE_LOST):
        logger.log(logging.DEBUG if reason == NOT_NEEDED else logging.INFO, "standing by: %s", reason)
        if stop.wait(RESERVE_SECONDS):
            return STOPPED
        reason = _serve(settings, name, stop, None)
    return reason


def _serve(settings: Config, name: str, stop: threading.Event, idle_timeout: float | None) -> str:
    store = Store(settings.home)
    lease = take_lease(store, name)
    if lease is None:
        store.close()
        return NOT_NEEDED

    def connect() -> Cluster:
        return clusters.embedded(settings.home, settings.workers) if name == EMBEDDED else clusters.remote(name)

    return dispatch(store, lease, connect, stop, settings=settings, idle_timeout=idle_timeout)


def take_lease(store: Store, name: str) -> Lease | None:
    """Take the lease of a cluster for this process; None if another service is in charge."""
    old = store.leases.get(name)
    ends = time.monotonic() + WAKE_SECONDS
    while old is not None and not old.live(store.clock()) and old.breathing() and time.monotonic() < ends:
        # Expired, but its holder runs: this machine has slept. It gets the time to renew, so that jobs of hours
        # need not begin again because a lid was closed.
        time.sleep(0.05)
        old = store.leases.get(name)
    host, pid = socket.gethostname(), os.getpid()
    holder = f"{host}:{pid}:{secrets.token_hex(4)}"
    return store.leases.take(name, holder, LEASE_SECONDS, {"host": host, "pid": pid, "state": "starting"})


def dispatch(
    store: Store,
    lease: Lease,
    connect: Callable[[], Cluster],
    stop: threading.Event,
    *,
    settings: Config,
    idle_timeout: float | None = None,
) -> str:
    """Connect the cluster and dispatch to it until told to stop; the lease is given back at the end.

    A cluster that goes away is waited for: the jobs wait as well, and say why.
    """
    keeper = LeaseKeeper(store, lease)
    herald = Herald(store=store, keeper=keeper)
    try:
        store.notices.configure(settings.notify, lease.cluster)
        herald.start()
        cluster: Cluster | None = _connected(store, keeper, connect)
        reason = STOPPED
        while cluster is not None:
            try:
                size = cluster.size() or Size(workers=0, slots=0)
                keeper.tell(state="running", address=cluster.address, workers=size.workers, slots=size.slots)
                logger.info("connected to %s", cluster.address)
                reason = Dispatcher(
                    store=store,
                    cluster=cluster,
                    keeper=keeper,
                    watch=Watch.of(store, settings),
                    idle_timeout=idle_timeout,
                    # Whoever stops a thread of its own process waits for it.
                    stop_grace=0.0 if cluster.borrowed else settings.stop_grace,
                ).run(stop)
            except ClusterLost:
                reason = CLUSTER_LOST
            finally:
                cluster.close()
            if reason != CLUSTER_LOST:
                break
            absence = Absence(
                store=store, lease=keeper.lease, address=cluster.scheduler_address, monotonic=time.monotonic
            )
            cluster = _reconnected(store, keeper, connect, stop, idle_timeout, absence)
        return reason
    finally:
        herald.close()
        keeper.close()
        store.close()


def _connected(store: Store, keeper: LeaseKeeper, connect: Callable[[], Cluster]) -> Cluster:
    try:
        return connect()
    except Exception as error:
        code = error.code if isinstance(error, JobnbError) else type(error).__name__
        with store.tasks.fenced(keeper.lease):
            store.tasks.note_waiting(keeper.lease.cluster, f"{code}: {error}")
        raise


def _reconnected(
    store: Store,
    keeper: LeaseKeeper,
    connect: Callable[[], Cluster],
    stop: threading.Event,
    idle_timeout: float | None,
    absence: Absence,
) -> Cluster | None:
    """Try to reach the cluster again until it answers; None if there is a reason not to wait any longer."""
    keeper.tell(state="waiting for the cluster", workers=0, slots=0)
    ends = None if idle_timeout is None else time.monotonic() + idle_timeout
    while not stop.wait(AGAIN_SECONDS):
        keeper.alive()
        if keeper.lost.is_set():
            return None
        if keeper.stop_requested.is_set():
            absence.hand_back(_STOPPED)
            return None
        absence.look_after()
        try:
            return _connected(store, keeper, connect)
        except JobnbError as error:
            logger.warning("%s: %s", error.code, error.message)
        if ends is not None and time.monotonic() > ends and store.tasks.leave_if_idle(keeper.lease):
            return None
    absence.hand_back(_STOPPED)
    return None
