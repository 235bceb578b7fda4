"""A strategy on each of several instruments: each equals its single run, parts fold, the combined curve adds up."""

import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research import instrument_door, instrument_summary
from jobnb.research.bars import Bars
from jobnb.research.instruments_result import load_instruments
from jobnb.research.options import EngineOptions
from jobnb.research.result import BacktestResult, run
from jobnb.research.sample import gbm
from jobnb.research.strategy import Strategy

PRICES = {f"S{i}": gbm(300 + 20 * i, seed=i) for i in range(8)}


def last_over_first(data, scale=1.0):
    return {"gain": scale * (data["close"].iloc[-1] / data["close"].iloc[0] - 1.0)}


class Unlucky(Strategy):
    def positions(self, bars):
        if bars.name == "S3":
            raise ValueError("no luck")
        return bars.close > 0


@pytest.fixture
def ask(tmp_path):
    def keep(bars):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        path.write_bytes(bars.to_bytes())
        return str(path)

    def make(strategy, data=PRICES, on_error="fail", **params):
        return instrument_door.backtest(strategy, data, params, keep, on_error=on_error)

    return make


def finish(asked, step=3):
    parts, at = [], 0
    while at < asked.work.count:
        parts.append(asked.work.run(at, min(at + step, asked.work.count), None, lambda done: None))
        at = parts[-1].stop
    return parts, load_instruments(asked.plan["meta"], [part.result for part in parts])


def test_each_equals_its_single_run(sma_cross, ask):
    asked = ask(sma_cross, fast=5, slow=20, commission=0.001)
    assert asked.plan["items"] == 8
    assert json.loads(json.dumps(asked.what))["data"]["instruments"] == 8
    _, result = finish(asked)
    assert list(result) == list(PRICES)
    for symbol, frame in PRICES.items():
        alone = run(sma_cross(fast=5, slow=20), Bars.from_frame(frame, symbol), EngineOptions(commission=0.001))
        assert np.array_equal(result[symbol].values, alone.values, equal_nan=True)
        assert result.metrics.loc[symbol, "sharpe_ratio"] == alone.sharpe_ratio
    assert result.metrics.shape == (8, 20)


def test_the_combined_curve_is_the_mean_of_the_accounts(sma_cross, ask):
    _, result = finish(ask(sma_cross))
    curves = pd.concat([each.equity_curve for each in result.values()], axis=1).sort_index()
    expected = curves.ffill().fillna(10_000.0).mean(axis=1)
    assert np.allclose(result.equity_curve, expected, rtol=1e-12, atol=0)
    returns = expected.pct_change().dropna()
    assert math.isclose(result.combined["sharpe_ratio"], returns.mean() / returns.std() * math.sqrt(252), rel_tol=1e-9)
    assert math.isclose(result.combined["total_return"], expected.iloc[-1] / 10_000.0 - 1.0, rel_tol=1e-12)


def test_one_instrument_combined_is_itself(sma_cross, ask):
    _, result = finish(ask(sma_cross, {"A": PRICES["S1"]}))
    for name, value in result.combined.items():
        assert math.isclose(value, getattr(result["A"], name), rel_tol=1e-12), name


def test_summaries_fold_alike_in_any_order_and_grouping(sma_cross, ask):
    asked = ask(sma_cross)
    whole = asked.work.run(0, 8, None, lambda done: None).summary
    parts = [part.summary for part in finish(asked, step=2)[0]]
    for order in (parts, parts[::-1], [parts[2], parts[0], parts[3], parts[1]]):
        total = None
        for part in order:
            total = instrument_summary.fold(total, json.loads(json.dumps(part)))
        assert {k: total[k] for k in ("done", "won", "best", "worst", "curves")} == {
            k: whole[k] for k in ("done", "won", "best", "worst", "curves")
        }
        assert np.allclose(total["growth"], whole["growth"], rtol=1e-6)
    _, result = finish(asked)
    drawn = instrument_summary.curve(whole)
    assert math.isclose(drawn["equity"][-1], result.equity[-1] / 10_000.0, rel_tol=1e-6)
    assert math.isclose(drawn["hold"][-1], result.hold[-1] / 10_000.0, rel_tol=1e-6)


def test_an_instrument_that_fails_ends_a_part_before_it_and_fails_the_next_by_name(ask):
    work = ask(Unlucky).work
    part = work.run(0, 8, None, lambda done: None)
    assert part.stop == 3
    with pytest.raises(ValueError, match="no luck") as caught:
        work.run(3, 8, None, lambda done: None)
    assert caught.value.__notes__ == ["(instrument S3)"]


def test_an_instrument_that_fails_may_be_recorded(ask):
    parts, result = finish(ask(Unlucky, on_error="record"), step=8)
    assert parts[0].failed == 1
    assert parts[0].summary["errors"] == [{"n": 3, "symbol": "S3", "error": "ValueError: no luck"}]
    assert result.failed == {"S3": "ValueError: no luck"}
    assert len(result) == 7
    with pytest.raises(UsageProblem, match="S3 failed: ValueError: no luck"):
        result["S3"]
    assert "1 failed: S3" in result.foot


def test_functions_run_on_each_instrument_too(ask):
    parts, result = finish(ask(last_over_first, scale=2.0))
    assert list(result.metrics.columns) == ["gain"]
    assert result["S0"]["gain"] == 2.0 * (PRICES["S0"]["close"].iloc[-1] / PRICES["S0"]["close"].iloc[0] - 1.0)
    assert parts[0].summary["curves"] == 0
    assert "S7" in repr(result)
    with pytest.raises(UsageProblem, match="no combined curve"):
        result.combined  # noqa: B018


def test_the_result_reads_well_and_escapes(sma_cross, ask):
    _, result = finish(ask(sma_cross, {"<b>A</b>": PRICES["S0"], "B": PRICES["S1"]}))
    assert "<b>A</b>" in repr(result)
    assert "<b>A</b>" not in result._repr_html_()
    assert "combined" in repr(result)
    assert len(result.plot().axes) == 2
    with pytest.raises(UnknownName, match="Known: "):
        result["C"]
    again = pickle.loads(pickle.dumps(result))
    assert again.metrics.equals(result.metrics)
    assert isinstance(again["B"], BacktestResult)


def test_a_partial_result_says_how_much_there_is(sma_cross, ask):
    asked = ask(sma_cross)
    part = asked.work.run(0, 2, None, lambda done: None)
    result = load_instruments(asked.plan["meta"], [part.result])
    assert "2 of 8 instruments are done" in result.foot


def test_a_wrong_parameter_is_refused_before_anything_is_kept(sma_cross):
    with pytest.raises(UnknownName, match="fast"):
        instrument_door.backtest(sma_cross, PRICES, {"fsat": 3}, lambda bars: pytest.fail("kept"))


def drawn(data):
    return {"number": float(np.random.random())}


def test_each_instrument_has_its_own_random_numbers(ask, monkeypatch):
    seeds = []
    monkeypatch.setattr("jobnb.research.instrument_work.item_seeder", lambda: seeds.append)
    finish(ask(drawn), step=3)
    assert seeds == list(range(8))
