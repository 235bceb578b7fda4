"""Stops as people say them: a fraction of the price, or multiples of the average true range.

Front doors check them before anything is enqueued; a run turns them into one number per decision. It must never
import numba or pandas.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from jobnb.errors import UsageProblem

#: What each closes a trade at. A strategy may declare any of them as a parameter of its own, which makes it searchable.
STOPS: dict[str, str] = {
    "stop_loss": "a price so far against the entry's",
    "take_profit": "a price so far in favour of the entry's",
    "trailing_stop": "a price so far against the best one since the entry",
}

_ATR = re.compile(r"atr\(\s*([0-9.]+)\s*(?:,\s*(?:period\s*=\s*)?([0-9]+)\s*)?\)")


@dataclass(frozen=True, repr=False)
class Atr:
    """A distance in average true ranges of the bar of the decision; made by `atr`.

    Attributes
    ----------
    multiple : float
    period : int
        Bars.
    """

    multiple: float
    period: int = 14

    def __str__(self) -> str:
        return f"atr({self.multiple:g}, {self.period})"

    # So that a result's parameters can be written back as they are shown.
    __repr__ = __str__


def atr(multiple: float, period: int = 14) -> Atr:
    """Return a stop's distance as a multiple of Wilder's average true range.

    Parameters
    ----------
    multiple : float
        Above 0.
    period : int, default 14
        Bars of the average.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a value does not fit.

    Examples
    --------
    >>> str(atr(3))
    'atr(3, 14)'
    """
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or not 0.0 < multiple < math.inf:
        raise UsageProblem(f"the multiple of an atr must be a number above 0, not {multiple!r}")
    if isinstance(period, bool) or not isinstance(period, int) or period < 1:
        raise UsageProblem(f"the period of an atr must be a whole number of bars from 1 on, not {period!r}")
    return Atr(float(multiple), period)


def check_stop(name: str, value: object) -> float | Atr | None:
    """Return a stop as it is used: a fraction above 0, an `Atr`, or None for no stop (also for 0).

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: with the value that does not fit.
    """
    if value is None or isinstance(value, Atr):
        return value
    if isinstance(value, str) and (found := _ATR.fullmatch(value.strip())):
        return atr(float(found[1]), int(found[2] or 14))
    most = math.inf if name == "take_profit" else 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < most:
        upto = "" if name == "take_profit" else " to below 1"
        raise UsageProblem(
            f"{name} must be a fraction of the price from 0{upto}, like 0.05 for 5 %, "
            f"jobnb.atr(3) or None, not {value!r}"
        )
    return float(value) or None
