"""Fires schedules: looks which moments are due, decides on each, and starts the runs. Part of the service.

It reads and writes the store only, every write fenced by the lease: whatever happens between two steps, a moment has
one row and at most one job. What is decided, it asks of `jobnb.triggers`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobnb.errors import JobnbError
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.store import Store
from jobnb.store.jobs import from_us
from jobnb.store.schedules import ScheduleRecord
from jobnb.triggers import described, ticks
from jobnb.triggers.ticks import Policy, Tick
from jobnb.triggers.trigger import Trigger

logger = logging.getLogger(__name__)

#: Schedules whose ticks are written down in one transaction: others wait for it no longer than some 30 ms.
TOGETHER = 100
#: Triggers kept parsed: as many as there usually are schedules.
_PARSED = 20_000


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What is to become of the ticks of a schedule that are due, and when the next one is."""

    schedule: ScheduleRecord
    policy: Policy
    ticks: Sequence[Tick]
    following: datetime | None


def _batches(due: Sequence[Decided]) -> Iterator[Sequence[Decided]]:
    for i in range(0, len(due), TOGETHER):
        yield due[i : i + TOGETHER]


@dataclass(kw_only=True)
class Planner:
    """Fires the schedules of one cluster.

    Attributes
    ----------
    store, keeper
        What it reads and writes, and what it may write by.
    """

    store: Store
    keeper: LeaseKeeper
    _next: int | None = None
    _seen: tuple[int, int] | None = None
    _waiting: bool = True
    _parsed: dict[str, tuple[object, Trigger]] = field(default_factory=dict)

    def step(self, seen: tuple[int, int]) -> bool:
        """Fire what is due; return whether any run was started.

        Parameters
        ----------
        seen : (int, int)
            The store's `version`: as long as it stays, nobody has changed a schedule or ended a run.
        """
        cluster = self.keeper.lease.cluster
        now = self.store.clock()
        changed = seen != self._seen
        if not changed and (self._next is None or self._next > now):
            return False
        started = False
        if changed:
            self._seen = seen
            self._next = self.store.schedules.next_due(cluster)
            started = self._fire_waiting(cluster)
        if self._next is not None and self._next <= now:
            due = [self._decide(each, from_us(now)) for each in self.store.schedules.due(cluster, from_us(now))]
            for batch in _batches([each for each in due if each is not None]):
                started = self._fire(batch, from_us(now)) or started
            self._next = self.store.schedules.next_due(cluster)
        return started

    def _decide(self, schedule: ScheduleRecord, now: datetime) -> Decided | None:
        """Decide on the ticks of a schedule, outside any transaction: a calendar may have to be loaded."""
        policy = Policy(**schedule.policy)
        try:
            trigger = self._trigger(schedule)
            next_at, last = schedule.next_at, schedule.decided_at
            known = next_at if next_at is not None and next_at > last else None
            made, following = ticks.decided(trigger, last, now, policy, known=known)
            return Decided(schedule=schedule, policy=policy, ticks=made, following=following)
        except JobnbError as error:
            # Nobody knows when it is due: that is shown, and nothing is guessed.
            logger.warning("schedule %s: %s: %s", schedule.name, error.code, error.message)
            with self.store.tasks.fenced(self.keeper.lease):
                self.store.schedules.pause(schedule.name, f"{error.code}: {error.message}")
            return None

    def _fire(self, batch: Sequence[Decided], now: datetime) -> bool:
        """Write down what was decided on some schedules, all or nothing; return whether any run was started."""
        started = 0
        # In one transaction, because most of the cost of a tick is making it durable.
        with self.store.tasks.fenced(self.keeper.lease):
            for decided in batch:
                if not self.store.schedules.unchanged(decided.schedule):
                    # Somebody has just changed it: the next step sees what it is now.
                    self._seen = None
                else:
                    started += self._fire_one(decided, now)
        return bool(started)

    def _fire_one(self, decided: Decided, now: datetime) -> int:
        schedule, policy, following = decided.schedule, decided.policy, decided.following
        started = 0
        for tick in decided.ticks:
            if policy.max_runs is not None and schedule.runs + started >= policy.max_runs:
                break
            started += self._take(schedule, tick, policy)
        over = policy.max_runs is not None and schedule.runs + started >= policy.max_runs
        if over:
            following = None
        note = f"over after {schedule.runs + started} runs" if over else None if following else "over"
        self.store.schedules.decided(schedule.name, now, following, note)
        return started

    def _take(self, schedule: ScheduleRecord, tick: Tick, policy: Policy) -> bool:
        """Do with a tick what was decided on it, unless a run goes on; return whether a run was started."""
        if tick.verdict != "fired":
            self.store.schedules.settle(schedule.name, tick.at, tick.verdict, tick.why)
            return False
        if self._refused(schedule, tick.at):
            return False
        live = self.store.schedules.live(schedule.name)
        if live and policy.overlap == "skip":
            self.store.schedules.settle(schedule.name, tick.at, "skipped", f"run {live[-1]} still goes on")
            return False
        if live and policy.overlap == "queue":
            self.store.schedules.settle(schedule.name, tick.at, "waiting", f"run {live[-1]} still goes on")
            self._waiting = True
            return False
        for job in live:
            self.store.jobs.request_cancel(job, f"schedule {schedule.name}")
        return self._start(schedule, tick.at, policy, tick.why)

    def _refused(self, schedule: ScheduleRecord, at: datetime) -> bool:
        """Leave a moment out if the queue of one of its jobs takes none; tell whether that is so."""
        jobs = (schedule.job, *(part["job"] for part in schedule.beside.get("jobs", ())))
        closed = next((why for job in jobs if (why := self.store.queues.refusal(job["queue"]))), "")
        return bool(closed) and self.store.schedules.settle(schedule.name, at, "skipped", closed)

    def _start(self, schedule: ScheduleRecord, at: datetime, policy: Policy, why: str) -> bool:
        if self._refused(schedule, at):
            return False
        begin = at + ticks.delay(schedule.name, at, policy.jitter)
        return self.store.schedules.fire(schedule, at, begin, why, deadline=policy.deadline) is not None

    def _fire_waiting(self, cluster: str) -> bool:
        """Start the runs that waited for another one, where that has ended: the oldest of each schedule."""
        if not self._waiting:
            return False
        found = self.store.schedules.waiting(cluster)
        self._waiting = bool(found)
        started = False
        tried: set[str] = set()
        for name, at in found:
            if name in tried or self.store.schedules.live(name):
                continue
            tried.add(name)
            schedule = self.store.schedules.get(name)
            if schedule is not None and schedule.enabled:
                with self.store.tasks.fenced(self.keeper.lease):
                    late = "it waited for the run before it"
                    started = self._start(schedule, at, Policy(**schedule.policy), late) or started
        return started

    def _trigger(self, schedule: ScheduleRecord) -> Trigger:
        known = self._parsed.get(schedule.name)
        if known is None or known[0] != schedule.trigger:
            if len(self._parsed) >= _PARSED:
                self._parsed.clear()
            known = self._parsed[schedule.name] = (schedule.trigger, described.trigger(dict(schedule.trigger)))
        return known[1]
