"""What is kept of the equity while a run goes on: its peak, its drawdown, its daily returns; compiled.

`kernel` and `orders` tell it stretch by stretch, each of one position, and settle eight runs at once. Between two fills
the equity goes with the close, whose lowest and highest say whether there is a new peak or a deeper drawdown; the rest
is done eight bars at a time, see `lanes`. Pure arithmetic on arrays, no I/O.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import compiled, inlined, lean
from jobnb.research.lanes import LANES, extremes, held, summed
from jobnb.research.measure import settle

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

# Where a run stands. `LAST` is the equity at the last day's end, `PEAK` the highest, at the bar `PEAK_AT`; `KEEP` is 1
# plus the maximum drawdown, and an equity below `FLOOR` makes a new one; `LONGEST` is the longest time from a peak, in
# days; `MOVED` returns are written so far, and all bars before `SEEN` are done.
LAST, PEAK, PEAK_AT, KEEP, FLOOR, LONGEST, MOVED, SEEN, FINAL = range(9)
COURSE = 9


@inlined
def set_out(course: Floats, capital: float) -> None:
    """Set a run to its start."""
    course[:] = 0.0
    course[LAST] = capital
    course[KEEP] = 1.0


@compiled
def room_of(days: int) -> Floats:
    """Return room for the daily returns of eight runs."""
    return np.empty((LANES, (days // LANES + 2) * LANES))


@inlined
def hold(
    x: Floats,
    stop: int,
    cash: float,
    units: float,
    time: Floats,
    day_end: Whole,
    daily: bool,
    course: Floats,
    returns: Floats,
) -> int:
    """Go on with the equity ``cash + units * x`` up to bar ``stop``; return the bar at which it is gone, else ``stop``.

    Parameters
    ----------
    x : array (n + LANES,)
        What a position is valued by, `lanes.padded`.
    time, day_end
        See `kernel.evaluate`.
    daily : bool
        Whether each bar is a day.
    course : array (COURSE,)
        Carried on.
    returns : array
        A row of `room_of`, written on; returns of 0 may be left out.
    """
    start = int(course[SEEN])
    if stop <= start:
        return stop
    moved = int(course[MOVED])
    if daily:
        # The very first day has no return: its end is where the returns start.
        last = cash + units * x[0] if start == 0 else course[LAST]
        low, high = held(x, start, stop, cash, units, last, returns, moved)
    else:
        low, high = extremes(x, start, stop)
    top = cash + units * (high if units > 0.0 else low)
    bottom = cash + units * (low if units > 0.0 else high)
    if top < course[PEAK] and bottom > 0.0:
        if bottom < course[FLOOR]:
            course[FLOOR] = bottom
            course[KEEP] = bottom / course[PEAK]
    else:
        stop = _climb(x, start, stop, cash, units, time, course)
    if daily:
        course[MOVED] = moved + stop - start
        if stop > start:
            course[LAST] = cash + units * x[stop - 1]
    else:
        end = day_end[start]
        while end < stop:
            # Only the last bar of a day has a return.
            equity = cash + units * x[end]
            if end > day_end[0]:
                returns[moved] = equity / course[LAST] - 1.0
                moved += 1
            course[LAST] = equity
            end = day_end[end + 1] if end + 1 < day_end.size else day_end.size
        course[MOVED] = moved
    course[SEEN] = stop
    return stop


@lean
def _climb(x: Floats, start: int, stop: int, cash: float, units: float, time: Floats, course: Floats) -> int:
    """Follow the equity bar by bar, where it may come to a new peak, or to nothing."""
    peak, floor, keep, longest = course[PEAK], course[FLOOR], course[KEEP], course[LONGEST]
    peak_at = int(course[PEAK_AT])
    for i in range(start, stop):
        equity = cash + units * x[i]
        if equity >= peak:
            if i - peak_at > 1:
                longest = max(longest, time[i] - time[peak_at])
            peak = equity
            peak_at = i
            floor = peak * keep
        elif equity < floor:
            if equity <= 0.0:
                stop = i
                break
            floor = equity
            keep = equity / peak
    course[PEAK], course[FLOOR], course[KEEP], course[LONGEST] = peak, floor, keep, longest
    course[PEAK_AT] = peak_at
    return stop


@inlined
def rest(stop: int, cash: float, time: Floats, day_end: Whole, course: Floats, returns: Floats) -> None:
    """Go on up to bar ``stop`` with nothing but cash; see `hold`."""
    start = int(course[SEEN])
    if stop <= start:
        return
    if cash >= course[PEAK]:
        peak_at = int(course[PEAK_AT])
        if start - peak_at > 1:
            course[LONGEST] = max(course[LONGEST], time[start] - time[peak_at])
        course[PEAK] = cash
        course[PEAK_AT] = stop - 1
        course[FLOOR] = cash * course[KEEP]
    elif cash < course[FLOOR]:
        course[FLOOR] = cash
        course[KEEP] = cash / course[PEAK]
    end = day_end[start]
    if end < stop:
        if end > day_end[0] and cash != course[LAST]:
            moved = int(course[MOVED])
            returns[moved] = cash / course[LAST] - 1.0
            course[MOVED] = moved + 1
        course[LAST] = cash
    course[SEEN] = stop


@inlined
def arrive(equity: float, time: Floats, course: Floats) -> None:
    """End a run, with its last equity."""
    course[FINAL] = equity
    peak_at = int(course[PEAK_AT])
    if peak_at < time.size - 1:
        course[LONGEST] = max(course[LONGEST], time[time.size - 1] - time[peak_at])


@compiled
def settle_all(
    many: int,
    close: Floats,
    capital: float,
    days: int,
    per_year: float,
    courses: Floats,
    returns: Floats,
    tallies: Floats,
    out: Floats,
) -> None:
    """Write the rows of metrics of some runs that have arrived, eight at most.

    Parameters
    ----------
    many : int
        How many there are.
    close, capital, days, per_year
        See `kernel.evaluate`.
    courses, returns, tallies : array (LANES, …)
        Of each run; see `hold` and `measure`.
    out : array (many, len(METRICS))
        Filled in.
    """
    sums = np.empty((3, LANES))
    if many == LANES:
        most = int(courses[:, MOVED].max())
        for m in range(LANES):
            # What is not there adds nothing.
            returns[m, int(courses[m, MOVED]) : (most // LANES + 1) * LANES] = 0.0
        summed(returns, most, sums)
    else:
        for m in range(many):
            sums[0, m], sums[1, m], sums[2, m] = _summed(returns[m, : int(courses[m, MOVED])])
    for m in range(many):
        settle(
            out[m],
            close,
            capital,
            courses[m, FINAL],
            days,
            per_year,
            sums[0, m],
            sums[1, m],
            sums[2, m],
            courses[m, KEEP],
            courses[m, LONGEST],
            tallies[m],
        )


@lean
def _summed(returns: Floats) -> tuple[float, float, float]:
    """Return Σ r, Σ r² and Σ min(r, 0)²."""
    total = 0.0
    square = 0.0
    square_down = 0.0
    for r in returns:
        total += r
        square += r * r
        down = min(r, 0.0)
        square_down += down * down
    return total, square, square_down
