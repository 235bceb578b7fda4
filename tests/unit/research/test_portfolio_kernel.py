"""The portfolio kernel: of one instrument it is the engine, cash is conserved, and nothing is known before its time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobnb.research.bars import Bars
from jobnb.research.engine import Evaluator
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions
from jobnb.research.portfolio import REBALANCE, PortfolioEvaluator
from jobnb.research.portfolio_kernel import BAR, CASH, FEE, FLOW, HELD, INSTRUMENT, PRICE, UNITS
from jobnb.research.sample import gbm
from jobnb.research.trades import trades
from jobnb.research.universe import Universe

CAPITAL = 5_000.0


def prices(rng, n, volatility, freq="D", start="2021-03-01"):
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(n)))
    opened = close * np.exp(volatility * rng.standard_normal(n))
    return pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close},
        index=pd.date_range(start, periods=n, freq=freq),
    )


@st.composite
def terms(draw):
    return EngineOptions(
        initial_capital=CAPITAL,
        commission=draw(st.sampled_from([0.0, 0.001, 0.02])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        conventions=draw(st.sampled_from(["next_open", "close"])),
    )


@st.composite
def ones(draw):
    """One instrument, random targets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 120))
    frame = prices(rng, n, draw(st.sampled_from([0.001, 0.02, 0.2])), draw(st.sampled_from(["B", "D", "3h"])))
    drawn = rng.choice(draw(st.sampled_from([[0.0, 1.0], [-1.0, 0.0, 1.0], [-2.0, -0.5, 0.0, 0.3, 1.0, 1.7]])), n)
    return frame, np.repeat(drawn, rng.integers(1, draw(st.integers(2, 30)), n))[:n]


@st.composite
def baskets(draw):
    """Several instruments with different spans and holes, random weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, n = draw(st.integers(1, 5)), draw(st.integers(10, 80))
    volatility = draw(st.sampled_from([0.01, 0.15]))
    frames = {}
    for j in range(count):
        whole = prices(rng, n, volatility)
        kept = rng.random(n) < draw(st.sampled_from([0.6, 1.0]))
        kept[[n // 2, n // 2 + 1]] = True
        kept[: draw(st.integers(0, n // 3))] = False
        frames[f"S{j}"] = whole[kept]
    universe = Universe({symbol: Bars.from_frame(frame, symbol) for symbol, frame in frames.items()})
    shape = universe.aligned.close.shape
    weights = rng.choice([-0.5, 0.0, 0.2, 0.5, 1.0 / count], shape)
    weights = np.repeat(weights, draw(st.integers(1, 9)), axis=0)[: shape[0]]
    weights[np.isnan(universe.aligned.close)] = 0.0
    return universe, weights


def evaluate(universe, weights, options, rebalance="on_change"):
    return PortfolioEvaluator(universe, options, rebalance).one(np.ascontiguousarray(weights))


@given(ones(), terms())
@settings(max_examples=300, deadline=None)
def test_a_portfolio_of_one_is_the_single_engine(case, options):
    frame, target = case
    bars = Bars.from_frame(frame, "A")
    alone = Evaluator(bars, options).one(target)
    values, equity, _, fills = evaluate(Universe({"A": bars}), target[:, None], options)
    assert np.allclose(equity, alone.equity, rtol=1e-12, atol=1e-12 * CAPITAL)
    assert len(fills) == len(alone.fills)
    assert np.array_equal(fills[:, BAR], alone.fills[:, 0])
    for column, theirs in ((UNITS, 1), (PRICE, 2), (FEE, 3), (CASH, 4), (HELD, 5)):
        known = alone.fills[:, theirs]
        # What is left of a difference of large numbers, such as no cash, is as exact as these were.
        scale = max(CAPITAL, float(np.abs(known).max(initial=0.0)))
        assert np.allclose(fills[:, column], known, rtol=1e-12, atol=1e-12 * scale), column
    # Whether nothing was won or lost by a trade is a matter of rounding, and with it who wins.
    even = any(abs(row[6]) < 1e-8 for row in trades(alone.fills, bars.close, CAPITAL))
    for name, mine, theirs in zip(METRICS, values, alone.values, strict=True):
        if even and name in ("win_rate", "profit_factor"):
            continue
        assert np.isclose(mine, theirs, rtol=1e-9, atol=1e-9, equal_nan=True), name


@pytest.mark.parametrize(("side", "then"), [(1.0, 51.5), (-1.0, 147.0)])
def test_a_reduction_that_cannot_be_paid_for_is_the_end(side, then):
    close = np.array([100.0, then, then, then])
    frame = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close"), close), index=pd.bdate_range("2021", periods=4)
    )
    options = EngineOptions(initial_capital=CAPITAL, commission=0.02, slippage=0.01, conventions="close")
    target = side * np.array([2.0, 1.7, 1.5, 1.5])
    bars = Bars.from_frame(frame, "A")
    alone = Evaluator(bars, options).one(target)
    values, equity, _, fills = evaluate(Universe({"A": bars}), target[:, None], options)
    assert np.array_equal(fills[:, BAR], [0, 1])
    assert np.array_equal(equity, alone.equity)
    assert np.allclose(values, alone.values, rtol=1e-12, equal_nan=True)


@given(baskets(), terms(), st.sampled_from(sorted(REBALANCE)))
@settings(max_examples=200, deadline=None)
def test_cash_is_conserved(case, options, rebalance):
    universe, weights = case
    line = universe.aligned
    _, equity, money, fills = evaluate(universe, weights, options, rebalance)
    cash, units, at = CAPITAL, np.zeros(len(universe)), 0
    ruined = False
    for i in range(len(line)):
        while at < len(fills) and fills[at, BAR] == i:
            fill = fills[at]
            j = int(fill[INSTRUMENT])
            assert line.traded[i, j] or ruined or equity[i] == 0.0
            ruined = ruined or equity[i] == 0.0
            if not ruined:
                price = line.open[i, j] if options.conventions == "next_open" else line.close[i, j]
                side = 1.0 if fill[UNITS] > 0 else -1.0
                assert np.isclose(fill[PRICE], price * (1.0 + side * options.slippage), rtol=1e-12)
                assert np.isclose(fill[FEE], options.commission * abs(fill[UNITS]) * fill[PRICE], rtol=1e-12)
                assert np.isclose(fill[FLOW], -fill[UNITS] * fill[PRICE] - fill[FEE], rtol=1e-12, atol=1e-9)
                cash += fill[FLOW]
                assert np.isclose(cash, fill[CASH], rtol=1e-12, atol=1e-9)
            units[j] += fill[UNITS]
            assert np.isclose(units[j], fill[HELD], rtol=1e-9, atol=1e-9)
            units[j] = fill[HELD]
            at += 1
        if equity[i] == 0.0:
            assert not equity[i:].any()
            assert at == len(fills)
            break
        worth = cash + np.where(units != 0.0, units * line.close[i], 0.0).sum()
        assert np.isclose(equity[i], worth, rtol=1e-12, atol=1e-8)
        assert np.isclose(money[i], cash, rtol=1e-12, atol=1e-8)


@given(baskets(), terms(), st.sampled_from(sorted(REBALANCE)), st.data())
@settings(max_examples=100, deadline=None)
def test_the_future_does_not_matter(case, options, rebalance, data):
    universe, weights = case
    line = universe.aligned
    assume(len(line) > 2)
    k = data.draw(st.integers(1, len(line) - 2))
    _, equity, _, fills = evaluate(universe, weights, options, rebalance)
    changed = {}
    for symbol, bars in universe.items():
        frame = bars.frame.copy()
        frame.loc[frame.index > line.index[k]] *= 1.7
        changed[symbol] = Bars.from_frame(frame, symbol)
    other = weights.copy()
    # What is decided at the close of k fills later, or not at all.
    other[k + 1 :] = 0.3
    other[np.isnan(line.close)] = 0.0
    _, later, _, those = evaluate(Universe(changed), other, options, rebalance)
    assert np.array_equal(equity[: k + 1], later[: k + 1])
    before = fills[fills[:, BAR] <= k]
    assert np.array_equal(before, those[those[:, BAR] <= k])


@given(baskets(), terms())
@settings(max_examples=100, deadline=None)
def test_always_holds_the_weights_after_costs(case, options):
    universe, weights = case
    line = universe.aligned
    whole = line.traded.all(axis=1)
    assume(whole.any())
    options = EngineOptions(**{**options.to_dict(), "conventions": "close"})
    _, equity, _, fills = evaluate(universe, weights, options, "always")
    units = np.zeros(len(universe))
    at = 0
    for i in range(len(line)):
        while at < len(fills) and fills[at, BAR] == i:
            units[int(fills[at, INSTRUMENT])] = fills[at, HELD]
            at += 1
        if equity[i] <= 0.0:
            break
        if whole[i]:
            assert np.allclose(units * line.close[i] / equity[i], weights[i], rtol=1e-9, atol=1e-9)


def test_two_instruments_by_hand():
    days = pd.date_range("2024-01-01", periods=3, freq="D")
    fields = ("open", "high", "low", "close")
    a = pd.DataFrame({name: [10.0, 10.0, 20.0] for name in fields}, index=days)
    b = pd.DataFrame({name: [5.0, 5.0, 5.0] for name in fields}, index=days)
    universe = Universe({"A": Bars.from_frame(a), "B": Bars.from_frame(b)})
    options = EngineOptions(initial_capital=1_000.0, commission=0.01, conventions="close")
    weights = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    _, equity, money, fills = evaluate(universe, weights, options)
    # V + 0.01 V = 1000: both halves are bought together, and nothing is left or owed.
    assert equity[0] == pytest.approx(1_000.0 / 1.01, rel=1e-15)
    assert money[0] == pytest.approx(0.0, abs=1e-10)
    assert equity[2] == pytest.approx(1.5 * equity[0])
    assert len(fills) == 2
    _, always, _, _ = evaluate(universe, weights, options, "always")
    before = 1.5 * 1_000.0 / 1.01
    # Both are moved by |0.5 V - value|, of which 1 % is paid.
    left = always[2]
    sold = 2 / 3 * before - 0.5 * left
    bought = 0.5 * left - before / 3
    assert left == pytest.approx(before - 0.01 * (sold + bought), rel=1e-12)


def test_an_order_waits_for_the_next_bar_of_its_instrument():
    days = pd.date_range("2024-01-01", periods=5, freq="D")
    flat = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 10.0), index=days)
    universe = Universe({"A": Bars.from_frame(flat), "B": Bars.from_frame(flat.iloc[[0, 3, 4]])})
    weights = np.zeros((5, 2))
    weights[1:, 1] = 0.5
    _, _, _, fills = evaluate(universe, weights, EngineOptions())
    assert fills[:, [BAR, INSTRUMENT]].tolist() == [[3, 1]]
    weights[2:, 1] = 0.0
    # It gives way to what is decided before it could fill.
    _, _, _, fills = evaluate(universe, weights, EngineOptions())
    assert len(fills) == 0


def test_periods_are_looked_at_on_their_first_day():
    universe = Universe({"A": Bars.from_frame(gbm(400, seed=1))})
    weights = np.full((400, 1), 0.5)
    for rebalance, least in (("weekly", 75), ("monthly", 17), ("quarterly", 5), ("yearly", 1)):
        _, _, _, fills = evaluate(universe, weights, EngineOptions(conventions="close"), rebalance)
        at = universe.index[fills[:, BAR].astype(int)]
        assert len(at) >= least
        if rebalance == "monthly":
            assert at.to_period("M").is_unique
        if rebalance == "weekly":
            assert at.to_period("W").is_unique
