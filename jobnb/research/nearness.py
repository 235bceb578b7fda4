"""In which order a grid over long data is run: combinations one after the other shall share their indicators.

Pure arithmetic on numbers of combinations, used at the front door. Row after row, as they are numbered, each of them
has another value of the last parameter; what belongs to that has left the processor's cache, and with very long data
the memory of indicators too, when it comes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jobnb.research.space import ParameterSpace

Whole = npt.NDArray[np.int64]

#: An order pays where one array for each value of the last parameter takes more than this.
NEAR_BYTES = 16 * 2**20
#: Values of each of the two parameters in a tile, and of the slower one in the pairs within.
TILE = 8
PAIR = 2


def pays(space: ParameterSpace, bars: int) -> bool:
    """Tell whether the order of a grid matters on so many bars."""
    sizes = [len(values) for values in space.lists if len(values) > 1]
    return len(sizes) > 1 and 8 * bars * sizes[-1] > NEAR_BYTES


def by_tiles(space: ParameterSpace, numbers: Whole) -> Whole:
    """Return the numbers of combinations by tiles of the last two parameters that vary.

    A tile has 8 values of each, so that what belongs to 16 values serves for 64 combinations. Within, two values of the
    slower parameter at a time meet all of the other: these are near the processor.

    Parameters
    ----------
    space : ParameterSpace
        Of lists, two of which vary at least.
    numbers : array of int64
        Ascending.

    Examples
    --------
    >>> from jobnb.research.space import ParameterSpace
    >>> space = ParameterSpace(names=("a", "b"), values=(range(4), range(3)))
    >>> by_tiles(space, np.arange(12)).tolist()
    [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    """
    sizes = [len(values) for values in space.lists]
    slow, fast = [i for i, size in enumerate(sizes) if size > 1][-2:]
    inner = sizes[slow] * sizes[fast]
    outer, rest = np.divmod(numbers, inner)
    row, column = np.divmod(rest, sizes[fast])
    key = outer * -(-sizes[slow] // TILE) + row // TILE
    key = key * -(-sizes[fast] // TILE) + column // TILE
    key = key * (TILE // PAIR) + row % TILE // PAIR
    key = key * TILE + column % TILE
    key = key * PAIR + row % PAIR
    return np.asarray(numbers[np.argsort(key, kind="stable")])
