"""Memory for many arrays of one kind, taken from the system in large blocks.

The system gives memory in pages of 4 KiB, one at the first touch of each: for a hundred moving averages of minute bars
that takes longer than to compute them. A block of several MiB it gives in pages of 2 MiB, where it has them (NumPy asks
for those by itself). Lives in the process that runs strategies; what lies in a block goes only with all of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BLOCK_BYTES = 32 * 2**20
#: Smaller arrays come from memory that was touched before, and few larger ones would lie in a block.
LEAST_BYTES = 2**17
MOST_BYTES = BLOCK_BYTES // 4


class Slabs:
    """Blocks in which arrays lie one behind the other."""

    def __init__(self) -> None:
        self._free: dict[int, list[Floats]] = {}
        self._blocks: set[int] = set()
        #: Whether anything lies here.
        self.used = False

    def room(self, size: int) -> Floats:
        """Return an array to be filled: one in a block, or one by itself where that does not serve."""
        if not LEAST_BYTES <= 8 * size <= MOST_BYTES:
            return np.empty(size)
        free = self._free.setdefault(size, [])
        if not free:
            block = np.empty((BLOCK_BYTES // (8 * size), size))
            self._blocks.add(id(block))
            free.extend(reversed(list(block)))
        self.used = True
        return free.pop()

    def keep(self, array: Floats) -> Floats:
        """Return an array of `room` as it is, a copy of another in a block, or itself where that does not serve."""
        if type(array) is not np.ndarray or array.ndim != 1 or array.dtype != np.float64:
            return array
        if id(array.base) in self._blocks or not LEAST_BYTES <= array.nbytes <= MOST_BYTES:
            return array
        row = self.room(array.size)
        row[:] = array
        return row
