"""Keeps tasks alive on a cluster whose workers share no disk, so that a service's successor finds them there.

A Dask future dies with its client. What a service has out is therefore published as a data set under its epoch, which
the scheduler keeps for its own lifetime; the successor takes those futures over and ends the ones it has no use for.
Run by the service only; it decides nothing about jobs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

#: Pause between two publications: a task that is younger than this when its service is killed runs again.
PUBLISH_SECONDS = 0.1
#: How long the last publication may take when a service leaves.
LEAVE_SECONDS = 2.0


class Published:
    """The futures of one service, published on its cluster.

    Parameters
    ----------
    client : distributed.Client
    family : str
        What this service and its predecessors have in common: the store, and the cluster's name in it.
    epoch : int
        Of the service's lease. A former service that comes back publishes under its own and harms nobody.
    """

    def __init__(self, client: Any, family: str, epoch: int) -> None:
        self._client = client
        self._prefix = f"{family}/"
        self._name = f"{family}/{epoch}"
        self._futures: Mapping[str, Any] = {}
        self._said = False
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobnb-publish", daemon=True)
        self._thread.start()

    def keep(self, futures: Mapping[str, Any]) -> None:
        """Publish these futures, by key, and no others; soon, and without waiting for it."""
        self._futures = futures
        self._changed.set()

    def found(self) -> dict[str, tuple[Any, str]]:
        """Return what former services have left: futures and their states by key, those that the scheduler knows.

        Each has to be kept by `keep`, or cancelled: the former publications are withdrawn by `withdraw_former`.
        """
        futures: dict[str, Any] = {}
        for name in self._former():
            futures |= self._client.get_dataset(name, default={})
        # A future of an unknown key would stay pending for ever.
        states = self._client.run_on_scheduler(_states, list(futures)) if futures else {}
        return {key: (future, states[key]) for key, future in futures.items() if key in states}

    def withdraw_former(self) -> None:
        """Publish what is to be kept, at once, and take away what former services have published."""
        former = self._former()
        if former:
            self._publish()
            self._client.unpublish_dataset([name for name in former if name != self._name])

    def close(self, *, withdraw: bool) -> None:
        """Publish nothing more; ``withdraw`` also what is published, so that it dies with the client."""
        self._closed.set()
        self._changed.set()
        self._thread.join(LEAVE_SECONDS)
        if withdraw and self._said:
            try:
                self._client.unpublish_dataset(self._name)
            except Exception as error:  # noqa: BLE001 - Dask raises many kinds when its scheduler goes away
                logger.warning("what was published could not be withdrawn: %r", error)

    def _former(self) -> list[str]:
        names = [name for name in self._client.list_datasets() if str(name).startswith(self._prefix)]
        return sorted(names, key=lambda name: int(name.rpartition("/")[2]))

    def _publish(self) -> None:
        self._said = True
        self._client.publish_dataset({self._name: dict(self._futures)}, override=True)

    def _run(self) -> None:
        while self._changed.wait() and not self._closed.is_set():
            self._changed.clear()
            try:
                self._publish()
            except Exception as error:  # noqa: BLE001 - as above; the tasks run all the same
                logger.warning("running tasks could not be published: %r", error)
            self._closed.wait(PUBLISH_SECONDS)


def _states(keys: list[str], dask_scheduler: Any = None) -> dict[str, str]:
    """Return the states of the tasks that the scheduler knows; runs there."""
    return {key: str(dask_scheduler.tasks[key].state) for key in keys if key in dask_scheduler.tasks}
