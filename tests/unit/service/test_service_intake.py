"""What is taken up next: of which queue, in which order, and nothing beyond a limit; a real store, no cluster."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobnb.job import Priority, Status
from jobnb.service.choice import capped, merge
from jobnb.service.intake import Intake
from jobnb.service.ledger import Ledger
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.queues import Line, Rule


class World:
    """A store, the intake of a service, and the books of what it has taken up."""

    def __init__(self, home: Path, slots: int = 2) -> None:
        self.store = Store(home)
        lease = self.store.leases.take("local", "me", 1e6, {})
        assert lease is not None
        self.lease = lease
        self.intake = Intake(store=self.store, keeper=SimpleNamespace(lease=lease))  # type: ignore[arg-type]
        self.slots = slots
        self.books: dict[str, Ledger] = {}

    def add(self, queue: str = "default", priority: Priority = Priority.NORMAL, items: int = 1) -> str:
        plan = {"type": "map" if items > 1 else "single", "items": items}
        job = self.store.jobs.add(
            NewJob(name=queue, kind="job", cluster="local", payload="0" * 64, queue=queue, priority=priority, plan=plan)
        )
        self.intake.waiting = True
        return job

    def limit(self, queue: str, most: int | None, tasks: int | None = None) -> None:
        self.store.queues.put(queue, max_concurrent=most, max_tasks=tasks, defaults={})
        self.intake.waiting = True

    def turn(self, queue: str, state: str) -> None:
        self.store.queues.turn(queue, state, "ann")
        self.intake.waiting = True

    def step(self) -> list[str]:
        """Take up what there is room for, and hand out one task of each single job; return the new jobs."""
        out = sum(len(b.running) for b in self.books.values())
        taken = self.intake.take_up(self.books.values(), slots=self.slots, free=2 * self.slots - out)
        for ledger in taken:
            self.books[ledger.job.id] = ledger
            if ledger.single:
                ledger.hand_out(1)
        return [ledger.job.id for ledger in taken]

    def end(self, job: str) -> None:
        ledger = self.books.pop(job)
        with self.store.tasks.fenced(self.lease, "normal"):
            self.store.tasks.finish(job, Status.COMPLETED)
        self.intake.learn(ledger)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home")


def test_a_full_queue_is_passed_over_and_goes_on_when_one_ends(world: World) -> None:
    world.limit("c", 1)
    first, second = world.add("c"), world.add("c")
    other = world.add()
    assert world.step() == [first, other]
    world.end(other)
    assert world.step() == []
    assert not world.intake.waiting, "nothing to look for before something changes"
    world.end(first)
    assert world.step() == [second]


def test_a_paused_queue_is_passed_over_until_it_is_resumed(world: World) -> None:
    world.turn("c", "paused")
    job, other = world.add("c", Priority.CRITICAL), world.add()
    assert world.step() == [other]
    world.turn("c", "open")
    assert world.step() == [job]


def test_a_draining_queue_goes_on(world: World) -> None:
    job = world.add("c")
    world.turn("c", "draining")
    assert world.step() == [job]


def test_queues_take_turns_and_priorities_come_first(tmp_path: Path) -> None:
    world = World(tmp_path / "home", slots=1)
    world.limit("many", None)
    many = [world.add("many") for _ in range(4)]
    few = [world.add("few") for _ in range(2)]
    urgent = world.add("many", Priority.HIGH)
    order: list[str] = []
    world.slots = 7
    order += world.step()
    # "few" is nobody's queue and shares its turn with the others of that kind.
    assert order == [urgent, few[0], many[0], few[1], many[1], many[2], many[3]]


def test_without_queues_the_oldest_comes_first(world: World) -> None:
    world.slots = 9
    jobs = [world.add(queue) for queue in ("a", "b", "b", "a", "c")]
    assert world.step() == jobs


def test_a_capped_queue_does_not_hold_up_those_of_lower_priority(world: World) -> None:
    world.limit("c", None, tasks=1)
    sweep = world.add("c", Priority.HIGH, items=100)
    assert world.step() == [sweep]
    ledger = world.books[sweep]
    ledger.hand_out(2)
    assert ledger.open
    other = world.add("d", Priority.LOW)
    assert world.intake.capped(world.books.values()) == {"c"}
    assert world.step() == [other]


def test_the_place_among_the_tasks_of_a_queue() -> None:
    rules = {
        "c": Rule(paused=False, max_concurrent=None, max_tasks=3),
        "d": Rule(paused=False, max_concurrent=1, max_tasks=None),
    }
    assert capped(rules, [("c", 2), ("d", 50), ("x", 50)]) == set()
    assert capped(rules, [("c", 2), ("c", 1)]) == {"c"}


HEADS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10**6)), max_size=8)


@given(
    st.lists(st.tuples(st.integers(0, 5), HEADS), max_size=5),
    st.integers(0, 20),
)
def test_merging_is_strict_fair_and_leaves_nothing_out(drawn: list[tuple[int, Any]], limit: int) -> None:
    seen: set[int] = set()
    lines: list[Line] = []
    for i, (running, heads) in enumerate(drawn):
        mine = [head for head in {seq: (rank, seq) for rank, seq in heads}.values() if head[1] not in seen]
        seen |= {seq for _, seq in mine}
        mine.sort(key=lambda head: (-head[0], head[1]))
        lines.append(Line(queue=str(i), running=running, heads=tuple(mine)))
    rank_of = {seq: rank for line in lines for rank, seq in line.heads}
    line_of = {seq: line.queue for line in lines for _, seq in line.heads}
    made = merge(lines, limit)
    assert len(made) == len(set(made)) == min(limit, len(rank_of))
    ranks = [rank_of[seq] for seq in made]
    assert ranks == sorted(ranks, reverse=True), "a higher priority goes first, whatever the queue"
    out = Counter({line.queue: line.running for line in lines})
    left = {line.queue: list(line.heads) for line in lines}
    for seq in made:
        mine = line_of[seq]
        assert left[mine].pop(0)[1] == seq, "within a queue in its order"
        rivals = [name for name, heads in left.items() if heads and heads[0][0] == rank_of[seq]]
        assert all(out[mine] <= out[name] for name in rivals), "the queue with the fewest running is next"
        out[mine] += 1


class Claims(RuleBasedStateMachine):
    """Whatever is submitted, paused, limited and ended in whatever order: limits hold, and no place stays empty."""

    QUEUES = ("default", "a", "b", "c")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "home", slots=3)
        self.limits: dict[str, int | None] = {}
        self.paused: set[str] = set()
        self.waiting: dict[str, tuple[str, Priority]] = {}

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from(list(Priority)))
    def submit(self, queue: str, priority: Priority) -> None:
        self.waiting[self.world.add(queue, priority)] = queue, priority

    @rule(queue=st.sampled_from(QUEUES), most=st.sampled_from([None, 1, 2]))
    def limit(self, queue: str, most: int | None) -> None:
        self.world.limit(queue, most)
        self.limits[queue] = most

    @rule(queue=st.sampled_from(QUEUES), pause=st.booleans())
    def turn(self, queue: str, pause: bool) -> None:
        self.world.turn(queue, "paused" if pause else "open")
        (self.paused.add if pause else self.paused.discard)(queue)

    @rule(queue=st.sampled_from(QUEUES))
    def remove(self, queue: str) -> None:
        self.world.store.queues.remove(queue)
        self.world.intake.waiting = True
        self.limits.pop(queue, None)
        self.paused.discard(queue)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.world.books:
            self.world.end(data.draw(st.sampled_from(list(self.world.books))))

    def out(self) -> Counter[str]:
        return Counter(b.job.queue for b in self.world.books.values())

    def room(self, queue: str) -> bool:
        most = self.limits.get(queue)
        return queue not in self.paused and (most is None or self.out()[queue] < most)

    @rule()
    def step(self) -> None:
        before = self.out()
        for job in self.world.step():
            queue, priority = self.waiting.pop(job)
            assert queue not in self.paused
            before[queue] += 1
            most = self.limits.get(queue)
            assert most is None or before[queue] <= most
            better = [p.rank for q, p in self.waiting.values() if self.room(q)]
            assert priority.rank >= max(better, default=0), "a more urgent one had room"
        if len(self.world.books) < self.world.slots:
            assert not [q for q, _ in self.waiting.values() if self.room(q)], "a place stays empty"

    @invariant()
    def the_store_says_the_same(self) -> None:
        for queue in self.QUEUES:
            counts = self.world.store.queues.counts(queue)
            assert counts.get("running", 0) == self.out()[queue]
            assert counts.get("queued", 0) == sum(q == queue for q, _ in self.waiting.values())

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.store.close()
            self.folder.cleanup()


TestClaims = Claims.TestCase
TestClaims.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
