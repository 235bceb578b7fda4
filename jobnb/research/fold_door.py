"""The front door of walk-forward and cross-validation: checks a request, and makes the work of it.

Run where the job is submitted. Whatever is wrong is found here, before anything is stored.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem, unknown
from jobnb.research.cross_validation import CombinatorialPurgedCV, PurgedKFold
from jobnb.research.fold_work import FoldWork
from jobnb.research.folds import SplitsRows, Splitter, folds_of
from jobnb.research.foreign import is_foreign, name_of
from jobnb.research.sampler import METHODS as SEARCHES
from jobnb.research.walk_forward import WalkForward

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.sweep import SweepWork

#: What ``method=`` may say beside the ways to search.
METHODS: Mapping[str, type[Splitter]] = {
    "walk-forward": WalkForward,
    "purged-kfold": PurgedKFold,
    "cpcv": CombinatorialPurgedCV,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a request splits the data, what it searches by, and what is left of its settings."""

    cv: SplitsRows
    search: str
    rest: Mapping[str, Any]


def planned(method: str, cv: object, settings: Mapping[str, Any]) -> Plan | None:
    """Return how a request splits the data; None if it does not.

    Parameters
    ----------
    method : str
        One of `METHODS`, or with ``cv`` a way to search.
    cv : object
        A splitter, or None.
    settings : mapping
        What else was said: settings of the splitter, ``search``, engine options, fixed parameters.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a setting is missing or does not fit, or two are said that exclude one another.
    UnknownName
        ``UNKNOWN_NAME``: there is no such method.
    """
    if cv is not None:
        if method in METHODS:
            raise UsageProblem(f'method="{method}" and cv= say both how to split; leave one out')
        if not isinstance(cv, SplitsRows):
            raise UsageProblem(f"cv must be a splitter such as jobnb.PurgedKFold(5), not {cv!r}")
        return Plan(cv=cv, search=method, rest=settings)
    if method not in METHODS:
        if method not in SEARCHES:
            raise unknown("method", method, [*SEARCHES, *METHODS])
        return None
    made = METHODS[method]
    accepted = [name for name in inspect.signature(made).parameters if name != "self"]
    said = {name: settings[name] for name in accepted if name in settings}
    rest = {name: value for name, value in settings.items() if name not in said}
    search = rest.pop("search", "grid")
    if search not in SEARCHES:
        raise unknown("search", str(search), SEARCHES)
    if made is WalkForward and not {"train", "test"} <= set(said):
        raise UsageProblem('method="walk-forward" needs train= and test=: bars (500), or a duration ("3y", "6M")')
    return Plan(cv=made(**said), search=search, rest=rest)


def fold_work(sweep: SweepWork, what: Mapping[str, Any], plan: Plan, bars: Bars) -> tuple[FoldWork, dict[str, Any]]:
    """Return the work that runs a checked search in each fold, and what the card says of it.

    Parameters
    ----------
    sweep : SweepWork
    what : mapping
        What the card would say of the search on all bars.
    plan : Plan
    bars : Bars
    """
    folds = tuple(folds_of(plan.cv, bars.index))
    if is_foreign(sweep.strategy) and any(len(fold.train) > 1 or len(fold.test) > 1 for fold in folds):
        raise UsageProblem(
            f"{name_of(sweep.strategy)} is a function, which runs on one stretch of prices at a time; "
            "a cross-validation of several pieces needs a jobnb.Strategy"
        )
    work = FoldWork(
        strategy=sweep.strategy,
        trials=sweep.trials,
        goals=sweep.goals,
        options=sweep.options,
        data=sweep.data,
        folds=folds,
        kind=plan.cv.kind if isinstance(plan.cv, Splitter) else "folds",
        calendar=bars.calendar,
        span=bars.span,
        said=repr(plan.cv),
        paths=plan.cv.paths() if isinstance(plan.cv, CombinatorialPurgedCV) else (),
    )
    said = {"method": work.kind, "search": plan.search, "cv": work.said, "folds": work.count}
    return work, {**what, **said, "runs": work.count * sweep.count}
