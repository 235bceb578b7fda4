"""How often a source may be asked, kept by all processes of this machine together, and when it is asked again.

The decisions are pure; only `SharedLimiter` touches a file and the clock. Used wherever prices are fetched: in the
notebook's process and in the children of extraction jobs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobnb.durations import seconds
from jobnb.errors import UsageProblem


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


def admit(due: float, now: float, limit: RateLimit) -> tuple[float, float]:
    """Decide when the next call may be made.

    The generic cell rate algorithm (ITU-T I.371): one number remembers the whole past.

    Parameters
    ----------
    due : float
        What the call before returned; 0 at first. Seconds on the clock of ``now``.
    now : float
        Seconds.
    limit : RateLimit

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
    each = limit.per / limit.calls
    after = max(due, now) + each
    # A clock that was set back must not make anybody wait for ever.
    after = min(after, now + 100 * limit.per)
    return after, max(0.0, after - limit.per - now)


class Limiter(Protocol):
    """Something that is asked before each call of a source."""

    def acquire(self) -> None:
        """Return when the call may be made."""
        ...


@dataclass(frozen=True, kw_only=True)
class SharedLimiter:
    """Keeps a limit over all processes that use the same file.

    Attributes
    ----------
    path : Path
        Holds one number; locked while it is read and written, never while anybody waits.
    limit : RateLimit
    """

    path: Path
    limit: RateLimit
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def acquire(self) -> None:
        """Take the next place, and wait for it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            due = 0.0
            with contextlib.suppress(ValueError):
                due = float(os.pread(handle, 64, 0) or b"0")
            due, pause = admit(due, self.clock(), self.limit)
            os.ftruncate(handle, 0)
            os.pwrite(handle, repr(due).encode(), 0)
        finally:
            os.close(handle)
        if pause > 0:
            self.sleep(pause)


def pause_after(
    *, tries: int, most: int, passing: bool, asked: float | None, drawn: float, patience: float
) -> float | None:
    """Decide whether a call that failed is made again at once, and after which pause.

    Parameters
    ----------
    tries : int
        How often it was made, from 1.
    most : int
        How often it may be made.
    passing : bool
        Whether the failure may pass by itself.
    asked : float or None
        Seconds that the source asks to wait.
    drawn : float
        A random number from 0 to 1.
    patience : float
        Seconds that a pause may take at most; for longer ones the job is put off instead, which holds no worker.

    Returns
    -------
    float or None
        Seconds; None to give up now.

    Examples
    --------
    >>> [pause_after(tries=n, most=4, passing=True, asked=None, drawn=1.0, patience=60.0) for n in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, None]
    """
    if not passing or tries >= most:
        return None
    pause = asked if asked is not None else 2.0 ** (tries - 1) * (0.5 + 0.5 * drawn)
    return pause if pause <= patience else None
