"""When a span ends before its next item."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

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
def wanted() -> Iterator[list[bool]]:
    """Whether the place of the running job is wanted."""
    said = [False]
    about = {"job": "j", "name": "n", "task": 0, "attempt": 1, "seed": None, "start": 0, "stop": 9}
    nowhere: Callable[[dict[str, object]], None] = lambda message: None  # noqa: E731
    context.enter(context.JobContext(about, context.Meter(nowhere), nowhere, enough=lambda: said[0]))
    yield said
    context.enter(None)


def test_the_seconds_are_used_up(clock: list[float]) -> None:
    allowance = Allowance(1.0)
    clock[0] += 0.9
    assert not allowance.used()
    clock[0] += 0.1
    assert allowance.used()
    assert Allowance(0.0).used()


def test_what_is_nearly_done_is_done(clock: list[float], wanted: list[bool]) -> None:
    allowance = Allowance(1.0)
    clock[0] += 1.0
    assert not allowance.used(50, 50)
    clock[0] += 0.9
    assert not allowance.used(95, 5)
    # Once, and not whatever comes.
    clock[0] += 0.1
    assert allowance.used(99, 1)
    allowance = Allowance(1.0)
    clock[0] += 1.0
    assert allowance.used(50, 51)
    allowance = Allowance(1.0)
    clock[0] += 1.0
    wanted[0] = True
    assert allowance.used(50, 50)


def test_a_slow_start_says_nothing_of_what_is_left(clock: list[float]) -> None:
    allowance = Allowance(1.0)
    clock[0] += 0.5
    assert not allowance.used(10, 140)
    clock[0] += 0.5
    # 50 in the second half, so 95 take 0.95 s; by all that was done so far they would take 1.6 s.
    assert not allowance.used(60, 95)
    clock[0] += 0.95
    assert not allowance.used(155, 0)
    # An item that takes longer than the half of it: there is nothing but the whole to tell by.
    allowance = Allowance(1.0)
    clock[0] += 1.0
    assert not allowance.used(1, 1)


def test_the_place_is_wanted_and_that_is_seen_soon(clock: list[float], wanted: list[bool]) -> None:
    allowance = Allowance(60.0)
    wanted[0] = True
    assert not allowance.used(), "it looks now and then only"
    clock[0] = allowance.due
    assert clock[0] <= 100.0 + LOOK_SECONDS
    assert allowance.used()


def test_without_a_budget_a_span_is_done_to_its_end(clock: list[float], wanted: list[bool]) -> None:
    allowance = Allowance(None)
    wanted[0] = True
    clock[0] += 1e9
    assert not allowance.used()


def test_a_map_ends_where_its_place_is_wanted(clock: list[float], wanted: list[bool]) -> None:
    def item(i: int) -> int:
        clock[0] += 1.0
        wanted[0] = i == 6
        return i

    part = MapWork(fn=item, items=range(100)).run(4, 100, 60.0, lambda done: None)
    assert part.stop == 7


def test_outside_a_job_no_place_is_wanted() -> None:
    assert not context.enough()
