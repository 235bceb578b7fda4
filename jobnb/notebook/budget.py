"""How much the cards of one kernel may send to the page, below the limit of the Jupyter Server.

Used by the UI thread and where a job is shown. Pure but for its own count; the caller brings the time.
"""

from __future__ import annotations

import math
import threading


class Budget:
    """How much may be sent to the page: the Jupyter Server drops what exceeds 1 MB/s over three seconds.

    Parameters
    ----------
    rate, burst : float
        Bytes per second, and bytes that may go out at once.
    """

    def __init__(self, rate: float = 400_000, burst: float = 1_000_000) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = -math.inf
        self._lock = threading.Lock()

    def take(self, size: int, now: float, *, force: bool = False) -> bool:
        """Spend ``size`` bytes if they are there; with ``force`` in any case. What is larger than all may go alone."""
        with self._lock:
            if now > self._at:
                self._left = min(self._burst, self._left + (now - self._at) * self._rate)
                self._at = now
            if not force and self._left < min(size, self._burst):
                return False
            self._left -= size
            return True
