"""Ranges of numbers to search that are not lists: continuous ones, and whole numbers on a log scale.

Made at the front door by `uniform`, `log_uniform`, `integers` or a description, used by samplers in children.
Pure Python: importing it must cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobnb.errors import UsageProblem


@dataclass(frozen=True, kw_only=True)
class Interval:
    """All numbers from ``low`` to ``high``, drawn evenly on their own or on a log scale.

    Attributes
    ----------
    low, high : float
        Both ends belong to it.
    log : bool
        Whether each factor is as likely as any other, instead of each difference.
    whole : bool
        Whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
                raise UsageProblem(f"a range to search needs two finite numbers, not {self.low!r} and {self.high!r}")
        if self.low >= self.high:
            raise UsageProblem(f"a range to search needs low < high, not {self.low!r} and {self.high!r}")
        if self.log and self.low <= 0:
            raise UsageProblem(f"a log scale needs a low above 0, not {self.low!r}")

    @property
    def ends(self) -> tuple[float, float]:
        """The two ends, as numbers of the right kind."""
        return (int(self.low), int(self.high)) if self.whole else (float(self.low), float(self.high))

    def at(self, share: float) -> float:
        """Return the number below which this share of the draws lies.

        Parameters
        ----------
        share : float
            From 0 to 1.

        Examples
        --------
        >>> Interval(low=0, high=10).at(0.5), Interval(low=1, high=9, log=True, whole=True).at(0.99)
        (5.0, 9)
        """
        # A whole number stands for the half before and the half after it.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def share(self, value: float) -> float:
        """Return the share of the draws that lies below a number; the inverse of `at` of a continuous range."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def grid(self, count: int) -> list[float]:
        """Return where each of ``count`` stretches of equal share begins, to four digits."""
        low, high = self.low, self.high
        if self.log:
            return [float(f"{low * (high / low) ** (i / count):.4g}") for i in range(count)]
        return [float(f"{low + (high - low) * i / count:.4g}") for i in range(count)]

    def __repr__(self) -> str:
        low, high = self.ends
        return f"{low:.6g}…{high:.6g}{' log' if self.log else ''}"


def uniform(low: float, high: float) -> Interval:
    """Say that a parameter may be any number from ``low`` to ``high``.

    For ``method="random"`` and ``"tpe"``; a grid has no end on it.

    Parameters
    ----------
    low, high : float

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: these are not two finite numbers, the lower one first.

    Examples
    --------
    >>> uniform(0, 1)
    0…1
    """
    return Interval(low=low, high=high)


def log_uniform(low: float, high: float) -> Interval:
    """Say that a parameter may be any number from ``low`` to ``high``, each order of magnitude being as likely.

    Parameters
    ----------
    low, high : float
        Above 0.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: these are not two finite numbers above 0, the lower one first.

    Examples
    --------
    >>> log_uniform(0.001, 1)
    0.001…1 log
    """
    return Interval(low=low, high=high, log=True)


def integers(low: int, high: int, *, step: int = 1, log: bool = False) -> Sequence[object] | Interval:
    """Say that a parameter may be any whole number from ``low`` to ``high``, both included.

    Parameters
    ----------
    low, high : int
    step : int, default 1
        Distance from one to the next.
    log : bool, default False
        Draw small numbers more often, each order of magnitude being as likely; not for a grid.

    Returns
    -------
    range or Interval
        A range where each number is as likely as any other, which a grid can take, too.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: there is no such number, or a log scale with a step or from 0 down.

    Examples
    --------
    >>> integers(5, 20, step=5), integers(1, 1000, log=True)
    (range(5, 21, 5), 1…1000 log)
    """
    if any(isinstance(n, bool) or int(n) != n for n in (low, high, step)):
        raise UsageProblem(f"integers needs whole numbers, not {low!r}, {high!r} and step {step!r}")
    if step < 1 or high < low:
        raise UsageProblem(f"integers needs low <= high and a step of 1 or more, not {low!r}, {high!r}, {step!r}")
    if not log:
        return range(int(low), int(high) + 1, int(step))
    if step != 1:
        raise UsageProblem("integers takes a step or a log scale, not both")
    return Interval(low=int(low), high=int(high), log=True, whole=True)
