"""Live updates of a running task: what the service's topic gets, and how often.

Runs in the supervisor. Updates are hints that may be lost; the outcome alone counts.
"""

from __future__ import annotations

from collections.abc import Callable

from jobnb.worker.output import LogRing
from jobnb.worker.request import ProgressValue

#: At most five updates a second and task; half as many where nothing is new but the number of items that are done.
INTERVAL_SECONDS = 0.2
COUNT_SECONDS = 0.4
#: A task that is over by then has nothing to tell but its end: an event costs as much as a small job.
START_SECONDS = 0.05
MAX_LINES_PER_EVENT = 50
#: Outcomes up to this size travel with the news of the end, so that nobody has to fetch them.
OUTCOME_BYTES = 16_000  # the scheduler keeps the last thousand events


def small(outcome: bytes) -> bool:
    """Tell whether a packed outcome may travel with the news of the end."""
    return len(outcome) <= OUTCOME_BYTES


class Relay:
    """Sends "started" soon, "update" when something changed and it is time, "ended" at the end.

    Parameters
    ----------
    send
        Where events go; None when nobody listens.
    about
        What every event says: job, task, attempt, and the worker's address.
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
        self._sent_most: int | None = None
        self._next_at = 0.0
        self._start_at: float | None = None
        self.pid = 0
        self.progress: ProgressValue | None = None
        self.done = 0
        #: After how many items the task is going to end, if not after all.
        self.most: int | None = None

    @property
    def _dirty(self) -> bool:
        return self._sent != (self.progress, self.done) or self._sent_line != self._ring.count

    def due_at(self) -> float | None:
        """Return the monotonic time at which `tick` has something to send, or None."""
        if self._send is None:
            return None
        if self.most != self._sent_most:
            # Somebody waits for the others.
            return 0.0
        if self._start_at is not None:
            return self._start_at
        if not self._dirty:
            return None
        only_count = self._sent[0] == self.progress and self._sent_line == self._ring.count
        return self._next_at + (COUNT_SECONDS - INTERVAL_SECONDS if only_count else 0.0)

    def begin(self, now: float) -> None:
        """Note that the task has begun; it is told a little later."""
        self._start_at = now + START_SECONDS

    def tick(self, now: float, t_us: int) -> None:
        """Send the start, or an update if there is something new, when it is time."""
        due = self.due_at()
        if due is not None and now >= due:
            self.event("update" if self._start_at is None else "started", "running", now, t_us)

    def event(self, kind: str, state: str, now: float, t_us: int, outcome: bytes | None = None) -> None:
        """Send an event now; the end with the packed outcome, or nothing if that is to be read from the receipt."""
        if self._send is None:
            return
        self._seq += 1
        self._start_at = None
        self._next_at = now + INTERVAL_SECONDS
        # The outcome has them all.
        lines = self._ring.since(self._sent_line, MAX_LINES_PER_EVENT) if outcome is None else ()
        self._sent_line = self._ring.count
        self._sent, self._sent_most = (self.progress, self.done), self.most
        self._send(
            {
                **self._about,
                "seq": self._seq,
                "t": t_us,
                "kind": kind,
                "pid": self.pid,
                "progress": None if self.progress is None else list(self.progress),
                "done": self.done,
                "most": self.most,
                "log": [list(line) for line in lines],
                "state": state,
                "outcome": outcome,
            }
        )
