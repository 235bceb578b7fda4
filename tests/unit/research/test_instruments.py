"""Reading the prices of several instruments: every shape that people have them in, and exact complaints."""

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import DataError
from jobnb.research.aligned import Aligned, Timeline, check_overlap
from jobnb.research.bars import Bars
from jobnb.research.instruments import read, several, single
from jobnb.research.sample import gbm


@pytest.fixture
def two():
    return {"AAPL": gbm(60, seed=1), "MSFT": gbm(80, seed=2)}


def same(made, expected):
    assert list(made) == list(expected)
    for symbol, frame in expected.items():
        reference = Bars.from_frame(frame, symbol)
        assert made[symbol].name == symbol
        assert np.array_equal(made[symbol].time, reference.time)
        assert np.array_equal(made[symbol].close, reference.close)
        assert np.array_equal(made[symbol].volume, reference.volume, equal_nan=True)


def test_a_mapping(two):
    same(read(two), two)
    assert several(two)


def test_columns_of_two_levels_either_way_round(two):
    wide = pd.concat(two, axis=1)
    same(read(wide), two)
    same(read(wide.swaplevel(axis=1).sort_index(axis=1)), two)
    assert several(wide)


def test_rows_of_two_levels_either_way_round(two):
    long = pd.concat(two, names=["symbol", "date"])
    same(read(long), two)
    by_time = long.swaplevel().sort_index()
    same(read(by_time), two)
    assert several(long)


def test_rows_of_others_are_no_bars_of_an_instrument(two):
    wide = pd.concat(two, axis=1)
    assert wide["AAPL"]["close"].isna().sum() == 20
    assert len(read(wide)["AAPL"]) == 60


def test_one_instrument_in_a_frame_of_two_levels_is_an_ordinary_frame(two):
    name, frame = single(pd.concat({"AAPL": two["AAPL"]}, axis=1).swaplevel(axis=1))
    assert name == "AAPL"
    assert np.array_equal(Bars.from_frame(frame).close, Bars.from_frame(two["AAPL"]).close)
    assert single(pd.concat(two, axis=1)) is None
    assert single({"AAPL": two["AAPL"]}) is None
    assert not several(two["AAPL"])
    assert not several(Bars.from_frame(two["AAPL"]))


def test_bars_keep_their_block_and_get_the_name(two):
    mine = Bars.from_frame(two["AAPL"], "mine")
    made = read({"AAPL": mine})["AAPL"]
    assert made.name == "AAPL"
    assert mine.name == "mine"
    assert made.to_bytes() == mine.to_bytes()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "is empty"),
        ({1: gbm(5)}, "must be text, such as '1'"),
        ({"": gbm(5)}, "printable text"),
        ({"A\nB": gbm(5)}, "printable text"),
        ({"A": 3}, r"data\['A'\] is a int, not a DataFrame"),
        ({"A": gbm(5), "B": gbm(5).drop(columns="open")}, r"data\['B'\] has no column 'open'"),
        ([gbm(5)], "must be a dict of data frames"),
    ],
)
def test_what_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        read(data)


def test_a_bad_frame_among_many_is_named_and_the_others_are_counted(two):
    bad = two["MSFT"].copy()
    bad.iloc[7, 0] = np.nan
    with pytest.raises(DataError, match=r"prices\['MSFT'\] is NaN in 1 bar, the first at .*prices\['MSFT'\]\.dropna"):
        read({**two, "MSFT": bad}, "prices")
    with pytest.raises(DataError, match=r"and 2 more of the 4 instruments: 'X', 'Y'"):
        read({**two, "MSFT": bad, "X": bad, "Y": bad}, "prices")


def test_other_multi_indices_are_refused(two):
    wide = pd.concat({"nasdaq": pd.concat(two, axis=1)}, axis=1)
    with pytest.raises(DataError, match="3 levels of columns"):
        read(wide)
    long = pd.concat(two)
    with pytest.raises(DataError, match="2 levels of columns and 2 levels of index"):
        read(pd.concat({"x": long}, axis=1))
    with pytest.raises(DataError, match="of which none holds open, high, low and close"):
        read(pd.concat({"x": two["AAPL"][["close"]], "y": two["MSFT"][["close"]]}, axis=1))
    numbered = pd.concat({s: f.reset_index(drop=True) for s, f in two.items()})
    with pytest.raises(DataError, match="of which none are times"):
        read(numbered)


def test_times_with_and_without_zone_do_not_mix(two):
    zoned = two["MSFT"].tz_localize("UTC")
    with pytest.raises(DataError, match=r"has times with a zone and .* without"):
        read({**two, "MSFT": zoned})


def test_alignment_keeps_the_last_price_and_knows_who_trades():
    days = pd.date_range("2024-01-01", periods=4, freq="D")
    a = gbm(4, seed=1).set_axis(days)
    b = gbm(2, seed=2).set_axis(days[[1, 3]])
    line = Aligned(read({"A": a, "B": b}))
    assert line.traded.tolist() == [[True, False], [True, True], [True, False], [True, True]]
    assert np.isnan(line.close[0, 1])
    assert line.close[2, 1] == line.close[1, 1] == b["close"].iloc[0]
    assert np.isnan(line.open[2, 1])
    assert line.index.equals(pd.DatetimeIndex(days, name="date"))
    assert line.hold(100.0)[0] == 100.0


def test_the_union_of_different_zones_is_in_utc():
    a = Bars.from_frame(gbm(5).tz_localize("America/New_York"))
    b = Bars.from_frame(gbm(5).tz_localize("Europe/Berlin"))
    line = Timeline.union([a.time, b.time], [a.meta["tz"], b.meta["tz"]])
    assert line.zone == "UTC"
    assert len(line) == 10


def test_instruments_that_never_meet_are_refused():
    early, late = gbm(30, seed=1), gbm(30, seed=2)
    late.index = late.index + pd.Timedelta(days=1000)
    check_overlap(read({"A": early}))
    check_overlap(read({"A": early, "B": early}))
    with pytest.raises(DataError, match=r"A has bars from .*, when no other instrument has any"):
        check_overlap(read({"A": early, "B": late}))
