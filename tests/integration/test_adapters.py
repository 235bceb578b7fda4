"""Other people's engines and the seed systems' code through a real service, as their users would."""

import asyncio
import importlib
import os

import pandas as pd
import pytest

from jobnb import StrategyOptimizer
from jobnb.job import JobType, Status
from jobnb.research.sample import goog


class Momentum:
    """A strategy class of the seed systems' kind."""

    def __init__(self, fast_period=12, slow_period=26, initial_capital=10_000):
        self.fast, self.slow, self.capital = fast_period, slow_period, initial_capital

    def load_data(self, data):
        self.data = data

    def backtest(self):
        close = self.data["close"]
        held = (close.rolling(self.fast).mean() > close.rolling(self.slow).mean()).shift(1, fill_value=False)
        self.equity_curve = self.capital * (1 + close.pct_change().fillna(0.0) * held).cumprod()
        return pd.DataFrame({"pnl": self.equity_curve.diff().dropna()})

    def get_performance_metrics(self):
        daily = self.equity_curve.pct_change().dropna()
        return {"sharpe_ratio": float(daily.mean() / daily.std() * 252**0.5)}


async def backtest_executor(params, progress_callback):
    progress_callback(0, 100, "loading")
    strategy = params["strategy_class"](**params.get("strategy_params", {}))
    strategy.load_data(params["data"])
    trades = strategy.backtest()
    progress_callback(100, 100, "done")
    return {"trades": trades.to_dict(), "equity": strategy.equity_curve.to_dict()}


async def search_executor(params, progress_callback):
    optimizer = StrategyOptimizer(strategy_class=params["strategy_class"], data=params["data"], initial_capital=5_000)
    for name, config in params["parameters"].items():
        optimizer.add_parameter(name, **config)
    total = optimizer.get_total_combinations()
    found = optimizer.grid_optimize(
        objective="sharpe_ratio", progress_callback=lambda current: progress_callback(current, total, f"{current}")
    )
    return {"best": found.best_params, "all": [trial.to_dict() for trial in found.all_results]}


def test_the_seed_systems_executors(shared):
    async def run():
        params = {"strategy_class": Momentum, "data": goog(), "strategy_params": {"fast_period": 5}}
        first = await shared.create_job(JobType.BACKTEST, params, backtest_executor)
        ranges = {"type": "int", "min": 5, "max": 20, "step": 5}
        params = {"strategy_class": Momentum, "data": goog(), "parameters": {"fast_period": ranges}}
        second = await shared.create_job(job_type=JobType.OPTIMIZATION, params=params, executor=search_executor)
        return await shared.get_job(first), await shared.get_job(second), shared.get_job(second)

    backtest, search, job = asyncio.run(run())
    assert len(backtest["trades"]["pnl"]) == 1046
    assert len(search["all"]) == 4
    assert search["best"] in [trial["params"] for trial in search["all"]]
    assert job.progress.percentage == 100.0
    assert job.result.data == search
    # The same class is a strategy for jobnb itself.
    own = shared.optimize(Momentum, goog(), {"fast_period": range(5, 21, 5)}, initial_capital=5_000)
    assert own.result(60).best_params["fast_period"] == search["best"]["fast_period"]


def test_a_strategy_of_backtesting_py(shared):
    if os.environ.get("JOBNB_REQUIRE_PEERS") == "1":
        importlib.import_module("backtesting")
    backtesting = pytest.importorskip("backtesting", reason="backtesting.py is not installed")

    class Hold(backtesting.Strategy):
        bar = 3

        def init(self):
            pass

        def next(self):
            if len(self.data) == self.bar:
                self.buy()

    job = shared.backtest(Hold, goog(), {"bar": 5, "finalize_trades": True})
    result = job.result(60)
    assert result.trades["EntryBar"].tolist() == [5]
    record = job.record
    assert record.status is Status.COMPLETED
    assert record.summary["curve"]["equity"][0] == 10_000
    assert "backtesting.py" in record.summary["conventions"]
    found = shared.optimize(Hold, goog(), {"bar": [5, 50, 500]}, objective="total_return").result(60)
    assert found.best_params["bar"] == 5
    # Nothing of the bars it draws, nor of its warnings.
    assert not [line.text for line in job.logs() if not line.text.strip() or "warn" in line.text.lower()]
