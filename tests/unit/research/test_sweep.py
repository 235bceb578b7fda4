import itertools
import json
import pickle
import sys
import time
import types

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from jobnb.errors import BlobMissing, UnknownName, UsageProblem
from jobnb.research.container import SweepPart
from jobnb.research.data import DataRef
from jobnb.research.metrics import METRICS
from jobnb.research.optimize import load_sweep
from jobnb.research.options import EngineOptions
from jobnb.research.single import BacktestWork, load_backtest
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.summary import fold
from jobnb.research.sweep import MESSAGE_LENGTH, SweepWork
from jobnb.worker import context

GRID = {"fast": range(3, 15), "slow": range(10, 40, 3)}


def quiet(done):
    pass


def build(strategy, stored, grid=GRID, constraint=None, **more):
    space = ParameterSpace.parse(strategy, grid)
    indices = space.allowed(constraint) if constraint else None
    return SweepWork.build(strategy, space, stored, indices=indices, **more)


@pytest.mark.parametrize("constraint", [None, lambda p: p.fast < p.slow])
def test_each_row_of_a_sweep_equals_the_single_run(sma_cross, stored, daily, constraint):
    work = build(sma_cross, stored, constraint=constraint, options=EngineOptions(commission=0.001))
    part = work.run(0, work.count, None, quiet)
    assert part.stop == work.count
    assert part.failed == 0
    result = load_sweep(work.meta(), [part.result])
    for _, row in result.trials.iloc[::7].iterrows():
        single = sma_cross(fast=row["fast"], slow=row["slow"]).load_data(daily).backtest(commission=0.001)
        assert [row[name] for name in METRICS] == pytest.approx(
            list(single.get_performance_metrics().values()), rel=0, abs=0, nan_ok=True
        )
    best = sma_cross(**result.best_params).load_data(daily).backtest(commission=0.001)
    assert best.sharpe_ratio == result.best_value == result.trials["sharpe_ratio"].max()


@pytest.mark.parametrize("constraint", [None, lambda p: p.fast < p.slow])
def test_any_cut_into_parts_gives_the_same_result_and_summary(sma_cross, stored, constraint):
    work = pickle.loads(cloudpickle.dumps(build(sma_cross, stored, constraint=constraint)))
    whole = work.run(0, work.count, None, quiet)
    cuts = [0, 1, 7, 60, work.count]
    parts = [work.run(a, b, None, quiet) for a, b in itertools.pairwise(cuts)]
    total = None
    for part in reversed(parts):
        total = fold(total, part.summary)
    assert total == whole.summary
    assert json.loads(json.dumps(total, allow_nan=False)) == total
    meta = json.loads(json.dumps(work.meta()))
    left = load_sweep(meta, [part.result for part in reversed(parts)])
    right = load_sweep(meta, [whole.result])
    pd.testing.assert_frame_equal(left.trials, right.trials)
    assert total["best"] == {"index": left.best_index, "value": left.best_value, "params": left.best_params}
    assert [run["params"] for run in total["top"]] == left.top(5)[["fast", "slow"]].to_dict("records")


def test_the_budget_ends_a_span_early_after_at_least_one_run(sma_cross, stored, monkeypatch):
    work = build(sma_cross, stored)
    assert work.run(3, work.count, 0.0, quiet).stop == 4
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now.__setitem__(0, now[0] + 2**-5) or now[0])
    done = []
    part = work.run(0, work.count, 20 * 2**-5, done.append)
    # Each reading of the clock is 1/32 s after the one before; two for each run, and a report is due every 0.2 s.
    assert part.stop == 10
    assert done == [4, 8]
    assert len(SweepPart.from_bytes(part.result).values) == 10


@pytest.mark.parametrize(("runs", "done"), [(16, 16), (25, 10)], ids=["nearly done", "half done"])
def test_what_is_nearly_done_when_the_budget_is_used_up_is_done(sma_cross, stored, monkeypatch, runs, done):
    work = build(sma_cross, stored)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now.__setitem__(0, now[0] + 2**-5) or now[0])
    assert work.run(0, runs, 20 * 2**-5, quiet).stop == done


def test_it_ends_right_after_the_last_run_that_it_keeps(sma_cross, stored, monkeypatch):
    work = build(sma_cross, stored)
    now, kept = [0.0], []
    # The clock stands still from then on: no look at the time ends it.
    monkeypatch.setattr(time, "monotonic", lambda: now.__setitem__(0, now[0] + (0.0 if kept else 2**-5)) or now[0])
    monkeypatch.setattr(context, "enough", lambda: 7)
    monkeypatch.setattr(context, "keep", kept.append)
    assert work.run(0, work.count, 60.0, quiet).stop == 7
    assert kept == [7]


def test_a_failing_run_is_a_row_with_its_message(stored):
    class Fragile(Strategy):
        n: int = 5

        def positions(self, bars):
            if self.n % 3 == 0:
                raise RuntimeError(f"cannot do {self.n} " + "x" * 1000)
            return bars.close > bars.sma(self.n)

    work = build(Fragile, stored, {"n": range(1, 11)})
    part = work.run(0, 10, None, quiet)
    assert part.failed == part.summary["failed"] == 3
    assert part.summary["errors"][0]["params"] == {"n": 3}
    result = load_sweep(work.meta(), [part.result])
    assert list(result.errors) == [2, 5, 8]
    assert result.errors[2].startswith("RuntimeError: cannot do 3")
    assert max(map(len, result.errors.values())) == MESSAGE_LENGTH
    assert result.trials["error"].notna().tolist() == [n % 3 == 0 for n in range(1, 11)]
    assert result.trials["sharpe_ratio"].isna().tolist() == [n % 3 == 0 for n in range(1, 11)]
    assert "3 failed" in result.title


def test_when_all_fail_there_is_no_best(stored):
    class Broken(Strategy):
        n: int = 5

        def positions(self, bars):
            return bars.close * np.nan

    work = build(Broken, stored, {"n": range(1, 4)})
    part = work.run(0, 3, None, quiet)
    assert part.summary["best"] is None
    result = load_sweep(work.meta(), [part.result])
    assert np.isnan(result.best_value)
    with pytest.raises(UsageProblem, match=r"none of the 3 runs has a finite sharpe_ratio; the first error: Broken"):
        result.best_params  # noqa: B018
    assert "none with a finite" in repr(result)
    assert "none with a finite" in result._repr_html_()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_goes_through(stored, stop):
    class Stopped(Strategy):
        n: int = 5

        def positions(self, bars):
            raise stop

    with pytest.raises(stop):
        build(Stopped, stored, {"n": [1]}).run(0, 1, None, quiet)


def test_mixed_kinds_of_targets_in_one_sweep(stored, daily):
    class Mixed(Strategy):
        n: int = 5

        def positions(self, bars):
            up = bars.close > bars.sma(self.n)
            return up if self.n % 2 else up * 0.5

    work = build(Mixed, stored, {"n": range(2, 100)})
    result = load_sweep(work.meta(), [work.run(0, work.count, None, quiet).result])
    for n in (2, 3, 98, 99):
        single = Mixed(n=n).load_data(daily).backtest()
        assert result.trials.set_index("n").loc[n, "final_equity"] == single.final_equity


def test_an_own_init_is_called(stored):
    class Own(Strategy):
        n: int = 5

        def __init__(self, **params):
            super().__init__(**params)
            self.twice = 2 * self.n

        def positions(self, bars):
            return bars.close > bars.sma(self.twice)

    work = build(Own, stored, {"n": [3, 4]})
    assert work.run(0, 2, None, quiet).failed == 0


def test_an_unknown_objective(sma_cross, stored):
    with pytest.raises(UnknownName, match=r"unknown objective 'sharp_ratio'. Did you mean 'sharpe_ratio'"):
        build(sma_cross, stored, objective="sharp_ratio")


def test_lower_is_better_where_it_is(sma_cross, stored):
    work = build(sma_cross, stored, objective="volatility")
    result = load_sweep(work.meta(), [work.run(0, work.count, None, quiet).result])
    assert result.best_value == result.trials["volatility"].min()
    work = build(sma_cross, stored, objective="max_drawdown")
    assert work.maximize


def test_bring_your_own_function(stored):
    def mine(data, n):
        if n == 4:
            raise ValueError("not four")
        data["extra"] = n  # must not reach the next call
        assert list(data)[:4] == ["open", "high", "low", "close"]
        return {"score": float(data["close"].iloc[n]), "n": n, "note": "text"}

    work = build(mine, stored, {"n": range(1, 8)}, objective="score")
    part = work.run(0, 7, None, quiet)
    assert part.failed == 1
    result = load_sweep(work.meta(), [part.result])
    assert list(result.trials) == ["n", "score", "n_", "error"]
    assert result.best_value == result.trials["score"].max()
    assert part.summary["best"]["params"] == result.best_params


def test_bring_your_own_number(stored):
    work = build(lambda data, n: -abs(n - 3), stored, {"n": range(1, 8)}, objective="value")
    assert load_sweep(work.meta(), [work.run(0, 7, None, quiet).result]).best_params == {"n": 3}


def test_an_objective_the_function_does_not_return_ends_the_sweep(stored):
    work = build(lambda data, n: {"score": n}, stored, {"n": range(3)}, objective="scroe")
    with pytest.raises(UnknownName, match=r"unknown objective 'scroe' of <lambda>. Did you mean 'score'"):
        work.run(0, 3, None, quiet)


def test_a_function_that_returns_no_number_fails(stored):
    work = build(lambda data, n: "good", stored, {"n": range(3)}, objective="score")
    part = work.run(0, 3, None, quiet)
    assert part.failed == 3
    assert "returned str; return a number" in part.summary["errors"][0]["error"]


class Foreign:
    def __init__(self, n):
        self.n = n

    def load_data(self, data):
        self.data = data

    def backtest(self):
        self.equity_curve = self.data["close"] * self.n
        return [self.n]

    def get_performance_metrics(self):
        return {"sharpe_ratio": self.n}


def test_bring_your_own_class(stored):
    work = build(Foreign, stored, {"n": range(1, 4)})
    assert load_sweep(work.meta(), [work.run(0, 3, None, quiet).result]).best_params == {"n": 3}
    single = BacktestWork(strategy=Foreign, params={"n": 2}, data=stored).run(0, 1, None, quiet)
    assert load_backtest([single.result]).value == [2]
    assert single.summary["metrics"] == {"sharpe_ratio": 2}
    assert len(single.summary["curve"]["equity"]) == 240


def test_backtest_work(sma_cross, stored, daily):
    work = BacktestWork(strategy=sma_cross, params={"fast": 4}, data=stored, options=EngineOptions(commission=0.001))
    part = pickle.loads(cloudpickle.dumps(work)).run(0, 1, None, quiet)
    assert part.stop == 1
    result = load_backtest([part.result])
    expected = sma_cross(fast=4).load_data(daily).backtest(commission=0.001)
    assert result.get_performance_metrics() == expected.get_performance_metrics()
    pd.testing.assert_frame_equal(result.trades, expected.trades)
    assert json.loads(json.dumps(part.summary, allow_nan=False)) == part.summary
    assert part.summary["conventions"] == [
        "commission 0.1 %",
        "fills at next open",
        "Sharpe: daily, 252, empyrical",
    ]


def test_backtest_work_with_a_function(stored):
    part = BacktestWork(strategy=lambda data, k: k * len(data), params={"k": 2}, data=stored).run(0, 1, None, quiet)
    assert load_backtest([part.result]) == 1000
    assert part.summary["metrics"] == {"value": 1000.0}
    assert part.summary["curve"] is None


def test_data_by_hash_is_looked_up_once(tmp_path, daily, monkeypatch):
    path = tmp_path / "blob"
    path.write_bytes(daily.to_bytes())
    asked = []
    blobs = types.ModuleType("jobnb.worker.blobs")
    blobs.path = lambda sha: asked.append(sha) or path
    monkeypatch.setitem(sys.modules, "jobnb.worker.blobs", blobs)
    monkeypatch.setattr("jobnb.worker.blobs", blobs, raising=False)
    ref = DataRef("ab" * 32, daily.meta)
    assert ref.load() is DataRef("ab" * 32, daily.meta).load()
    assert asked == ["ab" * 32]


def test_damaged_parts_are_refused():
    part = SweepPart(start=0, columns=["a"], values=np.ones((2, 1))).to_bytes()
    for bad in (b"", b"x" + part, part[:-1], part[:30]):
        with pytest.raises(BlobMissing):
            SweepPart.from_bytes(bad)
