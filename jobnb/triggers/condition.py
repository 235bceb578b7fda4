"""Conditions on moments, for ``only=`` and ``skip=``: market hours, trading days, weekdays, hours of the day.

Pure but for the calendars. A condition says when it changes next, so that nights of ticks are stepped over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from jobnb.errors import unknown
from jobnb.triggers import calendars
from jobnb.triggers.calendars import During
from jobnb.triggers.trigger import utc, zone

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GROUPS = {"weekdays": DAYS[:5], "weekends": DAYS[5:]}


class Condition(Protocol):
    """Something that holds at some moments."""

    @property
    def text(self) -> str:
        """In words."""
        ...

    def holds(self, moment: datetime) -> bool:
        """Say whether it holds at a moment."""
        ...

    def changes(self, moment: datetime) -> datetime | None:
        """Return a moment after this one up to which it stays as it is; None: for ever.

        It may name one too early, never one too late.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `jobnb.triggers.described.condition` builds it from again."""
        ...


@dataclass(frozen=True, kw_only=True)
class InSession:
    """The exchange trades.

    Attributes
    ----------
    exchange : str
    during : {"regular", "pre", "post", "extended"}
    """

    exchange: str
    during: During = "regular"

    @property
    def text(self) -> str:
        """For example ``XNYS regular hours``."""
        return f"{self.exchange} {self.during} hours"

    def holds(self, moment: datetime) -> bool:
        """Say whether it trades at a moment, the begin of a session included, its end not."""
        at = utc(moment)
        first, end = self._next_span(at)
        return first <= at < end

    def changes(self, moment: datetime) -> datetime | None:
        """Return the next open or close."""
        at = utc(moment)
        first, end = self._next_span(at)
        return first if at < first else end

    def _next_span(self, at: datetime) -> calendars.Span:
        for session in calendars.from_on(self.exchange, at, extended=self.during != "regular"):
            for span in session.spans(self.during):
                if span[1] > at:
                    return span
        raise AssertionError("sessions go on, or end in an OutOfCalendar")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"kind": "in_session", "exchange": self.exchange, "during": self.during}


@dataclass(frozen=True, kw_only=True)
class TradingDay:
    """The exchange has a session on that date, by its own clock.

    Attributes
    ----------
    exchange : str
    """

    exchange: str

    @property
    def text(self) -> str:
        """For example ``XNYS trading days``."""
        return f"{self.exchange} trading days"

    def holds(self, moment: datetime) -> bool:
        """Say whether a session begins on that date."""
        tz = calendars.zone_of(self.exchange)
        day = utc(moment).astimezone(tz).date()
        for session in calendars.from_on(self.exchange, utc(moment) - timedelta(days=1)):
            begins = session.open.astimezone(tz).date()
            if begins >= day:
                return begins == day
        raise AssertionError("sessions go on, or end in an OutOfCalendar")

    def changes(self, moment: datetime) -> datetime | None:
        """Return the next midnight of the exchange."""
        return _midnight(moment, calendars.zone_of(self.exchange))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"kind": "trading_day", "exchange": self.exchange}


@dataclass(frozen=True, kw_only=True)
class Weekdays:
    """Some days of the week.

    Attributes
    ----------
    days : tuple of str
        ``mon`` to ``sun``, in order.
    tz : str
        Whose midnight counts.
    """

    days: tuple[str, ...]
    tz: str = "UTC"

    def __post_init__(self) -> None:
        zone(self.tz)
        for day in self.days:
            if day not in DAYS:
                raise unknown("day of the week", day, DAYS)

    @classmethod
    def parse(cls, text: str, tz: str = "UTC") -> Weekdays:
        """Read ``weekdays``, ``weekends``, or days such as ``mon,wed``.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: with the nearest day.
        """
        said = [part.strip().lower() for part in text.split(",") if part.strip()]
        named = [day for part in said for day in _GROUPS.get(part, (part[:3] if part[:3] in DAYS else part,))]
        for day in named:
            if day not in DAYS:
                raise unknown("day of the week", day, [*DAYS, *_GROUPS])
        return cls(days=tuple(day for day in DAYS if day in named), tz=tz)

    @property
    def text(self) -> str:
        """For example ``mon, wed (UTC)``."""
        name = next((name for name, days in _GROUPS.items() if days == self.days), ", ".join(self.days))
        return f"{name} ({self.tz})"

    def holds(self, moment: datetime) -> bool:
        """Say whether it is one of the days."""
        return DAYS[utc(moment).astimezone(zone(self.tz)).weekday()] in self.days

    def changes(self, moment: datetime) -> datetime | None:
        """Return the next midnight; None where it is every day or none."""
        return None if len(self.days) in (0, len(DAYS)) else _midnight(moment, zone(self.tz))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"kind": "weekdays", "days": list(self.days), "tz": self.tz}


def _midnight(moment: datetime, tz: ZoneInfo) -> datetime:
    local = utc(moment).astimezone(tz)
    # One day on by the calendar, not by 24 hours.
    following = (local.replace(tzinfo=None) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    found = following.replace(tzinfo=tz).astimezone(UTC)
    return found if found > utc(moment) else utc(moment) + timedelta(hours=1)
