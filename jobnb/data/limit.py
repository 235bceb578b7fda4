"""How often a source may be asked, kept by all processes of this machine together, and when it is asked again.

The decisions are pure (`jobnb.limit`); only `SharedLimiter` touches a file and the clock. Used wherever prices are
fetched: in the notebook's process and in the children of extraction jobs.
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

from jobnb.limit import RateLimit, admit


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
