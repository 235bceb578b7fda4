"""Which waiting jobs are taken up next, and when: as many as could start now, and short calls a few ahead of that.

The dispatcher's, in its thread. A job that could not start yet stays in the queue, where it can be cancelled at once
and overtaken.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from jobnb.job import JobRecord, Status
from jobnb.service import choice, needs
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.service.ledger import Ledger
from jobnb.store import Store
from jobnb.store.queues import Rule

#: A call that took no longer, the last time one of that name ended, may be sent ahead, behind one that runs.
AHEAD_SECONDS = 0.1
#: Names of calls of which it is known how long they take.
PACES_KEPT = 1_000


@dataclass(kw_only=True)
class Intake:
    """Makes waiting jobs of one store and cluster running.

    Attributes
    ----------
    store, keeper
        What it reads and writes, and what it may write by.
    waiting : bool
        False once nothing waits that could be taken up; set it again whenever that may have changed.
    """

    store: Store
    keeper: LeaseKeeper
    waiting: bool = True
    #: Of the queues that are defined, as of the last look.
    rules: Mapping[str, Rule] = field(default_factory=dict)
    #: Seconds that the last call of a name took.
    _paces: dict[str, float] = field(default_factory=dict)

    def take_up(self, books: Collection[Ledger], *, slots: int, free: int, overtaking: int = 0) -> list[Ledger]:
        """Make the next waiting jobs running, as many as could start now, and return their books.

        Parameters
        ----------
        books : collection of Ledger
            Those of the jobs that run.
        slots : int
            Places of the cluster.
        free : int
            Tasks that may still be sent, those that would wait behind short ones included.
        overtaking : int, default 0
            Jobs that may begin before tasks that were sent and have not begun.
        """
        if not self.waiting:
            return []
        self.rules = self.store.queues.rules()
        held = self.capped(books)
        busy = [b.job.priority.rank for b in books if b.open and b.job.queue not in held]
        out = sum(len(ledger.running) for ledger in books)
        room = max(overtaking, max(0, slots - out) if not busy else max(1, free // 2))
        # Behind short calls a short one may wait on the cluster: that hides the way there and back.
        most = room if busy or not all(b.short for b in books) else max(room, free)
        if not most:
            return []
        # One more than there is room for, to know whether any is left: reading a row costs as much as starting its job.
        found = self._next(most + 1)
        self.waiting = bool(found)
        found = [job for job in found if job.priority.rank >= max(busy, default=0)]
        if not found:
            return []
        # Those that were taken up and have no place yet come first, unless one is more urgent.
        idle = [b.job.priority.rank for b in books if b.open and not b.running and b.job.queue not in held]
        places = max(free, overtaking)
        first = [job for n, job in enumerate(found[:room]) if n + sum(r >= job.priority.rank for r in idle) < places]
        ahead = itertools.takewhile(lambda job: self.pace(job) is not None, found[room:most])
        chosen = [*first, *ahead]
        if not chosen:
            return []
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            # One by one: the first of those that wait for an outside service may be its probe.
            taken = [
                job for job in chosen if not needs.keeps_back(self.store, job) and self.store.tasks.start_job(job.id)
            ]
        self.waiting = len(found) > len(taken)
        return [self._opened(job) for job in taken]

    def first(self) -> JobRecord | None:
        """Return the job that would be taken up next, if any waits."""
        return next(iter(self._next(1)), None) if self.waiting else None

    def _next(self, limit: int) -> list[JobRecord]:
        """Return the jobs that may begin next: of queues with room, each in its turn, where any are defined."""
        cluster = self.keeper.lease.cluster
        if not self.rules:
            return self.store.tasks.waiting(cluster, limit)
        lines = self.store.queues.lines(cluster, self.rules, limit)
        return self.store.tasks.waiting_at(choice.merge(lines, limit)) if lines else []

    def capped(self, books: Collection[Ledger]) -> set[str]:
        """Return the queues that have as many tasks out as they may."""
        return choice.capped(self.rules, [(b.job.queue, len(b.running)) for b in books]) if self.rules else set()

    def _opened(self, job: JobRecord) -> Ledger:
        # One that begins for the first time, and took nothing over, has no task yet.
        known = self.store.tasks.of(job.id) if job.started_at or job.rerun_of else ()
        return Ledger.of(replace(job, status=Status.RUNNING), known)

    def pace(self, job: JobRecord) -> float | None:
        """Return how many seconds a call takes, if that is known and short enough to be sent ahead."""
        pace = self._paces.get(job.name) if job.plan.get("type", "single") == "single" else None
        return pace if pace is not None and pace <= AHEAD_SECONDS else None

    def learn(self, ledger: Ledger) -> None:
        """Note how long a call took, now that it has ended, and that there may be room in its queue."""
        self.waiting = self.waiting or ledger.job.queue in self.rules
        if ledger.single and ledger.pace is not None:
            self._paces.pop(ledger.job.name, None)
            self._paces[ledger.job.name] = ledger.pace
            if len(self._paces) > PACES_KEPT:
                del self._paces[next(iter(self._paces))]
