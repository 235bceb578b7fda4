"""Connections to the store's SQLite file: one per thread and process, every write in ``BEGIN IMMEDIATE``.

apsw carries a current SQLite of its own; the one of Debian 12's Python can corrupt a WAL database that several
processes write (https://sqlite.org/wal.html#walresetbug). Whoever writes SQL does so through here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw

from jobnb.errors import HomeNotWritable, StoreError, StoreTooNew
from jobnb.store.schema import MIGRATIONS

BUSY_MILLISECONDS = 30_000
#: Memory-mapped locking of WAL does not work between hosts (https://sqlite.org/wal.html).
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "afs"}
)

Row = tuple[Any, ...]
Durability = Literal["full", "normal"]


def file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path`` (``ext4``, ``nfs4``, …); empty where unknown."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = ("", "")
    for line in mounts:
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]


class Database:
    """The SQLite file of one store.

    Parameters
    ----------
    path : Path
        The file; created, and brought to the present schema, when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._writes = 0

    def _open(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(str(self.path))
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            network = file_system(self.path.parent) in NETWORK_FILE_SYSTEMS
            connection.execute(f"PRAGMA journal_mode = {'TRUNCATE' if network else 'WAL'}").fetchall()
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
            self.path.chmod(0o600)
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, PermissionError) as error:
            raise HomeNotWritable(
                f"the job store {self.path} cannot be opened for writing ({error}). "
                "Set JOBNB_HOME to a folder of yours on a local disk."
            ) from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise StoreError(
                f"the job store {self.path} is damaged ({error}). Move it away, or restore a copy of it."
            ) from error
        return connection

    def _migrate(self, connection: apsw.Connection) -> None:
        def version() -> int:
            have: int = connection.pragma("user_version")
            return have

        if version() == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            have = version()
            if have > len(MIGRATIONS):
                raise StoreTooNew(
                    f"the job store {self.path} has schema version {have}; this jobnb knows {len(MIGRATIONS)}. "
                    "Upgrade jobnb, or set JOBNB_HOME to another folder."
                )
            for script in MIGRATIONS[have:]:
                connection.execute(script)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @property
    def connection(self) -> apsw.Connection:
        """The connection of the calling thread; opened anew after a fork."""
        mine: apsw.Connection | None = getattr(self._local, "connection", None)
        if mine is None or self._local.pid != os.getpid():
            mine = self._open()
            self._local.connection, self._local.pid = mine, os.getpid()
        return mine

    def close(self) -> None:
        """Close this thread's connection."""
        mine: apsw.Connection | None = getattr(self._local, "connection", None)
        if mine is not None and self._local.pid == os.getpid():
            mine.close()
        self._local.connection = None

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever anyone, here or in another process, has written something."""
        other: int = self.connection.pragma("data_version")
        return other, self.connection.total_changes()

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Run a query and return its rows."""
        return self.connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> Row | None:
        """Run a query and return its first row, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make several queries see one and the same moment."""
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("COMMIT")

    @contextmanager
    def writing(self, durability: Durability = "full") -> Iterator[None]:
        """Write in one transaction: all of it is stored, or nothing.

        Parameters
        ----------
        durability : {"full", "normal"}
            ``full`` outlives a power cut (what accepts a job or records an outcome), ``normal`` a killed
            process (progress).
        """
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute(f"PRAGMA synchronous = {durability}")
        try:
            # IMMEDIATE: a transaction that begins by reading cannot be upgraded once another has written.
            connection.execute("BEGIN IMMEDIATE")
        except apsw.ReadOnlyError as error:
            raise HomeNotWritable(f"the job store {self.path} is read-only now.") from error
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except (apsw.FullError, apsw.IOError) as error:
            if not connection.get_autocommit():
                connection.execute("ROLLBACK")
            raise StoreError(f"the job store {self.path} cannot be written ({error}). Is the disk full?") from error
