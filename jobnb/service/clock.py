"""Notices that the machine's clock was set back, by a clock that nobody can set. Pure.

What waits for a time that this service itself has named, the next attempt at a job or item, would wait that much
longer. A time that a user has said stays as it was said.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Smaller steps are not worth a write: clocks are corrected all the time.
STEP_SECONDS = 3.0


@dataclass(kw_only=True)
class WallClock:
    """Compares the wall clock with the monotonic one, from look to look.

    Examples
    --------
    >>> clock = WallClock()
    >>> [clock.went_back(wall=wall, monotonic=at) for wall, at in ((90_000_000, 1.0), (91_000_000, 2.0))]
    [0, 0]
    >>> clock.went_back(wall=31_000_000, monotonic=2.0)
    60000000
    """

    #: µs between the two at the last look.
    _apart: int | None = None

    def went_back(self, *, wall: int, monotonic: float) -> int:
        """Return by how much the clock was set back since the last look; 0 if it was not, or by little.

        Parameters
        ----------
        wall : int
            µs UTC.
        monotonic : float
            Seconds.

        Returns
        -------
        int
            µs. It is said once: the next look starts from here.
        """
        apart = wall - int(monotonic * 1e6)
        before, self._apart = self._apart, apart
        step = 0 if before is None else before - apart
        return step if step > STEP_SECONDS * 1e6 else 0

    def forget(self, step: int) -> None:
        """Say a step again at the next look: nothing could be done about it now."""
        if self._apart is not None:
            self._apart += step
