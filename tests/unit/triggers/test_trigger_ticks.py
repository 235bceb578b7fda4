"""What becomes of each moment of a schedule."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.triggers.described import parse
from jobnb.triggers.ticks import MISSED, MOST, PUNCTUAL, Policy, Tick, delay, due

HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOURLY = parse("1h")


def verdicts(made: list[Tick]) -> list[tuple[int, str]]:
    return [(tick.at.hour, tick.verdict) for tick in made]


def test_on_time_it_fires_without_a_word() -> None:
    assert due(HOURLY, NOON - HOUR, NOON + timedelta(seconds=1), Policy()) == [Tick(at=NOON, verdict="fired")]
    assert due(HOURLY, NOON, NOON + timedelta(minutes=59), Policy()) == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), [(13, "coalesced"), (14, "coalesced"), (15, "fired")]),
        (Policy(missed="all"), [(13, "fired"), (14, "fired"), (15, "fired")]),
        (Policy(missed="skip"), [(13, "missed"), (14, "missed"), (15, "missed")]),
        (Policy(missed="all", catch_up=5400), [(13, "missed"), (14, "fired"), (15, "fired")]),
        (Policy(catch_up=60), [(13, "missed"), (14, "missed"), (15, "missed")]),
    ],
)
def test_the_machine_slept(policy: Policy, expected: list[tuple[int, str]]) -> None:
    made = due(HOURLY, NOON, NOON + timedelta(hours=3, minutes=10), policy)
    assert verdicts(made) == expected
    assert all(tick.why for tick in made)


def test_the_newest_is_on_time_after_a_sleep() -> None:
    made = due(HOURLY, NOON, NOON + 3 * HOUR, Policy(missed="skip"))
    assert verdicts(made) == [(13, "missed"), (14, "missed"), (15, "fired")]


def test_a_clock_set_back_fires_nothing_again() -> None:
    assert due(HOURLY, NOON, NOON - HOUR, Policy(missed="all")) == []


def test_a_very_long_sleep_is_told_in_one_row() -> None:
    made = due(parse("1s"), NOON, NOON + timedelta(seconds=MOST + 500), Policy(missed="skip"))
    assert len(made) == MOST + 1
    assert "500 more" in made[0].why or "499 more" in made[0].why
    assert made[0].at == NOON + timedelta(seconds=1)
    assert len({tick.at for tick in made}) == len(made)


@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    st.sampled_from(MISSED),
    st.none() | st.integers(1, 9_000),
    st.sampled_from(["7m", "1h", "*/13 * * * *"]),
)
def test_no_tick_twice_and_none_lost(steps: list[int], missed: str, catch_up: int | None, when: str) -> None:
    trigger, policy = parse(when), Policy.parse({"missed": missed, "catch_up": catch_up})
    last = now = NOON
    seen: list[datetime] = []
    for step in steps:
        now += timedelta(seconds=step)
        seen += [tick.at for tick in due(trigger, last, now, policy)]
        last = now
    expected, at = [], NOON
    while (at := trigger.after(at) or now) <= now and at not in expected:  # type: ignore[assignment]
        expected.append(at)
        if trigger.after(at) is None:
            break
    assert seen == [tick for tick in expected if tick <= now]
    assert max(Counter(seen).values(), default=1) == 1


def test_jitter_is_the_same_for_the_same_tick_and_within_its_limit() -> None:
    found = {delay("a", NOON + i * HOUR, 60.0) for i in range(200)}
    assert len(found) > 100
    assert all(timedelta() <= each <= timedelta(seconds=60) for each in found)
    assert delay("a", NOON, 60.0) == delay("a", NOON, 60.0) != delay("b", NOON, 60.0)
    assert delay("a", NOON, 0.0) == timedelta()


def test_what_is_written_wrongly() -> None:
    with pytest.raises(UnknownName, match="coalesce"):
        Policy.parse({"missed": "coalescee"})
    with pytest.raises(UnknownName, match="queue"):
        Policy.parse({"overlap": "que"})
    for bad in (0, -1, 1.5, True, "3"):
        with pytest.raises(UsageProblem, match="max_runs"):
            Policy.parse({"max_runs": bad})
    assert Policy.parse({"catch_up": "2h", "jitter": "30s", "deadline": "1h"}) == Policy(
        catch_up=7200.0, jitter=30.0, deadline=3600.0
    )
    assert timedelta(minutes=1) > PUNCTUAL
