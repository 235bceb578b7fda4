"""Blobs: files named by the SHA-256 of their content; written aside, flushed, then renamed into place.

Used by front doors (payloads, data) and the service (large results); workers only read them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from jobnb.errors import BlobMissing, StoreError


class Blobs:
    """The blobs of one store, in one flat folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha: str) -> Path:
        """Return where the blob of that hash is, or would be."""
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise BlobMissing(f"{sha!r} is not the SHA-256 of a blob.")
        return self.folder / sha

    def put(self, content: bytes) -> str:
        """Store the content, once, and return its SHA-256."""
        sha = hashlib.sha256(content).hexdigest()
        target = self.path(sha)
        try:
            # One of another size was cut short by a full disk or a power cut: it is written again.
            if target.stat().st_size == len(content):
                # Young again: a clean-up leaves young files alone, and the row that refers to it is yet to come.
                os.utime(target)
                return sha
        except OSError:
            pass
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, target)
                _flush_folder(self.folder)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(
                f"{len(content):,} bytes could not be written to {self.folder} ({error.strerror or error})."
            ) from error
        return sha

    def get(self, sha: str) -> bytes:
        """Return the content, checked against its hash.

        Raises
        ------
        BlobMissing
            The file is gone or damaged.
        """
        try:
            content = self.path(sha).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(f"blob {sha[:12]}… is missing from {self.folder}.") from None
        except OSError as error:
            raise BlobMissing(f"blob {sha[:12]}… in {self.folder} cannot be read ({error.strerror}).") from error
        if hashlib.sha256(content).hexdigest() != sha:
            raise BlobMissing(f"blob {sha[:12]}… in {self.folder} is damaged.")
        return content


def _flush_folder(folder: Path) -> None:
    """Make the new name of a file outlive a power cut, before a row says that it is there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
