"""Live updates of a running task: what the service's topic gets, and how often.

Runs in the supervisor. Updates are hints that may be lost; the outcome alone counts.
"""

from __future__ import annotations

from collections.abc import Callable

from jobnb.worker.output import LogRing
from jobnb.worker.request import ProgressValue

#: At most ten updates a second and task.
INTERVAL_SECONDS = 0.1
MAX_LINES_PER_EVENT = 50


class Relay:
    """Sends "started" at once, "update" when something changed and it is time, "ended" at the end.

    Parameters
    ----------
    send
        Where events go; None when nobody listens.
    about
        What every event says: job, task, attempt.
    ring
        The task's output.
    """

    def __init__(
        self, send: Callable[[dict[str, object]], None] | None, about: dict[str, object], ring: LogRing
    ) -> None:
        self._send = send
        self._about = about
        self._ring = ring
        self._seq = 0
        self._sent_line = 0
        self._sent: tuple[ProgressValue | None, int] = (None, 0)
        self._next_at = 0.0
        self.pid = 0
        self.progress: ProgressValue | None = None
        self.done = 0

    @property
    def _dirty(self) -> bool:
        return self._sent != (self.progress, self.done) or self._sent_line != self._ring.count

    def due_at(self) -> float | None:
        """Return the monotonic time at which `tick` has something to send, or None."""
        return self._next_at if self._send is not None and self._dirty else None

    def tick(self, now: float, t_us: int) -> None:
        """Send an update if there is something new and it is time."""
        if self._send is not None and now >= self._next_at and self._dirty:
            self.event("update", "running", now, t_us)

    def event(self, kind: str, state: str, now: float, t_us: int) -> None:
        """Send an event now."""
        if self._send is None:
            return
        self._seq += 1
        self._next_at = now + INTERVAL_SECONDS
        lines = self._ring.since(self._sent_line, MAX_LINES_PER_EVENT)
        self._sent_line = self._ring.count
        self._sent = (self.progress, self.done)
        self._send(
            {
                **self._about,
                "seq": self._seq,
                "t": t_us,
                "kind": kind,
                "pid": self.pid,
                "progress": None if self.progress is None else list(self.progress),
                "done": self.done,
                "log": [list(line) for line in lines],
                "state": state,
            }
        )
