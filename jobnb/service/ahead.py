"""Which tasks may wait on the cluster behind others, and which are called back because those take long. Pure.

A task that is sent ahead hides the way there and back. Where it waits the cluster decides, and it does not move it
again: so it goes behind tasks that are known to be short, and comes home when one of these is not.
"""

from __future__ import annotations

from collections.abc import Collection

from jobnb.service.ledger import Ledger

#: So many calls may be out per place, and so many seconds of work: they come back in batches, which are written down
#: at once.
AHEAD_CALLS = 12
AHEAD_TOTAL_SECONDS = 0.15
#: How much longer than thought a task may take before others are not left to wait behind it: it, or the news of it.
LATE_SECONDS = 0.5
#: The same among tasks of many items: by then every place that is not taken for long has been free twice.
PARKED_SECONDS = 2.5
#: A place that is free so soon will be: a task may be sent to wait there.
NEAR_SECONDS = 0.2


def depth(books: Collection[Ledger], window: int) -> int:
    """Return how many tasks may be out per place: more than the usual where all are calls known to be short.

    Parameters
    ----------
    books : collection of Ledger
        Those of the jobs that run.
    window : int
        The usual.
    """
    if window == 1 or not all(each.single and each.pace is not None for each in books):
        return window
    longest = max((each.pace or 0.0 for each in books), default=0.0)
    return max(window, min(AHEAD_CALLS, int(AHEAD_TOTAL_SECONDS / max(longest, 1e-3)))) if longest else window


def has_place(ledger: Ledger, books: Collection[Ledger], slots: int, now: float) -> bool:
    """Tell whether a job's next task may go out: behind another one only if all of them are back soon."""
    busy = [each for each in books if each.running]
    if sum(len(each.running) for each in busy) < slots:
        return True
    return ledger.short and all(each.short for each in busy) and not _late(busy, now)


def behind(books: Collection[Ledger], now: float) -> str:
    """Return the address of the worker at which a place is free first; "" where none is soon, or nobody knows.

    Of those of one place each, at which nothing waits. What waits longer is left to the cluster.
    """
    waiting = {out.behind for each in books for out in each.running.values() if not out.began}
    left = [
        (out.seconds_left(each.pace, now), out.worker)
        for each in books
        if each.pace is not None
        for out in each.running.values()
        if out.began and out.worker and out.worker not in waiting
    ]
    seconds, worker = min(left, default=(0.0, ""))
    return worker if seconds <= NEAR_SECONDS else ""


def overtaking(books: Collection[Ledger], window: int, slots: int, now: float) -> int:
    """Return how many jobs may begin before what others have sent ahead, as soon as a place is free or made free.

    At most one per place, counted until it is back: so those that were overtaken have every other place.
    """
    busy = [each for each in books if each.running]
    if window == 1 or sum(len(each.running) for each in busy) < slots:
        return 0
    rest = [each for each in busy if not any(out.overtakes for out in each.running.values())]
    if all(each.single for each in rest):
        return 0
    # Where one takes long, nobody knows when its place is free, and nothing was sent ahead.
    return slots - (len(busy) - len(rest)) if all(each.short for each in rest) and not _late(rest, now) else 0


def recalled(books: Collection[Ledger], now: float) -> list[tuple[Ledger, int]]:
    """Return the tasks that were sent ahead and should have begun by now: another place may be free sooner.

    Not those that overtake: the next place is theirs in any case.

    Parameters
    ----------
    books : collection of Ledger
    now : float
        Monotonic time.
    """
    patience = _patience(books)
    return [
        (ledger, task)
        for ledger in books
        for task, out in ledger.running.items()
        if out.ahead and not (out.began or out.overtakes) and out.stopping_since is None and now - out.since > patience
    ]


def _patience(books: Collection[Ledger]) -> float:
    """Return how long the tasks that others wait behind may take."""
    return LATE_SECONDS if all(each.single for each in books if each.running) else PARKED_SECONDS


def _late(books: Collection[Ledger], now: float) -> bool:
    """Tell whether one of the tasks that are out takes longer than thought."""
    patience = _patience(books)
    for ledger in books:
        for out in ledger.running.values():
            began = out.began_at if out.began_at is not None else None if out.ahead else out.since
            if began is not None and now - began > patience:
                return True
    return False
