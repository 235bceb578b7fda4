"""How a job is cut into tasks, and how what they say is folded into one summary. Pure decisions, no I/O.

A plan is JSON in the job's row: ``{"type": "single" | "map" | "grid" | "random" | "tpe" | "walk_forward" |
"cross_validation", "items": n}``, perhaps with ``generation`` (items that may be out at a time), ``finale`` (the last
item waits for all others) and ``max_time`` (seconds after which it ends with what it has). Tasks are kept short by a
time budget, not by a guess: a child that has used it up, or is told that it is enough, ends between two items and the
rest is handed out again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobnb.research.fold_summary import fold as fold_folds
from jobnb.research.instrument_summary import fold as fold_instruments
from jobnb.research.summary import fold
from jobnb.service.spans import even

#: Work per task: long enough to hide a round trip (some 10 ms), short enough to lose little.
TASK_SECONDS = 0.4
#: The same for the many small runs of a sweep, which are done again in no time: the way there and back costs some 20 ms
#: of the processors. Who waits for a place need not wait so long: see `enough`. One that is nearly done may take twice
#: as long.
SWEEP_SECONDS = 1.0
#: How long a task has its place before it goes to another job that has had one: those take turns.
SLICE_SECONDS = 0.4
#: The shortest task at the end of a job.
LEAST_SECONDS = 0.04
#: Less work than this goes out as one task.
WHOLE_SECONDS = 0.06
#: Points of the line that shows how the best value grew.
TRAIL_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The size of the next task: at most ``items`` items and ``budget`` seconds (None: no limit)."""

    items: int
    budget: float | None


def is_sweep(plan: Mapping[str, Any]) -> bool:
    """Tell whether the items are the many small runs of a sweep, none of which waits for another."""
    return plan.get("type") in ("grid", "random")


def cut(
    plan: Mapping[str, Any], *, left: int, slots: int, pace: float | None, undone: int = 0, row: int | None = None
) -> Cut:
    """Decide the size of a job's next task.

    Parameters
    ----------
    plan : mapping
        The job's plan.
    left : int
        Items that are not handed out yet.
    slots : int
        Places that this job could use at once, at least 1.
    pace : float or None
        Seconds per item as measured so far.
    undone : int, default 0
        Items that the other places have before them, more than the one that it is for: they are to be done together.
    row : int, optional
        The items that can be taken at once, in one row; ``left`` by default.
    """
    if plan.get("type") == "single":
        return Cut(items=1, budget=None)
    row = left if row is None else row
    share = -(-(left + undone) // max(1, slots))
    sweep = is_sweep(plan)
    seconds = SWEEP_SECONDS if sweep else TASK_SECONDS
    if pace is None:
        return Cut(items=min(share, row), budget=seconds)
    if pace * left <= WHOLE_SECONDS:
        return Cut(items=min(left, row), budget=2 * WHOLE_SECONDS)
    fitting = max(1, int(seconds / max(pace, 1e-9)))
    least = int(LEAST_SECONDS / max(pace, 1e-9))
    if slots > 1:
        share = max(share, least, 1)
    items = even(row, fitting) if share > fitting else share if row - share > least else row
    # A pace may be wrong; a sweep itself goes on for as long once more if it is nearly done by then, see `Allowance`.
    return Cut(items=min(items, row), budget=seconds if sweep else 2 * seconds)


def horizon(plan: Mapping[str, Any], first: int, items: int) -> int:
    """Return the item before which items may be handed out now.

    A plan with a ``generation`` hands out that many at a time: those after them are chosen from what they give. One
    with a ``finale`` keeps the last item back until all others are done: it puts together what they gave.

    Parameters
    ----------
    plan : mapping
    first : int
        The first item that is not done.
    items : int
        How many there are.

    Examples
    --------
    >>> horizon({"generation": 16}, 20, 100), horizon({"generation": 16}, 98, 100), horizon({}, 20, 100)
    (32, 100, 100)
    >>> horizon({"finale": True}, 20, 100), horizon({"finale": True}, 99, 100)
    (99, 100)
    """
    if plan.get("finale") and first < items - 1:
        return items - 1
    size = int(plan.get("generation") or 0)
    return min(items, (first // size + 1) * size) if size else items


def needs_others(plan: Mapping[str, Any], stop: int) -> bool:
    """Tell whether a task that ends before the item ``stop`` has to know what others left for it."""
    return bool(plan.get("generation") or (plan.get("finale") and stop == plan.get("items")))


def blend(pace: float | None, seconds: float, items: int) -> float | None:
    """Return the pace after a task of ``items`` items took ``seconds``; recent tasks count for more."""
    if items <= 0:
        return pace
    latest = seconds / items
    return latest if pace is None else 0.5 * pace + 0.5 * latest


def fold_sweep(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """Fold the summary of one task of a sweep into the job's, and follow the best value."""
    trail = list((total or {}).get("trail", ()))
    bare = {k: v for k, v in total.items() if k != "trail"} if total else None
    folded = dict(fold(bare, dict(part)))
    best = (folded.get("best") or {}).get("value")
    if best is not None:
        trail.append(best)
    if len(trail) > TRAIL_POINTS:
        trail = trail[:-1:2] + trail[-1:]
    return {**folded, "trail": trail}


def replace(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the newest summary: the way of jobs of one task."""
    return dict(part)


def add(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """Add up the counts of the tasks of an extraction."""
    return {name: part.get(name, 0) + (total or {}).get(name, 0) for name in {**(total or {}), **part}}


_FOLDS: Mapping[str, Callable[[Mapping[str, Any] | None, Mapping[str, Any]], dict[str, Any]]] = {
    "extract": add,
    "instruments": fold_instruments,
    "grid": fold_sweep,
    "random": fold_sweep,
    "tpe": fold_sweep,
    "walk_forward": fold_folds,
    "cross_validation": fold_folds,
}


def fold_summary(
    plan: Mapping[str, Any], total: Mapping[str, Any] | None, part: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Fold what a finished task says into the job's summary, as the plan's type wants it."""
    if part is None:
        return dict(total) if total is not None else None
    # Why it ends early may be there before anything else is.
    early = {name: total[name] for name in ("stopped",) if name in total} if total else {}
    bare = {name: value for name, value in total.items() if name not in early} if total else None
    return {**_FOLDS.get(str(plan.get("type")), replace)(bare or None, part), **early}
