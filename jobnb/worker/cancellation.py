"""How a worker learns that a running task is no longer wanted: the one place that knows Dask's task states.

Runs in the Dask worker, on its event loop, so it only sets flags. What the installed `distributed` really does is
pinned by a contract test; see https://distributed.dask.org/en/stable/worker-state.html.
"""

from __future__ import annotations

from distributed import Worker, WorkerPlugin
from distributed.core import Status

from jobnb.worker.host import host
from jobnb.worker.verdict import Stop

#: States of a task whose function is running and whose result is wanted.
_RUNNING = frozenset({"executing", "long-running"})
#: What may follow them while the task is still wanted, or after its function has returned.
_WANTED = frozenset({"executing", "long-running", "memory", "error", "rescheduled"})
_WORKER_LIVES = frozenset({Status.running, Status.paused, Status.closing_gracefully})


def is_unwanted(start: str, finish: str) -> bool:
    """Say whether a transition means that a running task shall stop.

    Examples
    --------
    >>> is_unwanted("executing", "released"), is_unwanted("executing", "memory")
    (True, False)
    """
    return start in _RUNNING and finish not in _WANTED


def verdict(worker: Worker, key: str) -> Stop | None:
    """Ask, from a supervisor's thread, what became of its task: None, ``"cancel"`` or ``"lost"``.

    For the moment before a supervisor is known to the plugin, and for workers without the plugin.
    """
    if worker.status not in _WORKER_LIVES:
        return "lost"
    task = worker.state.tasks.get(key)
    return None if task is not None and task.state in _RUNNING else "cancel"


class JobnbPlugin(WorkerPlugin):
    """Tells supervisors when their tasks are cancelled, and ends all children with their worker."""

    name = "jobnb"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin to load, in the background, what children need."""
        self._worker = worker
        host().attach(worker.id)

    def transition(self, key: str, start: str, finish: str, **kwargs: object) -> None:
        """Notice a task that was released while it ran: cancelled, or its client is gone."""
        if is_unwanted(start, finish):
            lives = self._worker.status in _WORKER_LIVES
            host().tell(self._worker.id, key, "cancel" if lives else "lost")

    def teardown(self, worker: Worker) -> None:
        """End everything that this worker has started."""
        host().detach(worker.id)
