import json
import math
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.cscv import probability_of_backtest_overfitting
from jobnb.research.independence import effective_trials
from jobnb.research.optimize import load_sweep
from jobnb.research.options import EngineOptions
from jobnb.research.question import QuestionWork
from jobnb.research.reality_check import reality_check, spa
from jobnb.research.sampler import Search
from jobnb.research.sharpe import deflated_sharpe_ratio
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import SweepWork
from jobnb.work import Hooked


def quiet(done):
    pass


class Answered:
    """What a manager gives for a question, without a service: the work is pickled, run, and its result read back."""

    def __init__(self, search):
        self.search = search
        self.asked = []

    def __call__(self, what, rows, numbers, points, terms):
        self.asked.append(what)
        work = QuestionWork(search=self.search, what=what, rows=rows, numbers=numbers, points=points, terms=terms)
        self.part = pickle.loads(cloudpickle.dumps(work)).run(0, 1, None, quiet)
        return self

    def result(self, timeout):
        return pickle.loads(self.part.result)


class Fragile(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        if self.fast == self.slow:
            raise ValueError("no trend between equals")
        return bars.sma(self.fast) > bars.sma(self.slow)


def searched(strategy, stored, grid, **more):
    trials = ParameterSpace.parse(strategy, grid)
    work = SweepWork.build(strategy, trials, stored, options=EngineOptions(commission=0.001), **more)
    result = load_sweep(work.meta(), [work.run(0, work.count, None, quiet).result])
    ask = Answered(cloudpickle.dumps(Hooked(work)))
    result.ask_with(ask)
    return result, ask


@pytest.fixture(scope="module")
def found(tmp_path_factory, daily):
    from jobnb.research.data import DataRef

    path = tmp_path_factory.mktemp("bars") / "bars.npy"
    path.write_bytes(daily.to_bytes())
    return searched(Fragile, DataRef(str(path), daily.meta), {"fast": range(3, 15), "slow": range(10, 40, 2)})


def one_by_one(result, daily):
    made = {}
    for row, (fast, slow) in enumerate(zip(result.trials["fast"], result.trials["slow"], strict=True)):
        if fast != slow:
            equity = Fragile(fast=fast, slow=slow).load_data(daily).backtest(commission=0.001).equity_curve
            made[row] = equity.pct_change().dropna()
    return pd.DataFrame(made)


def test_daily_returns_are_those_of_the_single_runs(found, daily):
    result, _ = found
    expected = one_by_one(result, daily)
    some = result.daily_returns([0, 5, result._best])
    pd.testing.assert_frame_equal(some, expected[[0, 5, result._best]], check_freq=False, check_names=False)
    sample = result.daily_returns()
    assert len(sample.columns) == result.luck.sampled
    assert result.indices[sample.columns].tolist() == result._tracks["sample"]["index"]
    trials = effective_trials(sample, trials=len(result))
    less = deflated_sharpe_ratio(result.moments, trials=trials, variance=result.sharpe_variance)
    assert result.deflated_sharpe < less <= 1.0
    again = deflated_sharpe_ratio(result.moments, trials=177, variance=result.sharpe_variance)
    assert again == pytest.approx(result.deflated_sharpe)


def test_overfitting_of_the_sample_needs_no_job(found):
    result, ask = found
    before = len(ask.asked)
    sampled = result.overfitting()
    assert sampled.probability == result.luck.overfitting
    assert (sampled.trials, sampled.of, sampled.blocks) == (result.luck.sampled, 177, 10)
    assert result.overfitting(criterion="return").criterion == "return"
    assert len(ask.asked) == before


def test_overfitting_of_all_runs(found, daily):
    result, _ = found
    returns = one_by_one(result, daily)
    whole = result.overfitting(all=True, blocks=8)
    exact = probability_of_backtest_overfitting(returns, blocks=8)
    assert whole.probability == exact.probability
    assert whole.logits == pytest.approx(exact.logits)
    assert (whole.trials, whole.of) == (177, 177)
    assert result.overfitting(all=True).blocks == 16
    other = result.overfitting(blocks=4)
    assert (other.trials, other.blocks) == (result.luck.sampled, 4)


def test_reality_checks_of_all_runs(found, daily):
    result, _ = found
    returns = one_by_one(result, daily)
    whole = result.reality_check(resamples=200, seed=3)
    exact = reality_check(returns, resamples=200, seed=3)
    assert (whole.p_value, whole.statistic) == (exact.p_value, pytest.approx(exact.statistic))
    assert whole.best == returns.columns[exact.best] == returns.mean().idxmax()
    hold = pd.Series(daily.close).pct_change().dropna().to_numpy()
    whole = result.spa("hold", resamples=200)
    exact = spa(returns, hold, resamples=200)
    assert (whole.p_value, whole.lower, whole.upper) == (exact.p_value, exact.lower, exact.upper)
    assert result.spa(hold, resamples=200).p_value == whole.p_value


def test_a_search_that_is_no_grid(stored, daily):
    trials = Search.make(
        ParameterSpace.parse(Fragile, {"fast": range(3, 10), "slow": range(10, 60)}), "random", n_trials=40, seed=3
    )
    work = SweepWork.build(Fragile, trials, stored)
    result = load_sweep(work.meta(), [work.run(0, 40, None, quiet).result])
    result.ask_with(Answered(cloudpickle.dumps(work)))
    row = result.trials.iloc[7]
    equity = Fragile(fast=row["fast"], slow=row["slow"]).load_data(daily).backtest().equity_curve
    assert result.daily_returns([7])[7].to_numpy() == pytest.approx(equity.pct_change().dropna().to_numpy(), abs=0)
    assert 0.0 <= result.overfitting().probability <= 1.0


def test_numbers_alone_have_no_returns(stored):
    result, _ = searched(lambda data, n: {"sharpe_ratio": n}, stored, {"n": range(5)})
    for ask in (result.overfitting, result.reality_check, result.spa, result.daily_returns):
        with pytest.raises(UsageProblem, match="the strategy gives numbers only"):
            ask()
    with pytest.raises(UsageProblem, match="are not known"):
        result.moments  # noqa: B018
    assert math.isnan(result.sharpe_variance)


def test_what_is_refused(found, monkeypatch):
    result, _ = found
    with pytest.raises(UnknownName, match="Did you mean 'hold'"):
        result.spa("hlod")
    with pytest.raises(UnknownName, match="Did you mean 'return'"):
        result.overfitting(criterion="returns")
    with pytest.raises(UsageProblem, match="even number"):
        result.overfitting(all=True, blocks=7)
    failed = int(np.flatnonzero(np.isin(result.indices, list(result.errors)))[0])
    for row in (-1, len(result), failed):
        with pytest.raises(UsageProblem, match=f"row {row} is not one of the runs"):
            result.daily_returns([row])
    monkeypatch.setattr("jobnb.research.chance.MOST_RETURNS", 100)
    with pytest.raises(UsageProblem, match="too many to send back"):
        result.daily_returns()
    copy = pickle.loads(pickle.dumps(result))
    assert copy.luck == result.luck
    assert copy.overfitting().probability == result.overfitting().probability
    with pytest.raises(UsageProblem, match=r"take it from job.result\(\)"):
        copy.spa()


def test_what_a_run_raises_is_the_answer(found):
    result, ask = found
    broken = QuestionWork(
        search=ask.search, what="returns", rows=np.array([3]), numbers=np.array(list(result.errors)[:1])
    )
    with pytest.raises(ValueError, match="no trend between equals"):
        broken.run(0, 1, None, quiet)


def test_the_tracks_of_a_result_are_small(found):
    result, _ = found
    assert len(json.dumps(result._tracks)) < 20_000
