"""Who gets the next place of a cluster that this test plays itself, in simulated time: the dispatcher's real claims.

The cluster holds back what it has no place for and takes it by priority, then in the order in which it came, as the
embedded one does.
"""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.job import Priority
from jobnb.service.courier import Ended, Errand, Message, Said
from jobnb.service.dispatcher import Dispatcher
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.worker.request import TaskOutcome

#: How long a task of a sweep has its place before it gives it to a job that waits for its turn, at least.
SLICE = 0.4
#: How far the service lags behind the cluster, how often it looks, and how long a task takes to hear that it is enough.
LAG = 0.01
LOOK = 0.05
HEAR = 0.02
#: When a task says that it has begun, and how often how far it is.
START, UPDATE = 0.05, 0.2
#: The longest that a job waits for a place of a sweep's, if it is the first one that does: a task may just have begun.
SOON = START + 0.1 + LOOK + HEAR + LAG


@dataclass(order=True, kw_only=True)
class Sent:
    place: tuple[int, int]
    job: str
    task: int
    start: int
    stop: int
    attempt: int
    seconds: float


class FakeCluster:
    """Places, what waits for one, and a clock."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.now = 0.0
        self.count = 0
        self.waits: list[Sent] = []
        self.runs: list[tuple[float, int, Sent]] = []
        self.since: dict[tuple[str, int], float] = {}
        self.says: dict[tuple[str, int], float] = {}
        self.told: list[tuple[str, int]] = []
        #: Tasks that leave what comes after so many items to others.
        self.keeps: dict[tuple[str, int], int] = {}
        #: When tasks ran, by job: (from, to).
        self.ran: dict[str, list[tuple[float, float]]] = {}
        #: When each task began, by job: (moment, task).
        self.began: dict[str, list[float]] = {}
        self.seconds: dict[str, float] = {}
        self.called_back: list[tuple[str, int]] = []

    # What the dispatcher says to its courier

    def send(self, errands: Sequence[Errand]) -> None:
        for errand in errands:
            self.count += 1
            each = self.seconds[errand.job.id]
            items = errand.span[1] - errand.span[0]
            if errand.budget is not None:
                items = min(items, max(1, -int(-errand.budget // each)))
            sent = Sent(
                place=(-errand.rank, self.count), job=errand.job.id, task=errand.task, start=errand.span[0],
                stop=errand.span[0] + items, attempt=errand.attempt, seconds=items * each,
            )  # fmt: skip
            heapq.heappush(self.waits, sent)
        self.fill()

    def cancel(self, job: str, task: int) -> None:
        self.called_back.append((job, task))

    def enough(self, job: str, task: int, attempt: int, worker: str, most: int) -> None:
        assert worker == "here"
        self.told.append((job, task))
        for i, (end, order, sent) in enumerate(self.runs):
            if (sent.job, sent.task) == (job, task):
                each = self.seconds[job]
                since = self.since[job, task]
                items = min(sent.stop - sent.start, max(1, most, -int(-(self.now + HEAR - since) // each)))
                if most == items:
                    self.keeps[job, task] = most
                    self.says[job, task] = self.now + HEAR
                sent = replace(sent, stop=sent.start + items, seconds=items * each)
                self.runs[i] = (min(end, since + sent.seconds), order, sent)
        heapq.heapify(self.runs)

    def forget(self, job: str, task: int) -> None: ...

    def close_job(self, job: str) -> None: ...

    def over(self, job: str, workers: Collection[str]) -> None: ...

    # What goes on there

    def fill(self) -> None:
        while self.waits and len(self.runs) < self.slots:
            sent = heapq.heappop(self.waits)
            self.began.setdefault(sent.job, []).append(self.now)
            heapq.heappush(self.runs, (self.now + sent.seconds, sent.place[1], sent))
            self.since[sent.job, sent.task] = self.now
            self.says[sent.job, sent.task] = self.now + START

    def next_end(self) -> float:
        return self.runs[0][0] if self.runs else float("inf")

    def said(self) -> list[Said]:
        """Return what running tasks say up to now."""
        made = []
        for _, _, sent in self.runs:
            key = sent.job, sent.task
            if self.says[key] <= self.now:
                self.says[key] = self.now + UPDATE
                done = int((self.now - self.since[key]) / self.seconds[sent.job])
                made.append(Said(job=sent.job, task=sent.task, worker="here", done=done, most=self.keeps.get(key)))
        return made

    def ended(self) -> Ended:
        self.now, _, sent = heapq.heappop(self.runs)
        self.ran.setdefault(sent.job, []).append((self.since[sent.job, sent.task], self.now))
        self.fill()
        outcome = TaskOutcome(
            job=sent.job, task=sent.task, attempt=sent.attempt, state="completed", start=sent.start, stop=sent.stop,
            result=b"", started_at=10**15, finished_at=10**15 + int(sent.seconds * 1e6),
        )  # fmt: skip
        return Ended(outcome=outcome)


class World:
    """A dispatcher between a real store and a played cluster."""

    def __init__(self, home: Path, slots: int, kind: str = "map") -> None:
        self.kind = kind
        self.store = Store(home)
        lease = self.store.leases.take("local", "me", 1e6, {})
        cluster = SimpleNamespace(window=2, shares_disk=True, client=None, borrowed=False)
        self.dispatcher = Dispatcher(
            store=self.store, cluster=cluster, keeper=SimpleNamespace(lease=lease), monotonic=lambda: self.there.now  # type: ignore[arg-type]
        )  # fmt: skip
        self.there = FakeCluster(slots)
        self.dispatcher._slots = slots
        self.dispatcher._courier = self.there  # type: ignore[assignment]
        self.dispatcher._recorder.courier = self.there  # type: ignore[assignment]
        self.handed_in: dict[str, float] = {}
        self.look = LOOK

    def add(self, seconds: float, items: int = 1, name: str = "", priority: Priority = Priority.NORMAL) -> str:
        plan: dict[str, Any] = {"type": self.kind if items > 1 else "single", "items": items}
        job = self.store.jobs.add(
            NewJob(
                name=name or f"call of {seconds} s", kind="job", cluster="local", payload="0" * 64, plan=plan,
                priority=priority,
            )
        )  # fmt: skip
        self.there.seconds[job] = seconds
        self.handed_in[job] = self.there.now
        self.dispatcher._intake.waiting = True
        self.dispatcher._hand_out()
        return job

    def until(self, moment: float) -> None:
        """Let the cluster work up to a moment; the service hears of it a little later."""
        while (first := min(self.there.next_end(), self.look)) <= moment:
            batch: list[Message] = []
            while self.there.next_end() <= first + LAG:
                batch.append(self.there.ended())
            self.there.now = max(self.there.now, min(first + LAG, moment) if batch else first)
            self.look = max(self.look, self.there.now) + LOOK if first == self.look else self.look
            batch += self.there.said()
            self.dispatcher._close_ended(self.dispatcher._recorder.take_in(batch))
            for _ in range(3):  # it looks again and again
                self.dispatcher._hand_out()
            self.dispatcher._ask_for_places(self.there.now)
        self.there.now = max(self.there.now, moment)

    def had(self, job: str, first: float, last: float) -> float:
        """Return how many seconds a job had places between two moments."""
        return sum(max(0.0, min(to, last) - max(since, first)) for since, to in self.there.ran.get(job, ()))

    def longest_pause(self, job: str, first: float) -> float:
        """Return for how long a job had no place at all, at most, from a moment on."""
        spans = sorted(span for span in self.there.ran[job] if span[0] > first)
        ends = itertools.accumulate((to for _, to in spans), max)
        return max(since - end for (since, _), end in zip(spans[1:], ends, strict=False))

    def waited(self, job: str) -> float:
        return self.there.began[job][0] - self.handed_in[job]

    def close(self) -> None:
        self.store.close()


@pytest.fixture(params=[(1, "map"), (2, "map"), (1, "grid"), (2, "grid")])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path / "home", *request.param)


@pytest.mark.parametrize("moment", [5.0, 5.05, 5.1, 5.15, 5.2, 5.25, 5.3, 5.35, 5.4])
def test_a_small_job_behind_a_sweep_begins_soon(world: World, moment: float) -> None:
    sweep = world.add(0.02, 10_000)
    world.until(moment)
    assert sum(len(b.running) for b in world.dispatcher._ledgers.values()) == 2 * world.there.slots
    small = world.add(1.0)
    world.until(moment + 20)
    assert world.waited(small) <= SOON
    assert not world.there.called_back
    assert world.had(sweep, moment + 2, moment + 19) > 16 * world.there.slots, "the sweep goes on"


def test_small_jobs_that_keep_coming_do_not_hold_up_a_sweep(world: World) -> None:
    sweep = world.add(0.02, 10_000)
    world.until(5.0)
    small = [world.add(0.05, name="known") for _ in range(100)]
    world.until(5.0 + 2.0)
    running = [b for b in world.dispatcher._ledgers.values() if b.single]
    assert len(running) <= 2 * world.there.slots, "those without a place stay in the queue"
    world.until(80.0)
    begins, *_, ends = sorted(world.there.began[job][0] for job in small)
    share = world.had(sweep, begins, ends) / (world.there.slots * (ends - begins))
    assert 0.4 < share < 0.95, "the time that the places had for the sweep"


def test_a_more_urgent_job_is_next_whoever_waits(world: World) -> None:
    world.add(0.02, 10_000)
    world.until(5.0)
    small = [world.add(1.0) for _ in range(10)]
    world.until(5.2)
    urgent = world.add(1.0, priority=Priority.CRITICAL)
    world.until(40.0)
    assert world.waited(urgent) <= 1.0 + SLICE + SOON
    begun_since = [job for job in small if 5.2 < world.there.began[job][0] < world.there.began[urgent][0]]
    assert len(begun_since) <= world.there.slots


def test_a_more_urgent_sweep_gets_all_places_at_once(world: World) -> None:
    first = world.add(0.02, 10_000)
    world.until(5.0)
    urgent = world.add(0.02, 500, priority=Priority.HIGH)
    world.until(5.0 + 2 * SOON)
    # It has one place until its pace is known by its first task, and then all of them.
    assert world.waited(urgent) <= SOON
    world.until(7.5)
    assert world.had(first, 5.0 + SOON + 1.0 + 2 * SOON, 7.5) == 0
    world.until(25.0)
    assert world.had(urgent, 5.0, 25.0) == pytest.approx(10.0)
    assert world.had(first, 15.5, 24.0) > 8.0 * world.there.slots


def test_two_sweeps_share_the_places(world: World) -> None:
    first = world.add(0.02, 10_000)
    world.until(5.0)
    second = world.add(0.02, 10_000)
    world.until(25.0)
    shares = [world.had(job, 5.0, 25.0) for job in (first, second)]
    assert 0.8 < shares[0] / shares[1] < 1.25


@settings(max_examples=15, deadline=None)
@given(
    slots=st.integers(1, 3),
    said=st.lists(st.tuples(st.floats(0, 1.5), st.sampled_from([0.01, 0.05, 0.3, 1.0])), min_size=1, max_size=12),
)
def test_whenever_small_jobs_come_each_begins_in_its_turn(slots: int, said: list[tuple[float, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "home", slots)
        sweep = world.add(0.02, 10_000)
        now = 4.0
        jobs = []
        for pause, seconds in said:
            now += pause
            world.until(now)
            jobs.append((world.add(seconds), seconds))
        world.until(now + 40)
        began = [world.there.began[job][0] for job, _ in jobs]
        assert all(len(world.there.began[job]) == 1 for job, _ in jobs)
        for i, (job, _) in enumerate(jobs):
            # Before each of those ahead of it, and before itself, the sweep may have had one task per place.
            ahead = sum(seconds for j, (_, seconds) in enumerate(jobs) if j != i and began[j] < began[i])
            assert world.waited(job) <= ahead + (i + 1) * (SLICE + SOON) * (1 + (slots == 1))
        assert world.longest_pause(sweep, 4.0) <= 1.0 * (slots + 1) + SOON, "the sweep has its turns"
        world.close()
