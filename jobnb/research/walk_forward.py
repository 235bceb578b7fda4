"""`WalkForward`: windows that move through time, each tested on the bars that follow it.

Built at the front door, and by users who split data of their own. Pure arithmetic on positions and times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import count as count_up
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research.folds import Fold, Piece, Splitter, whole

if TYPE_CHECKING:
    import pandas as pd

#: Bars as a whole number, or a duration such as ``"3y"``, ``"6M"``, ``"90d"``.
Length = int | str | timedelta

#: Unit to argument of `pandas.DateOffset`. A lower-case m would be minutes to some and months to others.
_UNITS = {
    "y": "years", "Y": "years", "M": "months", "mo": "months", "w": "weeks", "W": "weeks",
    "d": "days", "D": "days", "h": "hours", "min": "minutes",
}  # fmt: skip
#: A train window of fewer bars cannot be measured.
LEAST_BARS = 2


class WalkForward(Splitter):
    """Train windows that roll or grow through time, each followed by its test window.

    The first test window begins where the first train window ends, the next one where the one before ends, so that
    the test windows cover the rest of the data without gaps or overlap (Pardo, *The Evaluation and Optimization of
    Trading Strategies*, 2nd ed. 2008, ch. 11).

    Parameters
    ----------
    train : int, str or timedelta
        Length of a train window: bars, or a duration in calendar time: ``"3y"``, ``"6M"``, ``"2w"``, ``"90d"``,
        ``"12h"``, ``"30min"``.
    test : int, str or timedelta
        Length of a test window.
    anchored : bool, default False
        Let every train window begin at the first bar, so that it grows, instead of rolling along.
    horizon : int, default 0
        Bars that a label or a holding looks ahead: so many of the last train bars are left out (purged).
    partial : bool, default True
        Keep a last test window that is shorter than the others because the data ends.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a length that cannot be read.

    Examples
    --------
    >>> [(train.tolist(), test.tolist()) for train, test in WalkForward(3, 2).split(range(8))]
    [([0, 1, 2], [3, 4]), ([2, 3, 4], [5, 6]), ([4, 5, 6], [7])]
    >>> [len(train) for train, _ in WalkForward(3, 2, anchored=True, partial=False).split(range(8))]
    [3, 5]
    """

    kind = "walk-forward"

    def __init__(
        self, train: Length, test: Length, *, anchored: bool = False, horizon: int = 0, partial: bool = True
    ) -> None:
        self.train = _length(train, "train")
        self.test = _length(test, "test")
        self.anchored = bool(anchored)
        self.horizon = whole(horizon, "horizon", 0)
        self.partial = bool(partial)

    def __repr__(self) -> str:
        return (
            f"WalkForward(train={self.train!r}, test={self.test!r}, anchored={self.anchored}, "
            f"horizon={self.horizon}, partial={self.partial})"
        )

    def folds(self, count: int, index: pd.DatetimeIndex | None = None) -> list[Fold]:
        """Return the folds of ``count`` bars; see `Splitter.folds`."""
        clock = _Clock(count, index)
        made: list[Fold] = []
        for start, stop, full in self._windows(clock):
            if not full and not self.partial:
                break
            first = 0 if self.anchored else clock.before(start, self.train)
            last = start - self.horizon
            if last - first < LEAST_BARS:
                raise UsageProblem(
                    f"the train window before bar {start} has {max(last - first, 0)} bars; give a longer train window"
                    + (" or a shorter horizon" if self.horizon else "")
                )
            made.append(
                Fold(number=len(made), train=(Piece(start=first, stop=last),), test=(Piece(start=start, stop=stop),))
            )
        if not made:
            raise UsageProblem(
                f"{count:,} bars are too few for a train window of {self.train} and a test window of {self.test}; "
                "give shorter windows or more data"
            )
        return made

    def _windows(self, clock: _Clock) -> Iterator[tuple[int, int, bool]]:
        """Yield start and stop of the test windows, and whether they have their full length."""
        begin = clock.after(self.train)
        if isinstance(self.test, int):
            for at in range(begin, clock.count, self.test):
                yield at, min(at + self.test, clock.count), at + self.test <= clock.count
            return
        for (start, _), (stop, reached) in pairwise(clock.steps(self.train, self.test)):
            if stop > start:
                yield start, stop, reached


class _Clock:
    """From durations to positions."""

    def __init__(self, count: int, index: pd.DatetimeIndex | None) -> None:
        self.count = count
        self._index = index

    @property
    def index(self) -> pd.DatetimeIndex:
        if self._index is None:
            raise UsageProblem(
                "windows of calendar time need data over a DatetimeIndex; give bars instead, such as 500"
            )
        return self._index

    def after(self, length: Length) -> int:
        """Return the first bar that is no longer in a window of this length from the first bar on."""
        if isinstance(length, int):
            return length
        return self._at(self._first + _offset(length))

    def before(self, start: int, length: Length) -> int:
        """Return the first bar of a window of this length that ends before ``start``."""
        if isinstance(length, int):
            return max(0, start - length)
        return self._at(self._midnight(start) - _offset(length))

    def steps(self, train: Length, test: Length) -> Iterator[tuple[int, bool]]:
        """Yield the bars at which test windows begin and, at last, end; and whether the data reaches so far."""
        begin = self._midnight(train) if isinstance(train, int) else self._first + _offset(train)
        end = self.index[-1]
        if self._at(begin) >= self.count:
            return
        for number in count_up():
            # From the first one each time: months of different lengths must not add up to a drift.
            at = begin + number * _offset(test) if number else begin
            yield (train if isinstance(train, int) and not number else self._at(at)), at <= end
            if at > end:
                return

    @property
    def _first(self) -> pd.Timestamp:
        return self._midnight(0)

    def _midnight(self, bar: int) -> pd.Timestamp:
        return self.index[min(bar, self.count - 1)].normalize()

    def _at(self, time: pd.Timestamp) -> int:
        return int(self.index.searchsorted(time))


def _length(value: object, what: str) -> Length:
    if isinstance(value, str):
        text = value.strip()
        if text.isdigit():
            return whole(int(text), what)
        _parsed(text, what)
        return text
    if isinstance(value, timedelta):
        if value <= timedelta(0):
            raise UsageProblem(f"{what} must be a duration above 0, not {value!r}")
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return whole(value, what)
    raise UsageProblem(f"{what} must be a number of bars or a duration such as '3y' or '6M', not {value!r}")


def offset_of(text: str, what: str) -> pd.DateOffset:
    """Return a length such as ``3y`` or ``6M`` by the calendar.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it is none.
    """
    _parsed(text, what)
    return _offset(text)


def _parsed(text: str, what: str) -> dict[str, int]:
    found = re.findall(r"(\d+)\s*([A-Za-z]+)", text)
    if not found or re.sub(r"(\d+)\s*([A-Za-z]+)", "", text).strip():
        raise UsageProblem(f"{what} {text!r} is no duration. Write bars (500), or '3y', '6M', '2w', '90d', '12h'.")
    made: dict[str, int] = {}
    for number, unit in found:
        if unit not in _UNITS:
            hint = " Write 6M for months, 30min for minutes." if unit == "m" else f" Known: {', '.join(_UNITS)}."
            raise UsageProblem(f"{what} {text!r} has the unknown unit {unit!r}.{hint}")
        made[_UNITS[unit]] = made.get(_UNITS[unit], 0) + int(number)
    if not any(made.values()):
        raise UsageProblem(f"{what} must be a duration above 0, not {text!r}")
    return made


def _offset(length: Length) -> pd.DateOffset:
    import pandas as pd

    if isinstance(length, timedelta):
        return pd.DateOffset(seconds=int(length.total_seconds()))
    units: dict[str, Any] = dict(_parsed(str(length), "length"))
    return pd.DateOffset(**units)
