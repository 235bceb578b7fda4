"""What a sweep keeps of the daily returns of its runs, to tell later how much of the winner is luck.

Runs in the child beside the sweep: sums over blocks of days for an even sample of the runs, and the moments of the
part's best run. Which runs are sampled depends on the sweep's size alone, never on workers or on how it was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.cscv import LEAST_RETURNS, bounds
from jobnb.research.sharpe import Moments, moments

if TYPE_CHECKING:
    from jobnb.research.engine import Evaluator, Targets

Whole = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[np.generic]]

#: Runs of a sweep whose returns are kept: one of `ONE_OF`, so that it costs some percent of the time, within these.
SAMPLE = 256
LEAST_SAMPLE = 64
ONE_OF = 16
#: Blocks of days: 252 splits, which a card can go through in some 20 ms.
BLOCKS = 10
#: Targets kept until the best run of a part is known, so that a slow strategy is not asked again.
KEPT_BYTES = 4 * 2**20


def sampled(count: int) -> Whole:
    """Return which of ``count`` runs are sampled: all of a few, else one at random in each of equal stretches.

    Examples
    --------
    >>> sampled(3).tolist(), len(sampled(10_011))
    ([0, 1, 2], 256)
    """
    most = min(SAMPLE, max(LEAST_SAMPLE, count // ONE_OF))
    if count <= most:
        return np.arange(count, dtype=np.int64)
    starts = bounds(count, most)
    inside = np.random.default_rng(count).random(most)
    return starts + (inside * np.diff(np.append(starts, count))).astype(np.int64)


class Tracks:
    """The returns of the runs of one part of a sweep, seen one after the other.

    Parameters
    ----------
    evaluator : Evaluator
    count : int
        Runs of the whole sweep.
    start, stop : int
        The runs that this part may do.
    """

    def __init__(self, evaluator: Evaluator, count: int, start: int, stop: int) -> None:
        from jobnb.research import daily

        self._evaluator = evaluator
        self._daily = daily
        self._ends = daily.day_ends(evaluator.bars)
        self.periods = max(self._ends.size - 1, 0)
        # A history that is too short for the blocks says nothing of its halves.
        places = sampled(count) - start if self.periods >= LEAST_RETURNS * BLOCKS else np.empty(0, dtype=np.int64)
        self._wanted = iter(places[(places >= 0) & (places < stop - start)].tolist())
        self._next = next(self._wanted, -1)
        self._starts = bounds(self.periods, BLOCKS)
        self._places: list[int] = []
        self._sums: list[npt.NDArray[np.float64]] = []
        self._rows: dict[int, Targets] = {}
        self._room = KEPT_BYTES

    def see(self, place: int, row: Targets) -> None:
        """Take note of the targets of the run at this place of the part; places must ascend."""
        if place >= self._next >= 0:
            while 0 <= self._next < place:
                self._next = next(self._wanted, -1)
            if place == self._next:
                self._next = next(self._wanted, -1)
                self._keep(place, row)
        if self._room > 0:
            self._room -= row.nbytes
            self._rows[place] = row.copy()

    def _keep(self, place: int, row: Targets) -> None:
        out = np.empty((BLOCKS, 2))
        self._daily.sum_blocks(self.returns(row), self._starts, out)
        self._places.append(place)
        self._sums.append(out)

    def returns(self, row: Targets) -> npt.NDArray[np.float64]:
        """Return the daily returns of a row of targets."""
        return self._daily.daily_returns(self._evaluator, row, self._ends)

    def arrays(self, index: Whole, best: int | None, again: Callable[[int], Targets]) -> Arrays:
        """Return what a part keeps.

        Parameters
        ----------
        index : array
            The number of each run of the part.
        best : int or None
            The place of the best run.
        again : callable
            Gives the targets of a run by its place, if they are not at hand any more.
        """
        per_year = self._evaluator.bars.calendar.periods_per_year
        made: Arrays = {"calendar": np.array([self.periods, per_year])}
        if best is not None and self.periods > 1:
            row = self._rows.get(best)
            found = moments(self.returns(again(best) if row is None else row))
            made["winner"] = winner(int(index[best]), found, per_year)
        if self._places:
            made["sample"] = index[self._places]
            # Single precision is plenty for ranks, and cards and parts then say the same.
            made["sums"] = np.array(self._sums, dtype=np.float32)
        return made


def winner(index: int, found: Moments, per_year: float) -> npt.NDArray[np.generic]:
    """Return the best run's number and moments as one row of numbers."""
    return np.array([index, found.count, found.sharpe, found.skewness, found.kurtosis, per_year], dtype=np.float64)
