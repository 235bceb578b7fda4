"""Every so often, counted from an anchor: ticks stay where they are, however late one of them is noticed.

Pure, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobnb.durations import seconds
from jobnb.errors import UsageProblem
from jobnb.triggers.trigger import utc

#: Of an interval that nobody anchored: midnight UTC, on a Monday, so that ``"1h"`` is each full hour.
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
#: The store counts microseconds, and nobody can look more often than this.
LEAST = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The moments ``anchor + k * every``.

    Attributes
    ----------
    every : timedelta
        At least one second.
    anchor : datetime
        Aware. By default a midnight in UTC, so that hours are full hours.

    Examples
    --------
    >>> Interval.parse("15m").after(datetime(2026, 11, 23, 9, 20, tzinfo=UTC)).isoformat()
    '2026-11-23T09:30:00+00:00'
    """

    every: timedelta
    anchor: datetime = MONDAY

    def __post_init__(self) -> None:
        if self.every < LEAST:
            raise UsageProblem(f"every {self.every.total_seconds():g} s is too often; at least one second.")
        object.__setattr__(self, "anchor", utc(self.anchor))

    @classmethod
    def parse(cls, every: float | str | timedelta, anchor: datetime = MONDAY) -> Interval:
        """Read ``"5s"``, ``"10m"``, ``"1h"``, seconds or a timedelta."""
        return cls(every=timedelta(seconds=seconds(every, "every")), anchor=anchor)

    @property
    def text(self) -> str:
        """For example ``every 15m``."""
        left = self.every // timedelta(microseconds=1)
        parts = []
        for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)):
            count, left = divmod(left, size)
            if count:
                parts.append(f"{count}{unit}")
        if left:
            parts.append(f"{left / 1e6:g}s")
        return f"every {''.join(parts)}"

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule after another one."""
        return self.anchor + ((utc(moment) - self.anchor) // self.every + 1) * self.every

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "kind": "interval",
            "every_us": self.every // timedelta(microseconds=1),
            "anchor": self.anchor.isoformat(),
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Interval:
        """Build it again."""
        every = timedelta(microseconds=int(said["every_us"]))
        return cls(every=every, anchor=datetime.fromisoformat(said["anchor"]))
