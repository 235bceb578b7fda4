"""Paths with a moment in them, such as ``sheets/{fire_at:%Y-%m-%d}.html``.

Checked at the front door, filled in where the job runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jobnb.errors import UsageProblem


@dataclass(frozen=True, kw_only=True)
class DatedPath:
    """Where a run writes a file.

    Attributes
    ----------
    template : str
        With ``{fire_at:%Y-%m-%d}`` (the moment that the run is for) and ``{name}`` (the schedule's or job's).
    name : str
    tz : str
        The time zone of the moment.

    Examples
    --------
    >>> DatedPath(template="{name}-{fire_at:%d %b}.html", name="nightly").at(datetime(2026, 11, 23, tzinfo=UTC))
    PosixPath('nightly-23 Nov.html')
    """

    template: str
    name: str = ""
    tz: str = "UTC"

    @classmethod
    def parse(cls, path: str | os.PathLike[str], suffix: str, *, name: str, tz: str = "UTC") -> DatedPath:
        """Check what people write.

        Parameters
        ----------
        path : path
        suffix : str
            That the file has to have.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: a part in braces is not known, or the file is of another kind.
        """
        made = cls(template=os.fspath(path), name=name, tz=tz)
        try:
            example = made.at(datetime(2026, 11, 23, tzinfo=UTC))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise UsageProblem(
                f"{made.template!r} cannot be filled in ({error}); known are {{fire_at:%Y-%m-%d}} and {{name}}."
            ) from error
        if example.suffix != suffix:
            raise UsageProblem(f"{made.template!r} has to end in {suffix}.")
        return made

    def at(self, moment: datetime) -> Path:
        """Return the path of a moment."""
        local = moment.astimezone(ZoneInfo(self.tz))
        return Path(self.template.format(fire_at=local, name=self.name.replace("/", "-"))).expanduser()


def as_of() -> datetime:
    """Return the moment that the running job is for; now, outside a schedule."""
    from jobnb.worker.context import current

    here = current()
    return here.fire_at if here is not None and here.fire_at is not None else datetime.now(UTC)
