"""The dispatcher in a thread of the calling process, for a Dask object that cannot be handed to another.

Lives as long as its owner's process; what was queued waits for the next ``connect`` to the same cluster.
"""

from __future__ import annotations

import threading
from typing import Any

from jobnb import config
from jobnb.errors import ServiceUnavailable
from jobnb.service import cluster as clusters
from jobnb.service.run import dispatch, take_lease
from jobnb.store import Store


class ServiceThread:
    """Dispatches a store's jobs to the cluster of a `distributed.Client`.

    Parameters
    ----------
    store : Store
    client : distributed.Client
        Stays open when the thread ends.

    Raises
    ------
    ServiceUnavailable
        Another process dispatches to this cluster from this store already.
    """

    def __init__(self, store: Store, client: Any) -> None:
        self.name = str(client.scheduler.address)
        self._stop = threading.Event()
        lease = take_lease(store, self.name)
        if lease is None:
            raise ServiceUnavailable(f"another process dispatches this store's jobs to {self.name} already.")
        # In the caller's thread, so that a cluster that cannot be used is an error of connect().
        try:
            first = [clusters.borrowed(client, address=self.name)]
        except BaseException:
            store.leases.release(lease)
            raise

        def connect() -> clusters.Cluster:
            return first.pop() if first else clusters.reborrowed(client, address=self.name)

        self._thread = threading.Thread(
            target=dispatch,
            args=(store, lease, connect, self._stop),
            kwargs={"settings": config.load(store.home)},
            name="jobnb-service",
            daemon=True,
        )
        self._thread.start()

    def alive(self) -> bool:
        """Tell whether it still dispatches."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop dispatching; running jobs go back into the queue."""
        self._stop.set()
        self._thread.join(timeout=30)
