"""`conventions="backtesting.py"` against the package itself: equity, trades and statistics to 1e-9."""

import warnings

import numpy as np
import pandas as pd
import pytest
from parity_kit import Crossing, Replay, draws, peer

from jobnb.research.bars import Bars

CAPITAL = 100_000.0
#: Its statistics by our names; percent are fractions here.
PERCENT = {
    "Exposure Time [%]": "exposure_time",
    "Return [%]": "total_return",
    "Buy & Hold Return [%]": "buy_and_hold_return",
    "Return (Ann.) [%]": "annual_return_geometric",
    "Volatility (Ann.) [%]": "volatility_geometric",
    "CAGR [%]": "cagr",
    "Alpha [%]": "alpha_jensen",
    "Max. Drawdown [%]": "max_drawdown",
    "Avg. Drawdown [%]": "average_drawdown",
    "Win Rate [%]": "win_rate",
    "Best Trade [%]": "best_trade",
    "Worst Trade [%]": "worst_trade",
    "Avg. Trade [%]": "average_trade_geometric",
    "Expectancy [%]": "average_trade",
}
PLAIN = {
    "Equity Final [$]": "final_equity",
    "Equity Peak [$]": "equity_peak",
    "Sharpe Ratio": "sharpe_ratio_geometric",
    "Sortino Ratio": "sortino_ratio_geometric",
    "Calmar Ratio": "calmar_ratio_geometric",
    "Beta": "beta_log",
    "# Trades": "trades",
    "Profit Factor": "profit_factor_returns",
    "SQN": "sqn",
    "Kelly Criterion": "kelly_criterion",
}
TIMES = {
    "Max. Drawdown Duration": "max_drawdown_duration",
    "Avg. Drawdown Duration": "average_drawdown_duration",
    "Max. Trade Duration": "max_trade_duration",
    "Avg. Trade Duration": "average_trade_duration",
}


@pytest.fixture(scope="session")
def backtesting():
    return peer("backtesting")


def frame(bars):
    return bars.frame.rename(columns=str.title)


def theirs(backtesting, bars, row, *, commission=0.0, slippage=0.0, **more):
    """Run a row of targets by its orders, as `jobnb.research.engine` says how."""

    class Orders(backtesting.Strategy):
        def init(self):
            self.before = 0.0

        def next(self):
            want = float(row[len(self.data) - 1])
            if want == self.before:
                return
            self.before = want
            self.position.close()
            size = {"size": abs(want)} if abs(want) < 1.0 else {}
            if want > 0.0:
                self.buy(**size)
            elif want < 0.0:
                self.sell(**size)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = backtesting.Backtest(frame(bars), Orders, cash=CAPITAL, commission=commission, spread=slippage, **more)
        return made.run()


def native(backtesting, bars, fast, slow, **more):
    """A crossover as its users write it, with its indicators and its warm-up."""

    class Cross(backtesting.Strategy):
        def init(self):
            mean = lambda n: pd.Series(self.data.Close).rolling(n).mean()  # noqa: E731
            self.fast, self.slow = self.I(mean, fast), self.I(mean, slow)

        def next(self):
            if self.fast[-1] > self.slow[-1]:
                if not self.position:
                    self.buy()
            elif self.position:
                self.position.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return backtesting.Backtest(frame(bars), Cross, cash=CAPITAL, **more).run()


def compare(ours, stats, resolution):
    np.testing.assert_allclose(ours.equity, stats["_equity_curve"]["Equity"], rtol=1e-9)
    got, trades = ours.statistics(), ours.trades[~ours.trades["open"]]
    listed = stats["_trades"].sort_values(["EntryBar", "ExitBar"])
    assert trades["entry_time"].tolist() == listed["EntryTime"].tolist()
    assert trades["exit_time"].tolist() == listed["ExitTime"].tolist()
    assert trades["size"].tolist() == listed["Size"].tolist()
    for mine, name in (
        ("entry_price", "EntryPrice"),
        ("exit_price", "ExitPrice"),
        ("pnl", "PnL"),
        ("return_", "ReturnPct"),
        ("commission", "Commission"),
    ):
        np.testing.assert_allclose(
            trades[mine].astype(float), listed[name].astype(float), rtol=1e-9, atol=1e-9, err_msg=mine
        )
    assert got["commissions_paid"] == pytest.approx(stats.get("Commissions [$]", 0.0), rel=1e-9, abs=1e-9)
    for name, mine in (PERCENT | PLAIN).items():
        value = float(stats[name]) / (100.0 if name in PERCENT else 1.0)
        assert got[mine] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
    for name, mine in TIMES.items():
        if pd.isna(stats[name]):
            assert np.isnan(got[mine]) or got[mine] <= resolution / pd.Timedelta("1D"), name
        else:
            # It rounds up to the distance of the bars.
            exact = pd.Timedelta(round(got[mine] * 86_400e9), "ns").round("us")
            assert exact.ceil(resolution) == stats[name], name


@pytest.mark.parametrize("finalize", [False, True])
@pytest.mark.parametrize(("data", "count", "seed"), [("daily", 88, 1), ("minutes", 16, 2)])
def test_equal_for_random_strategies(backtesting, request, data, count, seed, finalize):
    bars = request.getfixturevalue(data)
    resolution = pd.Timedelta("1D" if data == "daily" else "1min")
    for strategy, costs in draws(count, seed + 10 * finalize):
        options = {"conventions": "backtesting.py", "initial_capital": CAPITAL, "finalize_trades": finalize, **costs}
        ours = strategy.load_data(bars).backtest(**options)
        stats = theirs(
            backtesting, bars, np.asarray(strategy.positions(bars), dtype=float), finalize_trades=finalize, **costs
        )
        compare(ours, stats, resolution)


class WarmedUp(Crossing):
    """Its first decision is one bar after all indicators are there: nothing is decided before bar `slow`."""

    def positions(self, bars):
        made = super().positions(bars)
        made[: self.slow] = False
        return made


@pytest.mark.parametrize(("fast", "slow"), [(3, 11), (10, 30), (7, 60), (2, 5)])
def test_the_warm_up_of_its_indicators_is_that_of_zeros_before_bar_slow(backtesting, daily, fast, slow):
    ours = WarmedUp(fast=fast, slow=slow).load_data(daily)
    stats = native(backtesting, daily, fast, slow, commission=0.001, finalize_trades=True)
    made = ours.backtest(conventions="backtesting.py", initial_capital=CAPITAL, finalize_trades=True, commission=0.001)
    np.testing.assert_allclose(made.equity, stats["_equity_curve"]["Equity"], rtol=1e-12)
    assert made.statistics()["sharpe_ratio_geometric"] == pytest.approx(stats["Sharpe Ratio"], rel=1e-9)
    assert len(made.trades) == stats["# Trades"] > 0


def test_it_ends_as_there_when_everything_is_lost(backtesting):
    close = np.array([100.0, 100, 120, 250, 300, 50, 20, 30])
    index = pd.date_range("2020-01-01", periods=8, freq="B", unit="ns")
    bars = Bars.from_frame(pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close), index=index))
    short = np.array([0, -1, -1, -1, -1, 1, 1, 0])
    ours = Replay.of(short).load_data(bars).backtest(conventions="backtesting.py", initial_capital=CAPITAL)
    stats = theirs(backtesting, bars, short)
    compare(ours, stats, pd.Timedelta("1D"))
    assert ours.final_equity == 0.0
