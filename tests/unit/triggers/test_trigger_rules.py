"""Intervals, single moments, limits, and how people write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import JobnbError, UnknownName, UsageProblem
from jobnb.triggers import described
from jobnb.triggers.condition import Weekdays
from jobnb.triggers.cron import Cron
from jobnb.triggers.described import parse
from jobnb.triggers.interval import MONDAY, Interval
from jobnb.triggers.limited import Limited
from jobnb.triggers.once import Once
from jobnb.triggers.trigger import Trigger

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))


@given(MOMENTS, st.integers(10**6, 10**13), MOMENTS)
def test_an_interval_is_strictly_later_and_less_than_one_away(anchor: datetime, micro: int, moment: datetime) -> None:
    every = timedelta(microseconds=micro)
    tick = Interval(every=every, anchor=anchor).after(moment)
    assert tick is not None
    assert timedelta() < tick - moment <= every
    assert (tick - anchor) % every == timedelta()


def test_intervals_are_full_hours_unless_anchored() -> None:
    assert Interval.parse("1h").after(NOON + timedelta(minutes=5)) == NOON + timedelta(hours=1)
    assert Interval.parse("1h", NOON + timedelta(minutes=5)).after(NOON + timedelta(minutes=5)) == NOON + timedelta(
        hours=1, minutes=5
    )
    with pytest.raises(UsageProblem, match="too often"):
        Interval.parse(0.1)


@pytest.mark.parametrize(
    ("every", "text"), [("90m", "every 1h30m"), (5, "every 5s"), ("2d", "every 2d"), (1.5, "every 1.5s")]
)
def test_how_an_interval_reads(every: object, text: str) -> None:
    assert Interval.parse(every).text == text  # type: ignore[arg-type]


def test_once() -> None:
    once = Once(at=NOON)
    assert once.after(NOON - timedelta(seconds=1)) == NOON
    assert once.after(NOON) is None
    with pytest.raises(UsageProblem, match="no time zone"):
        Once(at=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("15m", Interval(every=timedelta(minutes=15))),
        ("every 15m", Interval(every=timedelta(minutes=15))),
        (300, Interval(every=timedelta(minutes=5))),
        (timedelta(hours=1), Interval(every=timedelta(hours=1))),
        ("0 8 * * 1-5", Cron(expression="0 8 * * 1-5", tz="America/New_York")),
        ("2026-11-24T08:00", Once(at=datetime(2026, 11, 24, 13, tzinfo=UTC))),
        ("2026-11-24 08:00+00:00", Once(at=datetime(2026, 11, 24, 8, tzinfo=UTC))),
        (datetime(2026, 7, 1, 8), Once(at=datetime(2026, 7, 1, 12, tzinfo=UTC))),
        (datetime(2026, 7, 1, 8, tzinfo=ZoneInfo("Asia/Tokyo")), Once(at=datetime(2026, 6, 30, 23, tzinfo=UTC))),
    ],
)
def test_what_people_write(when: object, expected: Trigger) -> None:
    assert parse(when, tz="America/New_York") == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("when", ["soon", "", "every", "-5m", "0"])
def test_what_nobody_understands(when: str) -> None:
    with pytest.raises(UsageProblem):
        parse(when)


def test_only_and_skip() -> None:
    daily = parse("0 9 * * *", only="weekdays")
    friday = datetime(2026, 11, 27, 9, tzinfo=UTC)
    assert daily.after(friday) == datetime(2026, 11, 30, 9, tzinfo=UTC)
    assert parse("0 9 * * *", skip="mon, tue").after(friday + timedelta(days=2)) == datetime(2026, 12, 2, 9, tzinfo=UTC)
    assert "only weekdays (UTC)" in daily.text
    with pytest.raises(UnknownName, match="weekdays"):
        parse("5m", only="weekday")


def test_days_are_those_of_the_zone() -> None:
    # 23:00 UTC on Sunday is Monday in Tokyo.
    sunday = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)
    assert parse("1h", tz="Asia/Tokyo", only="mon").after(sunday) == datetime(2026, 11, 22, 23, tzinfo=UTC)


def test_from_and_until() -> None:
    rule = parse("1d", start=NOON, end=NOON + timedelta(days=2))
    assert rule.after(datetime(2020, 1, 1, tzinfo=UTC)) == datetime(2026, 11, 24, tzinfo=UTC)
    assert rule.after(datetime(2026, 11, 24, tzinfo=UTC)) == datetime(2026, 11, 25, tzinfo=UTC)
    assert rule.after(datetime(2026, 11, 25, tzinfo=UTC)) is None
    assert parse("1h", start=NOON).after(NOON - timedelta(days=9)) == NOON
    with pytest.raises(UsageProblem, match="before it starts"):
        parse("1d", start=NOON, end=NOON)


def test_what_never_comes_is_found_out() -> None:
    assert Limited(trigger=Interval.parse("5s"), only=(Weekdays(days=()),)).after(NOON) is None
    # Wednesdays of a rule that ticks on Mondays.
    weekly = Interval(every=timedelta(days=7), anchor=MONDAY)
    assert Limited(trigger=weekly, only=(Weekdays(days=("wed",)),)).after(NOON) is None


@given(st.sampled_from(["7m", "5s", "13h", "0 */2 * * *"]), st.sampled_from(["weekdays", "sat", "mon,wed"]), MOMENTS)
def test_limited_ticks_are_those_of_the_trigger_that_are_allowed(when: str, days: str, begin: datetime) -> None:
    plain, allowed = parse(when), Weekdays.parse(days)
    tick = parse(when, only=days).after(begin)
    assert tick is not None
    assert tick > begin
    assert allowed.holds(tick)
    assert plain.after(tick - timedelta(microseconds=1)) == tick
    # None that is allowed was stepped over: look at the day before it.
    at = max(begin, tick - timedelta(hours=26))
    while (between := plain.after(at)) is not None and between < tick:
        assert not allowed.holds(between)
        following = allowed.changes(between)
        at = between if following is None else max(between, following - timedelta(microseconds=1))


@pytest.mark.parametrize(
    "rule",
    [
        parse("15m"),
        parse("15m", anchor=NOON),
        parse("0 8 * * 1-5", tz="Europe/Berlin"),
        parse("2026-11-24T08:00"),
        parse("5s", only="weekdays", skip=["sat", "mon"], start=NOON, end=NOON + timedelta(days=1)),
    ],
)
def test_kept_and_built_again(rule: Trigger) -> None:
    assert described.trigger(json.loads(json.dumps(rule.to_json()))) == rule


def test_what_a_newer_jobnb_wrote() -> None:
    with pytest.raises(JobnbError, match="newer"):
        described.trigger({"kind": "moon"})
    with pytest.raises(JobnbError, match="newer"):
        described.condition({"kind": "moon"})
