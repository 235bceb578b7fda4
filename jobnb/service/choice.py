"""Which job gets the next free place: strict priorities, fair within one, first come first served. Pure.

Fair means: among jobs of one priority the one with the fewest tasks out goes first, so that a sweep of ten
thousand runs does not hold up a job of one second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A job that has something to hand out."""

    job: str
    rank: int
    out: int
    #: Place in the order of acceptance; smaller is older.
    order: int


def choose(candidates: Sequence[Candidate]) -> str | None:
    """Return the id of the job that gets the next place, or None if there is no candidate."""
    if not candidates:
        return None
    return min(candidates, key=lambda c: (-c.rank, c.out, c.order)).job
