"""Which tasks are not to do all of their items, because their places are wanted, or idle ones can help. Pure.

A task of many items is long, because each costs a way there and back. That it keeps nobody waiting is decided here: it
is told that it has done enough when its job ends with what it has, when another job has no place, and when places are
idle and what is left of it can be shared. Of a sweep, one that is to share goes on with its own part of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from jobnb.job import JobRecord
from jobnb.service import plans
from jobnb.service.ledger import Ledger, Running
from jobnb.service.plans import SLICE_SECONDS

#: How long a task has had its place before one of higher priority, or of a job that never had one, may have it.
FRESH_SECONDS = 0.1
#: A job that gave a place for such a one has its slices in full for so long: many that come one by one take turns.
TURN_SECONDS = 2.0
#: A place that is free so soon is free: the news of it, and what comes of it, take as long.
SOON_SECONDS = 0.06
#: Less than this is done sooner than shared. What a task says of itself is up to half a second old, and reckoned on.
SHARED_SECONDS = 0.2
#: The same of a sweep, whose tasks need not end to share, but have to be asked: a way there and back before the place
#: is free, and what is shared comes there in time.
ASK_SECONDS = 0.1
LEAST_SHARED_SECONDS = 0.12
#: What was asked and not answered for so long is asked again: the question may have got lost.
ANSWER_SECONDS = 2.0
#: Between the last item of a task and the first one of the next at the same place.
BEGIN_SECONDS = 0.02

#: A task, and how many of its items it is to do: 0 for none after those that it has done.
Told = tuple[Ledger, int, int]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A wish for a place."""

    rank: int
    #: Its job has no place: jobs of the same rank have to give it one as well.
    first: bool = False
    #: Its job never had one.
    fresh: bool = False

    def after(self, giver: Ledger, now: float) -> float:
        """Return how long a task of another job has its place before it gives it; infinite if it need not."""
        rank = giver.job.priority.rank
        if rank < self.rank:
            return FRESH_SECONDS
        if rank > self.rank or not self.first:
            return math.inf
        return FRESH_SECONDS if self.fresh and now - giver.gave_at > TURN_SECONDS else SLICE_SECONDS


def told(
    books: Collection[Ledger], slots: int, now: float, *, leaving: bool = False, queued: JobRecord | None = None
) -> list[Told]:
    """Return the tasks that are to be told now.

    Parameters
    ----------
    books : collection of Ledger
        Those of the jobs that run.
    slots : int
        Places of the cluster.
    now : float
        Monotonic time.
    leaving : bool, default False
        The service is asked to stop.
    queued : JobRecord, optional
        A job that will be taken up when a place is free.
    """
    over = [
        (ledger, task, 0)
        for ledger in books
        if leaving or ledger.early
        for task, out in ledger.running.items()
        if _can_end(out)
    ]
    return over or _for_those_that_wait(books, slots, now, queued) or _for_idle_places(books, slots, now)


def _can_end(out: Running) -> bool:
    """Tell whether a task can be told: one of many items that has begun, is not over, and was not told yet."""
    whole = out.budget is None or out.stop - out.start == 1
    return out.began and bool(out.worker) and not whole and out.told_at is None and out.stopping_since is None


def _for_those_that_wait(books: Collection[Ledger], slots: int, now: float, queued: JobRecord | None) -> list[Told]:
    begun = [out for each in books for out in each.running.values() if out.began and out.stopping_since is None]
    if len(begun) < slots:
        # A place is just being taken: of a task that begins this is told a little later.
        return []
    claims = [claim for each in books for claim in _claims(each)]
    if queued is not None:
        claims.append(Claim(rank=queued.priority.rank, first=True, fresh=not queued.done))
    claims.sort(key=lambda claim: -claim.rank)
    # Who was told already makes room for the first ones.
    found: list[Told] = []
    for claim in claims[sum(out.told_at is not None for out in begun) :]:
        giving = [
            (each.job.priority.rank, -sum(out.began for out in each.running.values()), out.began_at or now, each, task)
            for each in books
            for task, out in each.running.items()
            if _can_end(out) and (each, task, 0) not in found and now - (out.began_at or now) >= claim.after(each, now)
        ]
        if giving:
            *_, ledger, task = min(giving, key=lambda each: each[:3])
            found.append((ledger, task, 0))
    return found


def _claims(ledger: Ledger) -> list[Claim]:
    waiting = sum(not out.began and out.stopping_since is None for out in ledger.running.values())
    if ledger.open and not ledger.running:
        waiting = 1
    if not waiting or ledger.ending is not None:
        return []
    rank = ledger.job.priority.rank
    claims = [Claim(rank=rank)] * waiting
    if not any(out.began for out in ledger.running.values()):
        claims[0] = Claim(rank=rank, first=True, fresh=not ledger.done)
    return claims


def _for_idle_places(books: Collection[Ledger], slots: int, now: float) -> list[Told]:
    if any(ledger.open for ledger in books):
        return []
    out = [each for ledger in books for each in ledger.running.values()]
    left = [
        (each.seconds_left(ledger.pace, now), ledger, task)
        for ledger in books
        if ledger.pace and ledger.ending is None
        for task, each in ledger.running.items()
        if _can_end(each)
    ]
    # When places are free: those that are idle, then those that soon are. Some are spoken for.
    free = [0.0] * (slots - len(out)) + sorted(max(0.0, seconds) for seconds, *_ in left if seconds <= ASK_SECONDS)
    taken = max(0, len(out) - slots) + sum(each.told_at is not None or _asked(each, now) for each in out)
    found: list[Told] = []
    for seconds, ledger, task in sorted(left, key=lambda each: -each[0]):
        if taken >= len(free):
            break
        most = None if _asked(ledger.running[task], now) else _share(ledger, task, seconds, free[taken])
        if most is not None:
            found.append((ledger, task, most))
            taken += 1
    return found


def _asked(out: Running, now: float) -> bool:
    return out.asked_at is not None and now - out.asked_at < ANSWER_SECONDS


def _share(ledger: Ledger, task: int, seconds: float, free: float) -> int | None:
    """Return how many items a task keeps that has so many seconds left, if a place that is free then does the others.

    0 where it has to end for that, None if it does not pay.
    """
    out = ledger.running[task]
    if not plans.is_sweep(ledger.job.plan):
        return 0 if seconds > SHARED_SECONDS and free <= SOON_SECONDS else None
    given = (seconds - free - BEGIN_SECONDS) / 2
    pace = out.pace or ledger.pace
    if not pace or seconds - free < LEAST_SHARED_SECONDS:
        return None
    return max(1, out.stop - out.start - math.ceil(given / pace))
