"""Finds the service of a store and cluster, or starts one: a detached process that outlives its starter.

Front doors use this; what the service does is its own affair (`jobnb.service`).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import jobnb
from jobnb.errors import ServiceUnavailable
from jobnb.store import Store
from jobnb.store.leases import Lease, process_exists

#: The cluster that a service starts for itself.
EMBEDDED = "local"
#: A service that was started and is not in charge after this long gets a second try.
PATIENCE_SECONDS = 20.0
STOP_SECONDS = 30.0
START_SECONDS = 60.0
LOG_BYTES = 5_000_000


class Daemon:
    """The service of one store and cluster, as seen by those who need it."""

    def __init__(self, store: Store, cluster: str = EMBEDDED) -> None:
        self.store = store
        self.cluster = cluster
        self._started_at = float("-inf")
        self._pid = 0
        self._failures = 0
        self._exit_code = 0

    @property
    def log(self) -> Path:
        """Where the service writes what it has to say."""
        return self.store.home / "service.log"

    def lease(self) -> Lease | None:
        """Return the lease of the service in charge, or None."""
        return self.store.leases.live(self.cluster)

    def ensure(self) -> None:
        """Start a service unless one is in charge or on its way; returns at once.

        One that keeps failing is started again ever more rarely; `gave_up` tells.
        """
        self._reap()
        if self.lease() is not None:
            self._failures = 0
            return
        now = time.monotonic()
        patience = PATIENCE_SECONDS if self._pid else min(2.0**self._failures, PATIENCE_SECONDS)
        if now - self._started_at < patience:
            return
        self._started_at = now
        self._pid = self._spawn()

    def start(self) -> Lease:
        """Start a service unless one is in charge, and wait until one is.

        Raises
        ------
        ServiceUnavailable
            It failed.
        """
        ends = time.monotonic() + START_SECONDS
        while (lease := self.lease()) is None or lease.info.get("state") == "starting":
            self.ensure()
            if self.gave_up() or time.monotonic() > ends:
                raise ServiceUnavailable(f"the service did not start ({self.last_error()}). See {self.log}.")
            time.sleep(0.02)
        return lease

    def stop(self, *, now: bool = True) -> bool:
        """End the service and wait until it is gone; False if there was none.

        Parameters
        ----------
        now : bool, default True
            False lets running tasks end first, for as long as the service's grace is; the rest goes back into the
            queue either way.

        Raises
        ------
        ServiceUnavailable
            It did not leave in time.
        """
        lease = self.lease()
        while lease is None and self._pid:
            # One that was started here a moment ago cannot be asked before it is in charge.
            time.sleep(0.02)
            self._reap()
            lease = self.lease()
        if lease is None or not self.store.leases.request_stop(self.cluster, now=now):
            return False
        ends = time.monotonic() + STOP_SECONDS
        while process_exists(lease.pid):
            self._reap()
            if time.monotonic() > ends:
                raise ServiceUnavailable(
                    f"the service (pid {lease.pid}) did not leave within {STOP_SECONDS:g} s. See {self.log}."
                )
            time.sleep(0.02)
        return True

    def gave_up(self) -> bool:
        """Tell whether the last service that was started here failed, and none is in charge."""
        self._reap()
        return self._failures > 0 and self.lease() is None

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of the service's log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def last_error(self) -> str:
        """Return the last line of the service's log: the error where it failed."""
        lines = self.log_tail().splitlines()
        return lines[-1].strip()[:300] if lines else "it left no word"

    def _reap(self) -> None:
        if not self._pid:
            return
        # One that is dead already may still have threads that end, and cannot be waited for until they have: a moment.
        options = os.WNOHANG if process_exists(self._pid) else 0
        try:
            gone, status = os.waitpid(self._pid, options)
        except ChildProcessError:
            gone, status = self._pid, 0
        if gone:
            self._pid = 0
            # One that was killed from outside (a negative code) has not failed: the next one goes on.
            self._failures = self._failures + 1 if os.waitstatus_to_exitcode(status) > 0 else 0

    def _spawn(self) -> int:
        env = dict(os.environ)
        # Where this jobnb was imported from, should it not be installed.
        package = str(Path(jobnb.__file__).resolve().parent.parent)
        env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH", ""), package) if p)
        env.pop("JPY_PARENT_PID", None)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        args = [sys.executable, "-P", "-m", "jobnb.service", "--home", str(self.store.home), "--cluster", self.cluster]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            sys.executable,
            args,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # A session of its own: neither Ctrl-C nor a closed terminal reaches it.
            setsid=True,
        )
