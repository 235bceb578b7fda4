"""Schedules that fire: each moment once, whoever fires it, however late; a clock of the tests' own."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobnb import JobManager
from jobnb.errors import LeaseLost, UnknownName, UsageProblem
from jobnb.job import Status
from jobnb.service.planner import Planner
from jobnb.store import Store
from jobnb.store.jobs import from_us, to_us
from jobnb.timetable import Schedule

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """The wall clock of a store; moved by hand."""

    def __init__(self) -> None:
        self.now = to_us(NOON)

    def __call__(self) -> int:
        return self.now

    def move(self, **length: float) -> None:
        self.now += int(timedelta(**length).total_seconds() * 1e6)


class World:
    """A store with a clock of its own, and as many services as wanted."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.home = home
        self.manager = JobManager(home=home)
        self.store = self.manager._store = Store(home, clock=self.clock)
        monkeypatch.setattr(self.manager, "ensure_service", lambda: None)
        self.planner = self.service()

    def service(self, seconds: float = 1e9) -> Planner:
        """Return the planner of a service that has just taken over."""
        store = Store(self.home, clock=self.clock)
        lease = store.leases.take("local", f"service {random.random()}", seconds, {})
        assert lease is not None
        return Planner(store=store, keeper=SimpleNamespace(lease=lease))  # type: ignore[arg-type]

    def step(self, planner: Planner | None = None) -> bool:
        planner = planner or self.planner
        return planner.step(planner.store.version())

    def end(self, job: str, status: Status = Status.COMPLETED) -> None:
        lease = self.planner.keeper.lease
        with self.store.tasks.fenced(lease):
            self.store.tasks.start_job(job)
            self.store.tasks.finish(job, status)

    def fired(self, schedule: Schedule) -> list[str]:
        return [f"{t.fire_at:%H:%M} {t.verdict}" for t in reversed(schedule.ticks(1000))]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path / "home", monkeypatch)


def test_a_run_is_a_job_that_knows_its_moment(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), priority="high", tags=["nightly"], timeout=60)
    assert schedule.next_run == NOON + timedelta(hours=1)
    assert not world.step()
    world.clock.move(hours=1, seconds=1)
    assert world.step()
    assert not world.step()
    (job,) = schedule.jobs()
    record = job.record
    assert (record.schedule, record.fire_at) == ("beat", NOON + timedelta(hours=1))
    assert (record.name, record.priority.value, record.tags, record.options["timeout"]) == (
        "beat",
        "high",
        ("nightly",),
        60,
    )
    assert record.status is Status.QUEUED
    assert [event.who for event in job.events] == ["schedule beat"]
    assert schedule.next_run == NOON + timedelta(hours=2)
    assert schedule.runs == 1


def test_the_service_stays_while_a_schedule_is_enabled(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    assert not world.store.tasks.leave_if_idle(world.planner.keeper.lease)
    schedule.pause()
    assert world.store.tasks.leave_if_idle(world.planner.keeper.lease)


def test_overlap_skip(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    for _ in range(2):
        world.clock.move(hours=1)
        world.step()
    assert world.fired(schedule) == ["13:00 fired", "14:00 skipped"]
    first = schedule.jobs()[0]
    assert first.id in schedule.ticks()[0].why
    world.end(first.id)
    world.clock.move(hours=1)
    assert world.step()


def test_overlap_queue(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), overlap="queue")
    for _ in range(3):
        world.clock.move(hours=1)
        world.step()
    assert world.fired(schedule) == ["13:00 fired", "14:00 waiting", "15:00 waiting"]
    for expected in (["13:00 fired", "14:00 fired", "15:00 waiting"], ["13:00 fired", "14:00 fired", "15:00 fired"]):
        (live,) = world.store.schedules.live("beat")
        world.end(live)
        assert world.step()
        assert world.fired(schedule) == expected
    assert [job.record.fire_at for job in schedule.jobs()] == [NOON + timedelta(hours=h) for h in (3, 2, 1)]


def test_overlap_queue_is_kept_by_the_next_service(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), overlap="queue")
    for _ in range(2):
        world.clock.move(hours=1)
        world.step()
    world.end(schedule.jobs()[0].id)
    world.planner.store.leases.release(world.planner.keeper.lease)
    assert world.step(world.service())
    assert world.fired(schedule) == ["13:00 fired", "14:00 fired"]


def test_overlap_cancel_previous(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), overlap="cancel_previous")
    for _ in range(2):
        world.clock.move(hours=1)
        world.step()
    newest, former = schedule.jobs()
    assert (newest.status, former.status) == (Status.QUEUED, Status.CANCELLED)
    assert former.record.cancelled_by == "schedule beat"


def test_after_so_many_runs_it_is_over(world: World) -> None:
    schedule = world.manager.schedule(
        "beat", len, "1h", args=("abc",), max_runs=2, missed="all", overlap="cancel_previous"
    )
    world.clock.move(hours=5)
    world.step()
    assert world.fired(schedule) == ["13:00 fired", "14:00 fired"]
    assert not schedule.enabled
    assert schedule.next_run is None
    assert "over after 2 runs" in schedule.note


def test_failures_in_a_row_pause_it_until_somebody_resumes(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), pause_after=2)
    for status in (Status.FAILED, Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.FAILED):
        assert schedule.enabled
        world.clock.move(hours=1)
        assert world.step()
        world.end(schedule.jobs()[0].id, status)
    assert not schedule.enabled
    assert schedule.note == "paused after 2 failures in a row"
    world.clock.move(hours=3)
    assert not world.step()
    schedule.resume()
    assert schedule.failures == 0
    world.clock.move(hours=1)
    assert world.step()
    assert "skipped" not in " ".join(world.fired(schedule))


def test_paused_it_lets_its_moments_go(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), missed="all")
    schedule.pause()
    world.clock.move(hours=3)
    assert not world.step()
    assert schedule.run().record.status is Status.QUEUED
    schedule.resume()
    world.clock.move(hours=1)
    world.step()
    assert [t.verdict for t in schedule.ticks()] == ["skipped", "fired"]
    assert schedule.ticks()[1].why == "run by hand"


def test_jitter_puts_a_run_off(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), jitter="10m", deadline="1h")
    world.clock.move(hours=1)
    assert world.step()
    record = schedule.jobs()[0].record
    assert record.run_at is not None
    assert NOON + timedelta(hours=1) <= record.run_at < NOON + timedelta(hours=1, minutes=10)
    assert record.deadline_at == record.run_at + timedelta(hours=1)


def test_changed_it_goes_by_the_new_rule(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    world.clock.move(minutes=30)
    world.manager.schedule("beat", len, "15m", args=("other",))
    world.clock.move(minutes=15)
    assert world.step()
    assert world.fired(schedule) == ["12:45 fired"]
    assert len(world.manager.schedules()) == 1


def test_one_that_is_changed_while_it_fires_is_looked_at_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    world.clock.move(hours=1)
    stale = world.store.schedules.due("local", from_us(world.clock()))
    schedule.pause()
    with monkeypatch.context() as patch:
        patch.setattr(world.planner.store.schedules, "due", lambda *_: stale)
        world.planner._next, world.planner._seen = 0, world.planner.store.version()
        assert not world.step()
    assert schedule.ticks() == []


def test_a_job_that_ran_can_be_scheduled(world: World) -> None:
    job = world.manager.submit(len, ("abc",))
    schedule = world.manager.schedule("again", job, "0 8 * * *", tz="America/New_York")
    world.clock.move(hours=2)
    assert world.step()
    assert schedule.jobs()[0].record.payload == job.record.payload


def test_removed_its_jobs_stay(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    world.clock.move(hours=1)
    world.step()
    (job,) = schedule.jobs()
    schedule.remove()
    assert job.record.schedule == "beat"
    with pytest.raises(UnknownName, match="beat"):
        schedule.pause()


def test_the_work_of_a_schedule_is_not_vacuumed(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("x" * 100_000,))
    world.store.dead_letters.vacuum()
    world.clock.move(hours=1)
    world.step()
    assert world.store.payloads.get(schedule.jobs()[0].record.payload)


def test_out_of_the_calendar_it_says_so_and_guesses_nothing(world: World) -> None:
    from jobnb.triggers.market import Market

    world.clock.now = to_us(datetime(2049, 12, 31, 3, tzinfo=UTC))
    schedule = world.manager.schedule("late", len, Market("XHKG").close(), args=("abc",))
    world.clock.move(days=1)
    assert not world.step()
    assert not schedule.enabled
    assert schedule.note.startswith("OUT_OF_CALENDAR: the holidays of XHKG in 2050")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"run_at": "5m"}, "run_at is not for a schedule"),
        ({"unique": "x"}, "overlap"),
        ({"overlpa": "skip"}, "Did you mean 'overlap'"),
        ({"missed": "some"}, "missed"),
        ({"end": datetime(2020, 1, 1, tzinfo=UTC)}, "does not come any more"),
    ],
)
def test_what_is_said_wrongly_changes_nothing(world: World, said: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        world.manager.schedule("beat", len, "1h", args=("abc",), **said)
    assert len(world.manager.schedules()) == 0


def test_what_cannot_be_scheduled(world: World) -> None:
    for target, when in ((3, "1h"), (len, "soon"), (len, "2020-01-01T00:00")):
        with pytest.raises(UsageProblem):
            world.manager.schedule("beat", target, when)  # type: ignore[arg-type]
    with pytest.raises(UsageProblem, match="name"):
        world.manager.schedule("", len, "1h")


def test_a_list_of_them(world: World) -> None:
    world.manager.schedule("<b>", len, "1h", args=("abc",))
    world.manager.schedule("later", len, "0 8 * * 1-5", args=("abc",), tz="Europe/Berlin").pause()
    listed = world.manager.schedules()
    assert "0 8 * * 1-5 Europe/Berlin" in repr(listed)
    assert "paused" in repr(listed)
    assert "&lt;b&gt;" in listed._repr_html_()
    assert "<b>" not in listed._repr_html_()


@pytest.mark.parametrize(
    ("missed", "ticks", "jobs"),
    [
        ("coalesce", [*(f"{h}:00 coalesced" for h in range(13, 20)), "20:00 fired"], 1),
        ("all", [f"{h}:00 fired" for h in range(13, 21)], 8),
        ("skip", [f"{h}:00 missed" for h in range(13, 21)], 0),
    ],
)
def test_suspended_for_eight_hours_and_set_back_by_one(world: World, missed: str, ticks: list[str], jobs: int) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), overlap="cancel_previous", missed=missed)
    world.clock.move(hours=8, minutes=5)
    world.step()
    assert world.fired(schedule) == ticks
    assert len(schedule.jobs()) == jobs
    # Set back, the hour comes again, and nothing of it: neither in this service nor in the next one.
    world.clock.move(hours=-1)
    assert not world.step()
    for _ in range(11):
        world.clock.move(minutes=5)
        assert not world.step()
    world.planner.store.leases.release(world.planner.keeper.lease)
    successor = world.service()
    assert not world.step(successor)
    assert world.fired(schedule) == ticks
    world.clock.move(minutes=60)
    assert world.step(successor)
    assert world.fired(schedule) == [*ticks, "21:00 fired"]
    assert len(schedule.jobs()) == jobs + 1


def test_what_is_too_old_after_a_suspend_is_missed(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), missed="all", catch_up="90m", overlap="queue")
    world.clock.move(hours=8, minutes=5)
    world.step()
    assert world.fired(schedule)[-3:] == ["18:00 missed", "19:00 fired", "20:00 waiting"]


def test_one_that_wakes_up_after_another_has_taken_over_fires_nothing(world: World) -> None:
    world.planner.store.leases.release(world.planner.keeper.lease)
    sleeper = world.service(seconds=15)
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",))
    world.clock.move(hours=8)
    other = world.service()
    with pytest.raises(LeaseLost):
        world.step(sleeper)
    assert schedule.ticks() == []
    assert world.step(other)
    assert len(schedule.jobs()) == 1


def test_a_run_that_was_put_off_begins_when_it_was_to_though_the_clock_was_set_back(world: World) -> None:

    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), jitter="1m")
    world.clock.move(hours=1)
    assert world.step()
    record = schedule.jobs()[0].record
    assert record.run_at is not None
    world.clock.move(hours=-1)
    assert not world.step()
    world.clock.move(hours=1, minutes=1)
    with world.store.tasks.fenced(world.planner.keeper.lease):
        world.store.tasks.wake_scheduled("local")
    assert schedule.jobs()[0].status is Status.QUEUED


def test_ten_services_fire_each_moment_of_a_month_once(world: World) -> None:
    """Services that take over, are killed before any of their statements, fall asleep and wake up in charge no more.

    By hand with ``JOBNB_SCHEDULES=200 JOBNB_DRAWN=n``.
    """
    drawn = random.Random(int(os.environ.get("JOBNB_DRAWN", "7")))
    for i in range(int(os.environ.get("JOBNB_SCHEDULES", "30"))):
        when = drawn.choice(["24h", "6h", "0 9 * * *", "30 17 * * 1-5", "36h"])
        policy = {"missed": drawn.choice(["all", "coalesce", "skip"]), "overlap": "cancel_previous"}
        world.manager.schedule(f"s{i}", len, when, args=("abc",), **policy)
    world.planner.store.leases.release(world.planner.keeper.lease)
    services = [Service(world, number, drawn) for number in range(10)]
    while world.clock() < to_us(NOON + timedelta(days=30)):
        world.clock.move(hours=drawn.choice([1, 1, 3, 9]))
        for service in drawn.sample(services, len(services)):
            service.turn()
    assert all(service.charges for service in services)
    assert sum(service.deaths for service in services) >= 20
    assert sum(service.losses for service in services) >= 10
    # The last one decides what is left.
    world.clock.move(hours=3)
    world.step(world.service(seconds=2 * 3600))
    until = from_us(world.clock())
    for schedule in world.manager.schedules():
        rows = schedule.ticks(1000)
        assert [row.fire_at for row in reversed(rows)] == _moments(schedule, until)
        jobs = Counter(row.job for row in rows if row.verdict == "fired")
        assert set(jobs.values()) <= {1}
        assert "" not in jobs
        assert schedule.runs == sum(jobs.values())
        made = world.store.database.row("SELECT count(*) FROM jobs WHERE schedule = ?", (schedule.name,))
        assert made == (schedule.runs,)
    assert world.store.database.row("PRAGMA integrity_check") == ("ok",)


class Service:
    """One of several services, none of which knows of the others but by the lease."""

    SECONDS = 2 * 3600

    def __init__(self, world: World, number: int, drawn: random.Random) -> None:
        self.world, self.number, self.drawn = world, number, drawn
        self.planner: Planner | None = None
        self.away_until = 0
        self.charges = self.deaths = self.losses = 0

    def turn(self) -> None:
        """Do what a service does in an hour or so: nothing, take over, go on, or die in the middle of it."""
        if self.world.clock() < self.away_until:
            return
        if self.drawn.random() < 0.15:
            self._away(self.drawn.choice([2, 20]))
            return
        try:
            if self.planner is None:
                self.planner = self._take_over()
                self.charges += self.planner is not None
            elif self.drawn.random() < 0.7:
                lease = self.planner.keeper.lease
                self.planner.keeper.lease = self.planner.store.leases.renew(lease, self.SECONDS, {})
            if self.planner is not None and self.drawn.random() < 0.4:
                with _dying(self.planner, self.drawn.randrange(1, self.drawn.choice([4, 40, 400]))):
                    self.world.step(self.planner)
            elif self.planner is not None:
                self.world.step(self.planner)
        except LeaseLost:
            self.losses += 1
            self._end()
        except _Killed:
            self.deaths += 1
            self._end()
            self._away(self.drawn.choice([0, 1, 5]))

    def _take_over(self) -> Planner | None:
        store = Store(self.world.home, clock=self.world.clock)
        lease = store.leases.take("local", f"service {self.number}.{self.deaths}", self.SECONDS, {})
        if lease is None:
            store.close()
            return None
        return Planner(store=store, keeper=SimpleNamespace(lease=lease))  # type: ignore[arg-type]

    def _end(self) -> None:
        assert self.planner is not None
        self.planner.store.close()
        self.planner = None

    def _away(self, hours: float) -> None:
        self.away_until = self.world.clock() + int(hours * 3600e6)


class _Killed(BaseException):
    pass


class _dying:
    """A process that is gone before one of its statements, be it in a transaction or between two."""

    def __init__(self, planner: Planner, statements: int) -> None:
        self._database = planner.store.database
        self._left = statements

    def __enter__(self) -> None:
        rows = self._database.rows

        def doomed(*args: Any) -> list[Any]:
            self._left -= 1
            if self._left <= 0:
                raise _Killed
            return rows(*args)

        self._database.rows = doomed  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self._database.rows


def _moments(schedule: Schedule, until: datetime) -> list[datetime]:
    from jobnb.triggers import described

    trigger = described.trigger(dict(schedule.record.trigger))
    found, at = [], trigger.after(NOON)
    while at is not None and at <= until:
        found.append(at)
        at = trigger.after(at)
    return found


def quarter_end(moment: datetime) -> bool:
    return moment.month % 3 == 0 and (moment + timedelta(days=1)).day == 1


def refuse(world: World, job: str, why: str = "only=quarter_end said no") -> None:
    """End a run as the service does whose child was refused by a filter."""
    with world.store.tasks.fenced(world.planner.keeper.lease):
        world.store.tasks.start_job(job)
        world.store.tasks.finish(job, Status.CANCELLED, error={"code": "SKIPPED", "message": why})


def test_a_tick_that_its_own_filter_refuses_is_skipped_and_no_run(world: World) -> None:
    schedule = world.manager.schedule(
        "beat", len, "1h", args=("abc",), only=["weekdays", quarter_end], skip=quarter_end, pause_after=1
    )
    assert schedule.when == "every 1h, only weekdays (UTC), only quarter_end, not quarter_end"
    world.clock.move(hours=1)
    assert world.step()
    (job,) = schedule.jobs()
    refuse(world, job.id)
    (tick,) = schedule.ticks()
    assert (tick.verdict, tick.why, tick.job) == ("skipped", "only=quarter_end said no", job.id)
    assert (schedule.runs, schedule.failures, schedule.enabled) == (0, 0, True)
    assert job.status is Status.CANCELLED


def test_a_refused_run_does_not_count_towards_the_most(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), only=quarter_end, max_runs=1)
    world.clock.move(hours=1)
    assert world.step()
    assert not schedule.enabled
    refuse(world, schedule.jobs()[0].id)
    assert schedule.enabled
    assert not world.step()
    assert schedule.next_run == NOON + timedelta(hours=2)
    world.clock.move(hours=1)
    assert world.step()
    world.end(schedule.jobs()[0].id)
    assert (schedule.runs, schedule.enabled) == (1, False)
    assert world.fired(schedule) == ["13:00 skipped", "14:00 fired"]


def test_one_that_is_no_condition_is_refused_at_the_door(world: World) -> None:
    with pytest.raises(UsageProblem, match="3 is no condition"):
        world.manager.schedule("beat", len, "1h", only=3)  # type: ignore[arg-type]
    assert len(world.manager.schedules()) == 0


def test_a_draining_queue_leaves_its_ticks_out(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "1h", args=("abc",), queue="c", overlap="queue")
    for _ in range(2):
        world.clock.move(hours=1)
        world.step()
    assert world.fired(schedule) == ["13:00 fired", "14:00 waiting"]
    world.store.queues.turn("c", "draining", "ann")
    world.end(*world.store.schedules.live("beat"))
    world.clock.move(hours=1)
    assert not world.step()
    assert world.fired(schedule) == ["13:00 fired", "14:00 skipped", "15:00 skipped"]
    assert schedule.ticks()[0].why == "queue 'c' is being drained by ann and takes no new job"
    world.store.queues.turn("c", "open", "ann")
    world.clock.move(hours=1)
    assert world.step()


def test_its_next_moments_also_of_years_to_come(world: World) -> None:
    schedule = world.manager.schedule("beat", len, "30 2 * * *", args=("abc",), tz="Europe/Berlin")
    assert schedule.upcoming(2) == [NOON.replace(hour=1, minute=30) + timedelta(days=d) for d in (1, 2)]
    # The clock goes from 2 to 3 that night.
    spring = schedule.upcoming(2, after=datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert spring == [datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 3, 29, 0, 30, tzinfo=UTC)]
    once = world.manager.schedule("once", len, NOON + timedelta(days=1), args=("abc",))
    assert once.upcoming() == [NOON + timedelta(days=1)]
