"""The database file: versions, modes, faults that SQLite reports, and files that are taken away."""

import multiprocessing
import os
import stat
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from jobnb.errors import HomeNotWritable, StoreError, StoreTooNew
from jobnb.store import Store, database
from jobnb.store.database import Database, file_system
from jobnb.store.schema import MIGRATIONS


def test_a_new_store_has_the_present_version_and_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "home")
    assert store.database.connection.pragma("user_version") == len(MIGRATIONS)
    assert store.database.connection.pragma("journal_mode") == "wal"
    assert stat.S_IMODE(store.home.stat().st_mode) == 0o700
    with store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', 'b')")
    assert {stat.S_IMODE(p.stat().st_mode) for p in store.home.glob("jobs.db*")} == {0o600}


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").touch()
    assert Database(tmp_path / "jobs.db").rows("SELECT count(*) FROM jobs") == [(0,)]


def test_a_newer_store_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with apsw.Connection(str(path)) as made:
        made.execute("CREATE TABLE other (x); PRAGMA user_version = 99")
    made.close()
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(StoreTooNew, match="version 99") as caught:
        Database(path).version()
    assert caught.value.code == "STORE_TOO_NEW"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == ["jobs.db"]


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with apsw.Connection(str(path)) as made:
        made.execute("CREATE TABLE jobs (mine)")
    made.close()
    with pytest.raises(StoreError, match="not a job store"):
        Database(path).version()
    with apsw.Connection(str(path)) as again:
        assert again.execute("SELECT name FROM sqlite_master").fetchall() == [("jobs",)]
    again.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged"):
        Database(tmp_path / "jobs.db").version()


def test_each_migration_runs_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path / "jobs.db").version()
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (x)"))
    migrated = Database(tmp_path / "jobs.db")
    assert migrated.rows("SELECT count(*) FROM later") == [(0,)]
    assert migrated.connection.pragma("user_version") == len(MIGRATIONS) + 1


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path / "jobs.db").version()
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (x); NONSENSE"))
    with pytest.raises(StoreError):
        Database(tmp_path / "jobs.db").version()
    monkeypatch.undo()
    assert Database(tmp_path / "jobs.db").rows("SELECT name FROM sqlite_master WHERE name = 'later'") == []


def test_many_processes_can_open_a_new_store_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    homes = [tmp_path / str(i) for i in range(60)]
    together, found = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=_store_ids, args=(homes, together, found)) for _ in range(together.parties)]
    for process in processes:
        process.start()
    ids = [found.get() for _ in processes]
    for process in processes:
        process.join()
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == len(homes)


def _store_ids(homes: list[Path], together: Any, found: Any) -> None:
    ids = []
    for home in homes:
        together.wait(60)
        try:
            ids.append(Store(home).id)
        except StoreError as error:
            ids.append(str(error))
    found.put(ids)


# Where WAL must not be used


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre"])
def test_no_wal_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(database, "file_system", lambda path: kind)
    store = Store(tmp_path / "home")
    assert store.database.connection.pragma("journal_mode") == "truncate"
    with store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', 'b')")
    assert sorted(p.name for p in store.home.glob("jobs.db-w*")) == []


def test_the_longest_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "some folder" / "home"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    spaced = str(tmp_path / "some folder").replace(" ", "\\040")
    mounts = f"/dev/a / ext4 rw 0 0\nserver:/x {spaced} nfs4 rw 0 0\ntmpfs /elsewhere tmpfs rw 0 0\n"
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: mounts if str(self) == "/proc/mounts" else read(self, *a, **k)
    )
    assert file_system(real) == "nfs4"
    assert file_system(tmp_path / "link") == "nfs4"
    assert file_system(tmp_path) == "ext4"


# Faults


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    def fail_in_the_middle() -> None:
        with store.database.writing():
            store.database.rows("INSERT INTO meta VALUES ('a', 'b')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert store.database.rows("SELECT * FROM meta WHERE key = 'a'") == []
    assert store.database.connection.get_autocommit()


def test_a_store_that_another_holds_is_busy_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 20)
    one, two = Database(tmp_path / "jobs.db"), Database(tmp_path / "jobs.db")
    two.version()
    with one.writing(), pytest.raises(StoreError, match="busy"), two.writing():
        pass
    with two.writing():
        two.rows("INSERT INTO meta VALUES ('a', 'b')")


@pytest.mark.parametrize("network", [False, True])
def test_a_commit_that_readers_hold_up_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: bool
) -> None:
    """Without WAL a reader blocks a commit, and SQLite leaves the transaction open."""
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 20)
    monkeypatch.setattr(database, "file_system", lambda path: "nfs" if network else "ext4")
    reader, writer = Database(tmp_path / "jobs.db"), Database(tmp_path / "jobs.db")
    writer.version()
    with reader.reading():
        reader.rows("SELECT * FROM meta")
        if network:
            with pytest.raises(StoreError, match="busy"), writer.writing():
                writer.rows("INSERT INTO meta VALUES ('a', 'b')")
        assert writer.connection.get_autocommit()
    with writer.writing():
        writer.rows("INSERT INTO meta VALUES ('c', 'd')")
    assert reader.rows("SELECT key FROM meta") == [("c",)]


def test_a_full_disk_is_said_so(store: Store) -> None:
    store.database.connection.pragma("max_page_count", store.database.connection.pragma("page_count") + 1)
    with pytest.raises(StoreError, match="disk full"), store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', ?)", ("x" * 100_000,))
    assert store.database.connection.get_autocommit()


@pytest.fixture
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("look_always")
def test_a_removed_folder_is_noticed(store: Store) -> None:
    store.database.version()
    store.home.rename(store.home.with_name("away"))
    with pytest.raises(HomeNotWritable):
        store.jobs.newest()


def test_a_write_notices_at_once_that_the_folder_was_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 1e9)
    store.database.version()
    store.home.rename(store.home.with_name("away"))
    with pytest.raises(HomeNotWritable), store.database.writing():
        pass


@pytest.mark.usefixtures("look_always")
def test_a_replaced_file_is_opened_anew(store: Store, tmp_path: Path) -> None:
    with store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', 'b')")
    store.home.rename(store.home.with_name("away"))
    other = Store(tmp_path / "home")
    with other.database.writing():
        other.database.rows("INSERT INTO meta VALUES ('c', 'd')")
    assert store.database.rows("SELECT key FROM meta") == [("c",)]
    # Letting go of the old file has not taken the new one's journal away.
    assert Store(tmp_path / "home").database.rows("SELECT key FROM meta") == [("c",)]


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").mkdir()
    with pytest.raises(HomeNotWritable) as caught:
        Database(tmp_path / "jobs.db").version()
    assert "JOBNB_HOME" in caught.value.message


def test_a_file_in_place_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(HomeNotWritable, match="JOBNB_HOME"):
        Store(tmp_path / "home")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(HomeNotWritable, match="JOBNB_HOME"):
        Store(tmp_path / "home" / "deeper")


def test_a_read_only_database(store: Store) -> None:
    store.database.connection.pragma("query_only", 1)
    with pytest.raises(HomeNotWritable), store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', 'b')")


# Connections


def test_each_thread_has_a_connection_of_its_own(store: Store) -> None:
    seen = [store.database.connection]

    def look() -> None:
        seen.append(store.database.connection)
        store.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen[0] is not seen[1]
    assert store.database.connection is seen[0]


def test_the_version_moves_when_anybody_writes(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "home")
    before = store.version()
    assert store.version() == before
    with other.database.writing():
        other.database.rows("INSERT INTO meta VALUES ('a', 'b')")
    between = store.version()
    assert between != before
    with store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('c', 'd')")
    assert store.version() != between


def test_a_forked_process_opens_its_own(store: Store) -> None:
    with store.database.writing():
        store.database.rows("INSERT INTO meta VALUES ('a', 'b')")
    pid = os.fork()
    if pid == 0:
        with store.database.writing():
            store.database.rows("INSERT INTO meta VALUES ('c', 'd')")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.database.rows("SELECT key FROM meta ORDER BY key") == [("a",), ("c",)]


def test_the_id_of_a_store_stays(store: Store, tmp_path: Path) -> None:
    assert store.id == store.id == Store(tmp_path / "home").id
