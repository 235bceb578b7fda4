import itertools
import pickle

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import DataError, UsageProblem
from jobnb.research.bars import Bars
from jobnb.research.indicators import crossover
from jobnb.research.memo import Memo
from jobnb.research.sample import gbm


def changed(frame, column, row, value):
    frame = frame.copy()
    frame.loc[frame.index[row], column] = value
    return frame


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.to_numpy(), ["ndarray", "not a DataFrame"]),
        (lambda f: f.drop(columns=["high", "low"]), ["'high', 'low'", "rename"]),
        (lambda f: f.rename(columns={"close": "closing"}), ["'close'", "closing"]),
        (lambda f: pd.concat({"GOOG": f}, axis=1), ["2 levels", "droplevel"]),
        (lambda f: f.assign(Close=1.0), ["two columns for close"]),
        (lambda f: f.reset_index(), ["RangeIndex", "set_index(pd.to_datetime(prices['date']))"]),
        (lambda f: f.iloc[:1], ["1 bars", "at least 2"]),
        (lambda f: f.iloc[::-1], ["not sorted", "49 times", "2015-03-10", "sort_index()"]),
        (lambda f: pd.concat([f, f.iloc[[3, 4]]]).sort_index(), ["2 times a duplicate", "2015-01-06", "duplicated()"]),
        (lambda f: changed(f, "close", [7, 9], np.nan), ["'close'", "NaN in 2 bars", "2015-01-12", "dropna()"]),
        (lambda f: changed(f, "open", 7, -1.0), ["'open'", "non-positive in 1 bar,", "2015-01-12"]),
        (lambda f: changed(f, "low", 0, 0.0), ["'low'", "non-positive", "2015-01-01"]),
        (lambda f: changed(f, "high", 2, np.inf), ["'high'", "infinite", "2015-01-05"]),
        (lambda f: changed(f, "high", 2, 1.0), ["high below low", "2015-01-05"]),
        (lambda f: changed(f, "volume", 2, -1.0), ["'volume'", "negative", "2015-01-05"]),
        (lambda f: f.assign(close="a"), ["'close'", "not numbers", "to_numeric"]),
        (lambda f: f.set_index(f.index.where(f.index != f.index[5])), ["NaT", "row 5"]),
    ],
)
def test_bad_frames_are_refused_with_what_where_and_how_to_mend(frame, spoil, says):
    with pytest.raises(DataError) as caught:
        Bars.from_frame(spoil(frame), "prices")
    assert caught.value.code == "DATA_ERROR"
    for part in ["prices", *says]:
        assert part in caught.value.message


def test_capitalisation_order_and_extra_columns_do_not_matter(frame):
    other = frame[["volume", "close", "low", "high", "open"]].rename(columns=str.upper)
    other["Dividends"] = "none"
    bars = Bars.from_frame(other)
    pd.testing.assert_frame_equal(bars.frame, frame.astype(float), check_freq=False)


def test_volume_is_optional(frame):
    bars = Bars.from_frame(frame.drop(columns="volume"))
    assert not bars.has_volume
    assert np.isnan(bars.volume).all()
    assert list(bars.frame) == ["open", "high", "low", "close"]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_the_file_gives_back_the_same_bars_without_copying(frame, tmp_path, zone, unit):
    frame.index = frame.index.as_unit(unit).tz_localize(zone)
    bars = Bars.from_frame(frame, "x")
    path = tmp_path / "bars.npy"
    path.write_bytes(bars.to_bytes())
    again = Bars.from_file(path, bars.meta)
    pd.testing.assert_frame_equal(again.frame, bars.frame)
    assert (again.index == frame.index).all()
    assert again.index.tz == frame.index.tz
    assert again.name == "x"
    assert isinstance(again._block.base, np.memmap)
    assert again.close.base is not None
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(again)).frame, bars.frame)


def test_everything_is_read_only(daily):
    for array in (daily.close, daily.volume, daily.time, daily.day_end, daily.sma(3), *daily.macd()):
        with pytest.raises(ValueError, match=r"read-only"):
            array[0] = 1


def test_days_follow_the_wall_clock_of_the_data():
    index = pd.date_range("2024-01-01 18:00", periods=12, freq="2h", tz="America/New_York")
    prices = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index=index)
    bars = Bars.from_frame(prices)
    assert bars.day_count == 2
    assert bars.day_end.tolist() == [2, 2, 2] + [11] * 9


def test_span(daily, minutes):
    assert daily.span == ("2015-01-01", "2016-11-30")
    assert minutes.span == ("2015-01-01T00:00:00", "2015-01-04T11:19:00")


def test_moving_averages_equal_pandas(daily):
    close = daily.frame["close"]
    np.testing.assert_allclose(daily.sma(20), close.rolling(20).mean(), rtol=1e-12)
    np.testing.assert_allclose(daily.ema(20), close.ewm(span=20, adjust=False, min_periods=20).mean(), rtol=1e-12)
    assert np.isnan(daily.sma(20)[:19]).all()
    assert np.isnan(daily.sma(len(daily) + 1)).all()


def test_bollinger_and_macd_equal_pandas(daily):
    close = daily.frame["close"]
    middle, upper, lower = daily.bollinger(20, 2)
    np.testing.assert_allclose(upper, close.rolling(20).mean() + 2 * close.rolling(20).std(ddof=0), rtol=1e-10)
    np.testing.assert_allclose(middle * 2, upper + lower, rtol=1e-12)
    line, signal, rest = daily.macd()
    expected = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    np.testing.assert_allclose(line[25:], expected[25:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(rest, line - signal)
    assert np.isnan(signal[:33]).all()
    assert np.isfinite(signal[33:]).all()


def test_extremes_equal_pandas_and_can_leave_out_the_last_bars(daily):
    np.testing.assert_array_equal(daily.highest(10), daily.frame["high"].rolling(10).max())
    np.testing.assert_array_equal(daily.lowest(10, 1), daily.frame["low"].rolling(10).min().shift(1))


def test_wilders_indicators_by_the_book(daily):
    n = 14
    close = daily.close.tolist()
    up = [max(b - a, 0) for a, b in itertools.pairwise(close)]
    down = [max(a - b, 0) for a, b in itertools.pairwise(close)]
    gain, loss = sum(up[:n]) / n, sum(down[:n]) / n
    expected = [100 - 100 / (1 + gain / loss)]
    for u, d in zip(up[n:], down[n:], strict=True):
        gain, loss = (gain * (n - 1) + u) / n, (loss * (n - 1) + d) / n
        expected.append(100 - 100 / (1 + gain / loss))
    np.testing.assert_allclose(daily.rsi(n)[n:], expected, rtol=1e-9)
    assert np.isnan(daily.rsi(n)[:n]).all()
    before = daily.frame["close"].shift(1)
    reach = np.maximum(daily.frame["high"], before) - np.minimum(daily.frame["low"], before)
    assert daily.atr(n)[n] == pytest.approx(reach[1 : n + 1].mean())
    assert daily.atr(n)[n + 1] == pytest.approx((daily.atr(n)[n] * (n - 1) + reach.iloc[n + 1]) / n)


def test_constant_prices_are_exact(flat):
    assert (flat.sma(3)[2:] == 50.0).all()
    assert (flat.rsi(5)[5:] == 50.0).all()


def test_a_comparison_during_the_warm_up_is_false(daily):
    assert not (daily.sma(5) > daily.sma(50))[:49].any()
    assert not (daily.rsi(14) < 200)[:14].any()


@pytest.mark.parametrize("n", [0, -3, 2.5, "a", None, True])
def test_a_window_is_a_whole_number_from_one_on(daily, n):
    with pytest.raises(UsageProblem, match=r"whole number of bars"):
        daily.sma(n)


def test_indicators_are_computed_once(daily):
    calls = []

    def own(x, n):
        calls.append(n)
        return x * n

    assert daily.sma(7) is daily.sma(7)
    assert daily.indicator(own, daily.close, 2) is daily.indicator(own, daily.close, 2)
    assert daily.indicator(own, daily.close, 3) is not daily.indicator(own, daily.close, 2)
    assert daily.indicator(own, daily.close.copy(), 3) is daily.indicator(own, daily.close.copy(), 3)
    assert calls == [2, 3, 3]

    def inside(bars):
        return bars.indicator(lambda x: x + 1, bars.close)

    assert inside(daily) is inside(daily)


def test_captured_variables_count_as_arguments(daily):
    made = [daily.indicator(lambda x: x * n, daily.close) for n in (2, 3)]  # noqa: B023
    assert made[0][0] * 3 == pytest.approx(made[1][0] * 2)


def test_an_indicator_of_wrong_length_or_arguments_is_refused(daily):
    with pytest.raises(UsageProblem, match=r"<lambda> returned the shape \(3,\)"):
        daily.indicator(lambda x: x[:3], daily.close)
    with pytest.raises(UsageProblem, match=r"hashable or an array, not a list"):
        daily.indicator(len, [1, 2])


def test_what_is_at_hand_is_what_need_not_go_soon():
    memo = Memo(limit=4 * 800)
    one = memo.one("one", np.zeros, 100)
    two = memo.one("two", np.zeros, 100)
    assert memo.at_hand["one"] is one
    assert memo.at_hand["two"] is two
    memo.one("three", np.zeros, 100)
    # More than half of the limit: which of them was used last now counts, and none may be kept beside.
    assert not memo.at_hand
    memo.one("one", np.zeros, 100)
    for i in range(2):
        memo.one(i, np.zeros, 100)
    assert not memo.at_hand
    assert memo.one("one", np.zeros, 100) is one
    assert memo.one("two", np.zeros, 100) is not two


def test_averages_are_computed_once_and_the_same_when_the_memory_is_full():
    bars = Bars.from_frame(gbm(300))
    first = [bars.sma(5), bars.ema(5)]
    assert bars.sma(5) is first[0]
    assert bars.ema(5) is first[1]
    bars._memo.limit, bars._memo._ample = 0, 0
    for n in (6, 7):
        bars.sma(n)
        bars.ema(n)
    again = [bars.sma(5), bars.ema(5)]
    for a, b in zip(first, again, strict=True):
        assert a is not b
        np.testing.assert_array_equal(a, b)


def test_the_memory_of_indicators_is_bounded():
    memo = Memo(limit=10 * 800)
    first = memo.one(0, lambda: np.zeros(100))
    for i in range(1, 50):
        memo.one(i, lambda: np.zeros(100))
        memo.one(0, lambda: np.ones(100))
    assert len(memo) == 10
    assert memo.size == 8000
    assert memo.one(0, lambda: np.ones(100)) is first


def test_crossover():
    assert crossover([1, 2, 3, 1, 3], [2, 2, 2, 2, 2]).tolist() == [False, False, True, False, True]
    assert crossover([1, np.nan, 3, 4], 2).tolist() == [False, False, False, False]
    assert crossover(2, [3, 1]).tolist() == [False, True]


def test_calendars():
    assert Bars.from_frame(gbm(100)).calendar.text == "Sharpe: daily, 252, empyrical"
    assert Bars.from_frame(gbm(20000, "min")).calendar.periods_per_year == 365
    for freq, periods in (("W", 52), ("ME", 12), ("QE", 4), ("YE", 1), ("D", 365)):
        frame = gbm(40)
        frame.index = pd.date_range("2000-01-01", periods=40, freq=freq)
        assert Bars.from_frame(frame).calendar.periods_per_year == periods
