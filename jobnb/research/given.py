"""Prices that a run of a schedule fetches for itself: a job of its own fetches them, the run is given them.

So every task of the run, and whoever does it again, works on the same bars. Front doors build these, children run them.
"""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle

from jobnb.errors import DataError, UsageProblem
from jobnb.work import Part, Report, call

if TYPE_CHECKING:
    from jobnb.data.origin import DataSource
    from jobnb.research.bars import Bars


@dataclass(frozen=True, kw_only=True)
class GivenBars:
    """The bars of one instrument as a parent of the job has fetched them; stands where a `DataRef` does.

    Attributes
    ----------
    name : str
        What cards call them.
    place : int
        Of the parent among the job's links.
    """

    name: str
    place: int = 0
    #: It names no blob.
    key = ""

    @property
    def meta(self) -> Mapping[str, object]:
        """What is known of them before they are there."""
        return {"name": self.name}

    def load(self) -> Bars:
        """Return them, the same object within one process."""
        from jobnb import handover
        from jobnb.research.bars import Bars

        found = handover.value(self.place)
        if not isinstance(found, Bars):
            raise DataError(
                f"{self.name} gave several instruments, and this search is of one. Say portfolio=True or across='mean'."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class FetchWork:
    """Fetches the prices of a run: one call of a function, whose frame is checked.

    Attributes
    ----------
    fetch : callable or mapping of str to callable
        ``fetch()`` or ``fetch(fire_at)``; of a mapping each value, one per instrument, or a frame as it is.
    name : str
    """

    fetch: Any
    name: str

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Call it; the result is `Bars`, or what it gave where that is several instruments."""
        from jobnb.research import door, instruments

        if isinstance(self.fetch, Mapping):
            found: Any = {symbol: called(each) if callable(each) else each for symbol, each in self.fetch.items()}
        else:
            found = called(self.fetch)
        one = instruments.single(found, self.name)
        if one is not None:
            found = one[1]
        if instruments.several(found):
            instruments.read(found, self.name)
            return Part(stop=1, result=cloudpickle.dumps(found), summary={"instruments": len(found)})
        bars = door.bars(found, None if getattr(found, "attrs", {}).get("name") else self.name)
        return Part(stop=1, result=pickle.dumps(bars), summary={"records": len(bars)})


def called(fetch: Callable[..., Any]) -> Any:
    """Call what fetches prices, with the moment that they are for where it takes one."""
    from jobnb.dated import as_of

    return call(fetch, (as_of(),) if takes_moment(fetch) else (), {})


def takes_moment(fetch: Callable[..., Any]) -> bool:
    """Tell whether a function of prices has to be given the moment that they are for.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it needs more than that.
    """
    try:
        needed = [
            p
            for p in inspect.signature(fetch).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return False
    if len(needed) > 1 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise UsageProblem(
            f"{getattr(fetch, '__name__', fetch)}({', '.join(p.name for p in needed)}) needs arguments: a function of "
            "prices takes none, or the moment that they are for. functools.partial gives it the others."
        )
    return bool(needed)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A request for prices that is made anew by every run; see ``jobnb.deferred.prices``.

    Attributes
    ----------
    symbol, interval, source
        See `jobnb.data.get`.
    start : object
        A date, or so long before the moment that the run is for: ``"3y"``, ``"6M"``, ``"90d"``.
    """

    symbol: str
    start: object
    interval: str = "1d"
    source: str | DataSource | Callable[..., Any] = "yfinance"

    @property
    def __name__(self) -> str:
        """The symbol, by which cards call the prices."""
        return self.symbol

    def __call__(self) -> Any:
        """Fetch them, up to the moment that the run is for; what is kept already is not fetched again."""
        from jobnb.data import access
        from jobnb.dated import as_of

        until = as_of()
        return access.get(
            self.symbol, start=since(self.start, until), end=until, interval=self.interval, source=self.source
        )


def since(start: object, until: Any) -> object:
    """Return where prices begin: so long before a moment, or on a date, as it was said.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it is a text, and neither.
    """
    if not isinstance(start, str):
        return start
    import pandas as pd

    from jobnb.research.walk_forward import offset_of

    # First, because pandas takes "1M" for a date.
    if re.fullmatch(r"(\s*\d+\s*[A-Za-z]+\s*)+", start):
        return (pd.Timestamp(until) - offset_of(start, "start")).to_pydatetime()
    try:
        pd.Timestamp(start)
    except ValueError as error:
        raise UsageProblem(f"start must be a date, or a length such as '3y' or '90d', not {start!r}.") from error
    return start
