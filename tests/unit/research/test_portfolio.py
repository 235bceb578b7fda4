"""Strategies on several instruments with one account: checked weights, results that add up, what the door refuses."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import DataError, UnknownName, UsageProblem
from jobnb.research import instrument_door, portfolio
from jobnb.research.bars import Bars
from jobnb.research.engine import PositionsError
from jobnb.research.options import EngineOptions
from jobnb.research.portfolio import WeightsError, weights_of
from jobnb.research.result import run as run_one
from jobnb.research.sample import gbm
from jobnb.research.strategy import Strategy
from jobnb.research.universe import Universe

PRICES = {f"S{i}": gbm(300 + 20 * i, seed=i) for i in range(5)}


class Momentum(Strategy):
    lookback: int = 60
    top: int = 2

    def weights(self, bars):
        gain = bars.close.pct_change(self.lookback, fill_method=None)
        return gain.rank(axis=1, ascending=False) <= self.top


def universe(prices=PRICES):
    return Universe({symbol: Bars.from_frame(frame, symbol) for symbol, frame in prices.items()})


def flat(values):
    index = pd.date_range("2024-01-01", periods=len(values), freq="D")
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), values), index=index)


def strategy_of(fn):
    return type("Own", (Strategy,), {"weights": lambda self, bars: fn(bars)})()


def test_bool_weights_are_equal_shares_of_what_is_held():
    made = weights_of(Momentum(), universe())
    held = made.sum(axis=1)
    assert set(np.round(held, 12)) <= {0.0, 1.0}
    assert set(np.round(made[200], 12)) == {0.0, 0.5}


@pytest.mark.parametrize(
    "fn",
    [
        lambda bars: pd.DataFrame(0.2, index=bars.index, columns=list(bars.symbols)),
        lambda bars: np.full(bars.close.shape, 0.2),
        lambda bars: dict.fromkeys(bars.symbols, 0.2),
        lambda bars: {symbol: np.full(len(bars[symbol]), 0.2) for symbol in bars},
        lambda bars: {symbol: pd.Series(0.2, index=bars.index) for symbol in bars},
        lambda bars: pd.DataFrame(0.2, index=bars.index, columns=list(bars.symbols)[::-1]),
        lambda bars: 0.2 * bars.close / bars.close,
    ],
)
def test_every_form_of_weights(fn):
    bars = universe()
    expected = np.where(np.isnan(bars.aligned.close), 0.0, 0.2)
    assert np.allclose(weights_of(strategy_of(fn), bars), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda bars: None, "returned nothing"),
        (lambda bars: np.zeros((3, 5)), r"the shape \(3, 5\)"),
        (lambda bars: bars.close.pct_change(fill_method=None), r"is nan for S0 at .* fillna"),
        (lambda bars: bars.close, "add up to .* times the equity"),
        (lambda bars: 2 * (bars.close > 0), "whole numbers beyond"),
        (lambda bars: bars.close.astype(str), "values of type"),
        (lambda bars: (bars.close > 0).iloc[5:], "are not the times of the bars"),
        (lambda bars: {"S9": 1.0}, "unknown instrument 'S9'"),
        (lambda bars: (bars.close > 0).rename(columns={"S0": "X"}), "unknown instrument 'X'"),
        (lambda bars: {"S0": np.zeros(7)}, "values for S0"),
    ],
)
def test_weights_that_cannot_be_used(fn, said):
    with pytest.raises(UsageProblem, match=said) as caught:
        weights_of(strategy_of(fn), universe())
    assert isinstance(caught.value, WeightsError | UnknownName)


def test_positions_are_taken_of_equal_shares(sma_cross):
    bars = universe()
    made = weights_of(sma_cross(fast=5, slow=20), bars)
    for j, (symbol, own) in enumerate(bars.items()):
        alone = np.asarray(sma_cross(fast=5, slow=20).positions(own), dtype=float)
        at = np.flatnonzero(bars.aligned.traded[:, j])
        assert np.allclose(made[at, j], 0.2 * alone), symbol
    bad = type("Bad", (Strategy,), {"positions": lambda self, bars: [1]})
    with pytest.raises(PositionsError):
        weights_of(bad(), bars)


def test_a_portfolio_of_one_is_the_single_backtest(sma_cross):
    options = EngineOptions(commission=0.001, slippage=0.0005)
    bars = Bars.from_frame(PRICES["S1"], "S1")
    alone = run_one(sma_cross(), bars, options)
    made = portfolio.run(sma_cross(), Universe({"S1": bars}), options)
    for name, value in made.get_performance_metrics().items():
        assert math.isclose(value, alone.metrics[name], rel_tol=1e-9), name
    mine, theirs = made.trades.drop(columns="instrument"), alone.trades
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-9)


def test_the_result_adds_up():
    options = EngineOptions(commission=0.001, slippage=0.0005, initial_capital=50_000)
    made = portfolio.run(Momentum(), universe(), options, "monthly")
    close = pd.DataFrame(made.close, index=made.index, columns=list(made.symbols))
    worth = made.cash + (made.units * close).sum(axis=1)
    assert np.allclose(made.equity_curve, worth, rtol=1e-12)
    assert math.isclose(made.by_instrument["pnl"].sum(), made.final_equity - 50_000, rel_tol=1e-9)
    assert math.isclose(made.trades["pnl"].sum(), made.final_equity - 50_000, rel_tol=1e-9)
    assert made.trades.shape[0] == made.metrics["trades"] == made.by_instrument["trades"].sum()
    assert math.isclose(made.fills["fee"].sum(), made.commissions_paid, rel_tol=1e-12)
    assert np.allclose(made.exposures["net"], made.weights.sum(axis=1))
    assert made.exposures["gross"].max() < 1.2
    assert (made.of("S1")["units"] == made.units["S1"]).all()
    returns = made.equity_curve.pct_change().dropna()
    assert math.isclose(made.sharpe_ratio, returns.mean() / returns.std() * math.sqrt(252), rel_tol=1e-9)
    again = pickle.loads(pickle.dumps(made))
    assert again.metrics.equals(made.metrics)
    with pytest.raises(UnknownName):
        made.of("S9")


def test_it_reads_well_and_escapes():
    names = {f"<b>{symbol}</b>": frame for symbol, frame in PRICES.items()}
    made = portfolio.run(Momentum(), universe(names), EngineOptions(), data_name="<i>")
    assert "portfolio of 5 on <i>" in repr(made)
    page = made._repr_html_()
    assert "<b>S" not in page
    assert "<i>" not in page
    assert len(made.plot().axes) == 3


def test_ruin_is_the_end_and_trades_still_add_up():
    a = flat([10.0, 10.0, 30.0, 30.0])
    b = flat([10.0, 10.0, 10.0, 9.0])
    bars = universe({"A": a, "B": b})
    own = strategy_of(lambda bars: {"A": -1.0, "B": 1.0})
    made = portfolio.run(own, bars, EngineOptions(initial_capital=1_000.0))
    assert made.equity.tolist() == [1_000.0, 1_000.0, 0.0, 0.0]
    assert made.trades["pnl"].sum() == pytest.approx(-1_000.0)
    assert made.by_instrument["pnl"].sum() == pytest.approx(-1_000.0)
    assert not made.weights.iloc[-1].any()


def test_indicators_of_each():
    bars = universe()
    table = bars.each("sma", 10)
    assert np.allclose(table["S4"], bars["S4"].sma(10), equal_nan=True)
    assert bars.each(lambda b: b.close * 2).equals(bars.close * 2)
    assert bars.open.shape == bars.volume.shape == bars.high.shape == bars.low.shape == bars.traded.shape
    with pytest.raises(UnknownName, match="Did you mean 'sma'"):
        bars.each("smaa", 10)
    with pytest.raises(UsageProblem, match="not one number for each"):
        bars.each(lambda b: [1.0])
    with pytest.raises(UnknownName):
        bars["S9"]


def test_where_an_instrument_has_no_bar_its_last_known_values_stand():
    holed = PRICES["S0"].drop(PRICES["S0"].index[100])
    bars = universe({"A": PRICES["S0"], "B": holed})
    assert bars.close["B"].iloc[100] == bars.close["B"].iloc[99]
    assert bars.open["B"].iloc[100] == bars.open["B"].iloc[99]
    assert not bars.traded["B"].iloc[100]


@pytest.fixture
def ask():
    def make(strategy, data=PRICES, **params):
        return instrument_door.backtest(strategy, data, params, lambda bars: pytest.fail("kept"))

    return make


class Stepped(Strategy):
    def next(self, i, bars, account):
        return 1.0


@pytest.mark.parametrize(
    ("strategy", "params", "said"),
    [
        (Momentum, {"portfolio": False}, "always runs as a portfolio"),
        (Momentum, {"rebalance": "montly"}, "Did you mean 'monthly'"),
        (Momentum, {"portfolio": 3}, "must be True or False"),
        (Momentum, {"conventions": "backtesting.py"}, "not to be had in a portfolio"),
        (Momentum, {"stop_loss": 0.1}, "stop_loss is not to be had in a portfolio"),
        (Momentum, {"lokback": 3}, "Did you mean 'lookback'"),
        (Stepped, {"portfolio": True}, "depends on its own fills"),
        (Stepped, {"rebalance": "monthly"}, "rebalance belongs to a portfolio"),
    ],
)
def test_what_the_front_door_refuses(ask, strategy, params, said):
    with pytest.raises(UsageProblem, match=said):
        ask(strategy, **params)


def test_instruments_that_never_meet_make_no_portfolio(ask):
    late = PRICES["S0"].set_axis(PRICES["S0"].index + pd.Timedelta(days=5_000))
    with pytest.raises(DataError, match="when no other instrument has any"):
        ask(Momentum, {"A": PRICES["S0"], "B": late})


def test_a_strategy_with_a_parameter_of_that_name_keeps_it(ask):
    class Mine(Strategy):
        rebalance: int = 5

        def positions(self, bars):
            return bars.close > 0

    asked = instrument_door.asked_of(Mine, {"rebalance": 3, "portfolio": True})
    assert (asked.portfolio, asked.rebalance, dict(asked.rest)) == (True, "on_change", {"rebalance": 3})
