"""Reads what people write for durations, sizes and moments: ``"1h30m"``, ``"2GiB"``, ``"2026-11-22T14:00"``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from jobnb.errors import UsageProblem

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


def spoken(value: float) -> str:
    """Return seconds as people write them.

    Examples
    --------
    >>> spoken(5400.0), spoken(60), spoken(0.3), spoken(0)
    ('1h30m', '1m', '0.3s', '0s')
    """
    if value < 60 or value != int(value):
        return f"{value:g}s"
    left, parts = int(value), ""
    for unit in "dhms":
        count, left = divmod(left, int(_UNIT_SECONDS[unit]))
        parts += f"{count}{unit}" if count else ""
    return parts


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
