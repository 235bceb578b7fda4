"""Several instruments as one job through a real service, as users would."""

import pandas as pd
import pytest

import jobnb
from jobnb.errors import DataError, JobFailed, UsageProblem
from jobnb.job import Status
from jobnb.option import Options
from jobnb.research.sample import gbm

PRICES = {f"S{i}": gbm(300 + 10 * i, seed=i) for i in range(9)}


class Cross(jobnb.Strategy):
    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


class Unlucky(jobnb.Strategy):
    def positions(self, bars):
        if bars.name == "S4":
            raise ValueError("no luck")
        return bars.close > 0


def test_each_instrument_is_an_item_of_one_job(shared):
    job = shared.backtest(Cross, PRICES, {"commission": 0.001}, data_name="prices")
    result = job.result(60)
    assert (job.name, job.kind, job.status) == ("Cross on prices", "backtest", Status.COMPLETED)
    assert list(result) == list(PRICES)
    alone = shared.backtest(Cross, PRICES["S4"], {"commission": 0.001}).result(60)
    assert result["S4"].get_performance_metrics() == alone.get_performance_metrics()
    record = shared.record(job.id)
    assert record.summary["done"] == 9
    assert set(record.snapshot["data"]["instruments"]) == set(PRICES)
    again = job.rerun(verify=True)
    assert again.result(60).metrics.equals(result.metrics)


def test_a_frame_as_yfinance_gives_it(shared):
    wide = pd.concat(PRICES, axis=1).swaplevel(axis=1)
    result = shared.backtest(Cross, wide).result(60)
    assert list(result) == list(PRICES)
    one = shared.backtest(Cross, pd.concat({"S3": PRICES["S3"]}, axis=1)).result(60)
    assert one.get_performance_metrics() == result["S3"].get_performance_metrics()


def test_what_had_finished_is_kept_when_one_fails(shared):
    job = shared.backtest(Unlucky, PRICES, {}, Options().merge(retry=False))
    with pytest.raises(JobFailed, match=r"no luck \(instrument S4\)"):
        job.result(60)
    partial = job.result(partial=True)
    assert "S0" in partial
    assert "S4" not in partial
    recorded = shared.backtest(Unlucky, PRICES, {}, Options().merge(on_error="record")).result(60)
    assert list(recorded.failed) == ["S4"]
    assert len(recorded) == 8


def test_bad_data_is_refused_and_nothing_is_enqueued(shared):
    before = len(shared.jobs())
    with pytest.raises(DataError, match="holds no instrument"):
        shared.backtest(Cross, {})
    with pytest.raises(DataError, match=r"prices\['S2'\] has no column 'close'"):
        shared.backtest(Cross, {**PRICES, "S2": PRICES["S2"].drop(columns="close")}, data_name="prices")
    assert len(shared.jobs()) == before


class Momentum(jobnb.Strategy):
    lookback: int = 60
    top: int = 3

    def weights(self, bars):
        gain = bars.close.pct_change(self.lookback, fill_method=None)
        return gain.rank(axis=1, ascending=False) <= self.top


def test_a_portfolio_is_one_job_and_says_what_it_did(shared):
    job = shared.backtest(Momentum, PRICES, {"commission": 0.001, "rebalance": "monthly"}, data_name="prices")
    result = job.result(60)
    assert job.name == "Momentum portfolio on prices"
    assert "rebalanced monthly" in result.conventions
    record = shared.record(job.id)
    assert record.summary["metrics"]["sharpe_ratio"] == pytest.approx(result.sharpe_ratio)
    assert set(record.snapshot["data"]["instruments"]) == set(PRICES)
    again = shared.backtest(Cross, PRICES, {"portfolio": True}).result(60)
    assert again.by_instrument.shape[0] == 9
    assert job.rerun(verify=True).result(60).metrics.equals(result.metrics)


def test_a_portfolio_of_one(shared):
    made = shared.backtest(Cross, PRICES["S1"], {"portfolio": True}, data_name="S1").result(60)
    alone = shared.backtest(Cross, PRICES["S1"], data_name="S1").result(60)
    assert made.final_equity == pytest.approx(alone.final_equity, rel=1e-12)


def test_a_search_over_several_instruments(shared):
    space = {"fast": range(3, 8), "slow": range(10, 40, 10)}
    job = shared.optimize(Cross, PRICES, space, across="median", commission=0.001, data_name="prices")
    result = job.result(60)
    assert job.name == "Cross sweep on prices"
    assert result.by_instrument.shape == (15, 9)
    again = result.rerun_best()
    assert again.metrics["sharpe_ratio"].median() == pytest.approx(result.best_value)
    held = shared.optimize(Cross, PRICES, space, portfolio=True).result(60)
    assert held.rerun_best().sharpe_ratio == pytest.approx(held.best_value)
    assert held.daily_returns().shape[1] == 15
    with pytest.raises(UsageProblem, match="splits the bars of one instrument"):
        shared.optimize(Cross, PRICES, space, method="purged-kfold", n_splits=3)
