"""One moment, once. Pure, in any process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobnb.triggers.trigger import utc


@dataclass(frozen=True, kw_only=True)
class Once:
    """One moment.

    Attributes
    ----------
    at : datetime
        Aware.
    """

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", utc(self.at))

    @property
    def text(self) -> str:
        """For example ``once at 2026-11-23 14:00 UTC``."""
        return f"once at {self.at:%Y-%m-%d %H:%M:%S} UTC"

    def after(self, moment: datetime) -> datetime | None:
        """Return the moment itself, as long as it is to come."""
        return self.at if self.at > utc(moment) else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"kind": "once", "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Once:
        """Build it again."""
        return cls(at=datetime.fromisoformat(said["at"]))
