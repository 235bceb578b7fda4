"""The end of a walk-forward or a cross-validation: once all folds are done, their curve and its numbers for the card.

Runs in the child of the last fold. It decides nothing anew: it repeats the positions of what each fold chose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research import summary
from jobnb.research.engine import Evaluator, Wanted
from jobnb.research.goal import Goal, scored
from jobnb.research.joined import Joined
from jobnb.research.metrics import METRICS
from jobnb.research.stitched import paths, stitch

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.folds import Fold
    from jobnb.research.options import EngineOptions
    from jobnb.research.space import ParameterSpace
    from jobnb.research.strategy import Strategy

#: Values of a distribution that a card gets.
VALUES = 200

#: What a fold trades by, as a point of the space, by its number; None for one that stays out of the market.
Choices = Mapping[int, list[float] | None]


def to_carry(choices: Choices) -> bytes:
    """Return what some folds chose, for the child of the last one."""
    return json.dumps(list(choices.items()), separators=(",", ":")).encode()


def from_carried(carried: Iterable[bytes]) -> dict[int, list[float] | None]:
    """Read what `to_carry` wrote, of several tasks."""
    return {int(number): point for each in carried for number, point in json.loads(each)}


def finale(
    strategy: type[Strategy],
    bars: Bars,
    folds: Sequence[Fold],
    space: ParameterSpace,
    choices: Choices,
    judged: Sequence[Sequence[int]],
    *,
    goals: Sequence[Goal],
    options: EngineOptions,
    name: str,
) -> summary.Json | None:
    """Return what a card shows of the stitched curve; None where there is none.

    Parameters
    ----------
    strategy : type
    bars : Bars
    folds : sequence of Fold
    space : ParameterSpace
    choices : mapping
        Of all folds.
    judged : sequence of sequence of int
        See `stitched.paths`.
    goals : sequence of Goal
    options : EngineOptions
    name : str

    Returns
    -------
    dict
        ``paths``: how many; ``metrics``: of the one path, or the median of each over several; ``values``: the
        objective over the paths, ascending, at most 200 of them; ``curve``: of a single path, as
        `summary.backtest_summary` has it.
    """
    tests = {fold.number: [(piece.start, piece.stop) for piece in fold.test] for fold in folds}
    found = paths(tests, judged)
    if not found:
        return None
    rows = {fold.number: _row(strategy, bars, fold, space, choices.get(fold.number), options) for fold in folds}
    runs = [stitch(bars, tests, rows, path, name=name, options=options) for path in found]
    columns, values = scored(goals, METRICS, np.array([run.values for run in runs]), _unnoted)
    column = values[:, columns.index(goals[0].name)]
    ordered = np.sort(column[np.isfinite(column)])
    if len(ordered) > VALUES:
        ordered = np.quantile(ordered, np.linspace(0, 1, VALUES))
    with np.errstate(all="ignore"):
        middle = [_median(values[:, i]) for i in range(len(columns))]
    return {
        "paths": len(runs),
        "metrics": {name: summary.safe(value) for name, value in zip(columns, middle, strict=True)},
        "values": [float(f"{value:.5g}") for value in ordered],
        "curve": summary.backtest_summary(runs[0])["curve"] if len(runs) == 1 else None,
    }


def _row(
    strategy: type[Strategy],
    bars: Bars,
    fold: Fold,
    space: ParameterSpace,
    point: list[float] | None,
    options: EngineOptions,
) -> Wanted:
    joined = Joined(bars, fold.test)
    if point is None:
        return np.zeros(len(joined.bars), dtype=np.int8)
    made = joined.fitted(strategy)(**space.at(point))
    wanted = Evaluator(joined.bars, options).wants(made).copy()
    joined.close()
    return wanted


def _median(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _unnoted(place: int, error: Exception) -> None:
    """Let a failure of the user's objective on a path be a path without a value."""
