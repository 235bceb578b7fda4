"""Packed works: small ones in a table, where accepting a job and keeping its work is one write; large ones as blobs.

Front doors keep them, the service reads them. Nothing here unpacks one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from jobnb.errors import BlobMissing
from jobnb.store.blobs import Blobs
from jobnb.store.database import Database

#: Works up to this size are kept in the table, and travel with each task; larger ones are read from their blob.
INLINE_BYTES = 64_000


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A packed work on its way into the store: its hash, and its content unless that is a blob already."""

    sha: str
    content: bytes | None = None


class Payloads:
    """The packed works of one store."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._db = database
        self._blobs = blobs

    def prepare(self, content: bytes) -> Payload:
        """Return a work as a job's row takes it; a large one is stored as a blob now."""
        if len(content) > INLINE_BYTES:
            return Payload(sha=self._blobs.put(content))
        return Payload(sha=hashlib.sha256(content).hexdigest(), content=content)

    def add(self, payload: Payload) -> None:
        """Keep a small work; call inside the transaction that accepts its job."""
        if payload.content is not None:
            sql = "INSERT OR IGNORE INTO payloads (sha, content) VALUES (?, ?)"
            self._db.rows(sql, (payload.sha, payload.content))

    def get(self, sha: str) -> bytes:
        """Return a packed work.

        Raises
        ------
        BlobMissing
            It is gone or damaged.
        """
        row = self._db.row("SELECT content FROM payloads WHERE sha = ?", (sha,))
        if row is None:
            return self._blobs.get(sha)
        if hashlib.sha256(row[0]).hexdigest() != sha:
            raise BlobMissing(f"the work {sha[:12]}… in the store is damaged.")
        return bytes(row[0])

    def vacuum(self) -> tuple[int, int]:
        """Remove the works that no job refers to; return how many and how many bytes."""
        with self._db.writing("normal"):
            sql = (
                "DELETE FROM payloads WHERE sha NOT IN (SELECT payload FROM jobs UNION SELECT payload FROM schedules "
                "UNION SELECT value ->> 'payload' FROM schedules, json_each(beside, '$.jobs') "
                "UNION SELECT payload FROM handlers) "
                "RETURNING length(content)"
            )
            sizes = [int(row[0]) for row in self._db.rows(sql)]
        return len(sizes), sum(sizes)
