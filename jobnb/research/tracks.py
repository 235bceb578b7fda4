"""What a sweep keeps of the daily returns of its runs, to tell later how much of the winner is luck.

Runs in the child beside the sweep: sums over blocks of days for an even sample of the runs, and the moments of the
part's best run. Which runs are sampled depends on the sweep's size alone, never on workers or on how it was cut.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from jobnb.research.cscv import LEAST_RETURNS, bounds
from jobnb.research.limits import Orders
from jobnb.research.recount import usable
from jobnb.research.sharpe import Moments, moments

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.engine import Evaluator, Targets, Wanted

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[np.generic]]

#: Runs of a sweep whose returns are kept: all up to `FEW`, else one of `ONE_OF` within these bounds, which costs some
#: percent of the sweep's time.
FEW = 128
LEAST_SAMPLE = 64
SAMPLE = 256
ONE_OF = 16
#: Blocks of days: 252 splits, which a card can go through in some 20 ms.
BLOCKS = 10
#: The first runs of a part are remembered until its best one is known, so that a slow strategy, which does no more
#: than these in a part, is not asked again.
KEPT_RUNS = 64
KEPT_BYTES = 64 * 2**20
#: So much of the sample's targets is run at once.
TOGETHER_BYTES = 2**20


def sampled(count: int) -> Whole:
    """Return which of ``count`` runs are sampled: all of a few, else one at random in each of equal stretches.

    Examples
    --------
    >>> sampled(3).tolist(), len(sampled(10_011))
    ([0, 1, 2], 256)
    """
    if count <= FEW:
        return np.arange(count, dtype=np.int64)
    most = min(SAMPLE, max(LEAST_SAMPLE, count // ONE_OF))
    starts = bounds(count, most)
    inside = np.random.default_rng(count).random(most)
    return starts + (inside * np.diff(np.append(starts, count))).astype(np.int64)


class Tracks:
    """The returns of the runs of one part of a sweep, seen one after the other.

    Parameters
    ----------
    bars : Bars
    count : int
        Runs of the whole sweep.
    start, stop : int
        The runs that this part may do.
    """

    def __init__(self, bars: Bars, count: int, start: int, stop: int) -> None:
        from jobnb.research import daily

        self._daily = daily
        self._bars = bars
        self._ends = daily.day_ends(bars)
        self.periods = self._ends.size - 1
        # A history that is too short for the blocks says nothing of its halves.
        places = sampled(count) - start if self.periods >= LEAST_RETURNS * BLOCKS else np.empty(0, dtype=np.int64)
        self._wanted = places[(places >= 0) & (places < stop - start)].tolist()[::-1]
        #: The next place that has to be seen; the others may be.
        self.due = 0
        self._starts = bounds(self.periods, BLOCKS)
        self._places: list[int] = []
        self._sums: list[Floats] = []
        self._room = KEPT_BYTES

    def _wants(self, place: int) -> bool:
        """Tell whether this run is of the sample; places must ascend."""
        wanted = self._wanted
        while wanted and wanted[-1] < place:
            wanted.pop()
        found = bool(wanted) and wanted[-1] == place
        if found:
            wanted.pop()
        if place + 1 < KEPT_RUNS and self._room > 0:
            self.due = place + 1
        else:
            self.due = wanted[-1] if wanted else sys.maxsize
        return found

    def _keep(self, place: int, returns: Floats) -> None:
        out = np.empty((BLOCKS, 2))
        self._daily.sum_blocks(returns, self._starts, out)
        self._places.append(place)
        self._sums.append(out)

    def _returns(self, equity: Floats) -> Floats:
        return self._daily.daily_returns(equity, self._ends)

    def arrays(self, index: Whole, best: int | None, again: Callable[[int], Floats | None]) -> Arrays:
        """Return what a part keeps.

        Parameters
        ----------
        index : array
            The number of each run of the part.
        best : int or None
            The place of the best run.
        again : callable
            Gives the equity of a run by its place, if it is not at hand any more.
        """
        per_year = self._bars.calendar.periods_per_year
        made: Arrays = {"calendar": np.array([self.periods, per_year])}
        if best is not None and self.periods > 1:
            equity = self._at_hand(best)
            equity = again(best) if equity is None else equity
            if equity is not None:
                hold = moments(self._returns(self._bars.close)).sharpe
                made["winner"] = winner(int(index[best]), moments(self._returns(equity)), per_year, hold)
        if self._places:
            made["sample"] = index[self._places]
            # Single precision is plenty for ranks, and cards and parts then say the same.
            made["sums"] = np.array(self._sums, dtype=np.float32)
        return made

    def _at_hand(self, place: int) -> Floats | None:
        """Return the equity of a run that is remembered."""
        return None


class TargetTracks(Tracks):
    """Of the runs of a `Strategy`, by their targets."""

    def __init__(self, evaluator: Evaluator, count: int, start: int, stop: int) -> None:
        super().__init__(evaluator.bars, count, start, stop)
        self._evaluator = evaluator
        self._rows: dict[int, Wanted] = {}
        # Of the sample: what waits to be run, by the kind of its targets.
        self._waiting: dict[str, list[tuple[int, Targets]]] = {}
        self._values: list[Floats] = []

    def see(self, place: int, row: Wanted) -> bool:
        """Take note of the targets of the run at this place of the part; places must ascend, those due must come.

        Returns
        -------
        bool
            Whether it is run for the sample; then it needs no other run, see `finish`.
        """
        if place < KEPT_RUNS and self._room > 0:
            self._room -= row.nbytes
            self._rows[place] = row.copy()
        if not self._wants(place):
            return False
        if isinstance(row, Orders) or not self._evaluator.sums_up:
            ran = self._evaluator.one(row)
            self._keep(place, self._returns(ran.equity))
            self._values.append(ran.values)
            return True
        plain = cast("Targets", row.view(np.int8) if row.dtype == np.bool_ else row)
        waiting = self._waiting.setdefault(plain.dtype.char, [])
        waiting.append((place, plain.copy()))
        if len(waiting) * plain.nbytes >= TOGETHER_BYTES:
            self._sum_up(waiting)
        return True

    def _sum_up(self, waiting: list[tuple[int, Targets]]) -> None:
        if waiting:
            # Many at once: a call for each takes twice the time.
            places, rows = zip(*waiting, strict=True)
            self._places += places
            values, sums = self._evaluator.sums(np.stack(rows), len(rows), self._ends, self._starts)
            self._values += [*values]
            self._sums += [*sums]
            waiting.clear()

    def finish(self, out: Floats) -> None:
        """Write the metrics of the runs of the sample to their places; when all runs have been seen."""
        for waiting in self._waiting.values():
            self._sum_up(waiting)
        if self._places:
            out[self._places] = self._values
        # Of several kinds each has waited for its own.
        order = sorted(range(len(self._places)), key=self._places.__getitem__)
        self._places, self._sums = [self._places[i] for i in order], [self._sums[i] for i in order]

    def _at_hand(self, place: int) -> Floats | None:
        row = self._rows.get(place)
        return None if row is None else self._evaluator.one(row).equity


class EquityTracks(Tracks):
    """Of the runs of another engine, by the equity that it gives; of one that gives none nothing is known."""

    def __init__(self, bars: Bars, count: int, start: int, stop: int) -> None:
        super().__init__(bars, count, start, stop)
        self._kept: dict[int, Floats] = {}
        self._sharpes: list[float] = []

    def see(self, place: int, equity: npt.ArrayLike | None) -> None:
        """Take note of the equity of the run at this place of the part, if it is usable; places must ascend."""
        worth = usable(equity, self._bars)
        if worth is None or self.periods < 2:
            return
        returns = self._returns(worth)
        deviation = float(returns.std(ddof=1))
        year = math.sqrt(self._bars.calendar.periods_per_year)
        self._sharpes.append(float(returns.mean()) / deviation * year if deviation > 0.0 else math.nan)
        if place < KEPT_RUNS and self._room > 0:
            self._room -= worth.nbytes
            self._kept[place] = worth.copy()
        if self._wants(place):
            self._keep(place, returns)

    def _at_hand(self, place: int) -> Floats | None:
        return self._kept.get(place)

    def arrays(self, index: Whole, best: int | None, again: Callable[[int], Floats | None]) -> Arrays:
        """Return what a part keeps, see `Tracks.arrays`; nothing where no run told its equity."""
        if not self._sharpes:
            return {}
        # By one definition, whatever the engine calls by that name.
        return {**super().arrays(index, best, again), "sharpes": np.array(self._sharpes)}


def winner(index: int, found: Moments, per_year: float, hold: float) -> npt.NDArray[np.generic]:
    """Return the best run's number and moments as one row of numbers, and the asset's own Sharpe ratio per period."""
    row = [index, found.count, found.sharpe, found.skewness, found.kurtosis, per_year, hold]
    return np.array(row, dtype=np.float64)
