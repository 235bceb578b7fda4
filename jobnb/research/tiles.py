"""The values of a card's heat map: one for each row and column, packed as text that is short and quick to write.

Children pack them, the service folds them with each task that comes back, cards read them. Pure Python: it must never
import numpy, because the service and the cards load it.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Mapping
from typing import Any


def packed(values: bytes) -> str:
    """Return values as text.

    Parameters
    ----------
    values : bytes
        Little-endian float32, row by row; NaN where there was no run. Single precision is plenty for a colour.
    """
    return base64.b64encode(values).decode()


def folded(ours: str, theirs: str, *, maximize: bool) -> str:
    """Return the better of two values for each place.

    Examples
    --------
    >>> one, two = array("f", [1.0, float("nan")]), array("f", [0.5, 0.25])
    >>> list(array("f", base64.b64decode(folded(packed(one.tobytes()), packed(two.tobytes()), maximize=True))))
    [1.0, 0.25]
    """
    mine = array("f", base64.b64decode(ours))
    for place, value in enumerate(array("f", base64.b64decode(theirs))):
        known = mine[place]
        # Nothing compares with NaN: an empty place takes any value, and gives none.
        if value == value and not (known >= value if maximize else known <= value):
            mine[place] = value
    return packed(mine.tobytes())


def cells(heat: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    """Return row, column and value of the places that had a run; none where the values are not what they should be.

    Parameters
    ----------
    heat : mapping
        ``rows`` and ``cols``, what stands at them, and the packed ``values``.
    """
    try:
        wide = len(heat["cols"])
        values = array("f", base64.b64decode(heat["values"], validate=True))
    except (KeyError, TypeError, ValueError):
        return []
    return [(*divmod(place, wide), value) for place, value in enumerate(values) if value == value] if wide else []
