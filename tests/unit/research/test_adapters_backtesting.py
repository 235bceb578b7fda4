"""Strategies of backtesting.py, given to jobnb as they are."""

import json
import pickle
import warnings

import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research import door, foreign
from jobnb.research.adapters import names
from jobnb.research.data import DataRef
from jobnb.research.optimize import load_sweep
from jobnb.research.single import load_backtest


def quiet(done):
    return None


def mean(values, n):
    return pd.Series(values).rolling(n).mean()


@pytest.fixture(scope="module")
def cross(peer):
    class Base(peer("backtesting").Strategy):
        slow = 30

    class Cross(Base):
        fast = 10

        def init(self):
            self.a = self.I(mean, self.data.Close, self.fast)
            self.b = self.I(mean, self.data.Close, self.slow)

        def next(self):
            if self.a[-1] > self.b[-1]:
                if not self.position:
                    self.buy()
            elif self.position:
                self.position.close()

    return Cross


@pytest.fixture
def google_file(tmp_path, google):
    path = tmp_path / "google.npy"
    path.write_bytes(google.to_bytes())
    return DataRef(str(path), google.meta)


@pytest.fixture
def direct(peer, cross, google):
    """Run it as its own users would."""

    def run(cash=10_000, commission=0.0, finalize_trades=False, **params):
        frame = google.frame.rename(columns=str.capitalize)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bench = peer("backtesting").Backtest(
                frame, cross, cash=cash, commission=commission, finalize_trades=finalize_trades
            )
            return bench.run(**params)

    return run


def test_its_parameters_are_its_class_variables(cross):
    assert names.class_variables(cross) == {"slow": 30, "fast": 10}
    assert names.offered(cross)[:4] == ["slow", "fast", "cash", "spread"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"fst": 3}, "Did you mean 'fast'"),
        ({"slippage": 0.1, "spread": 0.1}, "mean the same"),
        ({"cash": 1, "initial_capital": 2}, "mean the same"),
        ({"trade_on_close": True, "conventions": "close"}, "mean the same"),
        ({"init": 3}, "unknown parameter 'init'"),
    ],
)
def test_what_it_does_not_know_is_refused_at_the_door(cross, google, given, text):
    kept = []
    with pytest.raises(UsageProblem, match=text):
        door.backtest_work(cross, google, given, lambda: kept.append(1) or "sha")
    with pytest.raises(UsageProblem, match=text):
        door.sweep_work(
            cross,
            google,
            {"slow": [20, 30]},
            lambda: kept.append(1) or "sha",
            engine=given,
        )
    assert not kept


def test_an_instance_is_refused(cross, google):
    with pytest.raises(UsageProblem, match="the class Cross itself"):
        door.backtest_work(object.__new__(cross), google, {}, lambda: "sha")


def test_one_run_equals_its_own(cross, google, google_file, direct):
    params = {"fast": 7, "initial_capital": 50_000, "commission": 0.001}
    work, what = door.backtest_work(cross, google, params, lambda: google_file.key)
    part = work.run(0, 1, None, quiet)
    result = load_backtest([part.result])
    own = direct(cash=50_000, commission=0.001, fast=7)
    # Nothing of its classes comes back: it need not be installed where the result is read.
    assert b"backtesting.backtesting" not in part.result
    assert b"backtesting._stats" not in part.result

    assert result.final_equity == own["Equity Final [$]"] == result.stats["Equity Final [$]"]
    assert result.trades.shape == own["_trades"].shape
    assert result.metrics["Sharpe Ratio"] == own["Sharpe Ratio"]
    assert result.total_return == pytest.approx(own["Return [%]"] / 100)
    assert result.annual_return == pytest.approx(own["Return (Ann.) [%]"] / 100, rel=1e-3)
    assert result.max_drawdown == pytest.approx(own["Max. Drawdown [%]"] / 100)
    assert result.win_rate == pytest.approx(own["Win Rate [%]"] / 100)
    assert result.best_trade == pytest.approx(own["Best Trade [%]"] / 100)
    assert result.commissions_paid == pytest.approx(own["Commissions [$]"])
    assert result.equity_curve.iloc[-1] == result.final_equity
    # Its Sharpe ratio is another one than jobnb's.
    assert result.sharpe_ratio != pytest.approx(own["Sharpe Ratio"], rel=0.1)
    assert "backtesting.py" in result.foot
    assert "fast=7" in repr(result).splitlines()[0]
    assert "Sharpe Ratio" in result._repr_html_()
    assert pickle.loads(pickle.dumps(result)).get_performance_metrics().keys() == result.numbers.keys()

    summary = json.loads(json.dumps(part.summary, allow_nan=False))
    assert summary["curve"]["equity"][0] == 50_000
    assert len(summary["curve"]["hold"]) == len(summary["curve"]["equity"]) == 240
    assert what["terms"][:2] == ["backtesting.py", "cash 50000"]
    assert not what["options"]


def test_a_search(cross, google, google_file, direct):
    work, _ = door.sweep_work(
        cross,
        google,
        {"fast": range(5, 20, 5), "slow": [20, 40]},
        lambda: google_file.key,
        objective="SQN",
        engine={"finalize_trades": True, "commission": 0.002},
    )
    result = load_sweep(work.meta(), [work.run(0, 4, None, quiet).result, work.run(4, 6, None, quiet).result])
    trials = result.trials.set_index(["fast", "slow"])
    for fast, slow in trials.index:
        own = direct(commission=0.002, finalize_trades=True, fast=fast, slow=slow)
        assert trials.loc[(fast, slow), "SQN"] == pytest.approx(own["SQN"])
        assert trials.loc[(fast, slow), "trades"] == own["# Trades"]
    assert result.best_value == trials["SQN"].max()
    assert "sharpe_ratio" in trials


def test_fills_at_the_close(cross, google, google_file):
    at_open = foreign.run_foreign(cross, google, {}, "value").metrics
    at_close = foreign.run_foreign(cross, google, {"conventions": "close"}, "value").metrics
    own = foreign.run_foreign(cross, google, {"trade_on_close": True}, "value").metrics
    assert at_close["final_equity"] == own["final_equity"] != at_open["final_equity"]
    both = {"conventions": ["close", "next_open"]}
    work, what = door.sweep_work(cross, google, both, lambda: google_file.key, objective="final_equity", engine={})
    result = load_sweep(work.meta(), [work.run(0, 2, None, quiet).result])
    assert set(result.trials["final_equity"]) == {at_close["final_equity"], at_open["final_equity"]}
    assert not any("fills" in term for term in what["terms"])
    for given in ({"conventions": "closed"}, {"conventions": ["close", "open"]}):
        with pytest.raises(UnknownName, match="conventions"):
            foreign.check(cross, given)


def test_slippage_is_its_spread(cross, google):
    given = foreign.run_foreign(cross, google, {"slippage": 0.01}, "value")
    own = foreign.run_foreign(cross, google, {"spread": 0.01}, "value")
    free = foreign.run_foreign(cross, google, {}, "value")
    assert given.metrics["final_equity"] == own.metrics["final_equity"] < free.metrics["final_equity"]
    assert "spread 0.01 at entries only" in given.terms


def test_a_function_may_return_its_stats(peer, cross, google):
    def own_bench(data, fast=10):
        frame = data.rename(columns=str.capitalize)
        return peer("backtesting").Backtest(frame, cross, cash=5_000, finalize_trades=True).run(fast=fast)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = foreign.run_foreign(own_bench, google, {"fast": 5}, "sharpe_ratio")
    expected = foreign.run_foreign(cross, google, {"fast": 5, "cash": 5_000, "finalize_trades": True}, "sharpe_ratio")
    assert found.metrics == pytest.approx(dict(expected.metrics), nan_ok=True)
