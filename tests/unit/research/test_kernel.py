"""The kernel against independent accounts: the log of fills obeys the rules, the metrics follow from the equity."""

import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.research import daily as daily_
from jobnb.research.bars import Bars
from jobnb.research.cscv import bounds
from jobnb.research.engine import Evaluator, equity, targets
from jobnb.research.jit import compiled
from jobnb.research.measure import BAR, CASH, FEE, HELD, PRICE, UNITS
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions
from jobnb.research.trades import trades

CAPITAL = 5_000.0


def test_it_works_where_numba_cannot_cache(monkeypatch, caplog):
    njit = numba.njit

    def refusing(*functions, **options):
        if options.get("cache"):
            raise RuntimeError("no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr("jobnb.research.jit.numba.njit", refusing)
    assert compiled(lambda x: x + 1)(2) == 3
    assert "set NUMBA_CACHE_DIR" in caplog.text


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 120))
    volatility = draw(st.sampled_from([0.001, 0.02, 0.2]))
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(n)))
    opened = close * np.exp(volatility * rng.standard_normal(n))
    freq = draw(st.sampled_from(["B", "D", "3h", "min"]))
    frame = pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close},
        index=pd.date_range("2021-03-01 09:30", periods=n, freq=freq),
    )
    kind = draw(st.sampled_from(["bool", "int", "float"]))
    hold = rng.integers(1, draw(st.integers(2, 30)), n)
    drawn = {
        "bool": rng.random(n) > 0.5,
        "int": rng.integers(-1, 2, n),
        "float": rng.choice([-2.0, -1.0, -0.5, 0.0, 0.3, 1.0, 1.7], n),
    }[kind]
    options = EngineOptions(
        initial_capital=CAPITAL,
        commission=draw(st.sampled_from([0.0, 0.001, 0.02])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        conventions=draw(st.sampled_from(["next_open", "close"])),
    )
    return Bars.from_frame(frame), np.repeat(drawn, hold)[:n], options


def one(bars, positions, options):
    values, fills, _ = Evaluator(bars, options).one(targets(positions, bars))
    return dict(zip(METRICS, values.tolist(), strict=True)), fills


@settings(deadline=None, max_examples=300)
@given(cases())
def test_fills_obey_the_rules(case):
    bars, positions, options = case
    _, fills = one(bars, positions, options)
    target = np.asarray(positions, dtype=float)
    shift = 1 if options.conventions == "next_open" else 0
    price = bars.open if shift else bars.close
    due = [i + shift for i in np.flatnonzero(np.diff(target, prepend=0.0)) if i + shift < len(bars)]
    cash, held, ruined = CAPITAL, 0.0, False
    done = []
    for fill in fills:
        bar = int(fill[BAR])
        p = price[bar]
        assert not ruined
        if fill[CASH] == 0.0 and fill[HELD] == 0.0:
            # The end: nothing is left at this close, or at this price.
            worth = cash + held * (bars.close[bar] if bar not in due else p)
            assert worth <= CAPITAL * 1e-9 or cash + held * fill[PRICE] - fill[FEE] <= CAPITAL * 1e-9 or bar in due
            ruined = True
            continue
        side = np.sign(fill[UNITS])
        assert fill[PRICE] == pytest.approx(p * (1 + side * options.slippage))
        assert fill[FEE] == pytest.approx(options.commission * abs(fill[UNITS]) * fill[PRICE])
        assert fill[CASH] == pytest.approx(cash - fill[UNITS] * fill[PRICE] - fill[FEE], abs=1e-7)
        assert fill[HELD] == pytest.approx(held + fill[UNITS], abs=1e-9)
        cash, held = fill[CASH], fill[HELD]
        if held != 0.0 or target[bar - shift] == 0.0:
            done.append(bar)
            want = target[bar - shift] * (cash + held * p)
            assert held * p == pytest.approx(want, rel=1e-9, abs=1e-7)
    assert done == due if not ruined else done == due[: len(done)]


@settings(deadline=None, max_examples=300)
@given(cases())
def test_metrics_follow_from_the_equity_and_the_trades(case):
    bars, positions, options = case
    got, fills = one(bars, positions, options)
    curve = pd.Series(equity(fills, bars.close, CAPITAL), index=bars.index)
    made = pd.DataFrame(trades(fills, bars.close, CAPITAL))

    def same(name, value):
        assert got[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name

    same("final_equity", curve.iloc[-1])
    same("total_return", curve.iloc[-1] / CAPITAL - 1)
    same("buy_and_hold_return", bars.close[-1] / bars.close[0] - 1)
    same("commissions_paid", fills[:, FEE].sum())
    fall = curve / curve.cummax() - 1
    same("max_drawdown", fall.min())
    # The highest value may come back to the last digit, or not quite: both are right.
    if not np.isclose(curve, curve.cummax().shift(1), rtol=1e-12).any() or (curve == CAPITAL).all():
        longest, since = pd.Timedelta(0), curve.index[0]
        for time, value, top in zip(curve.index, curve, curve.cummax(), strict=True):
            if (fall[since:time].iloc[1:] < 0).any():
                longest = max(longest, time - since)
            if value >= top:
                since = time
        same("max_drawdown_duration", longest / pd.Timedelta("1D"))
    year = bars.calendar.periods_per_year
    daily = curve.groupby(curve.index.date).last()
    returns = daily.pct_change().iloc[1:].fillna(0.0)
    if len(returns):
        same("annual_return", (curve.iloc[-1] / CAPITAL) ** (year / len(returns)) - 1)
    if len(returns) > 1 and returns.std() > 1e-9:
        same("volatility", returns.std() * year**0.5)
        same("sharpe_ratio", returns.mean() / returns.std() * year**0.5)
        down = np.sqrt((returns.clip(upper=0) ** 2).mean())
        same("sortino_ratio", returns.mean() / down * year**0.5 if down > 0 else np.nan)
    if len(returns) and fall.min() < 0:
        same("calmar_ratio", got["annual_return"] / -fall.min())
    held = np.append(0.0, fills[:, HELD])[np.searchsorted(fills[:, BAR], np.arange(len(bars)), side="right")]
    same("exposure", (held != 0).mean())
    same("trades", len(made))
    if len(made):
        pnl, gain = made[6], made[7]
        same("win_rate", (pnl > 0).mean())
        same("best_trade", gain.max())
        same("worst_trade", gain.min())
        same("average_trade", gain.mean())
        same("expectancy", pnl.mean())
        assert pnl.sum() == pytest.approx(curve.iloc[-1] - CAPITAL, abs=1e-6)
        lost = -pnl[pnl < 0].sum()
        if lost > 1e-9:
            same("profit_factor", pnl[pnl > 0].sum() / lost)


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(0, 2**32))
def test_a_sweep_row_equals_the_single_run_to_the_last_bit(case, seed):
    bars, positions, options = case
    rows = np.stack([np.roll(targets(positions, bars), shift) for shift in range(5)])
    evaluator = Evaluator(bars, options)
    out = np.empty((5, len(METRICS)))
    evaluator.rows(rows, 5, out)
    for row, swept in zip(rows, out, strict=True):
        np.testing.assert_array_equal(evaluator.one(row)[0], swept)


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(1, 5))
def test_sums_over_blocks_are_those_of_the_daily_returns(case, blocks):
    bars, positions, options = case
    rows = np.stack([np.roll(targets(positions, bars), shift) for shift in range(5)])
    evaluator, ends = Evaluator(bars, options), daily_.day_ends(bars)
    starts = bounds(ends.size - 1, blocks) if ends.size > blocks else np.zeros(1, dtype=np.int64)
    for row, values, found in zip(rows, *evaluator.sums(rows, 5, ends, starts), strict=True):
        ran, expected = evaluator.one(row), np.empty((starts.size, 2))
        np.testing.assert_array_equal(values, ran.values)
        daily_.sum_blocks(daily_.daily_returns(ran.equity, ends), starts, expected)
        np.testing.assert_array_equal(found, expected)


def test_a_run_without_trades_is_well_defined(daily):
    got, fills = one(daily, np.zeros(len(daily)), EngineOptions())
    assert len(fills) == 0
    zero = ["total_return", "annual_return", "volatility", "max_drawdown", "max_drawdown_duration"]
    zero += ["exposure", "turnover", "trades", "commissions_paid"]
    assert [got[name] for name in zero] == [0.0] * len(zero)
    undefined = {name for name, value in got.items() if np.isnan(value)}
    assert undefined == {
        *("sharpe_ratio", "sortino_ratio", "calmar_ratio", "win_rate", "profit_factor"),
        *("best_trade", "worst_trade", "average_trade", "expectancy"),
    }
    assert got["final_equity"] == 10_000.0


def test_always_in_equals_buying_at_the_second_open(daily):
    got, _ = one(daily, np.ones(len(daily)), EngineOptions())
    assert got["total_return"] == pytest.approx(daily.close[-1] / daily.open[1] - 1)
    assert got["exposure"] == pytest.approx(1 - 1 / len(daily))


def test_a_signal_on_the_last_bar_never_fills_at_the_next_open(daily):
    positions = np.zeros(len(daily))
    positions[-1] = 1
    assert one(daily, positions, EngineOptions())[0]["trades"] == 0
    assert one(daily, positions, EngineOptions(conventions="close"))[0]["trades"] == 1


def test_costs_by_hand(flat):
    positions = np.zeros(len(flat), dtype=bool)
    positions[3:6] = True
    got, fills = one(flat, positions, EngineOptions(commission=0.01, slippage=0.02))
    units = 10_000 / (50 * 1.02 * 1.01)
    assert fills[0, UNITS] == pytest.approx(units)
    assert fills[0, CASH] == pytest.approx(0, abs=1e-9)
    assert got["final_equity"] == pytest.approx(units * 50 * 0.98 * 0.99)
    assert got["commissions_paid"] == pytest.approx(units * 50 * (1.02 + 0.98) * 0.01)
    assert fills[:, BAR].tolist() == [4, 7]


def test_a_short_that_loses_everything_ends_there():
    close = np.array([100.0, 100, 120, 250, 300, 50, 20])
    frame = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close"), close), index=pd.date_range("2020-01-01", periods=7, freq="B")
    )
    bars = Bars.from_frame(frame)
    got, fills = one(bars, np.full(7, -1), EngineOptions())
    assert got["final_equity"] == 0.0
    assert got["total_return"] == got["max_drawdown"] == got["worst_trade"] == -1.0
    assert fills[:, BAR].tolist() == [1, 3]
    assert equity(fills, close, 10_000.0).tolist() == [10_000, 10_000, 8_000, 0, 0, 0, 0]


def test_reversal_is_two_trades_at_one_price(daily):
    positions = np.ones(len(daily))
    positions[100:] = -1
    got, fills = one(daily, positions, EngineOptions(commission=0.001))
    assert got["trades"] == 2
    assert fills[:, BAR].tolist() == [1, 101, 101]
    assert fills[1, PRICE] == fills[2, PRICE] == daily.open[101]


def test_a_constant_fraction_is_not_rebalanced(daily):
    got, fills = one(daily, np.full(len(daily), 0.5), EngineOptions())
    assert len(fills) == 1
    assert got["turnover"] == pytest.approx(0.5 * 252 / (len(daily) - 1))
