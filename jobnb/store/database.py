"""Connections to the store's SQLite file: one per thread and process, every write in ``BEGIN IMMEDIATE``.

apsw carries a current SQLite of its own; the one of Debian 12's Python can corrupt a WAL database that several
processes write (https://sqlite.org/wal.html#walresetbug). Whoever writes SQL does so through here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw

from jobnb.errors import HomeNotWritable, JobnbError, StoreError, StoreTooNew
from jobnb.store.schema import MIGRATIONS

BUSY_MILLISECONDS = 30_000
#: Between two writes it is looked this often at most whether the file is still the same: each look is a system call.
LOOK_SECONDS = 0.1
#: Memory-mapped locking of WAL does not work between hosts (https://sqlite.org/wal.html).
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "afs"}
)

#: Connections that a forked process got from its parent: closing one there would take the parent's files away.
_inherited: list[apsw.Connection] = []

Row = tuple[Any, ...]
Durability = Literal["full", "normal"]


def file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path`` (``ext4``, ``nfs4``, …); empty where unknown."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    path = path.resolve()
    found = ("", "")
    for line in mounts:
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]


def _set_journal(connection: apsw.Connection, mode: str) -> None:
    """Set the journal mode: of two that make a new file at once SQLite sends one away, instead of having it wait."""
    ends = time.monotonic() + BUSY_MILLISECONDS / 1e3
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() >= ends:
                raise
            time.sleep(0.005)


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

    def _open(self) -> apsw.Connection:
        try:
            # SQLite would make it readable by others, and gives its companion files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = apsw.Connection(str(self.path))
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            self._refuse_newer(connection)
            network = file_system(self.path.parent) in NETWORK_FILE_SYSTEMS
            _set_journal(connection, "TRUNCATE" if network else "WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except (apsw.Error, OSError) as error:
            raise (self._explained(error) or error) from error
        return connection

    def _refuse_newer(self, connection: apsw.Connection) -> int:
        have: int = connection.pragma("user_version")
        if have > len(MIGRATIONS):
            raise StoreTooNew(
                f"the job store {self.path} has schema version {have}; this jobnb knows {len(MIGRATIONS)}. "
                "Upgrade jobnb, or set JOBNB_HOME to another folder."
            )
        return have

    def _migrate(self, connection: apsw.Connection) -> None:
        if self._refuse_newer(connection) == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have migrated while this one waited.
            for script in MIGRATIONS[self._refuse_newer(connection) :]:
                connection.execute(script)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except apsw.SQLError as error:
            raise StoreError(
                f"{self.path} is not a job store, or a damaged one ({error}). Move it away, or set JOBNB_HOME."
            ) from error
        finally:
            if not connection.get_autocommit():
                connection.execute("ROLLBACK")

    def _explained(self, error: Exception) -> JobnbError | None:
        """Return the error of ours that says what to do about one of SQLite's, or None for a mistake of our own."""
        match error:
            case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError() | OSError():
                return HomeNotWritable(
                    f"the job store {self.path} cannot be opened for writing ({error}). "
                    "Set JOBNB_HOME to a folder of yours on a local disk."
                )
            case apsw.NotADBError() | apsw.CorruptError():
                return StoreError(
                    f"the job store {self.path} is damaged ({error}). Move it away, or restore a copy of it."
                )
            case apsw.BusyError() | apsw.LockedError():
                return StoreError(
                    f"the job store {self.path} is busy: another process has held it for "
                    f"{BUSY_MILLISECONDS / 1000:g} s. `jobnb doctor` shows who is there; try again."
                )
            case apsw.FullError() | apsw.IOError():
                return StoreError(f"the job store {self.path} cannot be written ({error}). Is the disk full?")
        return None

    @property
    def connection(self) -> apsw.Connection:
        """The connection of the calling thread; opened anew after a fork, and when the file was replaced."""
        return self._connection()

    def _connection(self, *, look: bool = False) -> apsw.Connection:
        mine: apsw.Connection | None = getattr(self._local, "connection", None)
        if mine is not None and self._local.pid != os.getpid():
            _inherited.append(mine)
            mine = None
        now = time.monotonic()
        look = look or now >= getattr(self._local, "look_at", 0.0)
        if look:
            self._local.look_at = now + LOOK_SECONDS
        if mine is not None and look and not mine.in_transaction and self._local.file != self._identity():
            # Somebody removed the folder under us. Closing must not take the journal of a new file of that name.
            mine.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            mine.close()
            mine = None
        if mine is None:
            mine = self._open()
            self._local.connection, self._local.pid, self._local.file = mine, os.getpid(), self._identity()
        return mine

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close this thread's connection."""
        mine: apsw.Connection | None = getattr(self._local, "connection", None)
        if mine is not None and self._local.pid == os.getpid():
            mine.close()
        self._local.connection = None

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever anyone, here or in another process, has written something."""
        connection = self.connection
        try:
            other: int = connection.pragma("data_version")
        except apsw.Error as error:
            raise (self._explained(error) or error) from error
        return other, connection.total_changes()

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Run a query and return its rows."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except apsw.Error as error:
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error

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
            if not connection.get_autocommit():
                connection.execute("COMMIT")

    @contextmanager
    def writing(self, durability: Durability = "full") -> Iterator[None]:
        """Write in one transaction: all of it is stored, or nothing.

        Parameters
        ----------
        durability : {"full", "normal"}
            ``full`` outlives a power cut (what accepts a job or records an outcome), ``normal`` a killed
            process (progress).

        Raises
        ------
        StoreError
            The store is busy, full or damaged. Nothing was written.
        """
        # What is written into a file that was removed would be lost.
        connection = self._connection(look=True)
        if connection.in_transaction:
            yield
            return
        try:
            connection.execute(f"PRAGMA synchronous = {durability}")
            # IMMEDIATE: a transaction that begins by reading cannot be upgraded once another has written.
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        except apsw.Error as error:
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error
        finally:
            # SQLite itself has rolled back after some errors, and has not after others, such as a busy COMMIT.
            if not connection.get_autocommit():
                connection.execute("ROLLBACK")
