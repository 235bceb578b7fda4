"""One fold run through: search the train bars, take the best, judge it on the test bars.

Runs in a child. It must never let a test bar, or anything after the fold, reach the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from jobnb.research.bars import Bars
from jobnb.research.engine import Evaluator, Wanted
from jobnb.research.fold_part import FoldRun
from jobnb.research.folds import Fold, Piece
from jobnb.research.foreign import is_foreign
from jobnb.research.goal import Goal
from jobnb.research.joined import Joined
from jobnb.research.limits import LIMITS, Orders
from jobnb.research.options import EngineOptions
from jobnb.research.sampler import Search
from jobnb.research.space import plain
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import Found, search

Floats = npt.NDArray[np.float64]

#: Trials of a fold that are also run out of sample, to see whether the ranks hold: a tenth of a large search.
RANKED = 100


class Judged(NamedTuple):
    """A fold as it was run, and what of it is not kept with the result."""

    run: FoldRun
    #: The names of its metrics.
    columns: tuple[str, ...]
    #: Its equity out of sample over its start.
    growth: Floats
    #: What it trades by, as a point of the space; None where it stays out of the market.
    point: list[float] | None


def judge(
    strategy: Callable[..., object],
    bars: Bars,
    fold: Fold,
    trials: Search,
    *,
    goals: Sequence[Goal],
    options: EngineOptions,
    keep: Sequence[Piece],
) -> Judged:
    """Run one fold.

    Parameters
    ----------
    strategy : type or callable
    bars : Bars
        The whole data set.
    fold : Fold
    trials : Search
    goals : sequence of Goal
        The first one chooses.
    options : EngineOptions
    keep : sequence of Piece
        Test pieces of which the prices are kept with the result.
    """
    inner, outer = (_Side(strategy, bars, pieces, goals, options) for pieces in (fold.train, fold.test))
    # What a search that learns was asked in another fold says nothing in this one.
    found = inner.search(replace(trials, asked={}))
    chosen = found.best
    value = found.column(goals[0].name) if goals[0].name in found.columns else np.full(len(found.values), math.nan)
    columns = found.columns
    inside, outside = (np.full(len(columns), math.nan) for _ in range(2))
    rank = math.nan
    row: Wanted = np.empty(0, dtype=np.int8)
    growth = np.ones(2)
    error = next(iter(found.errors.values()), "")
    params = point = None
    if chosen is None:
        error = error or f"none of the {len(found.values):,} trials has a finite {goals[0].name}"
        if outer.joined is not None:
            row = np.zeros(len(outer.joined.bars), dtype=np.int8)
    else:
        inside = found.values[chosen]
        sample = _sample(value)
        outcome = outer.search(_some(found, [chosen, *sample]))
        if 0 in outcome.errors:
            error = outcome.errors[0]
        outside = np.array([_at(outcome, 0, name) for name in columns])
        if goals[0].name in outcome.columns:
            rank = spearman(value[sample], outcome.column(goals[0].name)[1:])
        params = found.params(chosen)
        if outer.joined is not None and 0 not in outcome.errors:
            row, growth = outer.curve(params)
            point = _point(found, chosen)
        elif outer.joined is not None:
            row = np.zeros(len(outer.joined.bars), dtype=np.int8)
    for side in (inner, outer):
        side.close()
    return Judged(
        run=FoldRun(
            number=fold.number,
            train=_spans(fold.train, bars),
            test=_spans(fold.test, bars),
            params=None if params is None else {name: plain(it) for name, it in params.items()},
            trials=len(found.values),
            failed=len(found.errors),
            error=error,
            inside=inside,
            outside=outside,
            rank=rank,
            years=(inner.years, outer.years),
            targets=row.targets if isinstance(row, Orders) else row,
            limits=np.broadcast_to(row.limits, (LIMITS, len(row)))
            if isinstance(row, Orders)
            else np.empty((LIMITS, 0)),
            prices=_prices(bars, keep) if outer.joined is not None else {},
        ),
        columns=columns,
        growth=growth,
        point=point,
    )


class _Side:
    """The train or the test bars of a fold, ready to run trials on."""

    def __init__(
        self,
        strategy: Callable[..., object],
        bars: Bars,
        pieces: Sequence[Piece],
        goals: Sequence[Goal],
        options: EngineOptions,
    ) -> None:
        self._goals = goals
        self._options = options
        self.joined: Joined | None = None
        if is_foreign(strategy):
            # What a function does with its warm-up is its own business: it gets the bars of the window alone.
            (piece,) = pieces
            self._strategy, self._bars = strategy, bars.cut(slice(piece.start, piece.stop))
        else:
            self.joined = Joined(bars, pieces)
            self._strategy = self.joined.fitted(cast(type[Strategy], strategy))
            self._bars = self.joined.bars
        self.years = (self._bars.day_count - 1) / self._bars.calendar.periods_per_year

    def close(self) -> None:
        if self.joined is not None:
            self.joined.close()

    def search(self, trials: Search) -> Found:
        return search(
            self._strategy,
            self._bars,
            trials,
            objective=[goal.fn or goal.name for goal in self._goals],
            maximize=[goal.maximize for goal in self._goals],
            options=self._options,
        )

    def curve(self, params: dict[str, object]) -> tuple[Wanted, Floats]:
        """Return the targets of one run (with its stops) and its equity over its start."""
        assert self.joined is not None
        made = cast(type[Strategy], self._strategy)(**params)
        evaluator = Evaluator(self._bars, self._options)
        row = evaluator.wants(made)
        ran = evaluator.one(row)
        return row.copy(), ran.equity / self._options.initial_capital


def spearman(a: Floats, b: Floats) -> float:
    """Return Spearman's rank correlation of the pairs that are finite, ties ranked by their mean; NaN below three.

    Examples
    --------
    >>> round(spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 9.0, 20.0, 30.0])), 2)
    0.8
    """
    both = np.isfinite(a) & np.isfinite(b)
    if np.count_nonzero(both) < 3:
        return math.nan
    x, y = _ranks(a[both]), _ranks(b[both])
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else math.nan


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[place]
    return ranks


def _sample(value: Floats) -> list[int]:
    """Return trials with a finite value, at most `RANKED`, evenly spread over the search."""
    finite = np.flatnonzero(np.isfinite(value))
    if len(finite) > RANKED:
        finite = finite[np.linspace(0, len(finite) - 1, RANKED).round().astype(np.int64)]
    return [int(i) for i in finite]


def _some(found: Found, which: Sequence[int]) -> Search:
    """Return the search of these trials of another one alone, in this order."""
    trials, wanted = found.trials, np.asarray(which, dtype=np.int64)
    if found.points is not None:
        return Search(space=trials.space, method="random", count=len(wanted), points=found.points[wanted])
    numbers = wanted if trials.numbers is None else trials.numbers[wanted]
    return Search(space=trials.space, count=len(wanted), numbers=numbers)


def _point(found: Found, trial: int) -> list[float]:
    space, numbers = found.trials.space, found.trials.numbers
    if found.points is not None:
        return [float(x) for x in found.points[trial]]
    return [float(x) for x in space.points(np.array([trial if numbers is None else numbers[trial]]))[0]]


def _at(found: Found, place: int, column: str) -> float:
    return float(found.column(column)[place]) if column in found.columns else math.nan


def _spans(pieces: Sequence[Piece], bars: Bars) -> list[list[int]]:
    return [[piece.start, piece.stop, *bars.time[[piece.start, piece.stop - 1]].tolist()] for piece in pieces]


def _prices(bars: Bars, pieces: Sequence[Piece]) -> dict[int, Floats]:
    starts = {max(piece.start - 1, 0): piece.stop for piece in pieces}
    return {start: bars.block[:, start:stop] for start, stop in starts.items()}
