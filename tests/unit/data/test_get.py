from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from price_kit import Counting, bars

import jobnb
from jobnb.data import access
from jobnb.data.fetch import Fetcher, canonical
from jobnb.data.interval import Interval
from jobnb.data.origin import CallableSource
from jobnb.data.series import Series
from jobnb.errors import DataError, SourceBusy, SourceError, UnknownName, UsageProblem

Make = Callable[..., tuple[Counting, CallableSource]]


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    original = Fetcher.of.__func__  # type: ignore[attr-defined]

    def of(cls: type[Fetcher], source: CallableSource, root: object) -> Fetcher:
        made: Fetcher = original(cls, source, root)
        made.sleep = taken.append
        made.draw = lambda: 1.0
        return made

    monkeypatch.setattr(Fetcher, "of", classmethod(of))
    return taken


def test_only_what_is_missing_is_fetched(counting: Make) -> None:
    asked, source = counting()
    first = jobnb.data.get("A", start="2020-02", end="2020-03", source=source)
    pd.testing.assert_frame_equal(first, bars("2020-02-01", 29), check_freq=False)
    assert jobnb.data.get("A", start="2020-02-10", end="2020-02-20", source=source).shape == (10, 5)
    assert len(asked.asked) == 1
    whole = jobnb.data.get("A", start="2020-01", end="2020-04", source=source)
    pd.testing.assert_frame_equal(whole, bars("2020-01-01", 91), check_freq=False)
    assert asked.spans == ["2020-02-01/2020-03-01", "2020-01-01/2020-02-01", "2020-03-01/2020-04-01"]


def test_another_symbol_interval_or_source_is_another_series(counting: Make) -> None:
    asked, source = counting()
    for more in ({}, {"interval": "1w"}, {"source": CallableSource(asked, "other")}):
        jobnb.data.get("A", start="2020-01", end="2020-02", **{"source": source, **more})
    jobnb.data.get("B", start="2020-01", end="2020-02", source=source)
    assert len(asked.asked) == 4
    assert len(jobnb.data.cached()) == 4
    assert jobnb.data.forget("A", source="counting") == 2
    assert sorted(jobnb.data.cached()["symbol"]) == ["A", "B"]
    assert jobnb.data.forget() == 2


def test_what_a_frame_says_of_itself(counting: Make) -> None:
    _, source = counting()
    frame = jobnb.data.get("A", start="2020-01-01", end="2020-02-01", source=source)
    assert frame.attrs == {
        "name": "A", "source": "counting", "symbol": "A", "interval": "1d", "start": "2020-01-01", "end": "2020-02-01",
        "fingerprint": jobnb.data.fingerprint(frame),
    }  # fmt: skip


def test_pages_are_kept_one_by_one(counting: Make) -> None:
    asked, source = counting(page=10, tries=1)
    asked.errors = [ValueError("no")]
    with pytest.raises(ValueError, match="no"):
        jobnb.data.get("A", start="2020-01-01", end="2020-02-01", source=source)
    asked.asked.clear()
    asked.errors = []
    fetch = asked.__call__

    def third_fails(*said: object) -> pd.DataFrame:
        if len(asked.asked) == 2:
            asked.errors = [ConnectionError("gone")]
        return fetch(*said)  # type: ignore[arg-type]

    broken = CallableSource(third_fails, "counting", source.terms)
    with pytest.raises(ConnectionError):
        jobnb.data.get("A", start="2020-01-01", end="2020-02-01", source=broken)
    asked.asked.clear()
    assert len(jobnb.data.get("A", start="2020-01-01", end="2020-02-01", source=source)) == 31
    assert asked.spans == ["2020-01-21/2020-01-31", "2020-01-31/2020-02-01"]


def test_a_bar_that_is_not_over_is_not_kept(counting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, source = counting("h", settles="30m")
    now = datetime(2020, 1, 2, 12, 20, tzinfo=UTC)
    monkeypatch.setattr(access.time, "time", lambda: now.timestamp())
    frame = jobnb.data.get("A", start="2020-01-02", interval="1h", source=source)
    # The bar of 10:00 ended at 11:00, that of 11:00 at 12:00: it may change until 12:30.
    assert str(frame.index[-1]) == "2020-01-02 10:00:00+00:00"
    more = jobnb.data.get("A", start="2020-01-02", interval="1h", source=source, unfinished=True)
    assert str(more.index[-1]) == "2020-01-02 12:00:00+00:00"
    now += timedelta(hours=2)
    asked.asked.clear()
    later = jobnb.data.get("A", start="2020-01-02", interval="1h", source=source)
    assert str(later.index[-1]) == "2020-01-02 12:00:00+00:00"
    assert asked.asked[0][1] > datetime(2020, 1, 2, 10, tzinfo=UTC)


def test_today_is_no_daily_bar_yet(counting: Make) -> None:
    _, source = counting()
    today = datetime.now(UTC).date()
    frame = jobnb.data.get("A", start=today - timedelta(days=5), source=source)
    assert frame.index[-1].date() == today - timedelta(days=1)
    with pytest.raises(DataError, match="No bar of it is over yet"):
        jobnb.data.get("A", start=today, source=source)


def test_times_of_day_are_in_the_exchange_s_zone(counting: Make) -> None:
    _, source = counting("h", "America/New_York")
    for _ in range(2):
        frame = jobnb.data.get("A", start="2020-03-07", end="2020-03-10", interval="1h", source=source)
        assert str(frame.index.tz) == "America/New_York"
        assert str(frame.index[0]) == "2020-03-06 19:00:00-05:00"
        assert len(frame) == 72


def test_days_are_dates_of_the_exchange(counting: Make) -> None:
    index = pd.date_range("2020-01-01", periods=5, freq="D", tz="Asia/Tokyo")
    frame, tz = canonical(bars("2020-01-01", 5).set_index(index), "x", Interval.of("1d"))
    assert tz is None
    assert list(frame.index) == list(pd.date_range("2020-01-01", periods=5))


def test_a_source_that_restated_its_past_is_fetched_anew(counting: Make) -> None:
    asked, source = counting(restates=True)
    jobnb.data.get("A", start="2020-01", end="2020-03", source=source)
    asked.scale = 0.5
    frame = jobnb.data.get("A", start="2020-01", end="2020-05", source=source)
    expected = bars("2020-01-01", 121, price=50.0)
    pd.testing.assert_frame_equal(frame, expected, check_freq=False)
    assert asked.spans == ["2020-01-01/2020-03-01", "2020-02-21/2020-05-01", "2020-01-01/2020-03-01"]


def test_a_source_that_restated_nothing_is_asked_for_a_few_known_bars_only(counting: Make) -> None:
    asked, source = counting(restates=True)
    jobnb.data.get("A", start="2020-02", end="2020-03", source=source)
    jobnb.data.get("A", start="2020-01", end="2020-05", source=source)
    assert asked.spans == ["2020-02-01/2020-03-01", "2020-01-01/2020-02-10", "2020-02-21/2020-05-01"]


def test_refresh_replaces_what_is_kept(counting: Make) -> None:
    asked, source = counting(page=20)
    jobnb.data.get("A", start="2020-01", end="2020-03", source=source)
    asked.scale = 2.0
    time.sleep(0.05)  # What was fetched within a tick of the file system's clock is fresh.
    frame = jobnb.data.get("A", start="2020-01", end="2020-03", source=source, refresh=True)
    assert (frame["close"] > 150).all()
    asked.scale, asked.asked = 3.0, []
    again = jobnb.data.get("A", start="2020-01", end="2020-03", source=source)
    pd.testing.assert_frame_equal(again, frame)
    # The same answer a second time has the same name as the first.
    asked.scale = 2.0
    time.sleep(0.05)
    jobnb.data.get("A", start="2020-01", end="2020-03", source=source, refresh=True)
    asked.asked = []
    assert len(jobnb.data.get("A", start="2020-01", end="2020-03", source=source)) == 60
    assert asked.asked == []


def test_a_damaged_file_is_fetched_again(counting: Make) -> None:
    asked, source = counting(page=20)
    whole = jobnb.data.get("A", start="2020-01", end="2020-03", source=source)
    victim = sorted(Series(access.folder(), "counting", "A", Interval.of("1d")).folder.iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:-9])
    asked.asked.clear()
    pd.testing.assert_frame_equal(jobnb.data.get("A", start="2020-01", end="2020-03", source=source), whole)
    assert asked.spans == ["2020-01-21/2020-02-10"]


def test_before_the_first_bar(counting: Make) -> None:
    asked, source = counting(page=30)
    asked.first = pd.Timestamp("2020-02-10", tz="UTC")
    for _ in range(2):
        frame = jobnb.data.get("A", start="2020-01-01", end="2020-03-01", source=source)
        assert str(frame.index[0])[:10] == "2020-02-10"
    assert len(asked.asked) == 2
    with pytest.raises(DataError, match="no bars of A 1d from 2019-01-01 to 2019-02-01"):
        jobnb.data.get("A", start="2019-01", end="2019-02", source=source)


def test_failures_that_may_pass_are_tried_again(counting: Make, naps: list[float]) -> None:
    asked, source = counting()
    asked.errors = [ConnectionError("reset"), SourceBusy("slow down", after=7.0), jobnb.RetryLater(after=3)]
    assert len(jobnb.data.get("A", start="2020-01", end="2020-02", source=source)) == 31
    assert naps == [1.0, 7.0, 3.0]


@pytest.mark.parametrize("error", [ValueError("bad"), SourceError("no"), jobnb.GiveUp("never"), UnknownName("who")])
def test_other_failures_are_not(counting: Make, error: Exception) -> None:
    asked, source = counting()
    asked.errors = [error]
    with pytest.raises(type(error)):
        jobnb.data.get("A", start="2020-01", end="2020-02", source=source)
    assert len(asked.asked) == 1


def test_a_source_that_asks_for_a_long_pause_puts_the_job_off(counting: Make, naps: list[float]) -> None:
    asked, source = counting()
    asked.errors = [jobnb.RetryLater("tomorrow", after="10m")]
    with pytest.raises(SourceBusy, match="asks to wait 600 s") as caught:
        jobnb.data.get("A", start="2020-01", end="2020-02", source=source)
    assert caught.value.retry_after == 600.0
    assert naps == []


def test_requests_that_make_no_sense(counting: Make) -> None:
    _, source = counting(intervals=("1d", "1w"))
    for said, text in (
        ({"start": None}, "start is missing"),
        ({"start": "2020-02", "end": "2020-01"}, "is not after start"),
        ({"start": "2999"}, "is not after start"),
        ({"start": "2020", "interval": "1h"}, "no bars of 1h. It has: 1d, 1w"),
        ({"start": "2020", "end": "2021", "source": "yfinanc"}, "Did you mean 'yfinance'"),
    ):
        with pytest.raises(UsageProblem, match=text):
            jobnb.data.get("A", **{"source": source, **said})


def test_an_answer_that_is_no_prices(counting: Make) -> None:
    for answer, text in ((42, "not a DataFrame"), (bars("2020-01-01", 3).drop(columns="low"), "no column 'low'")):
        with pytest.raises(DataError, match=text):
            jobnb.data.get("A", start="2020-01", end="2020-02", source=lambda *_, a=answer: a)


def test_rows_without_any_price_are_no_bars() -> None:
    frame = bars("2020-01-01", 5)
    frame.iloc[2, :4] = float("nan")
    got = jobnb.data.get("A", start="2020-01", end="2020-02", source=lambda *_: frame)
    assert len(got) == 4


def test_the_rate_limit_of_a_source_is_kept(counting: Make) -> None:
    _, source = counting(page=5, rate=jobnb.data.RateLimit(2, 0.4))
    began = time.monotonic()
    jobnb.data.get("A", start="2020-01-01", end="2020-01-21", source=source)
    assert time.monotonic() - began >= 0.39


class Whole:
    """A source as a user writes one."""

    name = "whole"

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        return bars(f"{start:%Y-%m-%d}", (end - start).days)


def test_sources_by_name_and_by_hand() -> None:
    assert isinstance(Whole(), jobnb.data.DataSource)
    assert jobnb.data.register(Whole()).name == "whole"
    assert "whole" in jobnb.data.sources()
    assert len(jobnb.data.get("A", start="2020-01-01", end="2020-01-11", source="whole")) == 10
    made = jobnb.data.register(lambda *_: None, name="mine", page=7)
    assert jobnb.data.source("mine") is made
    for bad, text in (
        (lambda: jobnb.data.register(Whole), "not the class"),
        (lambda: jobnb.data.register(3), "is no source"),  # type: ignore[arg-type]
        (lambda: jobnb.data.register(Whole(), "yfinance"), "jobnb's own"),
        (lambda: jobnb.data.register(Whole(), page=3), "a source has its own"),
        (lambda: jobnb.data.register(lambda *_: None, "f", pages=3), "Did you mean 'page'"),
        (lambda: jobnb.data.register(lambda *_: None, "a\nb"), "printable name"),
        (lambda: jobnb.data.source("whole", x=1), "takes no settings"),
    ):
        with pytest.raises(UsageProblem, match=text):
            bad()
