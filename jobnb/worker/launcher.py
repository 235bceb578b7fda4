"""How a child comes to life: forked from a warm server where the platform forks well, spawned elsewhere.

Runs in the Dask worker's process. `start` never blocks: it returns a handle at once, and the child says itself
when it is ready. All processes are started from threads that live as long as they do, because Linux sends the
parent-death signal when the starting *thread* ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any, Protocol

import msgpack

from jobnb.worker.process import ChildProcess, kill_group, reap

log = logging.getLogger(__name__)

_TRIM, _TRIM_OF_DASK = "MALLOC_TRIM_THRESHOLD_", "65536"

_MAX_MESSAGE_BYTES = 4096


class Launcher(Protocol):
    """Starts children."""

    def start(self) -> ChildProcess:
        """Return a handle on a new child, at once."""
        ...

    def alive(self) -> bool:
        """Say whether `start` can work; a launcher that is not alive is replaced."""
        ...

    def ready(self) -> bool:
        """Say whether a child would be there at once."""
        ...

    def close(self) -> None:
        """Kill all children and whatever helps to start them."""
        ...


def choose() -> Launcher:
    """Return a launcher for this platform; JOBNB_LAUNCHER ("fork" or "spawn") overrides."""
    # macOS can fork, but its system libraries abort in a forked child.
    return ForkLauncher() if _forks() else SpawnLauncher()


def choose_light() -> Launcher | None:
    """Return a launcher of children without the heavy libraries; None where children are spawned anyway."""
    return ForkLauncher(light=True) if _forks() else None


def _forks() -> bool:
    wanted = os.environ.get("JOBNB_LAUNCHER") or ("fork" if sys.platform == "linux" else "spawn")
    return wanted == "fork"


def _command(code: str, *arguments: int) -> list[str]:
    # -P, because a json.py in the worker's folder is not ours. The worker's own module path, because jobnb was
    # imported from it.
    boot = f"import sys, json; sys.path[:] = json.loads(sys.argv[1]); {code}"
    path = [os.path.abspath(entry) for entry in sys.path]
    return [sys.executable, "-P", "-c", boot, json.dumps(path), *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return the environment of children: the worker's, but for what Dask's nanny says about freed memory.

    It has a worker, which lives long, give all of it back at once. A child, which does not, would pay for each
    temporary array with new pages: up to a tenth of its time.
    """
    env = dict(os.environ)
    if env.get(_TRIM) == _TRIM_OF_DASK:
        del env[_TRIM]
    return env


class ForkLauncher:
    """Asks a fork server for children. One thread starts the server and listens to it.

    Parameters
    ----------
    light : bool
        Whether the server leaves out the heavy libraries.
    """

    def __init__(self, *, light: bool = False) -> None:
        self._light = light
        self._ready = threading.Event()
        self._spare: ChildProcess | None = None
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, ChildProcess] = {}
        self._by_pid: dict[int, ChildProcess] = {}
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._closed = False
        self.server_pid: int | None = None
        self._thread = threading.Thread(target=self._listen, name="jobnb-forkserver", daemon=True)
        self._thread.start()

    def start(self) -> ChildProcess:
        """Return the spare, and ask for another: it is forked while this one works.

        While the server still loads its libraries there is none, and the request waits in the socket.
        """
        with self._lock:
            child, self._spare = self._spare, None
        if child is not None and child.dead.is_set():
            child.close()
            child = None
        child = child or self._ask()
        if self._ready.is_set():
            spare: ChildProcess | None = self._ask()
            with self._lock:
                if self._spare is None and not self._closed:
                    self._spare, spare = spare, None
            if spare is not None:
                spare.kill()
                spare.close()
        return child

    def _ask(self) -> ChildProcess:
        child = ChildProcess()
        number = next(self._numbers)
        with self._lock:
            self._waiting[number] = child
        try:
            socket.send_fds(self._control, [msgpack.packb({"id": number})], child.their_fds)
        except OSError:
            log.debug("the fork server is gone", exc_info=True)
            child.died(None)
        finally:
            child.drop_their_fds()
        if self._gone.is_set():
            child.died(None)
        return child

    def alive(self) -> bool:
        """Say whether the fork server is there, or coming."""
        return not self._gone.is_set()

    def ready(self) -> bool:
        """Say whether the fork server has loaded what it loads."""
        return self._ready.is_set() and self.alive()

    def close(self) -> None:
        """Have the fork server leave with all its children."""
        with self._lock:
            self._closed = True
            children = [*self._by_pid.values(), *self._waiting.values()]
            spare, self._spare = self._spare, None
        for child in children:
            child.kill()
        if spare is not None:
            spare.close()
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _listen(self) -> None:
        server: subprocess.Popen[bytes] | None = None
        try:
            fd = self._theirs.fileno()
            server = subprocess.Popen(
                _command(
                    "from jobnb.worker.forkserver import main; main(*map(int, sys.argv[2:]))",
                    fd,
                    os.getpid(),
                    int(self._light),
                ),
                stdin=subprocess.DEVNULL,
                env=environment(),
                pass_fds=(fd,),
                start_new_session=True,
            )
            self.server_pid = server.pid
            self._theirs.close()
            while data := self._control.recv(_MAX_MESSAGE_BYTES):
                self._told(msgpack.unpackb(data))
        except OSError:
            log.debug("the fork server's socket broke", exc_info=True)
        finally:
            self._theirs.close()
            self._gone.set()
            if server is not None:
                self._end(server)
            with self._lock:
                left = [*self._by_pid.values(), *self._waiting.values()]
                self._by_pid.clear()
                self._waiting.clear()
                spare, self._spare = self._spare, None
            for child in left:
                child.kill()
                child.died(None)
            if spare is not None:
                spare.close()
            self._control.close()

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        try:
            server.wait(2)  # it kills its children first
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def _told(self, message: dict[str, Any]) -> None:
        if message["op"] == "forked":
            with self._lock:
                child = self._waiting.pop(message["id"])
                self._by_pid[message["pid"]] = child
            child.born(message["pid"])
        elif message["op"] == "ready":
            self._ready.set()
        else:
            with self._lock:
                child = self._by_pid.pop(message["pid"])
            child.died(message["status"], message["cpu"], message["rss"])


class SpawnLauncher:
    """Starts each child as a new interpreter, and keeps one that has loaded its libraries in reserve."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._children: set[ChildProcess] = set()
        self._spare: ChildProcess | None = None
        self._spare = self._spawn()

    def start(self) -> ChildProcess:
        """Return the spare, and begin to warm another."""
        with self._lock:
            child, self._spare = self._spare, None
        if child is None or child.dead.is_set():
            child = self._spawn()
        spare: ChildProcess | None = self._spawn()
        with self._lock:
            if self._spare is None and not self._closed:
                self._spare, spare = spare, None
        if spare is not None:
            spare.kill()
            spare.close()
        return child

    def alive(self) -> bool:
        """Say whether it was not closed."""
        return not self._closed

    def ready(self) -> bool:
        """Say whether the spare is there."""
        with self._lock:
            return self._spare is not None and not self._closed

    def close(self) -> None:
        """Kill all children, the spare too."""
        with self._lock:
            self._closed = True
            children, spare = list(self._children), self._spare
            self._spare = None
        for child in children:
            child.kill()
        for child in children:
            child.dead.wait(5)
        if spare is not None:
            spare.close()

    def _spawn(self) -> ChildProcess:
        child = ChildProcess()
        with self._lock:
            self._children.add(child)
        # The thread that starts a child also waits for its death: it must outlive it.
        threading.Thread(target=self._live, args=(child,), name="jobnb-spawn", daemon=True).start()
        return child

    def _live(self, child: ChildProcess) -> None:
        status, cpu_seconds, max_rss = None, 0.0, 0
        try:
            fds = child.their_fds
            process = subprocess.Popen(
                _command("from jobnb.worker.child import spawned; spawned(*map(int, sys.argv[2:]))", *fds, os.getpid()),
                stdin=subprocess.DEVNULL,
                env=environment(),
                pass_fds=fds,
                start_new_session=True,
            )
            child.drop_their_fds()
            child.born(process.pid)
            if self._closed:
                kill_group(process.pid, signal.SIGKILL)
            for _, status, cpu_seconds, max_rss in reap(process.pid):  # noqa: B007
                process.returncode = os.waitstatus_to_exitcode(status)
        except OSError:
            log.exception("a child could not be started")
        finally:
            with self._lock:
                self._children.discard(child)
            child.died(status, cpu_seconds, max_rss)
