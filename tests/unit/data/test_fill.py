"""Whatever was asked for before, failed, was damaged or merged: what comes back is what the source has."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from price_kit import Counting, at

from jobnb.data.fetch import Fetcher, fill
from jobnb.data.interval import DAY_US, Interval, boundary
from jobnb.data.origin import CallableSource, Terms
from jobnb.data.series import Series

BEGIN = boundary("2020-01-01", "start")
ASK = st.tuples(st.just("ask"), st.integers(0, 80), st.integers(1, 40))
FAIL = st.tuples(st.just("fail"), st.integers(0, 80), st.integers(1, 40))
HARM = st.tuples(st.just("harm"), st.integers(0, 20), st.integers(0, 1))
SPLIT = st.tuples(st.just("split"), st.just(0), st.just(0))
MERGE = st.tuples(st.just("merge"), st.just(0), st.just(0))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(ASK, ASK, FAIL, HARM, MERGE, SPLIT), max_size=10),
    st.integers(0, 80),
    st.integers(1, 40),
    st.sampled_from([None, 3, 7]),
    st.booleans(),
)
def test_what_comes_back_is_what_the_source_has(
    steps: list[tuple[str, int, int]], start: int, days: int, page: int | None, restates: bool
) -> None:
    asked = Counting()
    source = CallableSource(asked, "src", Terms(page=page, restates=restates, tries=1))
    with tempfile.TemporaryDirectory() as folder:
        series = Series(Path(folder), "src", "X", Interval.of("1d"))

        def ask(low: int, count: int) -> pd.DataFrame:
            span = BEGIN + low * DAY_US, BEGIN + (low + count) * DAY_US
            return fill(series, Fetcher(source=source), span)[0]

        scales = [1.0]
        for what, a, b in steps:
            if what == "ask":
                ask(a, b)
            elif what == "fail":
                asked.errors = [OSError(13, "no")]
                with contextlib.suppress(OSError):
                    ask(a, b)
                asked.errors = []
            elif what == "harm":
                there = series.segments()
                if there:
                    victim = there[a % len(there)].path
                    if b:
                        victim.unlink()
                    else:
                        victim.write_bytes(victim.read_bytes()[:-3])
            elif what == "merge":
                series.merge(most=1)
            elif restates:
                asked.scale *= 0.5
                scales.append(asked.scale)
        got = ask(start, days)
        index = pd.date_range("2020-01-01", periods=200, name="date", unit="ns")[start : start + days]
        # What was kept before a split may still be on the basis of then, but all of it on one.
        basis = float(got["close"].iloc[0] / at(index)["close"].iloc[0])
        assert basis in scales
        pd.testing.assert_frame_equal(got, at(index, 100.0 * basis), check_freq=False)
        before = len(asked.asked)
        ask(start, days)
        assert len(asked.asked) == before
