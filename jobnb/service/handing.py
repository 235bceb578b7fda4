"""Packs the results of a job's parents for its tasks. Part of the service, which never unpickles one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jobnb import handover
from jobnb.store import Store

#: Packed results up to this size travel with each task; more become a blob.
INLINE_BYTES = 150_000
#: Such a blob belongs to no job: it is written again after this long, well before a clean-up takes it for forgotten.
FRESH_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Handed:
    """The results of a job's parents: what travels with a task, and the blobs that it refers to."""

    packed: bytes = b""
    blobs: tuple[str, ...] = ()
    until: float = 0.0


@dataclass(kw_only=True)
class Handing:
    """What the jobs of a service are given."""

    store: Store
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, Handed] = field(default_factory=dict)

    def of(self, job: str) -> Handed:
        """Return what a job is given by its parents.

        Raises
        ------
        StoreError
            It cannot be kept.
        """
        known = self._known.get(job)
        if known is None or known.until < self.monotonic():
            known = self._known[job] = self._pack(job)
        return known

    def close_job(self, job: str) -> None:
        """Drop what is kept of a job that is over."""
        self._known.pop(job, None)

    def _pack(self, job: str) -> Handed:
        given = self.store.chains.given(job)
        packed = handover.pack(given)
        blobs = tuple(dict.fromkeys(part for each in given for part in each.parts if isinstance(part, str)))
        if len(packed) <= INLINE_BYTES:
            return Handed(packed=packed, blobs=blobs, until=float("inf"))
        sha = self.store.blobs.put(packed)
        return Handed(packed=handover.blob(sha), blobs=(*blobs, sha), until=self.monotonic() + FRESH_SECONDS)
