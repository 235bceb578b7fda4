"""The results of ``%%job`` cells on their way back into the namespace.

Runs in the kernel: in the UI thread when a job has ended, or in the main thread that waits for it. It must never
assign anything of a job that failed or was cancelled.
"""

from __future__ import annotations

import threading
from typing import Any

from jobnb.errors import JobnbError
from jobnb.job import Job
from jobnb.notebook import ui

#: What else the card of an ended job must say, by job: results that did not come home.
notes: dict[str, str] = {}


class Delivery:
    """The results of a ``%%job`` cell on their way into the namespace.

    Assigned by the UI thread when the job has ended, or by whoever waits for it in the main thread, whichever comes
    first; once.
    """

    def __init__(self, job: Job, names: tuple[str, ...], namespace: dict[str, Any]) -> None:
        self._job = job
        self._names = names
        self._namespace = namespace
        self._lock = threading.Lock()
        self._done = False
        #: Why the results did not come, once that is known.
        self.error = ""

    #: The job it waits for is to end: see `ui.Watcher.needs_service`.
    needs_service = True

    @property
    def manager(self) -> ui.Watched:
        """Whose job it is."""
        return self._job._manager

    @property
    def job_id(self) -> str:
        """Which job."""
        return self._job.id

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        return self._done or (moved and self.settle())

    def settle(self) -> bool:
        """Assign the results if the job has ended; return True once there is nothing more to do."""
        with self._lock:
            if self._done:
                return True
            record = self._job.record
            if not record.status.final:
                return False
            self._done = True
            if record.status.value == "completed":
                # The lock is held: a cell that has waited for the job must find the values.
                try:
                    values = self._job.result(timeout=10)
                except Exception as error:
                    self.broken(error)
                    raise
                self._namespace.update({name: values[name] for name in self._names if name in values})
            return True

    def broken(self, error: Exception) -> bool:
        """See `ui.Watcher.broken`: the card of the job says why the results did not come."""
        self.error = f"{', '.join(self._names)} could not be brought back: {type(error).__name__}: {error}"
        notes[self._job.id] = self.error
        return True


_deliveries: list[Delivery] = []


def deliver(job: Job, names: tuple[str, ...], namespace: dict[str, Any]) -> None:
    """Assign a cell job's results to ``names`` in ``namespace`` when it has ended."""
    delivery = Delivery(job, names, namespace)
    _deliveries[:] = [d for d in _deliveries if not d._done]
    _deliveries.append(delivery)
    ui.get().add(delivery)


def settle(job_id: str) -> None:
    """Assign what an ended job brings back now, in this thread.

    Raises
    ------
    JobnbError
        The results cannot be brought back.
    """
    for delivery in [d for d in _deliveries if d.job_id == job_id]:
        delivery.settle()
        if delivery.error:
            raise JobnbError(delivery.error)
