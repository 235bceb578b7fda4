"""Metrics and statistics against empyrical-reloaded, from the daily returns of the equity curve."""

import warnings

import numpy as np
import pytest
from parity_kit import draws, peer

from jobnb.research.bars import Bars
from jobnb.research.sample import gbm

RATIOS = {
    "sharpe_ratio": "sharpe_ratio",
    "sortino_ratio": "sortino_ratio",
    "annual_volatility": "volatility",
    "annual_return": "annual_return_geometric",
    "downside_risk": "downside_risk",
}
#: Only where each bar is a day: ours look at every bar.
OF_DAILY_BARS = {"max_drawdown": "max_drawdown", "calmar_ratio": "calmar_ratio_geometric"}
PLAIN = {
    "tail_ratio": "tail_ratio",
    "stability_of_timeseries": "stability",
    "omega_ratio": "omega_ratio",
    "value_at_risk": "value_at_risk",
    "conditional_value_at_risk": "conditional_value_at_risk",
}
VERSUS = {"beta": "beta", "up_capture": "up_capture", "down_capture": "down_capture"}


@pytest.fixture(scope="session")
def weeks():
    """Minutes over a fortnight."""
    return Bars.from_frame(gbm(20_000, "min", seed=12, volatility=2.0, start="2021-03-01 14:30"), "weeks")


@pytest.fixture(scope="session")
def empyrical():
    return peer("empyrical")


@pytest.mark.parametrize("data", ["daily", "weeks"])
@pytest.mark.parametrize("conventions", ["next_open", "close", "backtesting.py"])
def test_equal_for_random_strategies(empyrical, request, data, conventions):
    bars = request.getfixturevalue(data)
    for strategy, costs in draws(40, 6):
        made = strategy.load_data(bars).backtest(conventions=conventions, initial_capital=100_000.0, **costs)
        got = made.statistics()
        zone = made.equity_curve.index.date
        r = made.equity_curve.groupby(zone).last().pct_change().iloc[1:]
        asset = bars.frame["close"].groupby(zone).last().pct_change().iloc[1:]
        year = bars.calendar.periods_per_year

        def same(name, value):
            # It says infinity where nothing was lost, and calls rounding a deviation.
            if np.isfinite(value) and r.std() > 1e-12:  # noqa: B023
                assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name  # noqa: B023
            else:
                assert not np.isfinite(got[name]) or got[name] == 0.0, name  # noqa: B023

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for name, mine in (RATIOS | (OF_DAILY_BARS if data == "daily" else {})).items():
                more = {} if name == "max_drawdown" else {"annualization": year}
                same(mine, getattr(empyrical, name)(r, **more))
            for name, mine in PLAIN.items():
                same(mine, getattr(empyrical, name)(r))
            if year == 252.0:
                for name, mine in VERSUS.items():
                    same(mine, getattr(empyrical, name)(r, asset))
            same("beta", empyrical.beta(r, asset))
            same("alpha", empyrical.alpha(r, asset, annualization=year))
