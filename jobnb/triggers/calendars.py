"""The sessions of exchanges, by year: when each opens, pauses and closes, with holidays and half days.

Pure in effect: the same question has the same answer for as long as the installed calendars stay the same. They are
bounded, and what lies beyond is refused, never guessed. Needs the extra ``market``; loaded when a market is named.
"""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from jobnb.errors import MissingPackage, UsageProblem, unknown
from jobnb.triggers.trigger import OutOfCalendar

During = Literal["regular", "pre", "post", "extended"]
DURING: tuple[During, ...] = ("regular", "pre", "post", "extended")
#: Exchanges of which `pandas_market_calendars` knows the hours before and after, by its own names.
_EXTENDED = {"XNYS": "NYSE", "XNAS": "NASDAQ", "ARCX": "NYSE", "BATS": "NYSE", "XASE": "NYSE"}
_YEARS_KEPT = 64

Span = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One trading day, all moments in UTC.

    Attributes
    ----------
    open, close : datetime
    pause : (datetime, datetime) or None
        The lunch break.
    pre, post : datetime or None
        Begin of the hours before the open, end of those after the close; None where the exchange has none.
    """

    open: datetime
    close: datetime
    pause: Span | None = None
    pre: datetime | None = None
    post: datetime | None = None

    def spans(self, during: During) -> list[Span]:
        """Return the stretches of the session in order, each from its begin to before its end."""
        regular = [(self.open, self.close)]
        if self.pause is not None:
            regular = [(self.open, self.pause[0]), (self.pause[1], self.close)]
        before = [(self.pre, self.open)] if self.pre is not None else []
        later = [(self.close, self.post)] if self.post is not None else []
        return {"regular": regular, "pre": before, "post": later, "extended": [*before, *regular, *later]}[during]


def check(exchange: str, during: During = "regular") -> None:
    """See that there is a calendar of an exchange, and of those hours.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest name.
    UsageProblem
        ``USAGE_ERROR``: nobody knows when that exchange trades before and after its session.
    """
    known = _exchange_calendars().get_calendar_names()
    if exchange not in known:
        raise unknown("exchange", exchange, known)
    if during not in DURING:
        raise unknown("part of a session", during, DURING)
    if during != "regular" and exchange not in _EXTENDED:
        raise UsageProblem(
            f"the hours before and after the session of {exchange} are not known; use during='regular'. "
            f"Known: {', '.join(sorted(_EXTENDED))}."
        )


@lru_cache(maxsize=_YEARS_KEPT)
def sessions(exchange: str, year: int, *, extended: bool = False) -> tuple[Session, ...]:
    """Return the sessions whose date is in a year, in order.

    Parameters
    ----------
    exchange : str
        ISO 10383 code, for example ``XNYS``.
    year : int
    extended : bool
        With the hours before and after.

    Raises
    ------
    OutOfCalendar
        ``OUT_OF_CALENDAR``: the holidays of that year are not known.
    """
    check(exchange, "extended" if extended else "regular")
    first, last = f"{year}-01-01", f"{year}-12-31"
    with warnings.catch_warnings():
        # Of pandas, about how these packages use it.
        warnings.simplefilter("ignore")
        kind = _exchange_calendars().calendar_utils.global_calendar_dispatcher
        try:
            calendar = kind.get_calendar(exchange, start=first, end=last)
        except ValueError as error:
            raise OutOfCalendar(
                f"the holidays of {exchange} in {year} are not known ({error}). "
                "Upgrade exchange_calendars, or end the schedule before."
            ) from error
        table = calendar.schedule
        edges = _edges(exchange, first, last) if extended else {}
    made = []
    for day, row in zip(table.index, table.itertuples(index=False), strict=True):
        pause = (_utc(row.break_start), _utc(row.break_end))
        pre, post = edges.get(day.date(), (None, None))
        made.append(
            Session(
                open=_known(_utc(row.open)),
                close=_known(_utc(row.close)),
                pause=(pause[0], pause[1]) if pause[0] is not None and pause[1] is not None else None,
                pre=pre,
                post=post,
            )
        )
    return tuple(made)


def from_on(exchange: str, moment: datetime, *, extended: bool = False) -> Iterator[Session]:
    """Yield the sessions from shortly before a moment on; a year is looked up only when it is reached.

    Raises
    ------
    OutOfCalendar
        ``OUT_OF_CALENDAR``: the holidays of a year that was reached are not known.
    """
    # The session of a date begins and ends at most a day before or after that date in UTC.
    begin = moment - timedelta(days=2)
    for year in itertools.count(begin.year):
        if year > datetime.max.year:
            return
        yield from (each for each in sessions(exchange, year, extended=extended) if (each.post or each.close) > begin)


@lru_cache(maxsize=_YEARS_KEPT)
def zone_of(exchange: str) -> ZoneInfo:
    """Return the time zone of an exchange."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calendar = _exchange_calendars().calendar_utils.global_calendar_dispatcher.get_calendar(exchange)
    return ZoneInfo(str(calendar.tz))


def _edges(exchange: str, first: str, last: str) -> dict[Any, Span]:
    table = _package("pandas_market_calendars").get_calendar(_EXTENDED[exchange])
    found = table.schedule(first, last, market_times=["pre", "market_open", "market_close", "post"])
    return {
        day.date(): (_known(_utc(row.pre)), _known(_utc(row.post)))
        for day, row in zip(found.index, found.itertuples(index=False), strict=True)
    }


def _utc(stamp: Any) -> datetime | None:
    # NaT, where there is no lunch break, is the only one that differs from itself.
    return None if stamp is None or stamp != stamp else stamp.to_pydatetime().astimezone(UTC)


def _known(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment


def _exchange_calendars() -> Any:
    return _package("exchange_calendars")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"calendars of exchanges need {name}, which is not installed here. Run: pip install 'jobnb[market]'"
        ) from error
