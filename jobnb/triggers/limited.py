"""A trigger within limits: only or not at some moments, from a date, until a date.

Pure, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobnb.errors import UsageProblem
from jobnb.triggers.condition import Condition
from jobnb.triggers.trigger import Trigger, utc

_INSTANT = timedelta(microseconds=1)
#: A trigger and conditions that never meet: looked for so far, and with so many steps.
FARTHEST = timedelta(days=3660)
_STEPS = 100_000


@dataclass(frozen=True, kw_only=True)
class Limited:
    """The ticks of a trigger at which all of ``only`` and none of ``skip`` hold, from ``start`` to before ``end``.

    Attributes
    ----------
    trigger : Trigger
    only, skip : tuple of Condition
    start, end : datetime or None
        Aware.
    asked : tuple of str
        In words, the filters that only a run itself can ask; they let every tick through here.
    """

    trigger: Trigger
    only: tuple[Condition, ...] = ()
    skip: tuple[Condition, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, utc(value))
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageProblem(f"the schedule ends ({self.end}) before it starts ({self.start}).")

    @property
    def text(self) -> str:
        """The trigger's own words and the limits."""
        parts = [self.trigger.text]
        parts += [f"only {each.text}" for each in self.only]
        parts += [f"not {each.text}" for each in self.skip]
        parts += self.asked
        if self.start is not None:
            parts.append(f"from {self.start:%Y-%m-%d %H:%M} UTC")
        if self.end is not None:
            parts.append(f"until {self.end:%Y-%m-%d %H:%M} UTC")
        return ", ".join(parts)

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment of the rule after another one; None also if none comes within ten years."""
        at = utc(moment)
        if self.start is not None and at < self.start:
            at = self.start - _INSTANT
        last = at + FARTHEST
        for _ in range(_STEPS):
            tick = self.trigger.after(at)
            if tick is None or tick > last or (self.end is not None and tick >= self.end):
                return None
            wait = self._refused_until(tick)
            if wait is None:
                return None
            if wait <= tick:
                return tick
            at = wait - _INSTANT
        return None

    def _refused_until(self, tick: datetime) -> datetime | None:
        """Return a tick itself if it is allowed, else a later moment before which none is; None: never."""
        for condition, wanted in (*((c, True) for c in self.only), *((c, False) for c in self.skip)):
            if condition.holds(tick) is not wanted:
                return condition.changes(tick)
        return tick

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "kind": "limited",
            "trigger": self.trigger.to_json(),
            "only": [each.to_json() for each in self.only],
            "skip": [each.to_json() for each in self.skip],
            "start": None if self.start is None else self.start.isoformat(),
            "end": None if self.end is None else self.end.isoformat(),
            "asked": list(self.asked),
        }
