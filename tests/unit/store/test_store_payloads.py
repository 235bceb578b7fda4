"""Packed works: small ones with their job's row, large ones as files; each once; gone when no job needs them."""

import hashlib
import os

import pytest
from tests_store import new

from jobnb.errors import BlobMissing
from jobnb.store import Store
from jobnb.store.payloads import INLINE_BYTES


def accept(store: Store, content: bytes) -> str:
    payload = store.payloads.prepare(content)
    job = store.jobs.add(new("a", payload=payload.sha, content=payload.content))
    record = store.jobs.get(job)
    assert record is not None
    assert record.payload == hashlib.sha256(content).hexdigest()
    return record.payload


def files(store: Store) -> int:
    return len(list(store.blobs.folder.iterdir()))


def test_a_small_work_is_one_row_however_often_it_is_handed_in(store: Store) -> None:
    sha = accept(store, b"small")
    assert accept(store, b"small") == sha
    assert store.payloads.get(sha) == b"small"
    assert store.database.rows("SELECT count(*) FROM payloads") == [(1,)]
    assert files(store) == 0


def test_a_large_work_is_a_file(store: Store) -> None:
    content = b"x" * (INLINE_BYTES + 1)
    sha = accept(store, content)
    assert store.payloads.get(sha) == content == store.blobs.get(sha)
    assert store.database.rows("SELECT count(*) FROM payloads") == [(0,)]


def test_a_work_of_a_refused_job_is_not_kept(store: Store) -> None:
    payload = store.payloads.prepare(b"refused")
    with pytest.raises(TypeError):
        store.jobs.add(new("a", payload=payload.sha, content=payload.content, params={"x": object()}))
    with pytest.raises(BlobMissing):
        store.payloads.get(payload.sha)


def test_a_damaged_work_is_noticed(store: Store) -> None:
    sha = accept(store, b"work")
    store.database.rows("UPDATE payloads SET content = ?", (b"else",))
    with pytest.raises(BlobMissing, match="damaged"):
        store.payloads.get(sha)


def test_vacuum_removes_works_that_no_job_needs(store: Store) -> None:
    kept, gone = accept(store, b"kept"), accept(store, b"gone!")
    store.database.rows("DELETE FROM jobs WHERE payload = ?", (gone,))
    assert store.dead_letters.vacuum() == (1, 5)
    assert store.payloads.get(kept) == b"kept"
    with pytest.raises(BlobMissing):
        store.payloads.get(gone)


def test_a_work_that_an_older_version_kept_as_a_file_is_found(store: Store) -> None:
    sha = store.blobs.put(b"old")
    assert store.payloads.get(sha) == b"old"
    os.unlink(store.blobs.path(sha))
    with pytest.raises(BlobMissing):
        store.payloads.get(sha)
