from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from price_kit import bars

from jobnb.data.frame import fingerprint, provenance, signed, tidy
from jobnb.errors import DataError
from jobnb.research.bars import Bars


def test_columns_in_any_capitalisation_and_an_unsorted_index() -> None:
    frame = bars("2020-01-01", 5)
    mixed = frame.rename(columns={"open": "Open", "high": " HIGH ", "low": "Low", "close": "Close"}).iloc[::-1]
    mixed["Dividends"] = 0.0
    pd.testing.assert_frame_equal(tidy(mixed, "x"), frame, check_freq=False)


def test_the_frame_that_was_given_stays_as_it_is() -> None:
    frame = bars("2020-01-01", 5)
    before = frame.copy()
    made = tidy(frame, "x")
    made.iloc[0, 0] = -1.0
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("column", ["Date", "timestamp", "Unnamed: 0", "open_time"])
@pytest.mark.parametrize("form", ["text", "seconds", "ms", "yyyymmdd", "aware"])
def test_times_in_a_column(column: str, form: str) -> None:
    frame = bars("2020-01-01", 5)
    stamps = frame.index
    values = {
        "text": stamps.strftime("%Y-%m-%d"),
        "seconds": stamps.as_unit("s").asi8,
        "ms": stamps.as_unit("ms").asi8,
        "yyyymmdd": stamps.strftime("%Y%m%d").astype(int),
        "aware": stamps.strftime("%Y-%m-%dT00:00:00+00:00"),
    }[form]
    plain = frame.reset_index(drop=True)
    plain.insert(0, column, values)
    got = tidy(plain, "x")
    assert list(got.index.tz_localize(None) if got.index.tz is not None else got.index) == list(stamps)


def test_mixed_offsets_become_utc_and_a_zone_can_be_asked_for() -> None:
    frame = bars("2020-03-28T12:00", 3, tz="Europe/Berlin").tz_convert("Europe/Berlin")
    text = frame.reset_index()
    text["date"] = [t.isoformat() for t in frame.index]
    assert len({t[-6:] for t in text["date"]}) == 2
    assert list(tidy(text, "x").index) == list(frame.index)
    assert str(tidy(text, "x", tz="Europe/Berlin").index.tz) == "Europe/Berlin"
    naive = bars("2020-01-01", 3)
    assert str(tidy(naive, "x", tz="America/New_York").index[0]) == "2020-01-01 00:00:00-05:00"
    with pytest.raises(DataError, match="do not fit the zone 'Mars/Base'"):
        tidy(naive, "x", tz="Mars/Base")


def test_a_time_that_cannot_be_read_is_named_with_its_row() -> None:
    frame = bars("2020-01-01", 3).reset_index()
    frame["date"] = ["2020-01-01", "13/01/2020", "2020-01-03"]
    with pytest.raises(DataError, match="'13/01/2020' in row 1 cannot be read"):
        tidy(frame, "x")


def test_no_column_of_time() -> None:
    with pytest.raises(DataError, match="no column of time"):
        tidy(bars("2020-01-01", 3).reset_index(drop=True), "x")


def test_a_bar_without_a_time() -> None:
    frame = bars("2020-01-01", 3).reset_index()
    frame.loc[1, "date"] = pd.NaT
    with pytest.raises(DataError, match="in row 1"):
        tidy(frame, "x")


def test_missing_and_double_columns() -> None:
    frame = bars("2020-01-01", 3)
    with pytest.raises(DataError, match=r"no column 'close'.*Did you mean 'Clse'"):
        tidy(frame.rename(columns={"close": "Clse"}), "x")
    double = frame.assign(Close=1.0)
    with pytest.raises(DataError, match="two columns for close"):
        tidy(double, "x")
    with pytest.raises(DataError, match="not numbers"):
        tidy(frame.assign(close=["a", "b", "c"]), "x")
    with pytest.raises(DataError, match="is a dict"):
        tidy({}, "x")


def test_equal_twins_are_one_bar_and_others_are_refused() -> None:
    frame = bars("2020-01-01", 4)
    twice = pd.concat([frame, frame.iloc[[1]]])
    pd.testing.assert_frame_equal(tidy(twice, "x"), frame, check_freq=False)
    wrong = twice.copy()
    wrong.iloc[-1, 3] = 7.0
    with pytest.raises(DataError, match=r"1 moments with several bars that differ, the first at 2020-01-02.*7\)"):
        tidy(wrong, "x")


def test_columns_of_two_levels_of_one_instrument() -> None:
    frame = bars("2020-01-01", 3)
    for order in (("price", "AAPL"), ("AAPL", "price")):
        columns = [tuple(c if w == "price" else w for w in order) for c in frame]
        two = frame.set_axis(pd.MultiIndex.from_tuples(columns), axis=1)
        pd.testing.assert_frame_equal(tidy(two, "x"), frame, check_freq=False)
    several = pd.concat({"AAPL": frame, "MSFT": frame}, axis=1)
    with pytest.raises(DataError, match="several instruments"):
        tidy(several, "x")


def test_adjusting() -> None:
    frame = bars("2020-01-01", 3)
    adjusted = tidy(frame.assign(**{"Adj Close": frame["close"] / 2}), "x", adjust=True)
    np.testing.assert_allclose(adjusted["high"], frame["high"] / 2)
    np.testing.assert_allclose(adjusted["volume"], frame["volume"])
    with pytest.raises(DataError, match="Adj Close"):
        tidy(frame, "x", adjust=True)


@pytest.mark.parametrize("tz", [None, "America/New_York"])
def test_the_fingerprint_is_the_name_under_which_a_job_stores_the_bars(tz: str | None) -> None:
    frame = bars("2020-01-01", 10, tz=tz)
    stored = hashlib.sha256(Bars.from_frame(frame).to_bytes()).hexdigest()
    assert fingerprint(frame) == stored
    without = frame.drop(columns="volume")
    assert fingerprint(without) == hashlib.sha256(Bars.from_frame(without).to_bytes()).hexdigest()


def test_the_fingerprint_sees_every_bit_and_no_name() -> None:
    frame = bars("2020-01-01", 10)
    assert fingerprint(frame.rename_axis("time")) == fingerprint(frame)
    other = frame.copy()
    other.iloc[3, 3] = np.nextafter(other.iloc[3, 3], np.inf)
    assert fingerprint(other) != fingerprint(frame)
    assert fingerprint(frame.iloc[:1]) != fingerprint(frame.iloc[:0])


def test_where_it_is_from() -> None:
    frame = signed(bars("2020-01-01", 3), "AAPL", source="yfinance", symbol="AAPL", path=None)
    assert set(frame.attrs) == {"name", "fingerprint", "source", "symbol"}
    assert provenance({**frame.attrs, "mine": object()})["source"] == "yfinance"
    assert "mine" not in provenance({**frame.attrs, "mine": object()})
