"""Moments of an exchange's sessions: so long after the open, before the close, or every minute in between.

Pure but for the calendars, which are loaded when they are first asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from jobnb.durations import seconds
from jobnb.errors import UsageProblem
from jobnb.triggers import calendars
from jobnb.triggers.calendars import During
from jobnb.triggers.condition import InSession, TradingDay
from jobnb.triggers.interval import Interval
from jobnb.triggers.trigger import utc

#: Farther from the open or close than this it is another session's.
FARTHEST = timedelta(hours=12)


def offset(value: str | float | timedelta) -> timedelta:
    """Return a signed distance: ``"+5m"``, ``"-10m"``, ``0``, seconds, or a timedelta.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it is no duration, or more than twelve hours.
    """
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, str):
        sign, text = re.fullmatch(r"\s*([+-]?)\s*(.*)", value, re.DOTALL).groups()  # type: ignore[union-attr]  # always fits
        found = timedelta() if re.fullmatch(r"0[smh]?", text.strip()) else timedelta(seconds=seconds(text, "offset"))
        found = -found if sign == "-" else found
    else:
        found = timedelta(seconds=float(value))
    if abs(found) > FARTHEST:
        raise UsageProblem(f"{value!r} is more than twelve hours from the session; name the other one, or use cron.")
    return found


@dataclass(frozen=True, kw_only=True)
class SessionEdge:
    """Each session's open or close, and so long before or after it.

    Attributes
    ----------
    exchange : str
        ISO 10383 code.
    edge : {"open", "close"}
        Half days close earlier.
    offset : timedelta
        Below zero: before it.
    """

    exchange: str
    edge: Literal["open", "close"]
    offset: timedelta = timedelta()

    @property
    def text(self) -> str:
        """For example ``XNYS close -10m``."""
        if not self.offset:
            return f"{self.exchange} {self.edge}"
        sign = "-" if self.offset < timedelta() else "+"
        return f"{self.exchange} {self.edge} {sign}{_short(abs(self.offset))}"

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule after another one."""
        begin = utc(moment)
        for session in calendars.from_on(self.exchange, begin - self.offset):
            tick = (session.open if self.edge == "open" else session.close) + self.offset
            if tick > begin:
                return tick
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        micro = self.offset // timedelta(microseconds=1)
        return {"kind": "session_edge", "exchange": self.exchange, "edge": self.edge, "offset_us": micro}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> SessionEdge:
        """Build it again."""
        return cls(exchange=said["exchange"], edge=said["edge"], offset=timedelta(microseconds=said["offset_us"]))


@dataclass(frozen=True, kw_only=True)
class SessionInterval:
    """Every so often during sessions, counted from the begin of each stretch; not at its end.

    Attributes
    ----------
    exchange : str
    every : timedelta
    during : {"regular", "pre", "post", "extended"}
        ``regular`` leaves the lunch break out; ``extended`` is all three.
    """

    exchange: str
    every: timedelta
    during: During = "regular"

    @property
    def text(self) -> str:
        """For example ``every 1m during XNYS regular``."""
        return f"every {_short(self.every)} during {self.exchange} {self.during}"

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule after another one."""
        begin = utc(moment)
        for session in calendars.from_on(self.exchange, begin, extended=self.during != "regular"):
            for first, end in session.spans(self.during):
                if end <= begin:
                    continue
                tick = first if first > begin else first + ((begin - first) // self.every + 1) * self.every
                if tick < end:
                    return tick
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        micro = self.every // timedelta(microseconds=1)
        return {"kind": "session_interval", "exchange": self.exchange, "every_us": micro, "during": self.during}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> SessionInterval:
        """Build it again."""
        every = timedelta(microseconds=said["every_us"])
        return cls(exchange=said["exchange"], every=every, during=said["during"])


@dataclass(frozen=True)
class Market:
    """An exchange, by whose sessions schedules go.

    Parameters
    ----------
    exchange : str
        ISO 10383 code, for example ``XNYS``, ``XLON``, ``XTKS``, ``XHKG``.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest name.
    MissingPackage
        ``MISSING_PACKAGE``: the extra ``market`` is not installed.
    """

    exchange: str

    def __post_init__(self) -> None:
        calendars.check(self.exchange)

    def open(self, offset_: str | float | timedelta = 0) -> SessionEdge:
        """Return the trigger of each open, and so long after (``"+5m"``) or before (``"-5m"``) it."""
        return SessionEdge(exchange=self.exchange, edge="open", offset=offset(offset_))

    def close(self, offset_: str | float | timedelta = 0) -> SessionEdge:
        """Return the trigger of each close, and so long before (``"-10m"``) or after it; half days included."""
        return SessionEdge(exchange=self.exchange, edge="close", offset=offset(offset_))

    def every(self, every: str | float | timedelta, during: During = "regular") -> SessionInterval:
        """Return the trigger of every so often while the exchange trades.

        Parameters
        ----------
        every : str, float or timedelta
            At least one second.
        during : {"regular", "pre", "post", "extended"}
        """
        calendars.check(self.exchange, during)
        return SessionInterval(exchange=self.exchange, every=Interval.parse(every).every, during=during)

    def hours(self, during: During = "regular") -> InSession:
        """Return the condition that the exchange trades, for ``only=`` and ``skip=``."""
        calendars.check(self.exchange, during)
        return InSession(exchange=self.exchange, during=during)

    @property
    def days(self) -> TradingDay:
        """The condition that the exchange has a session on that date of its own, for ``only=`` and ``skip=``."""
        return TradingDay(exchange=self.exchange)


def _short(length: timedelta) -> str:
    return Interval(every=max(length, timedelta(seconds=1))).text.removeprefix("every ")
