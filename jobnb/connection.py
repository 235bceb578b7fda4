"""Where a manager works: which store, which cluster, and is there a service? Nothing here submits or reads jobs.

Used by front doors. The store is opened, and a service started, when they are first needed.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from jobnb import config
from jobnb.daemon import EMBEDDED, Daemon
from jobnb.errors import ServiceUnavailable
from jobnb.listener import Events
from jobnb.store import Store
from jobnb.waiter import POLL_SECONDS


class Connection:
    """The store and the cluster of one manager.

    Parameters
    ----------
    max_workers : int, optional
        Worker processes of the embedded cluster, if this manager starts it; one per core by default.
    home : path, optional
        The store's folder; ``JOBNB_HOME`` or the platform's folder for user state by default.
    """

    def __init__(self, max_workers: int | None = None, *, home: str | os.PathLike[str] | None = None) -> None:
        self._home = home
        self._max_workers = max_workers
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._daemon: Daemon | None = None
        self._thread: Any = None
        self._cluster = EMBEDDED
        self._events: Events | None = None

    @property
    def store(self) -> Store:
        """The store; opened when first used."""
        with self._lock:
            if self._store is None:
                self._store = Store(config.load(self._home).home)
            return self._store

    @property
    def home(self) -> str | os.PathLike[str] | None:
        """The store's folder as it was asked for; None for the default."""
        return self._home

    @property
    def cluster(self) -> str:
        """The name of the cluster that new jobs go to: ``local`` or a Dask address."""
        return self._cluster

    @property
    def daemon(self) -> Daemon:
        """The service of the present store and cluster."""
        with self._lock:
            if self._daemon is None or self._daemon.cluster != self._cluster:
                self._daemon = Daemon(self.store, self._cluster)
                if self._max_workers is not None:
                    os.environ.setdefault("DASK_JOBNB__WORKERS", str(self._max_workers))
            return self._daemon

    def connect(self, cluster: Any = None, home: str | os.PathLike[str] | None = None) -> None:
        """Choose the cluster and the store that jobs go to from now on, and see that they work.

        Parameters
        ----------
        cluster : str, distributed.Client, distributed cluster or None
            None: the embedded cluster of this machine. Text: the address of a scheduler (``tcp://…``, ``tls://…``)
            or a scheduler file. A client or cluster object: used from a thread of this process.
        home : path, optional
            The store's folder.

        Raises
        ------
        ClusterUnreachable
            Nothing answers at the address.
        VersionMismatch
            The workers have another Python or jobnb.
        """
        with self._lock:
            if home is not None:
                self.close()
                self._home, self._store = home, None
            if cluster is None:
                self._leave_thread()
                self._cluster = EMBEDDED
                self.ensure_service()
            elif isinstance(cluster, str | os.PathLike):
                from jobnb.service import cluster as clusters

                address = os.fspath(cluster)
                if address.endswith(".json"):
                    # The service has a working directory of its own.
                    address = os.path.abspath(address)
                clusters.remote(address).close()
                self._leave_thread()
                self._cluster = address
                self.ensure_service()
            else:
                self._attach(cluster)

    def _attach(self, cluster: Any) -> None:
        from distributed import Client

        from jobnb.service.thread import ServiceThread

        self._leave_thread()
        client = cluster if isinstance(cluster, Client) else Client(cluster, set_as_default=False)
        self._thread = ServiceThread(self.store, client)
        self._cluster = self._thread.name

    def _leave_thread(self) -> None:
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def close(self) -> None:
        """Let go of the store and, where one was handed in, of the Dask object. Jobs go on."""
        with self._lock:
            self._leave_thread()
            if self._events is not None:
                self._events.close()
            if self._store is not None:
                self._store.close()

    def ensure_service(self) -> None:
        """Start the service if none is in charge; returns at once.

        Raises
        ------
        ServiceUnavailable
            The last one that was started here failed.
        """
        if self._thread is not None:
            return
        if self.service_gave_up():
            self.daemon.ensure()
            raise ServiceUnavailable(self.why_no_service())
        self.daemon.ensure()

    def client(self) -> Any:
        """Return a connected `distributed.Client` for scripting Dask directly; closing it is up to you.

        Raises
        ------
        ServiceUnavailable
            No service is in charge, and none could be started.
        """
        from distributed import Client
        from distributed.security import Security

        from jobnb.tls import tls_files

        if self._cluster != EMBEDDED:
            return Client(self._cluster, set_as_default=False)
        ends = time.monotonic() + 30
        while True:
            self.ensure_service()
            lease = self.daemon.lease()
            if lease is not None and "address" in lease.info:
                break
            if time.monotonic() > ends or self.daemon.gave_up():
                raise ServiceUnavailable(self.why_no_service())
            time.sleep(POLL_SECONDS)
        security = Security(**tls_files(self.store.home).settings())
        return Client(str(lease.info["address"]), security=security, set_as_default=False)

    def service_gave_up(self) -> bool:
        """Tell whether a service that was started here has ended without ever being in charge."""
        return self._thread is None and self.daemon.gave_up()

    def why_no_service(self) -> str:
        """Return what to tell somebody who waits for a service that does not come up."""
        return (
            f"the jobnb service for {self._cluster!r} did not start ({self.daemon.last_error()}). "
            f"Run `jobnb doctor`, and see {self.daemon.log}."
        )
