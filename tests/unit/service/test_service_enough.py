"""Which tasks are told to end before their next item."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from ledger_cases import job

from jobnb.job import Priority, Status
from jobnb.service import enough, plans
from jobnb.service.ledger import Ledger, Running

NOW = 1_000.0
LONG = plans.SLICE_SECONDS + 0.01


def books(kind: str = "map", priority: Priority = Priority.NORMAL, done: int = 0) -> Ledger:
    ledger = Ledger.of(replace(job(10_000, kind), priority=priority), [])
    ledger.pending, ledger.pace, ledger.done = [(5_000, 10_000)], 0.01, done
    return ledger


def out(ledger: Ledger, began: float | None = LONG, items: int = 100, **more: object) -> int:
    """Have a task be out that began so long ago, or has not begun."""
    task = max(ledger.running, default=-1) + 1
    said = {"budget": 1.0, "worker": "" if began is None else f"tcp://{task}", **more}
    ledger.running[task] = Running(
        start=task * 100,
        stop=task * 100 + items,
        attempt=1,
        since=NOW - 10,
        began_at=None if began is None else NOW - began,
        **said,  # type: ignore[arg-type]
    )
    return task


def told(*ledgers: Ledger, slots: int = 2, leaving: bool = False) -> list[tuple[Ledger, int]]:
    found = enough.told(ledgers, slots, NOW, leaving=leaving)
    assert all(most == 0 for *_, most in found)
    return [(ledger, task) for ledger, task, _ in found]


def test_a_sweep_alone_is_left_alone() -> None:
    sweep = books()
    out(sweep)
    out(sweep)
    out(sweep, None, ahead=True)
    assert told(sweep) == []


def test_a_job_that_never_had_a_place_gets_one_soon() -> None:
    sweep, new = books(), books("single")
    longest = out(sweep, enough.FRESH_SECONDS + 0.02)
    out(sweep, enough.FRESH_SECONDS + 0.01)
    out(new, None)
    assert told(sweep, new) == [(sweep, longest)]
    # One place for one job: who was told is on the way.
    sweep.running[longest].told_at = NOW
    assert told(sweep, new) == []


def test_so_does_one_that_is_queued_or_of_which_nothing_was_sent() -> None:
    sweep, new = books(), books()
    out(sweep)
    assert told(sweep, new, slots=1) == [(sweep, 0)]
    assert enough.told([sweep], 1, NOW, queued=new.job) == [(sweep, 0, 0)]
    assert enough.told([sweep], 1, NOW, queued=replace(new.job, priority=Priority.LOW)) == []


def test_those_that_come_one_by_one_take_turns_with_it() -> None:
    sweep, new = books(), books("single")
    out(sweep, enough.FRESH_SECONDS + 0.02)
    out(new, None)
    sweep.gave_at = NOW - enough.TURN_SECONDS + 0.01
    assert told(sweep, new, slots=1) == []
    sweep.running[0].began_at = NOW - LONG
    assert told(sweep, new, slots=1) == [(sweep, 0)]


def test_jobs_that_had_places_take_turns() -> None:
    one, other = books(done=1), books(done=1)
    out(one, LONG - 0.05)
    out(other, None)
    assert told(one, other, slots=1) == []
    one.running[0].began_at = NOW - LONG
    assert told(one, other, slots=1) == [(one, 0)]


def test_whoever_has_most_places_gives_one() -> None:
    one, other, new = books(), books(), books()
    out(one, 5.0)
    out(other, 1.0)
    second = out(other, 2.0)
    out(new, None)
    assert told(one, other, new, slots=3) == [(other, second)]


@pytest.mark.parametrize("age", [enough.FRESH_SECONDS - 0.01, enough.FRESH_SECONDS])
def test_a_higher_priority_takes_all_places(age: float) -> None:
    low, high = books(), books(priority=Priority.HIGH, done=1)
    out(high)
    out(high, None)
    out(high, None)
    places = [out(low, age) for _ in range(2)]
    low.gave_at = NOW
    expected = [(low, task) for task in places] if age >= enough.FRESH_SECONDS else []
    assert told(low, high, slots=3) == expected


def test_a_lower_priority_gets_nothing() -> None:
    low, high = books(), books(priority=Priority.HIGH)
    out(high, 100.0)
    out(low, None)
    assert told(low, high, slots=1) == []


def test_while_a_place_is_being_taken_nobody_is_told() -> None:
    sweep, new = books(), books("single")
    out(sweep)
    out(new, None)
    assert told(sweep, new, slots=2) == []


@pytest.mark.parametrize(
    "but", [{"items": 1}, {"budget": None}, {"told_at": NOW}, {"stopping_since": NOW}, {"worker": ""}, {"began": None}]
)
def test_who_cannot_end_early_is_not_told(but: dict[str, object]) -> None:
    sweep, new = books(), books("single")
    out(sweep, **but)  # type: ignore[arg-type]
    out(new, None)
    assert told(sweep, new, slots=1) == []
    assert told(sweep, leaving=True) == []


def test_what_is_left_is_shared_with_an_idle_place() -> None:
    sweep = books()
    sweep.pending = []
    task = out(sweep, 0.5)  # of 1 s
    assert told(sweep) == [(sweep, task)]
    sweep.running[task].began_at = NOW - 1.0 + enough.SHARED_SECONDS - 0.02
    assert told(sweep) == [], "little is done sooner than shared"


def test_a_place_that_is_idle_soon_is_idle() -> None:
    sweep = books()
    sweep.pending = []
    long = out(sweep, 0.5)
    out(sweep, 0.6)
    assert told(sweep) == []
    sweep.running[1].began_at = NOW - 1.0 + enough.SOON_SECONDS - 0.01
    assert told(sweep) == [(sweep, long)]
    sweep.running[long].told_at = NOW
    assert told(sweep) == []


def test_a_tasks_own_reports_say_best_how_long_it_takes() -> None:
    sweep = books()
    sweep.pending = []
    task = out(sweep, 0.5)
    # 90 of 100 by now, 40 of them in the last 0.2 s.
    sweep.running[task].reports = (NOW - 0.2, 50), (NOW, 90)
    assert told(sweep) == []
    sweep.running[task].reports = (NOW - 0.2, 10), (NOW, 20)
    assert told(sweep) == [(sweep, task)]


def shares(sweep: Ledger, slots: int = 2) -> list[tuple[int, int]]:
    return [(task, most) for _, task, most in enough.told([sweep], slots, NOW)]


def test_a_task_of_a_sweep_keeps_its_half_and_goes_on() -> None:
    sweep = books("grid")
    sweep.pending = []
    task = out(sweep, 0.5)  # of 1 s
    # The other half second is done by both, and the other place begins a little later.
    half = math.ceil(100 * (0.5 - enough.BEGIN_SECONDS) / 2)
    assert shares(sweep) == [(task, 100 - half)]
    sweep.running[task].asked_at = NOW
    assert shares(sweep) == [], "it was asked"
    sweep.running[task].asked_at = NOW - enough.ANSWER_SECONDS
    assert shares(sweep) == [(task, 100 - half)], "and has not answered"
    sweep.shortened(task, 100 - half)
    assert sweep.pending == [(100 - half, 100)]
    sweep.pending = []
    ((again, most),) = shares(sweep)
    assert (again, most) == (task, pytest.approx(100 - half - 100 * (0.5 - half / 100) / 2, abs=2))


def test_one_that_was_asked_to_share_can_still_be_told_to_end() -> None:
    sweep, new = books("grid"), books("single")
    task = out(sweep, asked_at=NOW)
    out(new, None)
    assert told(sweep, new, slots=1) == [(sweep, task)]


def test_little_is_not_shared() -> None:
    sweep = books("grid")
    sweep.pending = []
    task = out(sweep, 1.0 - enough.LEAST_SHARED_SECONDS - 0.01)
    assert [each for each, _ in shares(sweep)] == [task]
    sweep.running[task].began_at = NOW - 1.0 + enough.LEAST_SHARED_SECONDS - 0.01
    assert shares(sweep) == []


def test_it_is_shared_with_the_places_that_are_free_first() -> None:
    sweep = books("grid")
    sweep.pending = []
    for age in (0.1, 0.3, 0.95):
        out(sweep, age)
    # One place is idle, one is in 50 ms: each takes of one of the two that take longest, and so is done with it.
    found = dict(shares(sweep, slots=4))
    assert found == {
        0: 100 - math.ceil(100 * (0.9 - enough.BEGIN_SECONDS) / 2),
        1: 100 - math.ceil(100 * (0.7 - 0.05 - enough.BEGIN_SECONDS) / 2),
    }
    # What waits for it already has the first of them, and who was asked the next.
    out(sweep, None, ahead=True)
    assert len(shares(sweep, slots=3)) == 0
    assert len(shares(sweep, slots=4)) == 1
    sweep.running[2].asked_at = NOW
    assert len(shares(sweep, slots=4)) == 0


def test_by_its_own_pace() -> None:
    sweep = books("grid")
    sweep.pending = []
    task = out(sweep, 0.5)
    sweep.running[task].reports = (NOW - 0.2, 10), (NOW, 20)
    # 80 at 20 ms each.
    assert shares(sweep) == [(task, 100 - math.ceil((1.6 - enough.BEGIN_SECONDS) / 2 / 0.02))]


def test_nothing_is_shared_while_there_is_more_to_hand_out() -> None:
    sweep = books()
    out(sweep, 0.5)
    assert told(sweep) == []


def test_a_search_that_ends_with_what_it_has_ends_at_once() -> None:
    search, other = books("grid"), books()
    task = out(search, 0.1)
    out(other, 0.1)
    search.finish_early("finish")
    assert told(search, other) == [(search, task)]


def test_a_service_that_leaves_takes_along_what_is_done() -> None:
    sweep, call = books(), books("single")
    task = out(sweep, 0.1)
    out(call, 0.1, items=1, budget=None)
    assert told(sweep, call, leaving=True) == [(sweep, task)]


def test_a_cancelled_job_claims_nothing() -> None:
    sweep, gone = books(), books()
    out(sweep, 100.0)
    out(gone, None)
    gone.end(Status.CANCELLED)
    assert told(sweep, gone, slots=1) == []
