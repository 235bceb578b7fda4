"""When a span ends before its next item."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jobnb.allowance import LOOK_SECONDS, Allowance
from jobnb.work import MapWork
from jobnb.worker import context


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def said() -> list[dict[str, object]]:
    """What the running job has said of itself."""
    return []


@pytest.fixture
def wanted(said: list[dict[str, object]]) -> Iterator[list[int | None]]:
    """How many items the running job is to do at most, None for all."""
    told: list[int | None] = [None]
    about = {"job": "j", "name": "n", "task": 0, "attempt": 1, "seed": None, "start": 0, "stop": 9}
    context.enter(context.JobContext(about, context.Meter(said.append), said.append, enough=lambda: told[0]))
    yield told
    context.enter(None)


def test_the_seconds_are_used_up(clock: list[float]) -> None:
    allowance = Allowance(1.0)
    clock[0] += 0.9
    assert not allowance.used()
    clock[0] += 0.1
    assert allowance.used()
    assert Allowance(0.0).used()


def test_what_is_nearly_done_is_done(clock: list[float], wanted: list[int | None]) -> None:
    allowance = Allowance(1.0, 100)
    clock[0] += 1.0
    assert not allowance.used(50)
    clock[0] += 0.9
    assert not allowance.used(95)
    # Once, and not whatever comes.
    clock[0] += 0.1
    assert allowance.used(99)
    allowance = Allowance(1.0, 101)
    clock[0] += 1.0
    assert allowance.used(50)
    allowance = Allowance(1.0, 100)
    clock[0] += 1.0
    wanted[0] = 0
    assert allowance.used(50)


def test_a_slow_start_says_nothing_of_what_is_left(clock: list[float]) -> None:
    allowance = Allowance(1.0, 155)
    clock[0] += 0.5
    assert not allowance.used(10)
    clock[0] += 0.5
    # 50 in the second half, so 95 take 0.95 s; by all that was done so far they would take 1.6 s.
    assert not allowance.used(60)
    # An item that takes longer than the half of it: there is nothing but the whole to tell by.
    allowance = Allowance(1.0, 2)
    clock[0] += 1.0
    assert not allowance.used(1)


def test_who_leaves_the_last_items_to_others_says_so_and_goes_on(
    clock: list[float], wanted: list[int | None], said: list[dict[str, object]]
) -> None:
    allowance = Allowance(60.0, 1000)
    wanted[0] = 600
    assert not allowance.used(100), "it looks now and then only"
    assert (allowance.most, said) == (1000, [])
    for done in (200, 201):
        clock[0] = allowance.due
        assert not allowance.used(done)
    assert (allowance.most, [each["most"] for each in said]) == (600, [600])
    # Again, and then at once.
    wanted[0] = 400
    clock[0] = allowance.due
    assert not allowance.used(300)
    wanted[0] = 300
    clock[0] = allowance.due
    assert allowance.used(301)
    assert (allowance.most, [each["most"] for each in said]) == (400, [600, 400])


def test_nobody_leaves_items_that_it_was_not_given(
    clock: list[float], wanted: list[int | None], said: list[dict[str, object]]
) -> None:
    allowance = Allowance(60.0, 500)
    wanted[0] = 600
    clock[0] = allowance.due
    assert not allowance.used(100)
    assert (allowance.most, said) == (500, [])


def test_the_place_is_wanted_and_that_is_seen_soon(clock: list[float], wanted: list[int | None]) -> None:
    allowance = Allowance(60.0)
    wanted[0] = 0
    assert not allowance.used(), "it looks now and then only"
    clock[0] = allowance.due
    assert clock[0] <= 100.0 + LOOK_SECONDS
    assert allowance.used()


def test_without_a_budget_a_span_is_done_to_its_end(clock: list[float], wanted: list[int | None]) -> None:
    allowance = Allowance(None)
    wanted[0] = 0
    clock[0] += 1e9
    assert not allowance.used()


def test_a_map_ends_where_its_place_is_wanted(clock: list[float], wanted: list[int | None]) -> None:
    def item(i: int) -> int:
        clock[0] += 1.0
        wanted[0] = 0 if i == 6 else None
        return i

    part = MapWork(fn=item, items=range(100)).run(4, 100, 60.0, lambda done: None)
    assert part.stop == 7


def test_outside_a_job_no_place_is_wanted() -> None:
    assert context.enough() is None
