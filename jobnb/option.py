"""What can be said about a job besides the work itself: name, priority, timeout, tags and so on.

Front doors build an `Options` (``jobnb.options(…)`` makes one, hence the singular name here);
everything is checked here, at the door, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from jobnb.durations import moment, seconds, size_bytes
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Priority


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a job is run.

    Attributes
    ----------
    name : str
        Shown on the card; the function's or strategy's name by default.
    priority : Priority, default ``normal``
    timeout : float or None
        Seconds that one attempt may run; None for no limit.
    memory_limit : int or None
        Bytes that the job's process group may use on one worker.
    cancel_grace : float, default 0.3
        Seconds between the polite interrupt and the kill.
    queue : str, default ``default``
    tags : tuple of str
    run_at : datetime or None
        Not before this moment.
    seed : int or None
        Seed of ``random`` and numpy in the job; drawn and recorded where it is not given.
    """

    name: str = ""
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    memory_limit: int | None = None
    cancel_grace: float = 0.3
    queue: str = "default"
    tags: tuple[str, ...] = ()
    run_at: datetime | None = None
    seed: int | None = None

    def merge(self, **changes: Any) -> Options:
        """Return a copy with ``changes`` checked and applied.

        Raises
        ------
        UnknownName
            There is no option of that name.
        UsageProblem
            A value is not usable.
        """
        checked = {name: _check(name, value) for name, value in changes.items()}
        return replace(self, **checked)


OPTION_NAMES = tuple(f.name for f in fields(Options))


def _check(name: str, value: Any) -> Any:
    if name not in OPTION_NAMES:
        raise unknown("option", name, OPTION_NAMES)
    if value is None:
        return Options.__dataclass_fields__[name].default
    match name:
        case "timeout":
            return seconds(value, "timeout")
        case "cancel_grace":
            return seconds(value, "cancel_grace")
        case "memory_limit":
            return size_bytes(value)
        case "priority":
            try:
                return Priority(str(value).lower())
            except ValueError:
                raise unknown("priority", str(value), [p.value for p in Priority]) from None
        case "tags":
            tags: Iterable[str] = [value] if isinstance(value, str) else value
            return tuple(str(t) for t in tags)
        case "run_at":
            return moment(value, datetime.now(UTC))
        case "seed":
            return int(value)
        case _:
            text = str(value)
            if len(text) > 200:
                raise UsageProblem(f"{name} is {len(text)} characters long; 200 are allowed.")
            return text
