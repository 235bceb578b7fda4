"""What a search says of luck, by way of a real service: the card, the result, and the jobs that answer more."""

import numpy as np
import pytest

from jobnb.errors import JobFailed
from jobnb.notebook import card_text
from jobnb.option import Options
from jobnb.overfitting import spa
from jobnb.research.sample import goog
from jobnb.research.strategy import Strategy


class SmaCross(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


class Vanishing:
    """Another engine, which tells its equity in the search and never again."""

    runs = 0

    def __init__(self, n):
        self.n = n

    def load_data(self, data):
        self.close = data["close"]

    def backtest(self):
        type(self).runs += 1
        self.equity_curve = self.close * self.n if type(self).runs > 1 or self.n > 1 else None
        return [self.n]

    def get_performance_metrics(self):
        return {"sharpe_ratio": self.n}


GRID = {"fast": range(5, 30), "slow": range(10, 60)}


def test_card_result_and_questions_say_the_same(shared):
    job = shared.optimize(
        SmaCross, goog(), GRID, Options(tags=["luck"]), constraint=lambda p: p.fast < p.slow, commission=0.001
    )
    result = job.result(60)
    card = card_text.render(shared.view(job.id))
    assert result.luck.line[1:] in card
    assert "Is it luck? " in card
    assert result.overfitting().probability == result.luck.overfitting
    found = result.spa("hold", resamples=100, timeout=60)
    returns = result.daily_returns(range(len(result)), timeout=60)
    hold = goog()["close"].pct_change().dropna().to_numpy()
    assert found == spa(returns, hold, resamples=100)
    best = SmaCross(**result.best_params).load_data(goog()).backtest(commission=0.001)
    row = int(result.trials["sharpe_ratio"].idxmax())
    assert returns[row].to_numpy() == pytest.approx(best.equity_curve.pct_change().dropna().to_numpy(), abs=1e-12)
    asked = shared.jobs(limit=2)
    assert {found.name for found in asked} == {f"SPA of {job.name}", f"returns of {job.name}"}


def test_a_strategy_that_tells_no_equity_again_fails_with_the_run(shared):
    result = shared.optimize(Vanishing, goog(), {"n": [1, 2, 3]}, objective="sharpe_ratio").result(60)
    assert np.isfinite(result.deflated_sharpe)
    with pytest.raises(JobFailed, match=r"the run of row 0 .* gives no equity for each bar"):
        result.daily_returns([0], timeout=60)
