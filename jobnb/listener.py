"""``jobnb.on("job.failed", fn)``: calls functions of this process when something happens to a job.

One thread per manager reads new event rows of the store. What a function raises is logged and changes nothing; events
that were written before the first ``on`` are not repeated.
"""

from __future__ import annotations

import fnmatch
import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from jobnb.errors import UsageProblem, did_you_mean
from jobnb.job import Event, Job

if TYPE_CHECKING:
    from jobnb.manager import JobManager

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1

#: What can be listened to, and the events of the store that mean it.
NAMES = {
    "job.submitted": ("submitted",),
    "job.started": ("started",),
    "job.completed": ("completed",),
    "job.failed": ("failed",),
    "job.dead": ("failed",),
    "job.cancelled": ("cancelled",),
    "job.retrying": ("retrying",),
    "job.put_off": ("put off",),
    "job.stuck": ("stuck",),
    "jobs.failing": ("failure rate",),
    "task.failed": ("task failed",),
    "task.lost": ("task lost",),
}

Listener = Callable[[Job, Event], object]


class Events:
    """The listeners of one manager.

    Parameters
    ----------
    manager : JobManager
    """

    def __init__(self, manager: JobManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._listeners: list[tuple[str, Listener]] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._last = 0

    def on(self, names: str | Iterable[str], fn: Listener) -> Callable[[], None]:
        """Call ``fn(job, event)`` from a thread when something of these names happens; return how to end it.

        Parameters
        ----------
        names : str or iterable of str
            One of `NAMES`, or a pattern such as ``job.*`` or ``task.*``.
        fn : callable

        Raises
        ------
        UsageProblem
            No event has that name.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        for name in wanted:
            if not fnmatch.filter(NAMES, name):
                raise UsageProblem(
                    f"unknown event {name!r}.{did_you_mean(name, NAMES) or ' Known: ' + ', '.join(NAMES)}"
                )
        if not callable(fn):
            raise UsageProblem(f"{fn!r} is not a function.")
        entries = [(name, fn) for name in wanted]
        with self._lock:
            self._listeners += entries
            if self._thread is None or not self._thread.is_alive():
                self._last = self._manager.store.jobs.last_event()
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="jobnb-events", daemon=True)
                self._thread.start()

        def off() -> None:
            with self._lock:
                self._listeners = [entry for entry in self._listeners if entry not in entries]

        return off

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)

    def _run(self) -> None:
        seen: object = None
        store = self._manager.store
        while not self._stop.wait(POLL_SECONDS):
            version = store.version()
            if version == seen:
                continue
            seen = version
            for number, job_id, event in store.jobs.events_after(self._last):
                self._last = number
                self._tell(job_id, event)
        store.close()

    def _tell(self, job_id: str, event: Event) -> None:
        names = [name for name, meant in NAMES.items() if event.event in meant]
        with self._lock:
            told = [fn for wanted, fn in self._listeners if any(fnmatch.fnmatch(name, wanted) for name in names)]
        for fn in dict.fromkeys(told):
            try:
                fn(Job(job_id, self._manager), event)
            except Exception:
                logger.exception("a listener failed at %s of job %s", event.event, job_id)
