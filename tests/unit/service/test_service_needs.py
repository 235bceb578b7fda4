"""Jobs that need an outside service, from the queue to their outcome: put off, the probe, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.circuit import Phase
from jobnb.job import JobRecord, Priority, Status
from jobnb.service.courier import Ended, Lost
from jobnb.service.intake import Intake
from jobnb.service.ledger import Ledger
from jobnb.service.recorder import Recorder
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease
from jobnb.worker.request import TaskOutcome

SECOND = 1_000_000
DOWN = {"code": "NETWORK_ERROR", "bases": "ConnectionError OSError", "message": "down"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class Keeper:
    lease: Lease


class Courier:
    def forget(self, job: str, task: int) -> None:
        pass


@dataclass
class World:
    """A service without a cluster: what it takes up runs until the test says how it ended."""

    store: Store
    clock: Clock
    keeper: Any
    books: dict[str, Ledger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.intake = Intake(store=self.store, keeper=self.keeper)
        self.recorder = Recorder(
            store=self.store, keeper=self.keeper, courier=Courier(), ledgers=self.books, draw=lambda: 1.0
        )  # type: ignore[arg-type]

    def add(self, *needs: str, **changes: Any) -> str:
        said: dict[str, Any] = {"name": "x", "kind": "job", "cluster": "local", "payload": "0" * 64}
        return self.store.jobs.add(NewJob(**{**said, "options": {"needs": list(needs)} if needs else {}, **changes}))

    def take_up(self, slots: int = 4) -> list[str]:
        """Do what the dispatcher does in a round; return what was begun."""
        with self.store.tasks.fenced(self.keeper.lease):
            self.store.tasks.wake_scheduled("local")
        self.intake.waiting = True
        taken: list[str] = []
        while free := slots - len(self.books):
            made = self.intake.take_up(self.books.values(), slots=slots, free=free)
            if not made and not self.intake.waiting:
                break
            for ledger in made:
                self.books[ledger.job.id] = ledger
                handed = ledger.hand_out(slots)
                assert handed is not None
                with self.store.tasks.fenced(self.keeper.lease):
                    self.store.tasks.begin(ledger.job.id, handed[0], *handed[1], 1, self.keeper.lease.epoch)
                taken.append(ledger.job.id)
        return taken

    def end(self, job: str, state: Any = "completed", error: Any = None, **more: Any) -> None:
        ledger = self.books[job]
        (task, out), *_ = ledger.running.items()
        stop = out.stop if state == "completed" else out.start
        outcome = TaskOutcome(job=job, task=task, attempt=1, state=state, start=out.start, stop=stop, error=error,
                              result=b"r" if state == "completed" else None, **more)  # fmt: skip
        self.recorder.take_in([Ended(outcome=outcome)])
        if self.books[job].outcome() is not None:
            del self.books[job]

    def job(self, job: str) -> JobRecord:
        found = self.store.jobs.get(job)
        assert found is not None
        return found

    def statuses(self, jobs: list[str]) -> set[Status]:
        return {self.job(job).status for job in jobs}

    @property
    def phase(self) -> Phase:
        return self.store.limits.breaker("yahoo").phase


@pytest.fixture
def world(tmp_path: Path) -> World:
    return made(tmp_path)


def made(place: Path) -> World:
    clock = Clock()
    store = Store(place / "home", clock)
    lease = store.leases.take("local", "me", 10**9, {"host": "elsewhere", "pid": 1})
    assert lease is not None
    return World(store, clock, Keeper(lease))


def test_failures_of_jobs_open_it_and_the_rest_waits_without_using_a_retry(world: World) -> None:
    failing, rest = [world.add("yahoo") for _ in range(5)], [world.add("yahoo") for _ in range(20)]
    plain = [world.add() for _ in range(3)]
    for job in failing:
        assert world.take_up(slots=1) == [job]
        world.end(job, "failed", DOWN)
    assert world.phase is Phase.OPEN
    assert world.take_up() == plain, "nobody who needs it stands in the way of the others"
    assert world.statuses(rest) == {Status.SCHEDULED}
    assert {world.job(job).attempt for job in rest} == {1}
    assert world.statuses(failing) == {Status.RETRYING}
    # The probe fails: one more failure in all, and everybody else waits again.
    for job in plain:
        world.end(job)
    world.clock.pass_(31)
    assert world.take_up() == [rest[0]]
    assert world.phase is Phase.HALF_OPEN
    assert world.take_up() == []
    world.end(rest[0], "failed", DOWN)
    assert world.phase is Phase.OPEN
    assert world.take_up() == []
    assert world.store.limits.breaker("yahoo").failed == 6
    # The next one completes: all go.
    world.clock.pass_(31)
    assert world.take_up() == [rest[1]]
    world.end(rest[1])
    assert world.phase is Phase.CLOSED
    assert world.take_up(slots=50) == rest[2:]


def test_critical_ones_go_and_close_it(world: World) -> None:
    world.store.limits.answer({"op": "trip", "name": "yahoo", "seconds": 3600.0, "who": "ann"})
    world.clock.pass_(1)
    critical, high = world.add("yahoo", priority=Priority.CRITICAL), world.add("yahoo", priority=Priority.HIGH)
    assert world.take_up() == [critical]
    assert "was tripped by ann" in world.job(high).note
    world.end(critical)
    assert world.phase is Phase.CLOSED
    assert world.take_up() == [high]


def test_a_lost_probe_makes_room(world: World) -> None:
    world.store.limits.answer({"op": "trip", "name": "yahoo", "seconds": 10.0, "who": "ann"})
    first, second = world.add("yahoo"), world.add("yahoo")
    world.clock.pass_(11)
    assert world.take_up() == [first]
    world.recorder.take_in([Lost(job=first, task=0, why="gone")])
    assert world.phase is Phase.HALF_OPEN
    # Its task is handed out again; it is no probe any more, and the next one is.
    assert world.take_up() == [second]


def test_a_job_that_needs_two_waits_for_both(world: World) -> None:
    world.store.limits.answer({"op": "trip", "name": "kraken", "seconds": 100.0, "who": "ann"})
    world.store.limits.answer({"op": "trip", "name": "yahoo", "seconds": 10.0, "who": "ann"})
    job = world.add("yahoo", "kraken")
    world.clock.pass_(11)
    assert world.take_up() == []
    assert "waits for kraken" in world.job(job).note
    assert world.store.limits.breaker("yahoo").circuit.probe == "", (
        "it does not hold the one while it waits for the other"
    )
    world.clock.pass_(100)
    assert world.take_up() == [job]


def test_values_come_with_the_outcome(world: World) -> None:
    job = world.add()
    world.take_up()
    world.end(job, "failed", DOWN, kept=(("yahoo", "aapl", 5, b"v"),))
    assert world.store.limits.answer({"op": "last", "name": "yahoo", "call": "aapl"}) == {"at": 5, "value": b"v"}
    assert world.phase is Phase.CLOSED


def test_all_of_a_long_queue_are_put_off_in_one_round(world: World) -> None:
    world.store.limits.answer({"op": "trip", "name": "yahoo", "seconds": 100.0, "who": "ann"})
    with world.store.database.writing("normal"):
        jobs = [world.add("yahoo") for _ in range(300)]
    before = world.store.limits.moves
    assert world.take_up() == []
    assert world.store.limits.moves == before + 1
    assert world.statuses(jobs) == {Status.SCHEDULED}


def test_a_map_that_runs_goes_back_into_the_queue_with_what_it_has(world: World) -> None:
    world.store.limits.answer({"op": "rule", "name": "yahoo", "rule": {"failures": 2}})
    job = world.add("yahoo", plan={"type": "map", "items": 10}, kind="map")
    assert world.take_up() == [job]
    ledger = world.books[job]
    for slots in (3, 2, 1):
        handed = ledger.hand_out(slots)
        assert handed is not None
        with world.store.tasks.fenced(world.keeper.lease):
            world.store.tasks.begin(job, handed[0], *handed[1], 1, world.keeper.lease.epoch)
    spans = [out.stop - out.start for out in ledger.running.values()]
    assert len(spans) == 4
    world.end(job)
    for _ in range(2):
        world.end(job, "failed", DOWN)
    assert world.phase is Phase.OPEN
    assert not world.books[job].open, "nothing more is handed out"
    assert world.job(job).status is Status.RUNNING
    world.end(job, "failed", {"code": "BREAKER_OPEN", "message": "yahoo failed", "retry": "30"})
    record = world.job(job)
    assert (record.status, record.done) == (Status.QUEUED, spans[0])
    assert job not in world.books
    assert world.take_up() == []
    assert (world.job(job).status, world.job(job).attempt) == (Status.SCHEDULED, 1)
    world.clock.pass_(31)
    assert world.take_up() == [job]
    again = world.books[job]
    assert again.done == spans[0]
    assert sorted(again.failures.values()) == [1, 1], "the one that found it open used no retry"


def test_a_job_that_finds_it_open_in_its_midst_waits_and_uses_no_retry(world: World) -> None:
    job = world.add("yahoo")
    assert world.take_up() == [job]
    world.store.limits.answer({"op": "trip", "name": "yahoo", "seconds": 10.0, "who": "ann"})
    found_open = {"code": "BREAKER_OPEN", "message": "yahoo was tripped by ann", "retry": "10"}
    world.end(job, "failed", found_open)
    assert world.take_up() == []
    assert (world.job(job).status, world.job(job).attempt) == (Status.SCHEDULED, 1)
    assert world.store.limits.breaker("yahoo").failed == 0
    world.clock.pass_(11)
    assert world.take_up() == [job]
    assert world.books[job].failures == {}
    # Another breaker, which it has not declared, is its own affair.
    world.store.limits.answer({"op": "reset", "name": "yahoo"})
    world.end(job, "failed", found_open)
    assert world.job(job).status is Status.RETRYING


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "take up", "take up", "completed", "down", "bug", "lost", "cancel", "time", "trip"]
        ),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(MOVES, st.integers(1, 3))
def test_whatever_happens_nobody_waits_for_ever_and_one_tries_at_a_time(
    moves: list[tuple[str, int]], failures: int
) -> None:
    with TemporaryDirectory() as place:
        world = made(Path(place))
        world.store.limits.answer({"op": "rule", "name": "yahoo", "rule": {"failures": failures, "open_for": 5.0}})
        jobs: list[str] = []
        for move, n in moves:
            world.clock.pass_(0.5)
            running = [job for job in world.books if world.books[job].running]
            before = set(world.books)
            match move:
                case "add":
                    needs = [("yahoo",), (), ("yahoo", "kraken")][n % 3]
                    priority = Priority.CRITICAL if n == 9 else Priority.NORMAL
                    jobs.append(world.add(*needs, priority=priority))
                case "take up":
                    phase = world.phase
                    taken = world.take_up()
                    ordinary = [
                        job for job in taken
                        if "yahoo" in world.job(job).options.get("needs", ())
                        and world.job(job).priority is not Priority.CRITICAL
                    ]  # fmt: skip
                    assert len(ordinary) <= {Phase.OPEN: 0, Phase.HALF_OPEN: 1}.get(phase, 99)
                case "completed" if running:
                    world.end(running[n % len(running)])
                case "down" if running:
                    world.end(running[n % len(running)], "failed", DOWN)
                case "bug" if running:
                    world.end(running[n % len(running)], "failed", {"code": "USER_ERROR", "bases": "ValueError"})
                case "lost" if running:
                    job = running[n % len(running)]
                    task = next(iter(world.books[job].running))
                    world.recorder.take_in([Lost(job=job, task=task, why="gone")])
                    del world.books[job]
                    with world.store.tasks.fenced(world.keeper.lease):
                        world.store.tasks.requeue(job, "its service died")
                case "cancel" if jobs:
                    job = jobs[n % len(jobs)]
                    if job not in before:
                        world.store.jobs.request_cancel(job, "ann")
                case "time":
                    world.clock.pass_(n)
                case "trip":
                    world.store.limits.answer({"op": "trip", "name": ["yahoo", "kraken"][n % 2], "who": "ann"})
        for _ in range(3 * len(jobs) + 3):
            for job in list(world.books):
                world.end(job)
            world.take_up()
            # Long enough for retries, and for the place of a probe of which nothing is heard.
            world.clock.pass_(3700)
        assert all(status.final for status in world.statuses(jobs))
        world.store.close()
