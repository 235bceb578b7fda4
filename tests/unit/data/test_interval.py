from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.data.interval import DAY_US, Interval, boundary, micros, moment
from jobnb.data.span import missing, pages, union
from jobnb.errors import UsageProblem

MOMENTS = st.integers(-4_000_000_000_000_000, 4_000_000_000_000_000)
INTERVALS = st.sampled_from(["1s", "1m", "15m", "1h", "4h", "1d", "3d", "1w", "1mo", "3mo"])
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("1min", "1m"), ("60m", "1h"), ("24h", "1d"), ("7d", "1w"), ("1wk", "1w"), ("1M", "1mo"), ("daily", "1d"),
        ("h", "1h"), ("90m", "90m"),
    ],
)  # fmt: skip
def test_words(said: str, meant: str) -> None:
    assert str(Interval.of(said)) == meant


@pytest.mark.parametrize("said", ["", "0d", "1y", "d1", "-1d", "1.5h", "ten"])
def test_what_is_no_interval(said: str) -> None:
    with pytest.raises(UsageProblem, match="no length of a bar"):
        Interval.of(said)


@given(MOMENTS, INTERVALS)
def test_floor_and_ceil_enclose_and_stay(at: int, text: str) -> None:
    length = Interval.of(text)
    low, high = length.floor(at), length.ceil(at)
    assert low <= at <= high
    assert length.floor(low) == low
    assert length.ceil(high) == high
    assert (low == high) == (low == at)


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    thursday = micros(datetime(2026, 11, 19, 15, tzinfo=UTC))
    assert moment(Interval.of("1w").floor(thursday)).date() == date(2026, 11, 16)
    assert moment(Interval.of("1mo").floor(thursday)).date() == date(2026, 11, 1)
    assert moment(Interval.of("1mo").ceil(micros(datetime(2024, 1, 31, 1, tzinfo=UTC)))).date() == date(2024, 2, 1)


@given(st.integers(0, 2_000_000_000_000_000), st.sampled_from(["1m", "1h", "1d", "3d", "1w"]))
def test_a_final_bar_is_over(now: int, text: str) -> None:
    length = Interval.of(text)
    until = length.final_until(now, 5_000_000)
    last = length.floor(until - 1) if not length.intraday else until - 1_000_000
    assert last + length.step_us <= now - 5_000_000 or (length.intraday and last + length.step_us <= now)
    # And not much is left out: the next bar but one is not over.
    assert until + 2 * length.step_us > now - 5_000_000 - length.step_us


def test_boundaries() -> None:
    assert boundary("2020", "start") == boundary("2020-01-01", "start") == boundary(date(2020, 1, 1), "start")
    assert boundary("2020-01-01T01:00+01:00", "start") == boundary("2020", "start")
    assert boundary(pd.Timestamp("2020-01-01", tz="America/New_York"), "end") == boundary("2020-01-01T05:00", "end")
    for bad in ("last week", None, 3.5, pd.NaT):
        with pytest.raises(UsageProblem, match="is no moment"):
            boundary(bad, "start")


def covered(spans: list[tuple[int, int]]) -> set[int]:
    return {i for a, b in spans for i in range(a, b)}


@given(SPANS)
def test_a_union_covers_the_same(spans: list[tuple[int, int]]) -> None:
    joined = union(spans)
    assert covered(joined) == covered(spans)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(joined))


@given(st.tuples(st.integers(0, 60), st.integers(0, 60)), SPANS)
def test_what_is_missing_and_what_is_there_make_the_whole(
    wanted: tuple[int, int], there: list[tuple[int, int]]
) -> None:
    gaps = missing(wanted, there)
    assert covered(gaps) == covered([wanted]) - covered(there)
    assert all(a < b for a, b in gaps)


@given(MOMENTS, st.integers(1, 400), INTERVALS, st.sampled_from([None, 1, 7, 100]))
def test_pages_cover_the_span_once(start: int, days: int, text: str, most: int | None) -> None:
    length = Interval.of(text)
    if length.step_us < DAY_US:
        days = 1
    span = (start, start + min(days * DAY_US, 500 * length.step_us))
    cut = pages(span, length, most)
    assert cut[0][0] == span[0]
    assert cut[-1][1] == span[1]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cut))
    assert all(a < b for a, b in cut)
