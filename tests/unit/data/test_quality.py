from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from price_kit import at, bars

import jobnb
from jobnb.data import check
from jobnb.errors import DataError, MissingPackage
from jobnb.research.sample import gbm


def test_good_prices_have_no_findings() -> None:
    for frame in (gbm(500), gbm(5000, "min"), bars("2020-01-01", 200)):
        report = check(frame)
        assert report.ok
        assert report.findings == {}
        assert "usable" in report.text


@pytest.mark.parametrize(
    ("freq", "interval"),
    [("D", "1d"), ("B", "1d"), ("h", "1h"), ("15min", "15m"), ("W", "1w"), ("MS", "1mo"), ("QS", "3mo")],
)  # fmt: skip
def test_the_interval_is_found(freq: str, interval: str) -> None:
    assert check(bars("2020-01-01", 60, freq)).interval == interval


def test_each_fault_is_found_and_nothing_else() -> None:
    good = gbm(300)
    wrong = good.copy()
    wrong.iloc[10, 3] = np.nan
    wrong.iloc[20, 2] = -1.0
    wrong.iloc[30, 1] = wrong.iloc[30, 2] * 0.5
    wrong.iloc[40, 0] = wrong.iloc[40, 1] * 1.5
    wrong.iloc[50, :4] *= 3.0
    wrong.iloc[60:66, :4] = wrong.iloc[60, :4].to_numpy()
    wrong.iloc[70, 4] = 0.0
    report = check(wrong, name="bad <b>data</b>")
    assert not report.ok
    at_ = lambda times: [good.index.get_loc(t) for t in times]  # noqa: E731
    assert at_(report.missing) == [10]
    assert 20 in at_(report.non_positive)
    assert 30 in at_(report.inverted)
    assert at_(report.outside) == [20, 40] or at_(report.outside) == [40]
    assert set(at_(report.outliers)) >= {50, 51}
    assert [(g.bars, at_([g.after])[0]) for g in report.stale] == [(6, 60)]
    assert report.zero_volume == 1
    assert "NOT usable" in report.text
    assert "<b>data</b>" not in report._repr_html_()
    assert "&lt;b&gt;data" in report._repr_html_()


def test_duplicates_and_order() -> None:
    frame = gbm(50)
    double = pd.concat([frame.iloc[:10], frame.iloc[5:]])
    report = check(double)
    assert len(report.duplicates) == 5
    assert len(report.unsorted) == 1
    assert not report.ok


def test_a_holiday_is_told_from_a_gap() -> None:
    frame = gbm(300)
    report = check(frame.drop(frame.index[[50, 100, 101, 102, 103, 104]]))
    assert [(g.bars, g.likely) for g in report.gaps] == [(1, "holiday"), (5, "gap")]
    assert report.ok
    assert report.findings["gaps"][0] == 1


def test_with_a_calendar_every_missing_day_counts() -> None:
    frame = gbm(300)
    days = [d.date() for d in frame.index]
    report = check(frame.drop(frame.index[50]), calendar=days)
    assert [(g.bars, g.likely) for g in report.gaps] == [(1, "gap")]


def test_the_calendar_of_an_exchange() -> None:
    pytest.importorskip("exchange_calendars")
    goog = jobnb.data.sample()
    assert check(goog, calendar="XNYS").gaps == ()
    assert [g.bars for g in check(goog.drop(goog.index[100]), calendar="XNYS").gaps] == [1]
    with pytest.raises(DataError, match="the calendar 'XXXX' cannot be used"):
        check(goog, calendar="XXXX")


def test_without_the_package_of_calendars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(MissingPackage, match="pip install exchange_calendars"):
        check(jobnb.data.sample(), calendar="XNYS")


def test_a_market_without_weekends_misses_every_day() -> None:
    frame = bars("2020-01-01", 100)
    report = check(frame.drop(frame.index[[10, 11, 12, 50]]))
    assert [g.bars for g in report.gaps] == [3, 1]


def session(days: int, lunch: bool = False) -> pd.DataFrame:
    parts = []
    for day in pd.bdate_range("2020-03-02", periods=days):
        times = pd.date_range(day + pd.Timedelta("9h30min"), periods=26, freq="15min", tz="America/New_York")
        parts.append(times[(times.hour != 12)] if lunch else times)
    index = parts[0].append(parts[1:])
    return at(pd.DatetimeIndex(index))


@pytest.mark.parametrize("lunch", [False, True])
def test_sessions_have_nights_and_lunch_but_no_holes(lunch: bool) -> None:
    # The days cross the beginning of summer time in New York.
    frame = session(20, lunch)
    assert check(frame).gaps == ()
    holed = frame.drop(frame.index[[40, 41]])
    assert [g.bars for g in check(holed).gaps] == [2]
    day = frame.index.date == frame.index[100].date()
    report = check(frame[~day])
    assert [g.likely for g in report.gaps] == ["holiday"]


def test_round_the_clock_every_missing_bar_is_one() -> None:
    frame = gbm(5000, "min")
    report = check(frame.drop(frame.index[1000:1060]))
    assert [(g.bars, str(g)) for g in report.gaps] == [(60, "2015-01-01 16:39 … 2015-01-01 17:40 (60)")]


def test_weeks_and_months() -> None:
    weeks = bars("2020-01-06", 60, "7D")
    assert check(weeks).gaps == ()
    assert [g.bars for g in check(weeks.drop(weeks.index[20:22])).gaps] == [2]
    months = bars("2020-01-01", 60, "MS")
    assert check(months).gaps == ()
    assert [g.bars for g in check(months.drop(months.index[20])).gaps] == [1]


def test_next_to_nothing() -> None:
    assert check(bars("2020-01-01", 0)).text.startswith("data: 0 bars")
    assert not check(bars("2020-01-01", 1)).ok
    assert check(bars("2020-01-01", 2)).ok
    with pytest.raises(DataError, match="has no low"):
        check(bars("2020-01-01", 2).drop(columns="low"))
    with pytest.raises(DataError, match="over a DatetimeIndex"):
        check(bars("2020-01-01", 2).reset_index(drop=True))
