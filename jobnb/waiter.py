"""Waiting for jobs: looks at the store when something was written, and after the service now and then.

Used in the process that waits, by a blocking loop or a coroutine; it decides only whether the waiting is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Pause between two looks at the store; a look costs microseconds.
POLL_SECONDS = 0.005
#: Who has waited long notices an end so much later, as a share of the time, and at most so many seconds.
POLL_SHARE = 0.01
MOST_POLL_SECONDS = 0.05
SERVICE_CHECK_SECONDS = 1.0
#: Jobs asked for in one look.
LOOK_AT = 100


class Waiter:
    """Waits until all of some jobs are final.

    Parameters
    ----------
    manager : JobManager
    ids : sequence of str
    timeout : float or None
        Seconds after which `over` raises TimeoutError.
    """

    def __init__(self, manager: JobManager, ids: Sequence[str], timeout: float | None) -> None:
        self._manager = manager
        self._left = list(dict.fromkeys(ids))
        self._timeout = timeout
        self._ends = None if timeout is None else time.monotonic() + timeout
        self._seen: tuple[int, int] | None = None
        self._check_at = 0.0
        self._since = time.monotonic()

    def pause(self) -> float:
        """Return how many seconds to wait until the next look: what has taken long may be noticed a little later."""
        return min(max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - self._since)), MOST_POLL_SECONDS)

    def over(self) -> bool:
        """Tell whether all have ended; start a service that is missing.

        Raises
        ------
        TimeoutError
            Time is up; the jobs go on.
        ServiceUnavailable
            No service could be started to run them.
        """
        now = time.monotonic()
        version = self._manager.version()
        if version != self._seen:
            self._seen = version
            self._look()
            if not self._left:
                return True
        if now >= self._check_at:
            self._check_at = now + SERVICE_CHECK_SECONDS
            self._manager.ensure_service()
        if self._ends is not None and now >= self._ends:
            named = ", ".join(self._left[:5]) + (", …" if len(self._left) > 5 else "")
            raise TimeoutError(f"still not done after {self._timeout:g} s: {named}. The job goes on.")
        return False

    def _look(self) -> None:
        # A few at a time: while the first of thousands still run, the others need not be asked for.
        while self._left:
            asked = self._left[:LOOK_AT]
            final = self._manager.store.jobs.finals(asked)
            self._left = [i for i in asked if i not in final] + self._left[LOOK_AT:]
            if len(final) < len(asked):
                break
