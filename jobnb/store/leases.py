"""Leases: who dispatches the jobs of a cluster, until when, and with which epoch.

Services take, renew and give back a lease; front doors look at it to find the service. A lease that has
expired, or whose process is gone from this host, can be taken; the epoch grows each time, so a former holder's
writes can be told from the present one's.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobnb.errors import LeaseLost
from jobnb.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A cluster's lease as it stands in the store."""

    cluster: str
    holder: str
    epoch: int
    expires_at: int
    stop_requested: bool
    #: Without waiting for tasks that run.
    stop_now: bool
    info: Mapping[str, Any]

    @property
    def pid(self) -> int:
        """The holder's process id (0 where unknown)."""
        return int(self.info.get("pid", 0))

    def live(self, now: int) -> bool:
        """Tell whether the holder is in charge at ``now`` (µs): not expired, and its process not seen gone."""
        if self.expires_at <= now:
            return False
        return self.info.get("host") != socket.gethostname() or process_exists(self.pid)

    def breathing(self) -> bool:
        """Tell whether the lease was not given back and its holder still runs on this host.

        If it has expired all the same, this machine may just have been asleep.
        """
        here = self.info.get("host") == socket.gethostname()
        return self.expires_at > 0 and here and process_exists(self.pid)


def process_exists(pid: int) -> bool:
    """Tell whether a process of that id exists on this host (a zombie does not count)."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return True


class Leases:
    """The leases of one store."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock

    def get(self, cluster: str) -> Lease | None:
        """Return the cluster's lease, live or not, or None if there never was one."""
        row = self._db.row(
            "SELECT cluster, holder, epoch, expires_at, stop_requested, info FROM leases WHERE cluster = ?",
            (cluster,),
        )
        return _lease(row) if row else None

    def live(self, cluster: str) -> Lease | None:
        """Return the cluster's lease if its holder is in charge now."""
        lease = self.get(cluster)
        return lease if lease and lease.live(self._clock()) else None

    def all(self) -> list[Lease]:
        """Return every lease, live or not."""
        sql = "SELECT cluster, holder, epoch, expires_at, stop_requested, info FROM leases ORDER BY cluster"
        return [_lease(row) for row in self._db.rows(sql)]

    def take(self, cluster: str, holder: str, lease_seconds: float, info: Mapping[str, Any]) -> Lease | None:
        """Take the lease, with the next epoch; return None if somebody else is in charge."""
        with self._db.writing():
            now = self._clock()
            old = self.get(cluster)
            if old and old.live(now) and old.holder != holder:
                return None
            self._db.rows(
                "INSERT INTO leases (cluster, holder, epoch, expires_at, stop_requested, info) "
                "VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT (cluster) DO UPDATE SET holder = excluded.holder, "
                "epoch = excluded.epoch, expires_at = excluded.expires_at, stop_requested = 0, info = excluded.info",
                (
                    cluster,
                    holder,
                    (old.epoch if old else 0) + 1,
                    now + int(lease_seconds * 1e6),
                    json.dumps(info),
                ),
            )
            return self.get(cluster)

    def renew(self, lease: Lease, lease_seconds: float, info: Mapping[str, Any]) -> Lease:
        """Push the expiry on and say how the service is.

        Raises
        ------
        LeaseLost
            Another service has taken the lease meanwhile.
        """
        with self._db.writing("normal"):
            self.check(lease)
            self._db.rows(
                "UPDATE leases SET expires_at = ?, info = ? WHERE cluster = ?",
                (self._clock() + int(lease_seconds * 1e6), json.dumps(info), lease.cluster),
            )
            renewed = self.get(lease.cluster)
        assert renewed is not None
        return renewed

    def check(self, lease: Lease) -> None:
        """Raise `LeaseLost` unless this lease is the present one and not given back; call inside a transaction."""
        row = self._db.row("SELECT epoch, holder FROM leases WHERE cluster = ? AND expires_at > 0", (lease.cluster,))
        if row != (lease.epoch, lease.holder):
            raise LeaseLost(f"another service is in charge of cluster {lease.cluster!r} now.")

    def release(self, lease: Lease) -> None:
        """Give the lease back, if it is still held."""
        with self._db.writing():
            self._db.rows(
                "UPDATE leases SET expires_at = 0, stop_requested = 0 WHERE cluster = ? AND epoch = ? AND holder = ?",
                (lease.cluster, lease.epoch, lease.holder),
            )

    def request_stop(self, cluster: str, *, now: bool = False) -> bool:
        """Ask the holder to leave; False if nobody is in charge.

        Parameters
        ----------
        cluster : str
        now : bool, default False
            Without letting the tasks that run end first.
        """
        with self._db.writing():
            if self.live(cluster) is None:
                return False
            self._db.rows("UPDATE leases SET stop_requested = ? WHERE cluster = ?", (2 if now else 1, cluster))
            return True


def _lease(row: tuple[Any, ...]) -> Lease:
    cluster, holder, epoch, expires_at, stop, info = row
    return Lease(
        cluster=cluster,
        holder=holder,
        epoch=epoch,
        expires_at=expires_at,
        stop_requested=bool(stop),
        stop_now=stop > 1,
        info=json.loads(info),
    )
