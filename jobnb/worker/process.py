"""The supervisor's handle on one child process: its channel, its two pipes, how to kill it, how it died.

Launchers make it; a supervisor holds it while a task runs and the pool while it is idle. It knows nothing of jobs
but which one it serves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from jobnb.worker.channel import HostChannel

#: The largest pipe that Linux gives an ordinary user: a printing child is seldom stopped by a full one.
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


def kill_group(pid: int, signum: int) -> bool:
    """Signal the process group of ``pid``, or the process itself when it leads none yet; say whether any was there."""
    try:
        os.killpg(pid, signum)
    except ProcessLookupError:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            return False
    except PermissionError:
        # macOS says so when all that is left of the group are zombies.
        return False
    return True


def reap(pid: int | None = None) -> Iterator[tuple[int, int, float, int]]:
    """Collect dead children of this process: (pid, wait status, CPU seconds, highest RSS in bytes).

    With a pid it waits for that one; without it takes all that are dead already. What is left of a dead child's
    process group is killed first, while its zombie still holds the number.
    """
    flags = os.WEXITED | os.WNOWAIT | (os.WNOHANG if pid is None else 0)
    while True:
        try:
            found = os.waitid(os.P_ALL if pid is None else os.P_PID, pid or 0, flags)
        except ChildProcessError:
            return
        if found is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(found.si_pid, signal.SIGKILL)
        _, status, usage = os.wait4(found.si_pid, 0)
        unit = 1 if sys.platform == "darwin" else 1024
        yield found.si_pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit
        if pid is not None:
            return


class ChildProcess:
    """One child, from before it has a process id until after its death."""

    def __init__(self) -> None:
        mine, self._theirs = socket.socketpair()
        self.channel = HostChannel(mine)
        self.out, self._out_write = _pipe()
        self.err, self._err_write = _pipe()
        self._lock = threading.Lock()
        self._doomed = False
        self._closed = False
        self.dead = threading.Event()
        #: Called, from any thread, when the child has died.
        self.on_death: Callable[[], None] | None = None
        self.pid: int | None = None
        self.status: int | None = None
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.ready = False
        #: Born without the heavy libraries.
        self.light = False
        self.job: str | None = None
        self.payload_hash: str | None = None
        self.base_memory = 0

    @property
    def their_fds(self) -> tuple[int, int, int]:
        """The child's ends: socket, stdout, stderr."""
        return self._theirs.fileno(), self._out_write, self._err_write

    def drop_their_fds(self) -> None:
        """Close this process' copies of the child's ends, once the child has them."""
        self._theirs.close()
        os.close(self._out_write)
        os.close(self._err_write)

    def born(self, pid: int) -> None:
        """The process id is known, from the launcher or from the child; one that was given up meanwhile is killed."""
        with self._lock:
            self.pid = pid
            doomed = self._doomed
        if doomed:
            self.kill()

    def died(self, status: int | None, cpu_seconds: float = 0.0, max_rss: int = 0) -> None:
        """The launcher tells the death; ``status`` is None when nobody saw it."""
        with self._lock:
            if self.dead.is_set():
                return
            self.status, self.cpu_seconds, self.max_rss = status, cpu_seconds, max_rss
            self.dead.set()
            told = self.on_death
        if told is not None:
            told()

    def listen(self, told: Callable[[], None] | None) -> None:
        """Have ``told`` called at the child's death; at once when it is dead already."""
        with self._lock:
            self.on_death = told
            dead = self.dead.is_set()
        if dead and told is not None:
            told()

    def signal(self, signum: int) -> None:
        """Signal the child's process group, if the child is alive."""
        with self._lock:
            # Once it is reaped the number may be somebody else's.
            if self.pid is not None and not self.dead.is_set():
                kill_group(self.pid, signum)

    def kill(self) -> None:
        """Kill the child's process group; a child that has no process id yet dies as soon as it has one."""
        with self._lock:
            self._doomed = True
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the descriptors back. The child leaves by itself when it notices, unless it is killed before."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.channel.close()
        os.close(self.out)
        os.close(self.err)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # over the user's pipe quota: the default size will do
            fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write
