"""Sessions of exchanges against days that are known: holidays, half days, lunch breaks, the hours around."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobnb.errors import MissingPackage, UnknownName, UsageProblem
from jobnb.triggers import calendars, described
from jobnb.triggers.calendars import sessions
from jobnb.triggers.described import parse
from jobnb.triggers.market import Market, offset
from jobnb.triggers.trigger import OutOfCalendar, Trigger

NEW_YORK = ZoneInfo("America/New_York")


def dates(exchange: str, year: int) -> set[date]:
    zone = calendars.zone_of(exchange)
    return {session.open.astimezone(zone).date() for session in sessions(exchange, year)}


def ticks(rule: Trigger, begin: datetime, count: int, zone: ZoneInfo = NEW_YORK) -> list[str]:
    found = []
    for _ in range(count):
        tick = rule.after(begin)
        assert tick is not None
        found.append(f"{tick.astimezone(zone):%m-%d %H:%M}")
        begin = tick
    return found


# From the exchanges' own published lists.
HOLIDAYS = {
    "XNYS": """2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-11-28
        2024-12-25 2025-01-01 2025-01-09 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19 2025-07-04 2025-09-01
        2025-11-27 2025-12-25 2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25 2026-06-19 2026-07-03 2026-09-07
        2026-11-26 2026-12-25""",
    "XLON": """2024-01-01 2024-03-29 2024-04-01 2024-05-06 2024-05-27 2024-08-26 2024-12-25 2024-12-26 2025-01-01
        2025-04-18 2025-04-21 2025-05-05 2025-05-26 2025-08-25 2025-12-25 2025-12-26 2026-01-01 2026-04-03 2026-04-06
        2026-05-04 2026-05-25 2026-08-31 2026-12-25 2026-12-28""",
}


@pytest.mark.parametrize("exchange", HOLIDAYS)
def test_holidays_are_the_weekdays_without_a_session(exchange: str) -> None:
    for year in (2024, 2025, 2026):
        first = date(year, 1, 1)
        weekdays = {first + timedelta(days=i) for i in range(366) if (first + timedelta(days=i)).year == year}
        closed = {day for day in weekdays if day.weekday() < 5} - dates(exchange, year)
        expected = {date.fromisoformat(day) for day in HOLIDAYS[exchange].split() if day.startswith(str(year))}
        assert closed == expected


@pytest.mark.parametrize(
    ("exchange", "day", "closed"),
    [
        ("XTKS", "2026-01-02", True),  # the new year's days
        ("XTKS", "2026-05-06", True),  # Golden Week, moved
        ("XTKS", "2025-12-31", True),
        ("XTKS", "2026-01-05", False),
        ("XHKG", "2026-02-17", True),  # Lunar New Year
        ("XHKG", "2025-10-01", True),
        ("XHKG", "2026-02-20", False),
    ],
)
def test_days_in_tokyo_and_hong_kong(exchange: str, day: str, closed: bool) -> None:
    wanted = date.fromisoformat(day)
    assert (wanted not in dates(exchange, wanted.year)) is closed


@pytest.mark.parametrize(
    ("exchange", "day", "close"),
    [
        ("XNYS", "2024-11-29", "13:00"),
        ("XNYS", "2025-07-03", "13:00"),
        ("XNYS", "2026-11-27", "13:00"),
        ("XNYS", "2026-12-24", "13:00"),
        ("XNYS", "2026-11-25", "16:00"),
        ("XLON", "2025-12-24", "12:30"),
        ("XLON", "2026-12-31", "12:30"),
        ("XHKG", "2026-02-16", "12:00"),
    ],
)
def test_half_days_close_early(exchange: str, day: str, close: str) -> None:
    zone = calendars.zone_of(exchange)
    (found,) = (s for s in sessions(exchange, int(day[:4])) if f"{s.open.astimezone(zone):%Y-%m-%d}" == day)
    assert f"{found.close.astimezone(zone):%H:%M}" == close
    if close == "12:00":
        assert found.pause is None


def test_after_the_open_and_before_the_close() -> None:
    market = Market("XNYS")
    tuesday = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert ticks(market.open("+5m"), tuesday, 4) == ["11-24 09:35", "11-25 09:35", "11-27 09:35", "11-30 09:35"]
    assert ticks(market.close("-10m"), tuesday, 4) == ["11-24 15:50", "11-25 15:50", "11-27 12:50", "11-30 15:50"]
    assert ticks(market.open("-2h"), tuesday, 1) == ["11-24 07:30"]
    assert ticks(market.close(), tuesday, 1) == ["11-24 16:00"]
    assert market.close("-10m").text == "XNYS close -10m"


def test_over_the_end_of_the_year_and_the_change_of_the_clock() -> None:
    market = Market("XNYS")
    assert ticks(market.open(), datetime(2025, 12, 31, 20, tzinfo=UTC), 1) == ["01-02 09:30"]
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)
    rule = market.open()
    first = rule.after(friday)
    assert first == datetime(2026, 3, 6, 14, 30, tzinfo=UTC)
    assert rule.after(first) == datetime(2026, 3, 9, 13, 30, tzinfo=UTC)


def test_every_minute_during_the_session() -> None:
    rule = Market("XNYS").every("1m")
    assert ticks(rule, datetime(2026, 11, 27, 14, 29, 30, tzinfo=UTC), 2) == ["11-27 09:30", "11-27 09:31"]
    # A half day, a weekend.
    assert ticks(rule, datetime(2026, 11, 27, 17, 58, 30, tzinfo=UTC), 2) == ["11-27 12:59", "11-30 09:30"]
    count, at = 0, datetime(2026, 11, 25, tzinfo=UTC)
    while (at := rule.after(at)) is not None and at < datetime(2026, 11, 26, tzinfo=UTC):
        count += 1
    assert count == 390


def test_the_lunch_break_is_left_out() -> None:
    rule = Market("XHKG").every("30m")
    hong_kong = ZoneInfo("Asia/Hong_Kong")
    found = ticks(rule, datetime(2026, 11, 23, tzinfo=UTC), 11, hong_kong)
    assert found == [f"11-23 {t}" for t in ("09:30", "10:00", "10:30", "11:00", "11:30", "13:00", "13:30", "14:00",
                                            "14:30", "15:00", "15:30")]  # fmt: skip


def test_the_hours_around_the_session() -> None:
    market = Market("XNYS")
    wednesday = datetime(2026, 11, 25, 5, tzinfo=UTC)
    assert ticks(market.every("2h", during="pre"), wednesday, 4) == [
        "11-25 04:00", "11-25 06:00", "11-25 08:00", "11-27 04:00"]  # fmt: skip
    # After a half day they end earlier as well.
    assert ticks(market.every("1h", during="post"), datetime(2026, 11, 27, 15, tzinfo=UTC), 5) == [
        "11-27 13:00", "11-27 14:00", "11-27 15:00", "11-27 16:00", "11-30 16:00"]  # fmt: skip
    assert market.hours("extended").holds(datetime(2026, 11, 25, 10, tzinfo=UTC))
    assert not market.hours().holds(datetime(2026, 11, 25, 10, tzinfo=UTC))


def test_only_while_the_exchange_trades() -> None:
    rule = parse("5s", only="XNYS")
    assert ticks(rule, datetime(2026, 11, 25, 21, tzinfo=UTC), 1) == ["11-27 09:30"]
    assert rule.after(datetime(2026, 11, 27, 14, 30, 2, tzinfo=UTC)) == datetime(2026, 11, 27, 14, 30, 5, tzinfo=UTC)
    days = parse("0 8 * * *", tz="America/New_York", only=Market("XNYS").days)
    assert ticks(days, datetime(2026, 11, 25, 14, tzinfo=UTC), 2) == ["11-27 08:00", "11-30 08:00"]
    closed = parse("0 8 * * *", tz="America/New_York", skip=Market("XNYS").days)
    assert ticks(closed, datetime(2026, 11, 25, 14, tzinfo=UTC), 3) == ["11-26 08:00", "11-28 08:00", "11-29 08:00"]


def test_beyond_the_calendar_nothing_is_guessed() -> None:
    with pytest.raises(OutOfCalendar, match="XHKG in 2050 are not known"):
        Market("XHKG").open().after(datetime(2049, 12, 31, 12, tzinfo=UTC))
    # Not before that is needed.
    assert Market("XHKG").open().after(datetime(2049, 12, 29, 12, tzinfo=UTC)) is not None


def test_what_is_asked_wrongly() -> None:
    with pytest.raises(UnknownName, match="XNYS"):
        Market("XNY")
    with pytest.raises(UsageProblem, match="XLON"):
        Market("XLON").every("1m", during="pre")
    with pytest.raises(UnknownName, match="regular"):
        Market("XNYS").hours("regulr")  # type: ignore[arg-type]
    with pytest.raises(UsageProblem, match="twelve hours"):
        Market("XNYS").open("+13h")
    with pytest.raises(UsageProblem, match="offset"):
        offset("+soon")


@pytest.mark.parametrize(
    ("said", "seconds"), [("+5m", 300), ("-10m", -600), ("0", 0), (0, 0), ("5m", 300), (-60, -60), (" + 1h30m", 5400)]
)
def test_offsets(said: object, seconds: int) -> None:
    assert offset(said) == timedelta(seconds=seconds)  # type: ignore[arg-type]


def test_without_the_calendars_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(MissingPackage, match=r"jobnb\[market\]"):
        Market("XNYS")


@pytest.mark.parametrize(
    "rule",
    [
        Market("XNYS").open("+5m"),
        Market("XLON").close("-1h"),
        Market("XNYS").every("1m", during="extended"),
        parse("5s", only=["XNYS", Market("XTKS").days]),
    ],
)
def test_kept_and_built_again(rule: Trigger) -> None:
    assert described.trigger(json.loads(json.dumps(rule.to_json()))) == rule
