"""A memory of computed arrays with a limit in bytes; what `Bars` uses for its indicators.

Lives in the process that runs strategies, one per data set. The least recently used arrays go first, so
that a worker stays small whatever a grid asks for.
"""

from __future__ import annotations

import hashlib
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.slabs import Slabs

Floats = npt.NDArray[np.float64]

#: 142 moving averages of 100,000 minute bars are 114 MB; a worker shall stay below 300 MB in all.
LIMIT_BYTES = 120 * 2**20


class Memo:
    """Computed arrays by key, at most ``limit`` bytes of them."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit = limit
        self.size = 0
        self._ample = limit // 2
        #: While nothing has had to go.
        self._slabs: Slabs | None = Slabs()
        #: Those of `one` while none has to go soon, so that their order does not matter: the shortest way to an array.
        self.at_hand: dict[Hashable, Floats] = {}
        # Beside the arrays: what the key names by identity, which must live as long as the key.
        self._kept: OrderedDict[Hashable, tuple[tuple[Floats, ...], object]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def one(self, key: Hashable, compute: Callable[..., Floats], *args: object, keep: object = None) -> Floats:
        """Return the array of this key, ``compute(*args)`` if it is not here."""
        found = self._kept.get(key)
        if found is not None:
            # A sweep asks for two or three of them a hundred thousand times a second: order only what may have to go.
            if self.size > self._ample:
                self._kept.move_to_end(key)
            return found[0][0]
        made = self._store(key, (compute(*args),), keep)[0]
        if self.size <= self._ample:
            self.at_hand[key] = made
        return made

    def many(self, key: Hashable, compute: Callable[[], tuple[Floats, ...]]) -> tuple[Floats, ...]:
        """Return the arrays of this key, computed if they are not here."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found[0]
        return self._store(key, compute(), None)

    def room(self, size: int) -> Floats:
        """Return an array to be filled, for what is computed to be kept where it is written."""
        return np.empty(size) if self._slabs is None else self._slabs.room(size)

    def _store(self, key: Hashable, arrays: tuple[Floats, ...], keep: object) -> tuple[Floats, ...]:
        if self._slabs is not None:
            arrays = tuple(self._slabs.keep(array) for array in arrays)
        for array in arrays:
            array.flags.writeable = False
        self._kept[key] = (arrays, keep)
        self.size += sum(array.nbytes for array in arrays)
        if self.size > self._ample:
            # From here on each use counts, and what goes must be gone.
            self.at_hand.clear()
        if self.size > self.limit and self._slabs is not None:
            if self._slabs.used:
                # What lies in a block cannot go alone: all of it once, and from here on each by itself.
                self._kept.clear()
                self._kept[key] = (arrays, keep)
                self.size = sum(array.nbytes for array in arrays)
            self._slabs = None
        while self.size > self.limit and len(self._kept) > 1:
            _, (dropped, _) = self._kept.popitem(last=False)
            self.size -= sum(array.nbytes for array in dropped)
        return arrays

    def key(self, fn: Callable[..., object], args: tuple[object, ...]) -> tuple[Hashable, ...]:
        """Return a key for ``fn(*args)``; arrays count by identity if read-only, else by content."""
        return (_function_key(fn), *(_value_key(arg) for arg in args))


def _function_key(fn: Callable[..., object]) -> Hashable:
    if isinstance(fn, types.FunctionType) and fn.__closure__ is None:
        # A lambda written inside `positions` is a new object at each call, but the same code.
        key = (fn.__code__, fn.__module__, fn.__defaults__)
        if fn.__kwdefaults__ is None and _hashable(key):
            return key
    return fn if _hashable(fn) else ("object", id(fn))


def _value_key(value: object) -> Hashable:
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            return ("array", id(value))
        return ("content", value.shape, value.dtype.str, hashlib.sha256(value.tobytes()).digest())
    if not _hashable(value):
        raise UsageProblem(
            f"an argument of an indicator must be hashable or an array, not a {type(value).__name__}: "
            "give a tuple instead of a list, an array instead of a Series"
        )
    # 1, 1.0 and True are equal, but a function may treat them differently.
    return (type(value), value)


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
