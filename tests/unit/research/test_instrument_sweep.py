"""Searches over several instruments: each run is what the single runs are, however the search is cut."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research import instrument_door
from jobnb.research.instrument_search import InstrumentsOptimizeResult
from jobnb.research.instrument_sweep import together
from jobnb.research.instruments_result import MultiBacktestResult
from jobnb.research.metrics import METRICS
from jobnb.research.optimize import load_sweep
from jobnb.research.sample import gbm
from jobnb.research.strategy import Strategy

PRICES = {f"S{i}": gbm(300 + 20 * i, seed=i) for i in range(4)}
SPACE = {"fast": range(5, 9), "slow": range(20, 60, 10)}


class Unlucky(Strategy):
    fast: int = 10

    def positions(self, bars):
        if self.fast == 6 and bars.name == "S2":
            raise ValueError("no luck")
        return bars.sma(self.fast) > bars.close


class Rotation(Strategy):
    lookback: int = 20

    def weights(self, bars):
        return bars.close.pct_change(self.lookback, fill_method=None).rank(axis=1, ascending=False) <= 2


@pytest.fixture
def ask(tmp_path):
    def keep(bars):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        path.write_bytes(bars.to_bytes())
        return str(path)

    def make(strategy, space=SPACE, data=PRICES, keep=keep, **engine):
        said = {k: engine.pop(k) for k in ("objective", "method", "n_trials", "seed") if k in engine}
        return instrument_door.optimize(strategy, data, space, keep, **said, engine=engine)

    return make


def finish(asked, step=5):
    parts, at = [], 0
    while at < asked.work.count:
        parts.append(asked.work.run(at, min(at + step, asked.work.count), None, lambda done: None))
        at = parts[-1].stop
    return parts, load_sweep(asked.plan["meta"], [part.result for part in parts])


@pytest.mark.parametrize(("across", "of"), [("mean", np.mean), ("median", np.median), ("worst", np.min)])
def test_a_run_is_the_mean_median_or_worst_of_its_instruments(sma_cross, ask, across, of):
    asked = ask(sma_cross, across=across, commission=0.001)
    _, result = finish(asked)
    assert isinstance(result, InstrumentsOptimizeResult)
    single = asked.work.single({"fast": 6, "slow": 30})
    alone = pickle.loads(single.run(0, 1, None, lambda done: None).result)
    assert isinstance(alone, MultiBacktestResult)
    row = result.trials.query("fast == 6 and slow == 30").index[0]
    for name in ("sharpe_ratio", "total_return", "trades", "max_drawdown"):
        assert math.isclose(result.trials[name][row], of(alone.metrics[name]), rel_tol=1e-12), name
    assert np.array_equal(result.by_instrument.loc[row], alone.metrics["sharpe_ratio"])
    if across == "worst":
        assert result.trials["volatility"][row] == alone.metrics["volatility"].max()


def test_it_is_the_same_however_it_is_cut(sma_cross, ask):
    asked = ask(sma_cross)
    _, whole = finish(asked, step=100)
    parts, cut = finish(asked, step=3)
    assert whole.trials.equals(cut.trials)
    assert whole.by_instrument.equals(cut.by_instrument)
    assert parts[0].summary["kind"] == "sweep"


def test_the_best_of_each_instrument(sma_cross, ask):
    _, result = finish(ask(sma_cross))
    table = result.best_by_instrument
    assert list(table.index) == list(PRICES)
    assert (table["value"] >= table["chosen"]).all()
    for symbol in PRICES:
        row = int(table["row"][symbol])
        assert result.by_instrument[symbol].max() == table["value"][symbol]
        assert result.trials["fast"][row] == table["fast"][symbol]


def test_a_portfolio_run_is_the_single_portfolio(ask):
    asked = ask(Rotation, {"lookback": range(10, 40, 5)}, rebalance="monthly")
    _, result = finish(asked, step=2)
    single = asked.work.single({"lookback": 20})
    alone = pickle.loads(single.run(0, 1, None, lambda done: None).result)
    row = result.trials.query("lookback == 20").index[0]
    for name in METRICS:
        assert np.array_equal(result.trials[name][row], alone.metrics[name], equal_nan=True), name
    bars = asked.work.bars()
    assert np.array_equal(asked.work.runner(bars)({"lookback": 20}, 0), alone.equity)
    assert np.allclose(bars.close * 10_000.0, alone.hold)
    assert result.across == "portfolio"
    with pytest.raises(UsageProblem, match="the runs have one account"):
        result.by_instrument  # noqa: B018


def test_all_accounts_together_are_the_equity_of_a_run(sma_cross, ask):
    work = ask(sma_cross).work
    single = work.single({"fast": 6, "slow": 30})
    alone = pickle.loads(single.run(0, 1, None, lambda done: None).result)
    assert np.allclose(work.runner(work.bars())({"fast": 6, "slow": 30}, 0), alone.equity, rtol=1e-12)


def test_a_run_that_fails_on_one_instrument_failed(ask):
    _, result = finish(ask(Unlucky, {"fast": [5, 6, 7]}))
    assert result.errors == {1: "ValueError: no luck"}
    assert result.trials["sharpe_ratio"].isna().tolist() == [False, True, False]
    assert result.by_instrument.isna().all(axis=1).tolist() == [False, True, False]


def test_a_search_of_nothing_finished_has_an_empty_table(sma_cross, ask):
    asked = ask(sma_cross)
    result = load_sweep(asked.plan["meta"], [])
    assert len(result) == 0
    with pytest.raises(UsageProblem):
        result.by_instrument  # noqa: B018


@given(
    st.lists(st.lists(st.sampled_from([math.nan, -1.0, 0.5, 2.0]), min_size=20, max_size=20), min_size=1, max_size=5)
)
def test_what_is_not_known_does_not_count(rows):
    table = np.array(rows)
    for across in ("mean", "median", "worst"):
        made = together(table, across)
        for j, name in enumerate(METRICS):
            known = table[:, j][~np.isnan(table[:, j])]
            if not known.size:
                assert math.isnan(made[j])
            else:
                assert known.min() <= made[j] <= known.max(), name


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"across": "meen"}, "Did you mean 'mean'"),
        ({"across": "mean", "portfolio": True}, "a portfolio has one account"),
        ({"rebalance": "monthly"}, "rebalance belongs to a portfolio"),
        ({"stop_loss": 0.1, "portfolio": True}, "not to be had in a portfolio"),
        ({"fsat": 3}, "unknown parameter 'fsat'"),
        ({"objective": "sharp_ratio"}, "sharpe_ratio"),
    ],
)
def test_what_the_front_door_refuses(sma_cross, ask, engine, said):
    with pytest.raises(UsageProblem, match=said):
        ask(sma_cross, keep=lambda bars: pytest.fail("kept"), **engine)


def test_an_engine_option_cannot_be_searched_and_functions_neither(sma_cross, ask):
    with pytest.raises(UsageProblem, match="commission is an engine option"):
        ask(sma_cross, {"commission": [0.0, 0.001]})
    with pytest.raises(UsageProblem, match="only these are optimized over several"):
        ask(lambda data, fast=1: 1.0, {"fast": [1]})
    with pytest.raises(UnknownName):
        ask(sma_cross, {"fst": [1]})
    with pytest.raises(UsageProblem, match="across says how an optimization"):
        instrument_door.backtest(sma_cross, PRICES, {"across": "mean"}, lambda bars: "")
