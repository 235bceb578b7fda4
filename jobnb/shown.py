"""What a card says of a call's arguments: plain values as they are, everything else by its type. JSON only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobnb.job import Job

#: Longest text shown of one argument.
TEXT_LENGTH = 80


def shown(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as a card shows them: plain values as they are, everything else by its type."""
    return {**{str(i): plain(a) for i, a in enumerate(args)}, **{str(k): plain(v) for k, v in kwargs.items()}}


def plain(value: Any) -> Any:
    """Return one value as it is shown."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= TEXT_LENGTH else value[: TEXT_LENGTH - 1] + "…"
    if isinstance(value, Job):
        return f"<Job {value.id}>"
    return f"<{type(value).__name__}>"
