"""Functions that return a vectorbt.Portfolio."""

import warnings

import pytest

from jobnb.research import foreign
from jobnb.research.adapters.outcome import ResultError


@pytest.fixture(scope="module")
def make(peer):
    vbt = peer("vectorbt")

    def portfolio(data, fast=10, slow=30, **more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b = vbt.MA.run(data["close"], fast), vbt.MA.run(data["close"], slow)
            return vbt.Portfolio.from_signals(
                data["close"],
                a.ma_crossed_above(b),
                a.ma_crossed_below(b),
                fees=0.001,
                init_cash=5_000,
                freq="1D",
                **more,
            )

    return portfolio


def test_its_numbers_under_jobnbs_names(make, google):
    found = foreign.run_foreign(make, google, {"fast": 5}, "sharpe_ratio")
    own = make(google.frame, fast=5)
    assert found.metrics["total_return"] == pytest.approx(own.total_return())
    assert found.metrics["max_drawdown"] == pytest.approx(own.max_drawdown())
    assert found.metrics["trades"] == own.trades.count()
    assert found.metrics["win_rate"] == pytest.approx(own.trades.win_rate())
    assert found.metrics["profit_factor"] == pytest.approx(own.trades.profit_factor())
    assert found.metrics["exposure"] == pytest.approx(float((own.assets() != 0).mean()))
    assert found.metrics["commissions_paid"] == pytest.approx(own.orders.fees.sum())
    # A search for one of jobnb's metrics does not pay for its statistics.
    assert not found.stats
    result = foreign.run_foreign(make, google, {"fast": 5}, "value").result("f", {"fast": 5}, google)
    assert result.metrics["Omega Ratio"] == result.stats["Omega Ratio"] == pytest.approx(own.omega_ratio())
    assert result.trades.shape[0] == result.metrics["trades"]
    assert result.equity_curve.iloc[-1] == pytest.approx(own.final_value())


def test_an_objective_of_its_own(make, google):
    assert foreign.run_foreign(make, google, {}, "Omega Ratio").metrics["Omega Ratio"] > 0


def test_several_columns_are_refused(make, google):
    with pytest.raises(ResultError, match=r"of 2 columns \(5, 7\).*portfolio\[name\]"):
        foreign.run_foreign(make, google, {"fast": [5, 7]}, "sharpe_ratio")


def test_other_bars_are_refused(make, google):
    with pytest.raises(ResultError, match="of 1,000 bars; it was given 1,047"):
        foreign.run_foreign(lambda data: make(data.iloc[:1000]), google, {}, "sharpe_ratio")


def test_shared_cash_is_one_account(make, google):
    def two(data):
        import pandas as pd

        frame = pd.concat({"a": data["close"], "b": data["close"] * 2}, axis=1)
        return make({"close": frame}, group_by=True, cash_sharing=True)

    found = foreign.run_foreign(two, google, {}, "sharpe_ratio")
    assert found.metrics["trades"] > 0
    assert 0.0 < found.metrics["exposure"] < 1.0
    assert found.metrics["final_equity"] == pytest.approx(two(google.frame).final_value())
