"""What every trigger is: a rule that names the next moment after another one.

Pure, in any process. Two answers to the same question are equal, whenever and wherever it is asked: so ticks are the
same whether they are computed in one go or after any number of restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jobnb.errors import UsageProblem, unknown

Json = Mapping[str, Any]


class OutOfCalendar(UsageProblem):
    """The calendar of the exchange does not reach that far: whether it is open then is not known."""

    code = "OUT_OF_CALENDAR"


@runtime_checkable
class Trigger(Protocol):
    """A rule of moments."""

    @property
    def text(self) -> str:
        """The rule in words, as a list of schedules shows it."""
        ...

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule strictly after ``moment``, in UTC; None if there is none any more.

        Raises
        ------
        OutOfCalendar
            ``OUT_OF_CALENDAR``: it depends on sessions that no calendar knows yet.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `jobnb.triggers.described.trigger` builds it from again; ``kind`` names its class."""
        ...


def utc(moment: datetime) -> datetime:
    """Return an aware moment in UTC.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it has no time zone, so that nobody knows which moment it is.
    """
    if moment.tzinfo is None:
        raise UsageProblem(
            f"{moment} has no time zone. Write for example datetime(…, tzinfo=ZoneInfo('Europe/Berlin'))."
        )
    return moment.astimezone(UTC)


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise unknown("time zone", name, available_timezones()) from error
