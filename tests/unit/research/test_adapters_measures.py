"""The metrics that are computed from an equity curve are the kernel's own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.research.adapters import measures
from jobnb.research.bars import Bars
from jobnb.research.strategy import Strategy


@pytest.mark.parametrize("data", ["google", "daily", "minutes"])
@pytest.mark.parametrize(("fast", "slow"), [(3, 8), (10, 30), (2, 400), (50, 20)])
def test_equity_and_trades_give_the_kernels_metrics(request, sma_cross, data, fast, slow):
    bars = request.getfixturevalue(data)
    result = sma_cross(fast=fast, slow=slow).load_data(bars).backtest(commission=0.002, initial_capital=500.0)
    expected = result.get_performance_metrics()
    found = measures.of_equity(result.equity, bars, 500.0)
    trades = result.trades
    found |= measures.of_trades(trades["pnl"], trades["pnl"] / trades["return_"])
    assert len(found) == 17
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-9, nan_ok=True)


def test_never_in_the_market(daily):
    class Never(Strategy):
        def positions(self, bars):
            return np.zeros(len(bars))

    expected = Never().load_data(daily).backtest().get_performance_metrics()
    found = measures.of_equity(np.full(len(daily), 1e4), daily, 1e4) | measures.of_trades([], [])
    assert found == pytest.approx({name: expected[name] for name in found}, nan_ok=True)


def test_all_is_lost(daily):
    equity = np.full(len(daily), 1e4)
    equity[100:] = 0.0
    found = measures.of_equity(equity, daily, 1e4)
    assert (found["total_return"], found["max_drawdown"], found["annual_return"]) == (-1.0, -1.0, -1.0)
    assert np.isfinite(found["sharpe_ratio"])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_trades_add_up(profits):
    found = measures.of_trades(profits, np.full(len(profits), 1e3))
    assert found["trades"] == len(profits)
    assert found["expectancy"] * len(profits) == pytest.approx(sum(profits), abs=1e-6)
    assert found["worst_trade"] <= found["average_trade"] + 1e-12 <= found["best_trade"] + 2e-12
    assert 0.0 <= found["win_rate"] <= 1.0


@given(st.lists(st.floats(1.0, 1e6), min_size=3, max_size=40))
def test_the_drawdown_is_that_of_pandas(values):
    index = pd.date_range("2020-01-01", periods=len(values), freq="D")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), np.array(values)), index=index)
    found = measures.of_equity(values, Bars.from_frame(frame), values[0])
    worth = pd.Series(values)
    assert found["max_drawdown"] == pytest.approx(float((worth / worth.cummax() - 1.0).min()), abs=1e-12)
    assert found["total_return"] == pytest.approx(found["buy_and_hold_return"])
