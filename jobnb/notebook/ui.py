"""The one thread of a kernel that moves its cards: it watches the store and tells each watcher when to look.

Widgets are not thread-safe, so after their creation only this thread touches them. It sleeps while nothing is live, and
must never print, display a new output, or die of what one card does.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Protocol

log = logging.getLogger(__name__)

#: Seconds between two looks at the store's version while something is live.
POLL_SECONDS = 0.06
#: The same while nothing is, and a panel merely looks on.
CALM_SECONDS = 0.5
#: Seconds between two looks at whether the service is alive.
SERVICE_SECONDS = 2.0
#: Seconds after which an unchanged store is read all the same, should its version fail to move.
READ_ANYWAY_SECONDS = 5.0


class Watched(Protocol):
    """What the thread needs of a manager."""

    def version(self) -> Hashable:
        """Return a value that changes when anything in the store has changed."""
        ...

    def ensure_service(self) -> None:
        """Start a service that died while jobs are live."""
        ...


class Watcher(Protocol):
    """Something that follows a job until it has ended: a card, results on their way home."""

    @property
    def manager(self) -> Watched:
        """Whose store to watch."""
        ...

    @property
    def needs_service(self) -> bool:
        """Whether a service has to be there for what it follows; one that merely looks on keeps none alive."""
        ...

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """Look; ``moved`` says that the store has changed. Return True when there is nothing more to follow."""
        ...

    def broken(self, error: Exception) -> bool:
        """Say that ``tick`` raised; return True to be left alone from now on."""
        ...


class Ui:
    """The thread and its list of watchers.

    Parameters
    ----------
    clock : callable
        Steady seconds; tests put in their own and call `tick` themselves.
    threaded : bool
        False for tests: nothing starts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, threaded: bool = True) -> None:
        self._clock = clock
        self._threaded = threaded
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._watchers: list[Watcher] = []
        self._versions: dict[int, Hashable] = {}
        self._read_at: dict[int, float] = {}
        self._service_at: dict[int, float] = {}
        self._trouble: dict[int, str] = {}
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._stopped = False
        self._looks = threading.Condition()
        self._begun = 0
        self._finished = 0

    def add(self, watcher: Watcher) -> None:
        """Follow something; starts the thread where it does not run."""
        with self._lock:
            self._watchers.append(watcher)
            if self._threaded and not self._stopped and not self._alive():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="jobnb-ui", daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, watcher: Watcher) -> None:
        """Follow something no more; what it shows stays."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def follows(self, watcher: Watcher) -> bool:
        """Tell whether something is followed."""
        with self._lock:
            return watcher in self._watchers

    def wake(self) -> None:
        """Look at once: a button was pressed. Safe from any thread."""
        self._wake.set()

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread; cards stay as they are."""
        with self._lock:
            self._stopped = True
            self._watchers.clear()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(timeout)

    def catch_up(self, timeout: float = 0.5) -> bool:
        """Wait until a look that begins from now on is over; False after ``timeout`` seconds.

        Called at the end of a cell: a notebook that runs without a page records only what comes while a cell runs.
        """
        if not self.live or not self._alive() or self._thread is threading.current_thread():
            return True
        with self._looks:
            wanted = self._begun + 1
            self._wake.set()
            return self._looks.wait_for(lambda: self._finished >= wanted or self._stopped, timeout)

    @property
    def live(self) -> int:
        """How many watchers there are."""
        with self._lock:
            return len(self._watchers)

    def _alive(self) -> bool:
        # A fork copies the object but not the thread.
        return self._thread is not None and self._thread.is_alive() and self._pid == os.getpid()

    def _pause(self) -> float | None:
        # The kernel's main thread needs no help from here while nothing is live.
        with self._lock:
            watchers = list(self._watchers)
        if not watchers:
            return None
        return POLL_SECONDS if any(w.needs_service for w in watchers) else CALM_SECONDS

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._pause())
            self._wake.clear()
            with self._looks:
                self._begun += 1
            try:
                self.tick()
            except Exception:
                log.exception("a look at the jobs failed; the next one follows")
            with self._looks:
                self._finished = self._begun
                self._looks.notify_all()

    def tick(self) -> None:
        """Look once at the store and let each watcher act."""
        with self._lock:
            watchers = list(self._watchers)
        now = self._clock()
        moved: dict[int, bool] = {}
        needed = {id(w.manager) for w in watchers if w.needs_service}
        for manager in {id(w.manager): w.manager for w in watchers}.values():
            if id(manager) in needed:
                self._keep_service(manager, now)
            else:
                self._trouble.pop(id(manager), None)
            moved[id(manager)] = self._moved(manager, now)
        for watcher in watchers:
            key = id(watcher.manager)
            try:
                done = watcher.tick(now, moved[key], self._trouble.get(key, ""))
            except Exception as error:
                log.exception("a card could not be drawn")
                done = watcher.broken(error)
            if done:
                with self._lock:
                    if watcher in self._watchers:
                        self._watchers.remove(watcher)

    def _moved(self, manager: Watched, now: float) -> bool:
        key = id(manager)
        try:
            version = manager.version()
        except Exception:
            # The cards read the store themselves and say what is wrong with it.
            log.exception("the store's version cannot be read")
            return True
        late = now - self._read_at.get(key, -READ_ANYWAY_SECONDS) >= READ_ANYWAY_SECONDS
        if version == self._versions.get(key) and not late:
            return False
        self._versions[key] = version
        self._read_at[key] = now
        return True

    def _keep_service(self, manager: Watched, now: float) -> None:
        key = id(manager)
        if now - self._service_at.get(key, -SERVICE_SECONDS) < SERVICE_SECONDS:
            return
        self._service_at[key] = now
        try:
            manager.ensure_service()
        except Exception as error:  # noqa: BLE001  (shown on every live card)
            self._trouble[key] = f"the service cannot be started: {error}"
        else:
            self._trouble.pop(key, None)


_ui: Ui | None = None
_ui_lock = threading.Lock()


def get() -> Ui:
    """Return this kernel's thread; it starts with the first thing to follow."""
    global _ui
    with _ui_lock:
        if _ui is None or _ui._stopped:
            _ui = Ui()
        return _ui


def catch_up() -> None:
    """Let the cards say what is so now."""
    ui = _ui
    if ui is not None:
        ui.catch_up()


def stop() -> None:
    """End this kernel's thread, if there is one."""
    global _ui
    with _ui_lock:
        ui, _ui = _ui, None
    if ui is not None:
        ui.stop()


atexit.register(stop)
