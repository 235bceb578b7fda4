"""The fork server: a process beside a Dask worker that has loaded libraries and forks a child on request.

There are up to two per worker: one with the heavy libraries, and a light one whose children cost a fraction
(`jobnb.worker.weight`). It has one thread, runs no user code and imports no user module. It reaps its children, kills
what they leave behind, in their process groups or beside them, and leaves, with all of them, when the worker is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
import warnings
from typing import NoReturn

import msgpack

from jobnb.worker import child, orphan, preload, surroundings
from jobnb.worker.prctl import adopt_orphans, die_with_parent
from jobnb.worker.process import kill_group, reap

_MAX_REQUEST_BYTES = 4096
#: How long the server looks after the dead before it leaves itself.
_LEAVE_SECONDS = 1.0


def main(control_fd: int, worker_pid: int, light: int) -> None:
    """Serve until the worker hangs up or dies; ``light`` is 1 for the server without the heavy libraries."""
    control = socket.socket(fileno=control_fd)
    server = ForkServer(control, light=bool(light))
    server.watch_signals()
    die_with_parent(worker_pid, signal.SIGTERM)
    adopt_orphans()
    preload.load(preload.LIGHT if light else preload.LIBRARIES)
    surroundings.prepare()
    _settle()
    server.serve()


def _settle() -> None:
    """Move what is loaded out of the collector's sight: a child that collects would write to shared pages."""
    surroundings.forget_folders()
    gc.collect()
    gc.freeze()


class ForkServer:
    """The loop: requests from the worker, deaths of children."""

    def __init__(self, control: socket.socket, *, light: bool = False) -> None:
        self._control = control
        self._light = light
        self._children: set[int] = set()
        self._wake_read, self._wake_write = os.pipe()
        self._leaving = False
        self._scout: int | None = None

    def watch_signals(self) -> None:
        """Have signals wake the loop."""
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _leave(self, *_: object) -> None:
        self._leaving = True

    def serve(self) -> None:
        """Loop until the worker is gone; leave nothing behind."""
        try:
            if self._light:
                self._tell({"op": "ready"})
            else:
                self._send_scout()
            with selectors.DefaultSelector() as selector:
                selector.register(self._control, selectors.EVENT_READ)
                selector.register(self._wake_read, selectors.EVENT_READ)
                while not self._leaving:
                    for key, _ in selector.select():
                        if key.fileobj is self._control:
                            if not self._request(selector):
                                return
                        else:
                            with contextlib.suppress(BlockingIOError):
                                os.read(self._wake_read, 4096)
                    self._reap()
        except (BrokenPipeError, ConnectionResetError):
            return  # the worker went away while it was being told something
        finally:
            self._clear_up()

    def _clear_up(self) -> None:
        """Kill everything, in turns: what a dead process has started becomes a child of this one."""
        for pid in self._children:
            kill_group(pid, signal.SIGKILL)
        deadline = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < deadline:
            for pid, *_ in reap():
                self._children.discard(pid)
            left = orphan.adopted(self._children)
            for pid in left:
                kill_group(pid, signal.SIGKILL)
            if not self._children and not left:
                return
            time.sleep(0.002)

    def _send_scout(self) -> None:
        """Have the kernel compiled by a process of its own: on a fresh machine that takes seconds, and jobs come."""
        parent = os.getpid()
        pid = _fork()
        if pid:
            self._scout = pid
            self._children.add(pid)
            return
        try:
            self._forget_server()
            surroundings.own_group()
            surroundings.reset_signals()
            die_with_parent(parent)
            preload.warm_kernel()
        finally:
            os._exit(0)

    def _request(self, selector: selectors.BaseSelector) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, _MAX_REQUEST_BYTES, 3)
        if not data:
            return False
        number = msgpack.unpackb(data)["id"]
        sock_fd, out_fd, err_fd = fds
        parent = os.getpid()
        pid = _fork()
        if pid == 0:
            self._become_child(selector, parent, sock_fd, out_fd, err_fd)
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        self._tell({"op": "forked", "id": number, "pid": pid})
        return True

    def _become_child(
        self, selector: selectors.BaseSelector, parent: int, sock_fd: int, out_fd: int, err_fd: int
    ) -> NoReturn:
        try:
            selector.close()
            self._forget_server()
            child.main(sock_fd, out_fd, err_fd, parent)
        except BaseException:  # noqa: BLE001
            # There is a parent's stack above: nothing may climb into it. Stderr is the supervisor's pipe by now.
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _forget_server(self) -> None:
        signal.set_wakeup_fd(-1)
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _reap(self) -> None:
        for pid, status, cpu_seconds, max_rss in reap():
            mine = pid in self._children
            self._children.discard(pid)
            # Before the death is told, so that nothing of the job is left when its outcome is known. The death of an
            # orphan ends here as well: its own children are orphans now.
            for left in orphan.unwanted(self._children):
                kill_group(left, signal.SIGKILL)
            if pid == self._scout:
                preload.warm_kernel()  # from numba's cache now
                _settle()
                self._tell({"op": "ready"})
            elif mine:
                self._tell({"op": "exit", "pid": pid, "status": status, "cpu": cpu_seconds, "rss": max_rss})

    def _tell(self, message: dict[str, object]) -> None:
        self._control.send(msgpack.packb(message))


def _fork() -> int:
    with warnings.catch_warnings():
        # OpenBLAS' own threads make Python 3.12 warn; OpenBLAS stops them before a fork and restarts them after.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
