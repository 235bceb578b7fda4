"""Plain functions and classes with the protocol: names are checked at the door, results by what they are."""

import functools
import subprocess
import sys

import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research import door, foreign
from jobnb.research.adapters import kinds, names


def profit(data, fast, slow=30, *, commission=0.0):
    return {"sharpe_ratio": fast / slow, "cost": commission}


def anything(data, **params):
    return params["x"]


class Seed:
    def __init__(self, fast_period=12, slow_period=26, initial_capital=10_000):
        self.fast, self.slow, self.capital = fast_period, slow_period, initial_capital

    def load_data(self, data):
        self.data = data

    def backtest(self):
        self.equity_curve = self.capital * self.data["close"] / self.data["close"].iloc[0]
        return pd.DataFrame({"pnl": [1.0, -2.0]})

    def get_performance_metrics(self):
        return {"sharpe_ratio": float(self.fast), "name": "text", "total_return": self.capital / 1e4}


def refused(strategy, bars, **given):
    return door.backtest_work(strategy, bars, given, lambda: pytest.fail("stored"))


@pytest.mark.parametrize(
    ("strategy", "given", "text"),
    [
        (profit, {"fats": 3}, "Did you mean 'fast'"),
        (profit, {}, "profit also needs fast"),
        (profit, {"fast": 1, "slippage": 0.1}, "profit takes no slippage"),
        (profit, {"fast": 1, "data": 3}, "unknown parameter 'data'"),
        (Seed, {"fast_perod": 3}, "Did you mean 'fast_period'"),
        (functools.partial(profit, fast=1), {"slw": 1}, "Did you mean 'slow'"),
    ],
)
def test_names_are_checked_at_the_door(daily, strategy, given, text):
    with pytest.raises(UsageProblem, match=text):
        refused(strategy, daily, **given)


def test_a_function_may_have_costs_of_its_own(daily):
    work, what = door.backtest_work(profit, daily, {"fast": 3, "commission": 0.5}, lambda: "sha")
    assert work.params == {"fast": 3, "commission": 0.5}
    assert foreign.run_foreign(profit, daily, work.params, "value").metrics == {"sharpe_ratio": 0.1, "cost": 0.5}
    # The card says nothing of fills and costs that jobnb does not know.
    assert what["options"] == {}
    assert what["terms"] == ["costs and fills as the strategy itself says"]


def test_any_name_goes_where_any_is_taken(daily):
    work, _ = door.backtest_work(anything, daily, {"x": 2.5, "slippage": 0.1}, lambda: "sha")
    run = foreign.run_foreign(anything, daily, work.params, "value")
    assert run.metrics == {"value": 2.5}
    assert run.result("anything", work.params, daily) == 2.5


def test_a_search_over_an_engine_options_name(daily):
    work, _ = door.sweep_work(
        profit,
        daily,
        {"fast": [1, 2], "commission": [0.0, 0.1]},
        lambda: "sha",
        objective="cost",
        maximize=False,
        engine={"slow": 5},
    )
    assert work.count == 4
    assert work.space.names == ("slow", "fast", "commission")


def test_a_class_with_the_protocol(daily):
    run = foreign.run_foreign(Seed, daily, {"fast_period": 3}, "value")
    assert run.metrics == {"sharpe_ratio": 3.0, "total_return": 1.0}
    result = run.result("Seed", {"fast_period": 3}, daily)
    assert list(result.trades["pnl"]) == [1.0, -2.0]
    assert result.sharpe_ratio == 3.0
    assert result.equity_curve.iloc[0] == 10_000.0
    assert result.equity_curve.index.equals(daily.index)
    with pytest.raises(AttributeError, match="no attribute 'sharp'"):
        _ = result.sharp
    with pytest.raises(UsageProblem, match="the class Seed itself"):
        refused(Seed(), daily)


def test_the_curves_of_a_class(daily):
    class Listing(Seed):
        def backtest(self):
            super().backtest()
            self.equity_curve = self.equity_curve.tolist()

    result = foreign.run_foreign(Listing, daily, {}, "value").result("Listing", {}, daily)
    assert result.equity_curve.index.equals(daily.index)
    assert result.drawdown.min() < 0 == result.drawdown.max()
    # It holds the asset.
    assert result.hold == pytest.approx(result.equity_curve.to_numpy())
    upper, lower = result.plot().axes
    assert [line.get_label() for line in upper.lines] == ["buy and hold", "strategy"]
    assert "metrics by the class itself" in lower.get_xlabel()

    class Sparse(Seed):
        def backtest(self):
            self.equity_curve = [1.0, 2.0, 1.5]

    result = foreign.run_foreign(Sparse, daily, {}, "value").result("Sparse", {}, daily)
    assert result.hold is None
    assert len(result.plot().axes[0].lines) == 1


def test_a_class_without_equity_says_so(daily):
    class Silent(Seed):
        def backtest(self):
            return None

    result = foreign.run_foreign(Silent, daily, {}, "value").result("Silent", {}, daily)
    assert result.trades is None
    with pytest.raises(UsageProblem, match="equity_curve"):
        _ = result.equity_curve


def test_what_a_class_is_called_is_escaped(daily):
    result = foreign.run_foreign(Seed, daily, {}, "value").result("<b>", {"x": "<i>"}, daily)
    assert "<b>" not in result._repr_html_()
    assert "<i>" not in result._repr_html_()


def test_recognised_by_name_alone():
    strategy = type("Strategy", (), {"__module__": "backtesting.backtesting"})
    mine = type("Mine", (strategy,), {})
    assert kinds.is_backtesting_strategy(mine)
    assert not kinds.is_backtesting_strategy(mine())
    assert not kinds.is_backtesting_strategy(type("Strategy", (), {"__module__": "backtestingtools"}))
    assert not kinds.is_vectorbt_portfolio(3)


def test_the_names_that_are_offered():
    assert names.offered(profit) == ["fast", "slow", "commission"]
    assert names.offered(Seed) == ["fast_period", "slow_period", "initial_capital"]
    assert names.offered(anything) == names.offered(3) == []
    code = "import sys; from jobnb.research.adapters import names; print('numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "False"


def test_no_engine_is_imported_to_look():
    code = (
        "import sys; from jobnb.research import foreign; from jobnb.research.adapters import functions; "
        "foreign.check(len, {}); print({'backtesting', 'vectorbt', 'sklearn'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "set()"


def test_unknown_names_are_of_one_class(daily):
    with pytest.raises(UnknownName):
        refused(profit, daily, fast=1, lsow=2)
