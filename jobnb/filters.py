"""Functions of people's own as filters of a schedule: ``only=is_quarter_end``.

The service never runs them, so they travel with each run: its child asks them first, and a no ends the run at once.
Front doors build a `Filtered`, children run it.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jobnb import submission
from jobnb.errors import UsageProblem
from jobnb.work import Part, Report, Work, call

if TYPE_CHECKING:
    from jobnb.store import Store
    from jobnb.store.jobs import NewJob
    from jobnb.triggers.condition import Condition

#: ``f(moment)``, the moment of the tick in the schedule's time zone; true or false, plain or ``async``.
Filter = Callable[[datetime], object]


def parted(said: Any) -> tuple[list[Condition | str], tuple[Filter, ...]]:
    """Part what the service can decide from functions that only a child may run.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: something is neither.
    """
    one = isinstance(said, str) or hasattr(said, "holds") or callable(said)
    conditions: list[Condition | str] = []
    functions: list[Filter] = []
    for each in [said] if one or not isinstance(said, Iterable) else said:
        if isinstance(each, str) or hasattr(each, "holds"):
            conditions.append(each)
        elif callable(each) and not isinstance(each, type):
            functions.append(each)
        else:
            raise UsageProblem(
                f"{each!r} is no condition: write 'weekdays', 'mon,wed', an exchange such as 'XNYS', "
                "jobnb.market('XNYS').days, or a function of the tick's moment."
            )
    return conditions, tuple(functions)


def name_of(fn: Filter) -> str:
    """Return how a filter is called where people read of it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", None) or type(fn).__name__)


def words(only: Sequence[Filter], skip: Sequence[Filter]) -> list[str]:
    """Return what a list of schedules says of filters."""
    return [f"only {name_of(fn)}" for fn in only] + [f"not {name_of(fn)}" for fn in skip]


def guarded(store: Store, cluster: str, new: NewJob, only: Sequence[Filter], skip: Sequence[Filter], tz: str) -> NewJob:
    """Return the row of a job that asks filters before it does its work.

    Raises
    ------
    Unpicklable
        A filter cannot be sent.
    """
    code = new.content if new.content is not None else store.payloads.get(new.payload)
    return submission.wrapped(
        store, cluster, new, Filtered(code=code, only=tuple(only), skip=tuple(skip), tz=tz), [*only, *skip]
    )


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """A packed work that is done only at moments which its filters let through.

    A run that somebody started by hand, and one that is done again, is not asked for its moment.

    Attributes
    ----------
    code : bytes
        The pickled work.
    only, skip : sequence of callable
        All of ``only`` have to say yes and all of ``skip`` no.
    tz : str
        The time zone in which they are told the moment.
    """

    code: bytes
    only: Sequence[Filter] = ()
    skip: Sequence[Filter] = ()
    tz: str = "UTC"
    _opened: list[Work] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def work(self) -> Work:
        """The work, unpickled when it is first needed."""
        if not self._opened:
            self._opened.append(pickle.loads(self.code))
        return self._opened[0]

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Ask, and do the items if none refuses."""
        why = self._refusal()
        return Part(stop=start, result=b"", refused=why) if why else self.work.run(start, stop, budget, report)

    def _refusal(self) -> str:
        from jobnb.worker.context import current

        here = current()
        if here is None or here.fire_at is None or here.by_hand:
            return ""
        moment = here.fire_at.astimezone(ZoneInfo(self.tz))
        for word, functions in (("only", self.only), ("skip", self.skip)):
            for fn in functions:
                try:
                    answer = bool(call(fn, (moment,), {}))
                except Exception as error:
                    error.add_note(f"raised by the filter {word}={name_of(fn)}, asked for {moment.isoformat()}")
                    raise
                if answer is not (word == "only"):
                    return f"{word}={name_of(fn)} said {'yes' if answer else 'no'}"
        return ""
