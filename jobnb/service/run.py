"""Puts a service together: lease, cluster, dispatcher; and takes it apart again, whatever happens.

Used by the service process, and by a thread in the process of whoever holds a Dask object.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable

from jobnb.config import Config
from jobnb.daemon import EMBEDDED
from jobnb.errors import JobnbError
from jobnb.service import cluster as clusters
from jobnb.service.cluster import Cluster
from jobnb.service.dispatcher import Dispatcher
from jobnb.service.lease_keeper import LEASE_SECONDS, LeaseKeeper
from jobnb.store import Store
from jobnb.store.leases import Lease

logger = logging.getLogger(__name__)

NOT_NEEDED = "another service is in charge"


def serve(settings: Config, name: str, stop: threading.Event) -> str:
    """Serve a store and cluster until idle, stopped or replaced; return why it ended."""
    store = Store(settings.home)
    lease = take_lease(store, name)
    if lease is None:
        return NOT_NEEDED

    def connect() -> Cluster:
        return clusters.embedded(settings.home, settings.workers) if name == EMBEDDED else clusters.remote(name)

    return dispatch(store, lease, connect, stop, idle_timeout=settings.idle_timeout)


def take_lease(store: Store, name: str) -> Lease | None:
    """Take the lease of a cluster for this process; None if another service is in charge."""
    host, pid = socket.gethostname(), os.getpid()
    holder = f"{host}:{pid}:{secrets.token_hex(4)}"
    return store.leases.take(name, holder, LEASE_SECONDS, {"host": host, "pid": pid, "state": "starting"})


def dispatch(
    store: Store,
    lease: Lease,
    connect: Callable[[], Cluster],
    stop: threading.Event,
    *,
    idle_timeout: float | None,
) -> str:
    """Connect the cluster and dispatch to it until told to stop; the lease is given back at the end."""
    keeper = LeaseKeeper(store, lease)
    try:
        try:
            cluster = connect()
        except JobnbError as error:
            with store.tasks.fenced(lease):
                store.tasks.note_waiting(lease.cluster, f"{error.code}: {error.message}")
            raise
        try:
            keeper.tell(state="running", address=cluster.address, workers=cluster.workers(), slots=cluster.slots())
            logger.info("connected to %s", cluster.address)
            return Dispatcher(store=store, cluster=cluster, keeper=keeper, idle_timeout=idle_timeout).run(stop)
        finally:
            cluster.close()
    finally:
        keeper.close()
        store.close()
