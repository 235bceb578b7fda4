"""How the results of parents reach their child: marks in its work, and the values that stand in their places there.

A front door puts a `Mark` wherever a `Job` stands among a function's arguments. The service sends the packed results
along with every task, large parts as blobs, so that a worker needs no way back to the store. In the child a mark
unpickles to the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgpack

from jobnb.errors import BlobMissing
from jobnb.job import Job

if TYPE_CHECKING:
    from jobnb.store.chains import Given

W = TypeVar("W")
#: Containers and values looked at in search of jobs among the arguments; deeper ones are refused when they are packed.
LOOKED_AT = 100_000
#: The fields of works that hold arguments.
_FIELDS = ("args", "kwargs", "items")

# The front door


class Mark:
    """Stands for the result of the parent at a place among a job's links; unpickles to that result."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return value, (self.place,)

    def __repr__(self) -> str:
        return f"<result of parent {self.place}>"


def parted(work: W, place: Callable[[Job], int]) -> W:
    """Return a work with marks in place of the jobs among its arguments, also in lists, tuples, dicts and sets.

    Parameters
    ----------
    work : Work
    place : callable
        Makes a job a parent, and returns its place.
    """
    if not dataclasses.is_dataclass(work) or isinstance(work, type):
        return work
    left = [LOOKED_AT]
    changed = {}
    for field in dataclasses.fields(work):
        held = getattr(work, field.name)
        # Hooks are around the work that has the arguments.
        around = field.name == "work"
        marked = parted(held, place) if around else _marked(held, place, left) if field.name in _FIELDS else held
        if marked is not held:
            changed[field.name] = marked
    made: Any = dataclasses.replace(work, **changed) if changed else work
    return made  # type: ignore[no-any-return]


def _marked(what: Any, place: Callable[[Job], int], left: list[int]) -> Any:
    """Return ``what`` itself where there is no job in it, else a copy with marks."""
    left[0] -= 1
    if isinstance(what, Job):
        return Mark(place(what))
    kind = type(what)
    if left[0] <= 0 or kind not in (list, tuple, dict, set, frozenset):
        return what
    if kind is dict:
        made = {key: _marked(each, place, left) for key, each in what.items()}
        return made if any(made[key] is not each for key, each in what.items()) else what
    several = []
    for each in what:
        several.append(_marked(each, place, left))
        if left[0] <= 0:
            return what
    return kind(several) if any(a is not b for a, b in zip(several, what, strict=True)) else what


# The service


def pack(given: Sequence[Given]) -> bytes:
    """Return the results of parents as bytes for the wire."""
    return bytes(
        msgpack.packb([[each.place, dict(each.plan), list(each.parts), dict(each.failed or {})] for each in given])
    )


def blob(sha: str) -> bytes:
    """Return the bytes for the wire of what was packed into a blob."""
    return bytes(msgpack.packb(sha))


def pickles(packed: bytes) -> Iterator[bytes]:
    """Yield the pickles that travel in packed results; those in blobs are left out."""
    found = msgpack.unpackb(packed)
    for _, _, parts, _ in found if isinstance(found, list) else ():
        yield from (part for part in parts if isinstance(part, bytes))


# The child

_packed = b""
_entries: dict[int, list[Any]] = {}
_values: dict[int, Any] = {}


def use(packed: bytes) -> None:
    """Tell this process what its job was given."""
    global _packed
    if packed != _packed:
        _packed = packed
        _entries.clear()
        _values.clear()


def value(place: int) -> Any:
    """Return the result of the parent at a place; `jobnb.work.Failed` where it has none.

    Raises
    ------
    BlobMissing
        It was not sent along.
    """
    if place not in _values:
        _values[place] = _load(place)
    return _values[place]


def _load(place: int) -> Any:
    from jobnb import results
    from jobnb.work import Failed
    from jobnb.worker import blobs

    if not _entries and _packed:
        found = msgpack.unpackb(_packed)
        if isinstance(found, str):
            found = msgpack.unpackb(blobs.path(found).read_bytes())
        _entries.update((entry[0], entry) for entry in found)
    if place not in _entries:
        raise BlobMissing("the result of a job among the arguments was not sent along with this task.")
    _, plan, parts, failed = _entries[place]
    if failed:
        return Failed(**failed)
    return results.load(plan, [part if isinstance(part, bytes) else blobs.path(part).read_bytes() for part in parts])
