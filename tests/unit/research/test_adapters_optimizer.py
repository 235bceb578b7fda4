"""StrategyOptimizer: the search of the seed systems, in this process."""

import json
import math

import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.adapters.optimizer import StrategyOptimizer
from jobnb.research.adapters.trial import Optimized, Trial


class Seed:
    """Sees the data as its author gave it, a column of his own included."""

    def __init__(self, fast_period=12, slow_period=26, initial_capital=10_000):
        if fast_period == 13:
            raise ValueError("unlucky")
        self.gap, self.capital = slow_period - fast_period, initial_capital

    def load_data(self, data):
        data["more"] = 1
        self.equity_curve = self.capital + self.gap * data["Signal"].cumsum()

    def backtest(self):
        return pd.DataFrame({"pnl": [1.0]})

    def get_performance_metrics(self):
        return {"sharpe_ratio": float(self.equity_curve.iloc[-1]), "volatility": float(self.gap)}


@pytest.fixture
def signals():
    return pd.DataFrame({"Signal": [1.0, 2.0]})


def test_a_class_with_the_protocol(signals):
    optimizer = StrategyOptimizer(strategy_class=Seed, data=signals, initial_capital=100)
    for name, config in {
        "fast_period": {"type": "int", "min": 11, "max": 14, "step": 1},
        "slow_period": {"type": "int", "min": 20, "max": 30, "step": 10},
    }.items():
        optimizer.add_parameter(name, **config)
    assert optimizer.get_total_combinations() == 8
    told = []
    found = optimizer.grid_optimize(objective="sharpe_ratio", progress_callback=told.append)
    assert told[-1] == 8
    assert told == sorted(set(told))
    assert found.best_params == {"fast_period": 11, "slow_period": 30}
    assert found.best_value == 100 + 19 * 3
    assert found.n_combinations == len(found.all_results) == 8
    assert [r.error for r in found.all_results if r.error] == ["ValueError: unlucky"] * 2
    assert found.convergence[-1] == found.best_value
    assert json.loads(json.dumps(found.all_results[0].to_dict()))["params"]["fast_period"] == 11
    assert found.to_dict()["best_value"] == found.best_value
    assert "of 8" in repr(found)
    # What one run adds to the data is not there for the next, nor for its owner.
    assert list(signals.columns) == ["Signal"]
    assert optimizer.grid_optimize("volatility").best_value == 6.0
    assert optimizer.grid_optimize("volatility", maximize=True).best_value == 19.0


def test_a_strategy_equals_its_own_backtest(sma_cross, daily):
    optimizer = StrategyOptimizer(sma_cross, daily.frame, initial_capital=500, commission=0.001)
    optimizer.add_parameter("fast", "int", 5, 15, step=5)
    optimizer.add_parameter("slow", "categorical", choices=[30, 40])
    totals = []
    found = optimizer.grid_optimize("total_return", lambda current, total: totals.append((current, total)))
    assert totals[-1] == (6, 6)
    for trial in found.all_results:
        single = sma_cross(**trial.params).load_data(daily).backtest(initial_capital=500, commission=0.001)
        assert trial.metrics == pytest.approx(single.get_performance_metrics(), nan_ok=True)
    assert found.best_value == max(trial.value for trial in found.all_results)


def test_a_random_search_is_reproducible(sma_cross, daily):
    optimizer = StrategyOptimizer(sma_cross, daily)
    optimizer.add_parameter("fast", "int", 2, 50)
    optimizer.add_parameter("slow", "int", 51, 200)
    first = optimizer.random_optimize(n_iterations=7, seed=3)
    assert first.n_combinations == 7
    again = optimizer.random_optimize(7, seed=3)
    assert [(t.params, t.value) for t in again.all_results] == [(t.params, t.value) for t in first.all_results]
    assert first.best_params != optimizer.random_optimize(7, seed=4).best_params


def test_a_function(daily):
    def score(data, x, y=1.0):
        if x == 2:
            raise ValueError("two")
        return {"score": x * y}

    optimizer = StrategyOptimizer(score, daily, y=3.0)
    optimizer.add_parameter("x", "int", 1, 3)
    found = optimizer.grid_optimize("score")
    assert [trial.params for trial in found.all_results] == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert (found.best_value, found.all_results[1].error) == (9.0, "ValueError: two")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda o: o.get_total_combinations(), "add_parameter"),
        (lambda o: o.add_parameter("fats", "int", 1, 2), "Did you mean 'fast'"),
        (lambda o: o.add_parameter("fast", "integer", 1, 2), "unknown type 'integer'"),
        (lambda o: o.add_parameter("fast", "int", 1), "has no 'max'"),
        (lambda o: o.add_parameter("fast", "categorical"), "values"),
        (lambda o: o.add_parameter("fast", "float", 1, 2), "whole number"),
        (lambda o: (o.add_parameter("fast", "int", 1, 2), o.grid_optimize("sharp_ratio")), "sharpe_ratio"),
    ],
)
def test_what_cannot_be_is_said(sma_cross, daily, act, text):
    with pytest.raises(UsageProblem, match=text):
        act(StrategyOptimizer(sma_cross, daily))


def test_a_continuous_parameter_is_for_random_search(daily):
    optimizer = StrategyOptimizer(lambda data, x: {"score": x}, daily)
    optimizer.add_parameter("x", "float", 1.0, 2.0)
    with pytest.raises(UsageProblem, match="needs a list of values for x"):
        optimizer.get_total_combinations()
    assert 1.0 <= optimizer.random_optimize(5, "score").best_value <= 2.0


def test_an_argument_that_a_class_does_not_take(signals):
    optimizer = StrategyOptimizer(Seed, signals)
    optimizer.add_parameter("fats_period", "int", 1, 2)
    with pytest.raises(UnknownName, match="Did you mean 'fast_period'"):
        optimizer.grid_optimize()
    with pytest.raises(UsageProblem, match="class Seed itself"):
        StrategyOptimizer(Seed(), signals)
    optimizer = StrategyOptimizer(Seed, signals)
    optimizer.add_parameter("fast_period", "int", 1, 2)
    with pytest.raises(UnknownName, match="unknown objective 'sharpe'"):
        optimizer.grid_optimize("sharpe")


def test_nothing_but_failures():
    found = Optimized(
        name="x", objective="y", maximize=True, all_results=[Trial(params={}, value=math.nan, error="E: no")]
    )
    with pytest.raises(UsageProblem, match="the first error: E: no"):
        _ = found.best_params
    assert math.isnan(found.convergence[0])
