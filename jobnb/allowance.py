"""When a span of items is to end before its next one: its seconds are used up, or its place is wanted. In the child."""

from __future__ import annotations

import math
import time

#: Whether the place is wanted is looked for this often.
LOOK_SECONDS = 0.01


class Allowance:
    """What a work asks between two items.

    Parameters
    ----------
    budget : float or None
        Seconds; None for a span that is to be done to its end whoever waits.
    items : int, default 0
        How many there are, if the work ends after `most` of them. Such a work says how many are done.

    Attributes
    ----------
    due : float
        Monotonic time before which `used` has nothing new to say.
    most : int
        So many items are to be done; those after them were left to others.
    """

    def __init__(self, budget: float | None, items: int = 0) -> None:
        now = time.monotonic()
        self.most = items
        self._began = now
        self._ends = math.inf if budget is None else now + budget
        #: The end if it is put off.
        self._last = math.inf if budget is None else now + 2 * budget
        self._look = math.inf if budget is None else LOOK_SECONDS
        self._half = math.inf if budget is None else now + budget / 2
        #: When the half of the budget that is being used began, and how many items were done by then.
        self._since = now, 0
        self.due = min(self._ends, now + self._look)

    def used(self, done: int = 0) -> bool:
        """Tell whether the span is to end here.

        Parameters
        ----------
        done : int, default 0
            Items. Where they are said, the end is put off if what is left takes no longer than the budget once more:
            the way there and back would cost more than it serves.
        """
        now = time.monotonic()
        if now < self.due:
            return False
        if now >= self._half:
            self._since, self._half = (now, done), math.inf
        if done and now >= self._ends and now + (self.most - done) * self._pace(now, done) <= self._last:
            self._ends = self._last
        self.due = min(self._ends, now + self._look)
        from jobnb.worker import context

        most = context.enough()
        if most is not None and done < most < self.most:
            self.most = most
            context.keep(most)
        return now >= self._ends or (most is not None and done >= most)

    def _pace(self, now: float, done: int) -> float:
        """Return seconds per item: of the second half, if there are any; those of the first one pay for the start."""
        since, before = self._since
        return (now - since) / (done - before) if done > before else (now - self._began) / done
