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
    """Blocks that arrays are copied into, one behind the other."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[Floats]] = {}
        #: Whether anything lies here.
        self.used = False

    def keep(self, array: Floats) -> Floats:
        """Return a copy of an array in a block, or the array itself where that does not serve."""
        if type(array) is not np.ndarray or array.ndim != 1 or array.dtype != np.float64:
            return array
        if not LEAST_BYTES <= array.nbytes <= MOST_BYTES:
            return array
        free = self._blocks.setdefault(array.size, [])
        if not free:
            free.extend(np.empty((BLOCK_BYTES // array.nbytes, array.size)))
            free.reverse()
        row = free.pop()
        row[:] = array
        self.used = True
        return row
