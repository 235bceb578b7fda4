"""`conventions="close"` against vectorbt: equity, trades and metrics to 1e-9; all runs are columns of one batch."""

import warnings

import numpy as np
import pandas as pd
import pytest
from parity_kit import Always, Breakout, Crossing, Edges, Level, MeanReversion, Never, Reversal, draws, peer

CAPITAL = 10_000.0
LONG = (Crossing, Level, Breakout, Never, Always)
SHORT = (Reversal, MeanReversion, Edges)
#: Its portfolio's numbers by our names.
OF_RETURNS = {
    "total_return": "total_return",
    "max_drawdown": "max_drawdown",
    "annualized_return": "annual_return_365",
    "annualized_volatility": "volatility_365",
    "sharpe_ratio": "sharpe_ratio_365",
    "sortino_ratio": "sortino_ratio_365",
    "calmar_ratio": "calmar_ratio_365",
    "omega_ratio": "omega_ratio_365",
    "total_benchmark_return": "buy_and_hold_return",
}
OF_CLOSED = {
    "win_rate": "win_rate_closed",
    "profit_factor": "profit_factor_closed",
    "expectancy": "expectancy_closed",
}


@pytest.fixture(scope="session")
def vbt():
    return peer("vectorbt")


def batch(classes, count, seed):
    return [(strategy, costs) for strategy, costs in draws(count, seed, classes)]


def run(runs, bars):
    """Run all of them by jobnb."""
    return [
        strategy.load_data(bars).backtest(conventions="close", initial_capital=CAPITAL, **costs)
        for strategy, costs in runs
    ]


def terms(bars, runs):
    """What its portfolios need beside signals: one column for each run."""
    return {
        "close": pd.DataFrame(np.tile(bars.close[:, None], len(runs)), index=bars.index),
        "fees": np.array([[costs.get("commission", 0.0) for _, costs in runs]]),
        "slippage": np.array([[costs.get("slippage", 0.0) for _, costs in runs]]),
        "init_cash": CAPITAL,
        "freq": "1min" if bars.name == "minutes" else "1D",
    }


def columns(bars, runs):
    return np.column_stack([np.asarray(strategy.positions(bars), dtype=float) for strategy, _ in runs])


def turned(rows):
    """Say where a target differs from the one before."""
    return np.diff(rows, axis=0, prepend=0.0) != 0.0


def compare(ours, portfolio):
    np.testing.assert_allclose(np.column_stack([made.equity for made in ours]), portfolio.value(), rtol=1e-9)
    listed = portfolio.positions.records
    got = [made.statistics() for made in ours]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, mine in OF_RETURNS.items():
            check([s[mine] for s in got], getattr(portfolio, name)(), name)
        closed = portfolio.trades.closed
        for name, mine in OF_CLOSED.items():
            check([s[mine] for s in got], getattr(closed, name)(), name)
        check([s["best_trade_closed"] for s in got], closed.returns.max(), "best")
        check([s["worst_trade_closed"] for s in got], closed.returns.min(), "worst")
        check([s["average_winning_trade"] for s in got], closed.winning.returns.mean(), "winning")
        check([s["average_losing_trade"] for s in got], closed.losing.returns.mean(), "losing")
        check([s["trades"] for s in got], portfolio.trades.count(), "trades")
        check([s["closed_trades"] for s in got], closed.count(), "closed")
        check([s["commissions_paid"] for s in got], portfolio.orders.fees.sum(), "fees")
        check([s["open_trade_pnl"] for s in got], portfolio.trades.open.pnl.sum(), "open")
    for i, made in enumerate(ours):
        mine, theirs = made._rows, listed[listed["col"] == i]
        for name, their in (
            ("entry", "entry_idx"),
            ("exit", "exit_idx"),
            ("size", "size"),
            ("entry_price", "entry_price"),
            ("exit_price", "exit_price"),
            ("pnl", "pnl"),
            ("return_", "return"),
        ):
            value = mine[name].abs() if name == "size" else mine[name]
            np.testing.assert_allclose(
                value.astype(float), theirs[their].astype(float), rtol=1e-9, atol=1e-9, err_msg=name
            )
        assert (mine["side"] == "short").tolist() == (theirs["direction"] == 1).tolist()
        assert mine["open"].tolist() == (theirs["status"] == 0).tolist()


def check(ours, theirs, name):
    # Where there is nothing to divide by it says infinity, or 0 for an empty sum.
    ours, theirs = (np.where(np.isinf(np.asarray(x, dtype=float)), np.nan, x) for x in (ours, theirs))
    nothing = np.isnan(ours)
    np.testing.assert_allclose(
        ours[~nothing].astype(float), theirs[~nothing].astype(float), rtol=1e-9, atol=1e-9, err_msg=name
    )
    assert np.all(np.isnan(theirs[nothing]) | (theirs[nothing] == 0.0)), name


@pytest.mark.parametrize(("data", "count"), [("daily", 160), ("minutes", 40)])
def test_all_in_and_out_with_costs(vbt, request, data, count):
    bars = request.getfixturevalue(data)
    runs = batch(LONG, count, 3)
    rows = columns(bars, runs) > 0
    portfolio = vbt.Portfolio.from_signals(entries=rows, exits=~rows, **terms(bars, runs))
    compare(run(runs, bars), portfolio)


@pytest.mark.parametrize(("data", "count"), [("daily", 60), ("minutes", 20)])
def test_fractions_and_shorts_at_no_cost(vbt, request, data, count):
    bars = request.getfixturevalue(data)
    runs = [(strategy, {}) for strategy, _ in batch(SHORT, count, 4)]
    rows = columns(bars, runs)
    sizes = np.where(turned(rows), rows, np.nan)
    portfolio = vbt.Portfolio.from_orders(size=sizes, size_type="targetpercent", **terms(bars, runs))
    compare(run(runs, bars), portfolio)


def test_the_books_of_shorts_with_costs(vbt, daily):
    """Its percentages are taken before costs, ours after them: so it is given the same amounts."""
    runs = batch(SHORT, 60, 5)
    ours = run(runs, daily)
    sizes = np.full((len(daily), len(runs)), np.nan)
    for i, made in enumerate(ours):
        for bar, units in made.fills[:, :2]:
            sizes[int(bar), i] = np.nan_to_num(sizes[int(bar), i]) + units
    portfolio = vbt.Portfolio.from_orders(size=sizes, size_type="amount", **terms(daily, runs))
    compare(ours, portfolio)
