"""What a strategy's ``positions`` returned, checked and in the kernel's form.

Runs where strategies run. It must cost next to nothing: a sweep calls it for every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.options import MAX_LEVERAGE

if TYPE_CHECKING:
    from jobnb.research.bars import Bars

_BOOL = np.dtype(np.bool_)

Targets = npt.NDArray[np.int8] | npt.NDArray[np.float64]


class PositionsError(UsageProblem):
    """``positions(bars)`` did not return one usable target per bar."""

    code = "POSITIONS_ERROR"


def targets(positions: object, bars: Bars, who: str = "positions", most: float = MAX_LEVERAGE) -> Targets:
    """Check what a strategy's ``positions`` returned, and give it the kernel's form.

    Parameters
    ----------
    positions : array_like
        One bool, -1/0/1 or float per bar.
    bars : Bars
    who : str
        The strategy's name, for the error.
    most : float
        Largest target there may be, without its sign.

    Returns
    -------
    numpy.ndarray
        int8 or float64, one value per bar.

    Raises
    ------
    PositionsError
        ``POSITIONS_ERROR``: wrong length, kind or value, with the first place.
    """
    made = positions if isinstance(positions, np.ndarray) else np.asarray(positions)
    if made.dtype is _BOOL and made.shape == bars.close.shape:
        return made.view(np.int8)
    if made.shape != bars.close.shape:
        got = "nothing" if positions is None else f"the shape {made.shape}"
        raise PositionsError(f"{who}.positions returned {got}; return one value for each of the {len(bars):,} bars")
    kind = made.dtype.kind
    if kind == "b":
        return made.astype(np.int8)
    if kind in "iu":
        if made.min() < -1 or made.max() > 1:
            i = int(np.argmax((made < -1) | (made > 1)))
            raise PositionsError(
                f"{who}.positions is {made[i]} at {bars.index[i]}; whole numbers must be -1, 0 or 1, "
                "fractions of the equity must be floats"
            )
        return made.astype(np.int8)
    if kind == "f":
        real = np.ascontiguousarray(made, dtype=np.float64)
        finite = np.isfinite(real)
        if not finite.all():
            i = int(np.argmin(finite))
            raise PositionsError(
                f"{who}.positions is {real[i]} at {bars.index[i]} and in {int((~finite).sum()):,} bars in all; "
                "return 0 where there is no position"
            )
        if (reach := float(np.abs(real).max())) > most:
            margin = "" if most > 1.0 else "; conventions='backtesting.py' has no margin"
            raise PositionsError(
                f"{who}.positions reaches {reach:g} times the equity; "
                f"it is a fraction (1.0 is all in), at most {most:g}{margin}"
            )
        return real
    raise PositionsError(
        f"{who}.positions returned values of type {made.dtype}; return bool, -1/0/1 or float fractions of the equity"
    )
