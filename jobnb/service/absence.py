"""What becomes of running jobs while their cluster is away: they are kept for it, until it is known to be gone.

Used by the service between two dispatchers. A scheduler that only cannot be reached goes on with what it has, and the
next dispatcher follows its tasks; one that is dead has forgotten them, and the jobs go back into the queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from jobnb.store import Store
from jobnb.store.leases import Lease

#: How long a scheduler that does not answer is thought to go on with its tasks.
PATIENCE_SECONDS = 120.0
_PROBE_SECONDS = 2.0


def refused(address: str) -> bool:
    """Say whether the machine at an address (``tcp://host:port``) answers that nobody listens there.

    Examples
    --------
    >>> refused("tcp://127.0.0.1:1")
    True
    """
    place = urlsplit(address)
    if place.hostname is None or place.port is None:
        return False
    try:
        socket.create_connection((place.hostname, place.port), _PROBE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


@dataclass(kw_only=True)
class Absence:
    """One time of a cluster being away.

    Attributes
    ----------
    store, lease
        Whose running jobs these are, and what they may be written by.
    address : str
        Where the scheduler was.
    monotonic : callable
        Seconds.
    """

    store: Store
    lease: Lease
    address: str
    monotonic: Callable[[], float]
    probe: Callable[[str], bool] = refused
    _handed_back: bool = False
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.monotonic()

    def look_after(self) -> None:
        """End what somebody has cancelled; put everything back into the queue once the cluster is known to be gone."""
        if self._handed_back:
            return
        if self.probe(self.address):
            self.hand_back(f"the Dask scheduler at {self.address} went away. The job goes on when it is back.")
        elif self.monotonic() - self._since > PATIENCE_SECONDS:
            self.hand_back(f"the Dask scheduler at {self.address} does not answer. The job goes on when it is back.")
        else:
            with self.store.tasks.fenced(self.lease):
                for job in self.store.tasks.cancel_requests(self.lease.cluster):
                    self._requeue(job, "")

    def hand_back(self, why: str) -> None:
        """Put every running job back into the queue; finished tasks are kept."""
        self._handed_back = True
        with self.store.tasks.fenced(self.lease):
            for job in self.store.tasks.running(self.lease.cluster):
                self._requeue(job.id, why)

    def _requeue(self, job: str, why: str) -> None:
        for task in self.store.tasks.of(job):
            if task.state == "running":
                error = {"code": "HANDED_BACK", "message": why or "cancelled while the cluster was away"}
                self.store.tasks.settle(job, task.task, state="cancelled", stop=task.start, error=error)
        # Ends a job that somebody has cancelled.
        self.store.tasks.requeue(job, why)
