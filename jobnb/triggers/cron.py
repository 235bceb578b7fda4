"""Five fields of cron in a time zone, right over changes of the clock.

Pure, in any process. `cronsim <https://github.com/cuu508/cronsim>`_ does the arithmetic as Debian's cron does: what is
at a fixed time and falls into the gap of spring runs once, right after it; what falls into the repeated hour of autumn
runs once; what runs every hour or minute goes by real time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

from jobnb.errors import UsageProblem
from jobnb.triggers.trigger import utc, zone

_RANGE_OF_ONE = re.compile(r"\b(\w+)-\1/\d+")
_FIELDS = "minute hour day-of-month month day-of-week"
#: Ticks to look through for one that is later in real time than the moment asked for: the repeated hour has few.
_MOST_REPEATED = 10_000


@dataclass(frozen=True, kw_only=True)
class Cron:
    """The moments of a cron expression.

    Attributes
    ----------
    expression : str
        Minute, hour, day of month, month, day of week: ``*``, numbers, lists, ranges, steps, names; 0 and 7 are
        Sunday. If neither day field begins with ``*``, one of them is enough.
    tz : str
        IANA name of the time zone.

    Examples
    --------
    >>> Cron(expression="0 8 * * 1-5", tz="America/New_York").after(datetime(2026, 11, 20, 14, tzinfo=UTC)).isoformat()
    '2026-11-23T13:00:00+00:00'
    """

    expression: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        zone(self.tz)
        fields = self.expression.split()
        if len(fields) != len(_FIELDS.split()):
            raise UsageProblem(
                f"{self.expression!r} has {len(fields)} fields; cron has five: {_FIELDS}, for example '0 8 * * 1-5'."
            )
        object.__setattr__(self, "expression", " ".join(fields))
        try:
            first = next(CronSim(self._plain, datetime(2024, 1, 1)), None)
        except CronSimError as error:
            raise UsageProblem(f"{self.expression!r} is no cron expression: {error} ({_FIELDS}).") from error
        if first is None:
            raise UsageProblem(f"{self.expression!r} never comes: there is no such day.")

    @property
    def _plain(self) -> str:
        # cronsim takes the step of a range of one value for one to the end of the field.
        return _RANGE_OF_ONE.sub(r"\1", self.expression)

    @property
    def text(self) -> str:
        """For example ``0 8 * * 1-5 America/New_York``."""
        return f"{self.expression} {self.tz}"

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule after another one."""
        begin = utc(moment)
        found = CronSim(self._plain, begin.astimezone(zone(self.tz)))
        for _ in range(_MOST_REPEATED):
            tick = next(found, None)
            if tick is None:
                return None
            # cronsim goes by the wall clock: in the repeated hour it names a time of the first pass again.
            if (real := tick.astimezone(UTC)) > begin:
                return real
        raise AssertionError(f"{self.expression!r} does not get past {moment}")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"kind": "cron", "expression": self.expression, "tz": self.tz}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Cron:
        """Build it again."""
        return cls(expression=said["expression"], tz=said["tz"])
