"""What a search makes best: a metric by its name, or a function of the metrics of a run.

Checked at the front door; functions travel with the work and are called in the child.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.metrics import MEANINGS, check_objective, maximized
from jobnb.research.space import Point

#: What `goals` takes: a name, a function, or several of them.
Objective = str | Callable[[Any], float] | Sequence[str | Callable[[Any], float]]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One objective.

    Attributes
    ----------
    name : str
        The metric, or what the function is called; the name of its column.
    maximize : bool
    fn : callable, optional
        Called with the metrics of a run: ``m.sharpe_ratio`` or ``m["sharpe_ratio"]``.
    """

    name: str
    maximize: bool = True
    fn: Callable[[Any], float] | None = None


def goals(
    objective: Objective, maximize: bool | Sequence[bool | None] | None = None, *, foreign: bool = False
) -> tuple[Goal, ...]:
    """Read objectives as people write them.

    Parameters
    ----------
    objective : str, callable, or a sequence of them
    maximize : bool or sequence of bool, optional
        Known for every metric of jobnb's own; True for anything else.
    foreign : bool, default False
        Whether the metrics come from a function of the user's, so that any name may be one.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: no such metric.
    UsageProblem
        ``USAGE_ERROR``: none, one twice, a function with the name of a metric, or not as many ways as objectives.

    Examples
    --------
    >>> [(goal.name, goal.maximize) for goal in goals(["sharpe_ratio", "volatility"])]
    [('sharpe_ratio', True), ('volatility', False)]
    """
    given: list[Any] = list(objective) if isinstance(objective, list | tuple) else [objective]
    ways = list(maximize) if isinstance(maximize, Sequence) else [maximize] * len(given)
    if not given:
        raise UsageProblem('there is no objective; give for example "sharpe_ratio"')
    if len(ways) != len(given):
        raise UsageProblem(f"maximize has {len(ways)} values for {len(given)} objectives")
    made = [_goal(one, way, foreign=foreign) for one, way in zip(given, ways, strict=True)]
    names = [goal.name for goal in made]
    for name in names:
        if names.count(name) > 1:
            raise UsageProblem(f"the objective {name} is given twice; give functions names of their own")
    return tuple(made)


def _goal(objective: str | Callable[[Any], float], maximize: bool | None, *, foreign: bool) -> Goal:
    if callable(objective):
        name = str(getattr(objective, "__name__", type(objective).__name__))
        name = "objective" if name == "<lambda>" else name
        if name in MEANINGS:
            raise UsageProblem(f"the objective is a function called {name}, which is a metric; rename it")
        return Goal(name=name, maximize=maximize is not False, fn=objective)
    if not isinstance(objective, str):
        raise UsageProblem(f"an objective is the name of a metric or a function of the metrics, not {objective!r}")
    if not foreign:
        check_objective(objective)
    return Goal(name=objective, maximize=maximized(objective) if maximize is None else bool(maximize))


def scored(
    goals: Sequence[Goal],
    columns: tuple[str, ...],
    values: npt.NDArray[np.float64],
    note: Callable[[int, Exception], None],
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Add a column for each function among the goals.

    Parameters
    ----------
    goals : sequence of Goal
    columns : tuple of str
    values : array (runs, len(columns))
    note : callable
        Told of each run for which a function failed; its value is NaN.
    """
    for goal in goals:
        if goal.fn is None:
            continue
        column = np.full((len(values), 1), np.nan)
        for i, row in enumerate(values.tolist()):
            if all(x != x for x in row):
                continue  # A run that failed has no metrics.
            metrics: Mapping[str, object] = dict(zip(columns, row, strict=True))
            try:
                column[i] = float(goal.fn(Point(metrics, what="metric")))
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises is that run's outcome
                note(i, error)
        columns, values = (*columns, goal.name), np.hstack([values, column])
    return columns, values
