"""What all supervisors of one worker process share: the pool of children, the cache of data, who watches which key.

One object per process, made on first use. The plugin feeds it what it hears from Dask; supervisors ask it for
children. It must never block the worker's event loop.
"""

from __future__ import annotations

import os
import threading

from jobnb.worker.asking import Mailbox
from jobnb.worker.blobs import Cache
from jobnb.worker.channel import Wake
from jobnb.worker.pool import Pool
from jobnb.worker.weight import Weights


class Host:
    """The shared things of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watching: dict[tuple[str, str], Wake] = {}
        self._workers: set[str] = set()
        self._pool: Pool | None = None
        self.cache = Cache()
        self.mailbox = Mailbox()
        self.weights = Weights()

    @property
    def pool(self) -> Pool:
        """The pool; a new one after the last worker of the process was torn down."""
        with self._lock:
            if self._pool is None:
                self._pool = Pool()
            return self._pool

    def attach(self, worker_id: str) -> None:
        """A worker of this process has the plugin: warm up for it."""
        with self._lock:
            self._workers.add(worker_id)
        self.pool.warm_up()

    def attached(self, worker_id: str) -> bool:
        """Say whether the plugin of this worker reports what becomes of its tasks."""
        with self._lock:
            return worker_id in self._workers

    def detach(self, worker_id: str) -> None:
        """A worker leaves: its tasks are lost; with the last one go all children."""
        with self._lock:
            self._workers.discard(worker_id)
            wakes = [wake for (owner, _), wake in self._watching.items() if owner == worker_id]
            others = {owner for owner, _ in self._watching if owner != worker_id}
            pool = None
            if not self._workers and not others:
                pool, self._pool = self._pool, None
        for wake in wakes:
            wake.set("lost")
        if pool is not None:
            pool.close()

    def watch(self, worker_id: str, key: str, wake: Wake) -> None:
        """Have ``wake`` told what becomes of a task."""
        with self._lock:
            self._watching[worker_id, key] = wake

    def unwatch(self, worker_id: str, key: str) -> None:
        """The task is over."""
        with self._lock:
            self._watching.pop((worker_id, key), None)

    def tell(self, worker_id: str, key: str, reason: str) -> None:
        """Wake the supervisor of a task, if there is one."""
        with self._lock:
            wake = self._watching.get((worker_id, key))
        if wake is not None:
            wake.set(reason)

    def enough(self, key: str, most: int) -> None:
        """Wake the supervisor of a task whose worker is one of this process: it need not do all of its items."""
        with self._lock:
            wakes = [wake for (_, watched), wake in self._watching.items() if watched == key]
        for wake in wakes:
            wake.most = most
            wake.set("enough")

    def over(self, job: str) -> None:
        """Let go of what was kept for the next task of a job."""
        with self._lock:
            pool = self._pool
        if pool is not None:
            pool.dismiss(job)


_hosts: dict[int, Host] = {}
_hosts_lock = threading.Lock()


def enough(key: str, most: int = 0) -> None:
    """Have a task end after so many of its items; with 0, or if it has done them, before its next one.

    The service has Dask run this in the worker's process, on its loop.
    """
    host().enough(key, most)


def over(job: str) -> None:
    """Let go of what was kept for the next task of a job; called like `enough`."""
    host().over(job)


def host() -> Host:
    """Return this process' host; a forked copy of the process gets its own."""
    pid = os.getpid()
    with _hosts_lock:
        found = _hosts.get(pid)
        if found is None:
            _hosts.clear()
            found = _hosts[pid] = Host()
        return found
