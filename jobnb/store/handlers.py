"""The named handlers of a store: functions that were registered, with their code, by version. SQL and records.

Written and read by front doors only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobnb.store.database import Database, Row
from jobnb.store.jobs import NewJob, from_us
from jobnb.store.payloads import Payload, Payloads
from jobnb.store.schedules import template

_COLUMNS = "name, version, payload, blobs, job, created_at"


@dataclass(frozen=True, kw_only=True)
class HandlerRecord:
    """One version of a handler.

    Attributes
    ----------
    name : str
    version : int
        1 for the first; one more whenever it was registered with other code or options.
    payload : str
        Its pickled function.
    blobs : tuple of str
    job : mapping
        What its jobs have in common; see `NewJob`.
    """

    name: str
    version: int
    payload: str
    blobs: tuple[str, ...]
    job: Mapping[str, Any]
    created_at: datetime


class Handlers:
    """The handlers of one store."""

    def __init__(self, database: Database, clock: Callable[[], int], payloads: Payloads) -> None:
        self._db = database
        self._clock = clock
        self._payloads = payloads

    def put(self, name: str, new: NewJob) -> int:
        """Keep a handler and return its version: the present one, if neither code nor options have changed."""
        job = template(new)
        with self._db.writing():
            known = self._db.row(f"{_NEWEST} WHERE name = ? ORDER BY version DESC LIMIT 1", (name,))
            version = 1
            if known is not None:
                old = _record(known)
                if old.payload == new.payload and _same(old.job, job):
                    return old.version
                version = old.version + 1
            self._db.rows(
                f"INSERT INTO handlers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                (name, version, new.payload, json.dumps(list(new.blobs)), json.dumps(job), self._clock()),
            )
            self._payloads.add(Payload(sha=new.payload, content=new.content))
        return version

    def get(self, name: str, version: int | None = None) -> HandlerRecord | None:
        """Return a handler, of its newest version by default; None if there is none."""
        sql = f"{_NEWEST} WHERE name = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1"
        row = self._db.row(sql, (name, version))
        return _record(row) if row else None

    def all(self) -> list[HandlerRecord]:
        """Return the newest version of each handler, by name."""
        newest = "SELECT max(version) FROM handlers WHERE name = one.name"
        sql = f"{_NEWEST} AS one WHERE version = ({newest}) ORDER BY name"
        return [_record(row) for row in self._db.rows(sql)]


_NEWEST = f"SELECT {_COLUMNS} FROM handlers"  # noqa: S608


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Compare what matters: the surroundings of the kernel and the drawn seed differ each time."""
    return {k: a.get(k) for k in ("options", "priority", "queue", "tags")} == {
        k: json.loads(json.dumps(b.get(k))) for k in ("options", "priority", "queue", "tags")
    }


def _record(row: Row) -> HandlerRecord:
    name, version, payload, blobs, job, created_at = row
    return HandlerRecord(
        name=name,
        version=version,
        payload=payload,
        blobs=tuple(json.loads(blobs)),
        job=json.loads(job),
        created_at=from_us(created_at),
    )
