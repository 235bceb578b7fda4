"""Cron over changes of the clock, against a slow oracle that looks at every minute."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.triggers.cron import Cron

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]


def ticks(cron: Cron, begin: datetime, count: int) -> list[datetime]:
    found, at = [], begin
    for _ in range(count):
        tick = cron.after(at)
        assert tick is not None
        found.append(tick)
        at = tick
    return found


def local(cron: Cron, begin: str, count: int) -> list[str]:
    zone = ZoneInfo(cron.tz)
    start = datetime.fromisoformat(begin).replace(tzinfo=zone)
    return [f"{tick.astimezone(zone):%m-%d %H:%M%z}" for tick in ticks(cron, start, count)]


@pytest.mark.parametrize(
    ("tz", "expression", "begin", "expected"),
    [
        # Spring forward: 02:30 does not exist; it runs once, right after the gap, and is back the next day.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:30-0400"]),
        # Half an hour in the middle of the night.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["10-04 02:30+1100", "10-05 02:15+1100"]),
        # Fall back: 02:30 is there twice; it runs once, the first time.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01 01:30-0400", "11-02 01:30-0500"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["04-05 01:45+1100", "04-06 01:45+1030"]),
        # Every hour goes by real time.
        (
            "Europe/Berlin",
            "0 * * * *",
            "2026-10-25T01:30",
            ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"],
        ),
        ("Europe/Berlin", "0 * * * *", "2026-03-29T01:30", ["03-29 03:00+0200", "03-29 04:00+0200"]),
        # No change at all.
        ("Asia/Kolkata", "30 9 * * *", "2026-03-28T12:00", ["03-29 09:30+0530", "03-30 09:30+0530"]),
        # Sunday is 0 and 7; names; steps; either day field is enough when neither is a star.
        ("UTC", "0 0 * * 0", "2026-11-20T00:00", ["11-22 00:00+0000", "11-29 00:00+0000"]),
        ("UTC", "0 0 * * 7", "2026-11-20T00:00", ["11-22 00:00+0000", "11-29 00:00+0000"]),
        ("UTC", "*/20 9-10 * * mon-fri", "2026-11-20T10:30", ["11-20 10:40+0000", "11-23 09:00+0000"]),
        ("UTC", "0 0 1,15 nov sun", "2026-11-02T00:00", ["11-08 00:00+0000", "11-15 00:00+0000", "11-22 00:00+0000"]),
        ("UTC", "0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00+0000"]),
    ],
)
def test_the_table(tz: str, expression: str, begin: str, expected: list[str]) -> None:
    assert local(Cron(expression=expression, tz=tz), begin, len(expected)) == expected


def test_asked_in_the_second_pass_of_the_repeated_hour() -> None:
    cron = Cron(expression="30 2 * * *", tz="Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    assert cron.after(second_pass) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 8 * *", "4 fields"),
        ("0 8 * * * *", "6 fields"),
        ("61 8 * * *", "minute"),
        ("0 25 * * *", "hour"),
        ("0 0 31 2 *", "day-of-month"),
        ("0 0 * * funday", "day-of-week"),
        ("", "0 fields"),
    ],
)
def test_nonsense_is_refused(expression: str, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        Cron(expression=expression)


def test_the_nearest_time_zone_is_named() -> None:
    with pytest.raises(UnknownName, match="Europe/Berlin"):
        Cron(expression="0 8 * * *", tz="Europe/Berlln")


# The oracle: what Debian's cron does where the clock does not change, told minute by minute.


def field(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (int(x) for x in span.split("-"))
        else:
            first = int(span)
            last = high if step else first
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def matches(expression: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    day_of_week = {d % 7 for d in field(weekday, 0, 7)}
    on_day, on_weekday = wall.day in field(day, 1, 31), wall.isoweekday() % 7 in day_of_week
    either = not day.startswith("*") and not weekday.startswith("*")
    return (
        wall.minute in field(minute, 0, 59)
        and wall.hour in field(hour, 0, 23)
        and wall.month in field(month, 1, 12)
        and ((on_day or on_weekday) if either else (on_day and on_weekday))
    )


def slow(expression: str, begin: datetime, zone: ZoneInfo, minutes: int) -> list[datetime]:
    first = begin.replace(second=0, microsecond=0)
    every = (first + timedelta(minutes=i) for i in range(minutes + 1))
    return [m for m in every if m > begin and matches(expression, m.astimezone(zone).replace(tzinfo=None))]


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: f"{min(p)}-{max(p)}")
    steps = st.tuples(st.just("*") | span, st.integers(1, 9)).map(lambda p: f"{p[0]}/{p[1]}")
    return st.just("*") | number | span | steps | st.lists(number, min_size=2, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join)
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 1)).map(lambda m: m.replace(tzinfo=UTC))


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, MOMENTS, st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_where_the_clock_does_not_change_it_is_the_oracle(expression: str, begin: datetime, tz: str) -> None:
    cron = Cron(expression=expression, tz=tz)
    expected = slow(expression, begin, ZoneInfo(tz), 2 * 24 * 60)
    end = begin.replace(second=0, microsecond=0) + timedelta(days=2)
    found, at = [], begin
    while (tick := cron.after(at)) is not None and tick <= end:
        found.append(tick)
        at = tick
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "*/7 * * * *", "0 */3 * * *", "15 1,2,3 * * *", "0 0 * * 1-5", "59 23 28-31 * *"]),
    st.sampled_from(ZONES),
    st.sampled_from([datetime(2026, 3, 7), datetime(2026, 3, 28), datetime(2026, 4, 4), datetime(2026, 10, 24)]),
    st.integers(0, 3 * 24 * 3600),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_a_restart_anywhere_changes_nothing(
    expression: str, tz: str, day: datetime, seconds: int, cuts: list[float]
) -> None:
    cron = Cron(expression=expression, tz=tz)
    begin = day.replace(tzinfo=UTC) + timedelta(seconds=seconds)
    straight = ticks(cron, begin, 12)
    assert all(a < b for a, b in itertools.pairwise(straight))
    for cut in cuts:
        middle = begin + (straight[-1] - begin) * cut
        rest = [tick for tick in straight if tick > middle]
        if rest:
            assert ticks(cron, middle, len(rest)) == rest
