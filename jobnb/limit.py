"""How often something may be done: a number of calls per time, and when the next one may come. Pure.

Used wherever calls are counted: sources of prices (`jobnb.data.limit`) and the store's rate limits by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from jobnb.durations import seconds
from jobnb.errors import UsageProblem

_WORDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0,
    "d": 86400.0, "day": 86400.0,
}  # fmt: skip
_SAID = re.compile(r"\s*(\d+)\s*(?:/|per)\s*(\S+)\s*")


@dataclass(frozen=True)
class RateLimit:
    """At most ``calls`` calls in ``per`` seconds.

    Attributes
    ----------
    calls : int
        At least 1; as many may come at once after a quiet time.
    per : float or str
        Seconds, or text such as ``"1m"``.
    """

    calls: int
    per: float = 1.0

    def __init__(self, calls: int, per: float | str = 1.0) -> None:
        if calls < 1 or calls != int(calls):
            raise UsageProblem(f"a rate limit needs a whole number of calls from 1, not {calls!r}.")
        object.__setattr__(self, "calls", int(calls))
        object.__setattr__(self, "per", seconds(per, "per"))

    @classmethod
    def of(cls, said: Self | str) -> Self:
        """Read what people write: ``"100/min"``, ``"5/s"``, ``"1000 per hour"``, ``"2/500ms"``, or the record.

        Raises
        ------
        UsageProblem
            It is no rate.

        Examples
        --------
        >>> RateLimit.of("100/min"), str(RateLimit.of("6 per 90s"))
        (RateLimit(calls=100, per=60.0), '6/90s')
        """
        if isinstance(said, cls):
            return said
        found = _SAID.fullmatch(said) if isinstance(said, str) else None
        if found is None:
            raise UsageProblem(f"{said!r} is no rate. Write '100/min', '5/s' or '20/90s'.")
        return cls(int(found[1]), _WORDS.get(found[2].lower(), found[2]))

    def __str__(self) -> str:
        words = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}
        return f"{self.calls}/{words.get(self.per) or f'{self.per:g}s'}"


def admit(due: float, now: float, limit: RateLimit, count: int = 1) -> tuple[float, float]:
    """Decide when the next call may be made.

    The generic cell rate algorithm (ITU-T I.371): one number remembers the whole past.

    Parameters
    ----------
    due : float
        What the call before returned; 0 at first. Seconds on the clock of ``now``.
    now : float
        Seconds.
    limit : RateLimit
    count : int, default 1
        For how many calls it counts.

    Returns
    -------
    due : float
        To be given to the next call.
    pause : float
        Seconds to wait before this call.

    Examples
    --------
    >>> due, pauses = 0.0, []
    >>> for _ in range(4):
    ...     due, pause = admit(due, 100.0, RateLimit(2, 1.0))
    ...     pauses.append(pause)
    >>> pauses
    [0.0, 0.0, 0.5, 1.0]
    """
    after = max(due, now) + count * limit.per / limit.calls
    # A clock that was set back must not make anybody wait for ever.
    after = min(after, now + 100 * limit.per)
    return after, max(0.0, after - limit.per - now)


def free(due: float, now: float, limit: RateLimit) -> int:
    """Return how many calls could be made at once now.

    Examples
    --------
    >>> free(0.0, 100.0, RateLimit(5)), free(100.6, 100.0, RateLimit(5)), free(103.0, 100.0, RateLimit(5))
    (5, 2, 0)
    """
    left = (limit.per - max(0.0, due - now)) * limit.calls / limit.per
    # What is written as 0.6 is a little less or more.
    return max(0, int(left + 1e-6))
