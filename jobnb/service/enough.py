"""Which tasks are to end before their next item, because their places are wanted. Pure.

A task of many items is long, because each costs a way there and back. That it keeps nobody waiting is decided here: it
is told that it has done enough when its job ends with what it has, when another job has no place, and when places are
idle and what is left of it can be shared.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from jobnb.job import JobRecord
from jobnb.service.ledger import Ledger, Running
from jobnb.service.plans import SLICE_SECONDS

#: How long a task has had its place before one of higher priority, or of a job that never had one, may have it.
FRESH_SECONDS = 0.1
#: A job that gave a place for such a one has its slices in full for so long: many that come one by one take turns.
TURN_SECONDS = 2.0
#: A place that is free so soon is free: the news of it, and what comes of it, take as long.
SOON_SECONDS = 0.06
#: Less than this is done sooner than shared. What a task says of itself is up to a tenth of a second old.
SHARED_SECONDS = 0.2

Told = tuple[Ledger, int]


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
        (ledger, task)
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
            if _can_end(out) and (each, task) not in found and now - (out.began_at or now) >= claim.after(each, now)
        ]
        if giving:
            *_, ledger, task = min(giving, key=lambda each: each[:3])
            found.append((ledger, task))
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
    idle = slots - len(out) - sum(each.told_at is not None for each in out)
    idle += sum(seconds <= SOON_SECONDS for seconds, *_ in left)
    worth = sorted((each for each in left if each[0] > SHARED_SECONDS), key=lambda each: -each[0])
    return [(ledger, task) for _, ledger, task in worth[: max(idle, 0)]]
