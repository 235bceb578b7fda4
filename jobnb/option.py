"""What can be said about a job besides the work itself: name, priority, timeout, tags and so on.

Front doors build an `Options` (``jobnb.options(…)`` makes one, hence the singular name here);
everything is checked here, at the door, before anything is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobnb.errors import UsageProblem, unknown
from jobnb.job import Priority

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNIT_BYTES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def seconds(value: float | str | timedelta, what: str = "duration") -> float:
    """Return a duration in seconds.

    Parameters
    ----------
    value : float, str or timedelta
        Seconds, or text such as ``"90"``, ``"30s"``, ``"5m"``, ``"1h"``, ``"1h30m"``.

    Raises
    ------
    UsageProblem
        The value is not a positive duration.

    Examples
    --------
    >>> seconds("1h30m")
    5400.0
    """
    total: float
    if isinstance(value, timedelta):
        total = value.total_seconds()
    elif isinstance(value, str):
        text = value.strip().lower()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            total = float(text)
        elif re.fullmatch(r"(\d+(\.\d+)?(ms|[smhdw]))+", text):
            total = sum(float(n) * _UNIT_SECONDS[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)(ms|[smhdw])", text))
        else:
            raise UsageProblem(f"{what} {value!r} is not a duration. Write seconds or '30s', '5m', '1h30m'.")
    else:
        total = float(value)
    if not 0 < total < float("inf"):
        raise UsageProblem(f"{what} must be more than 0 seconds, not {value!r}.")
    return total


def size_bytes(value: int | str, what: str = "memory_limit") -> int:
    """Return a size in bytes from a number or text such as ``"2GiB"`` or ``"500MB"``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
    if not found or found[2] not in _UNIT_BYTES or float(found[1]) <= 0:
        raise UsageProblem(f"{what} {value!r} is not a size. Write bytes, '500MB' or '2GiB'.")
    return int(float(found[1]) * _UNIT_BYTES[found[2]])


def moment(value: datetime | str | timedelta | float, now: datetime) -> datetime:
    """Return an aware moment in UTC from a datetime, ISO text, or a delay from ``now``."""
    if isinstance(value, str):
        try:
            return moment(datetime.fromisoformat(value), now)
        except ValueError:
            return now + timedelta(seconds=seconds(value, "run_at"))
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone()).astimezone(UTC)
    return now + timedelta(seconds=seconds(value, "run_at"))


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
