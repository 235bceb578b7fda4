"""Children that are idle but warm: kept for their job's next task on this worker, for a few seconds.

Runs in the Dask worker's process. A child is never handed to another job than the one it has served.
"""

from __future__ import annotations

import contextlib
import threading
import time

from jobnb.worker.launcher import Launcher, choose, choose_light
from jobnb.worker.process import ChildProcess

#: How long a child waits for its job's next task.
IDLE_SECONDS = 5.0
#: How long a child that was sent home may take to run its exit functions.
_LEAVE_SECONDS = 1.0


class Pool:
    """Takes children from a launcher, keeps idle ones, sends home what is no longer needed."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._launcher: Launcher | None = None
        self._light: Launcher | None = None
        self._idle: list[tuple[float, ChildProcess]] = []
        self._leaving: list[tuple[float, ChildProcess]] = []
        self._busy: set[ChildProcess] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def warm_up(self) -> None:
        """Begin to load what children need; returns at once."""
        self._living_launcher()

    def _living_launcher(self) -> Launcher:
        with self._changed:
            if self._launcher is None or not self._launcher.alive():
                self._launcher = choose()
            return self._launcher

    def _light_launcher(self) -> Launcher | None:
        """Return the launcher of light children, once it is there; the first time it is only begun."""
        with self._changed:
            if self._closed:
                return None
            if self._light is None or not self._light.alive():
                self._light = choose_light()
            return self._light if self._light is not None and self._light.ready() else None

    def take(self, job: str, slots: int, *, light: bool = False) -> ChildProcess:
        """Return a child for a task of ``job``.

        Parameters
        ----------
        job
            The job's id.
        slots
            How many tasks this process runs at once: with the busy children there are never more.
        light
            Whether a child without the heavy libraries will do.
        """
        with self._changed:
            for i, (_, child) in enumerate(self._idle):
                if child.job == job and not child.dead.is_set():
                    del self._idle[i]
                    self._busy.add(child)
                    return child
            while self._idle and len(self._idle) + len(self._busy) >= slots:
                self._send_home(self._idle.pop(0)[1])
        launcher = self._light_launcher() if light else None
        child = (launcher or self._living_launcher()).start()
        child.light = launcher is not None
        child.job = job
        with self._changed:
            self._busy.add(child)
        return child

    def give(self, child: ChildProcess) -> None:
        """Take back a child that has completed a task; it stays warm for a while."""
        with self._changed:
            self._busy.discard(child)
            if self._closed or child.dead.is_set():
                self._send_home(child)
                return
            self._idle.append((time.monotonic() + self._idle_seconds, child))
            self._wake_keeper()

    def dismiss(self, job: str) -> None:
        """Have no child wait for the next task of a job that is over: it holds memory that others need."""
        with self._changed:
            for entry in [each for each in self._idle if each[1].job == job]:
                self._idle.remove(entry)
                self._send_home(entry[1])

    def discard(self, child: ChildProcess) -> None:
        """Take back a child that shall not be used again: it may run its exit functions, then it is gone."""
        with self._changed:
            self._busy.discard(child)
            self._send_home(child)

    def _send_home(self, child: ChildProcess) -> None:
        # The caller holds the lock.
        child.listen(None)
        if child.dead.is_set() or self._closed:
            child.kill()
            child.close()
            return
        child.close()
        self._leaving.append((time.monotonic() + _LEAVE_SECONDS, child))
        self._wake_keeper()

    def _wake_keeper(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="jobnb-pool", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _keep(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for entry in [e for e in self._idle if e[0] <= now or e[1].dead.is_set()]:
                    self._idle.remove(entry)
                    self._send_home(entry[1])
                for entry in [e for e in self._leaving if e[0] <= now or e[1].dead.is_set()]:
                    self._leaving.remove(entry)
                    entry[1].kill()
                ends = [when for when, _ in (*self._idle, *self._leaving)]
                self._changed.wait(max(0.0, min(ends) - now) if ends else None)

    def close(self) -> None:
        """Kill every child, and the launcher with its helpers."""
        with self._changed:
            self._closed = True
            children = [child for _, child in (*self._idle, *self._leaving)]
            busy = list(self._busy)
            idle = [child for _, child in self._idle]
            self._idle.clear()
            self._leaving.clear()
            launchers = [each for each in (self._launcher, self._light) if each is not None]
            self._launcher = self._light = None
            self._changed.notify_all()
        for child in (*children, *busy):
            child.kill()
        for launcher in launchers:
            launcher.close()
        for child in idle:
            with contextlib.suppress(OSError):
                child.close()
