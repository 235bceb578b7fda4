"""Blobs: written whole or not at all, checked when read."""

from pathlib import Path

import pytest

from jobnb.errors import BlobMissing, StoreError
from jobnb.store import Store
from jobnb.store.blobs import Blobs


def test_what_is_put_can_be_got(store: Store) -> None:
    sha = store.blobs.put(b"content")
    assert store.blobs.get(sha) == b"content"
    assert store.blobs.put(b"content") == sha
    assert [p.name for p in store.blobs.folder.iterdir()] == [sha]


def test_a_missing_and_a_damaged_blob_are_said_so(store: Store) -> None:
    sha = store.blobs.put(b"content")
    store.blobs.path(sha).write_bytes(b"cont3nt")
    with pytest.raises(BlobMissing, match="damaged"):
        store.blobs.get(sha)
    store.blobs.path(sha).unlink()
    with pytest.raises(BlobMissing, match="missing"):
        store.blobs.get(sha)


def test_one_that_was_cut_short_is_written_again(store: Store) -> None:
    sha = store.blobs.put(b"content")
    store.blobs.path(sha).write_bytes(b"con")
    assert store.blobs.put(b"content") == sha
    assert store.blobs.get(sha) == b"content"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "G" * 64, "0" * 63 + "\n"])
def test_nothing_but_a_hash_is_a_name(store: Store, name: str) -> None:
    with pytest.raises(BlobMissing):
        store.blobs.path(name)


def test_a_failed_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.blobs.put(b"content")
    assert list(store.blobs.folder.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "nowhere")
    with pytest.raises(StoreError):
        blobs.put(b"x")
