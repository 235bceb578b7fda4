"""Which tasks may wait behind others, and which are called back because those take longer than thought."""

import pytest
from ledger_cases import job

from jobnb.service import ahead
from jobnb.service.ledger import Ledger, Running

NOW = 1_000.0
LONG = ahead.PARKED_SECONDS


def books(kind: str = "map", items: int = 100, pace: float | None = 0.01) -> Ledger:
    ledger = Ledger.of(job(items, kind), [])
    ledger.pace = pace
    return ledger


def out(ledger: Ledger, age: float, *, ahead: bool = False, overtakes: bool = False, began: float | None = None) -> int:
    """Have a task be out for so long; it has begun so long ago, or not yet."""
    task = max(ledger.running, default=-1) + 1
    ledger.running[task] = Running(
        start=task,
        stop=task + 1,
        attempt=1,
        since=NOW - age,
        ahead=ahead,
        overtakes=overtakes,
        began_at=None if began is None else NOW - began,
    )
    return task


@pytest.mark.parametrize(
    ("kind", "late"), [("single", ahead.LATE_SECONDS), ("map", LONG), ("grid", LONG), ("walk_forward", LONG)]
)
def test_what_waits_too_long_is_called_back_whatever_it_is(kind: str, late: float) -> None:
    ledger = books(kind)
    out(ledger, late + 1, began=late + 1)
    waits = out(ledger, late + 0.01, ahead=True)
    out(ledger, late - 0.01, ahead=True)
    assert ahead.recalled([ledger], NOW) == [(ledger, waits)]


def test_what_has_begun_is_being_stopped_overtakes_or_had_a_place_stays() -> None:
    ledger = books()
    out(ledger, 100, ahead=True, began=100)
    out(ledger, 100, ahead=True, overtakes=True)
    out(ledger, 100)  # Its process may take long to start, and would take as long again.
    stopping = out(ledger, 100, ahead=True)
    ledger.running[stopping].stopping_since = NOW
    assert ahead.recalled([ledger], NOW) == []


def test_calls_among_tasks_of_others_are_as_patient_as_those() -> None:
    call, sweep = books("single", 1), books("grid")
    out(sweep, 1, began=1)
    out(call, 1, ahead=True)
    assert ahead.recalled([call, sweep], NOW) == []
    assert len(ahead.recalled([call], NOW)) == 1


def test_nothing_goes_behind_one_that_is_late() -> None:
    ledger = books()
    out(ledger, 1, began=1)
    out(ledger, 1, began=1)
    assert ahead.has_place(ledger, [ledger], 2, NOW)
    ledger.running[0].began_at = NOW - LONG - 0.01
    assert not ahead.has_place(ledger, [ledger], 2, NOW)
    # A free place is a place.
    assert ahead.has_place(ledger, [ledger], 3, NOW)


def test_waiting_in_front_of_a_place_is_no_lateness() -> None:
    ledger = books()
    out(ledger, LONG + 1, ahead=True, began=0.1)
    out(ledger, LONG - 0.1, ahead=True)
    assert ahead.has_place(ledger, [ledger], 2, NOW)


def test_nothing_goes_behind_what_is_not_known_to_be_short() -> None:
    ledger, unknown = books(), books(pace=None)
    out(unknown, 0.1)
    assert not ahead.has_place(ledger, [ledger, unknown], 1, NOW)
    assert not ahead.has_place(unknown, [unknown], 1, NOW)


@pytest.mark.parametrize(
    ("paces", "window", "deep"),
    [([0.001], 2, 12), ([0.03, 0.001], 2, 5), ([0.1], 2, 2), ([0.001, None], 2, 2), ([0.001], 1, 1), ([], 2, 2)],
)
def test_short_calls_go_out_several_at_a_time(paces: list[float | None], window: int, deep: int) -> None:
    assert ahead.depth([books("single", 1, pace) for pace in paces], window) == deep


def test_tasks_of_a_sweep_go_out_by_the_usual_window() -> None:
    assert ahead.depth([books("grid", pace=0.001)], 2) == 2


def test_who_waits_waits_where_a_place_is_free_first() -> None:
    sweep, other = books("grid"), books("grid")
    for ledger, age in ((sweep, 0.3), (sweep, 0.95), (other, 0.9)):
        task = out(ledger, 1, began=age)
        ledger.running[task].stop += 99  # of 1 s
        ledger.running[task].worker = f"tcp://{age}"
    assert ahead.behind([sweep, other], NOW) == "tcp://0.95"
    waits = out(other, 0.1, ahead=True)
    other.running[waits].behind = "tcp://0.95"
    assert ahead.behind([sweep, other], NOW) == "tcp://0.9"
    # It has begun: so the next one may wait behind it.
    other.running[waits].began_at = NOW
    assert ahead.behind([sweep, other], NOW) == "tcp://0.95"


def test_where_no_place_is_free_soon_the_cluster_decides() -> None:
    sweep = books("grid")
    task = out(sweep, 1, began=0.9 - ahead.NEAR_SECONDS)
    sweep.running[task].stop += 99  # of 1 s
    sweep.running[task].worker = "tcp://here"
    assert ahead.behind([sweep], NOW) == ""


def test_nobody_knows_where_that_is_before_anything_has_begun() -> None:
    sweep = books("grid")
    out(sweep, 1)
    assert ahead.behind([sweep], NOW) == ""
