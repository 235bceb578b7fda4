"""A task's place in its worker's thread pool: given up while the job waits for Dask tasks of its own, taken back after.

Runs in the supervisor's thread. `distributed.rejoin` would block that thread until a place is free, and a supervisor
must never stop listening; so this module waits in the pool's own queue for it, and knows how to leave that queue.
A contract test pins what the installed `distributed` does.
"""

from __future__ import annotations

import logging
import threading

import distributed
from distributed.threadpoolexecutor import secede as leave_pool
from distributed.threadpoolexecutor import thread_state

log = logging.getLogger(__name__)


class Slot:
    """The place of the task that this thread runs; all methods are for this thread only."""

    def __init__(self) -> None:
        self._pool = getattr(thread_state, "executor", None)
        self._told = False
        self._away = False
        #: Set by the pool when one of its threads has left in favour of this one.
        self._back: threading.Event | None = None

    def leave(self) -> None:
        """Let another task of the worker run beside this one."""
        if self._pool is None:
            log.debug("not in a pool of Dask's: there is no slot to give back")
            return
        if self._away and not self._withdraw():
            return
        self._away = True
        if self._told:
            leave_pool()
        else:
            # The scheduler need be told only once: for it the task stays a long-running one.
            self._told = True
            distributed.secede()

    def come_back(self) -> None:
        """Take the next place that becomes free; returns at once, and until then the worker runs one task more."""
        queue = getattr(self._pool, "_rejoin_list", None)
        if not self._away or self._back is not None or self._pool is None or queue is None:
            return
        self._back = threading.Event()
        with self._pool._rejoin_lock:
            queue.append((threading.current_thread(), self._back))
        # Idle threads of the pool look at the queue when there is something to do.
        self._pool.submit(_nothing)

    def close(self) -> None:
        """The task is over: do not wait for a place any more."""
        if self._away:
            self._withdraw()

    def _withdraw(self) -> bool:
        """Leave the queue; say whether the place had been given already."""
        back, self._back = self._back, None
        if back is None or self._pool is None:
            return False
        with self._pool._rejoin_lock:
            waiting = [entry for entry in self._pool._rejoin_list if entry[1] is back]
            for entry in waiting:
                self._pool._rejoin_list.remove(entry)
        if waiting:
            return False
        # The pool counts this thread again, so it has to go on serving the pool when the task is over.
        thread_state.proceed = True
        self._away = False
        return True


def _nothing() -> None:
    """Wake a thread of the pool."""
