import itertools
import json
import math

import numpy as np
import pytest

from jobnb.research import luck, tracks
from jobnb.research.container import SweepPart
from jobnb.research.cscv import probability_of_backtest_overfitting
from jobnb.research.luck import Luck
from jobnb.research.optimize import load_sweep
from jobnb.research.options import EngineOptions
from jobnb.research.sharpe import deflated_sharpe_ratio, moments
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.summary import fold
from jobnb.research.sweep import SweepWork


def quiet(done):
    pass


def build(strategy, stored, grid, constraint=None, **more):
    space = ParameterSpace.parse(strategy, grid)
    indices = space.allowed(constraint) if constraint else None
    return SweepWork.build(strategy, space, stored, indices=indices, options=EngineOptions(commission=0.001), **more)


def returns_of(strategy, bars, params):
    """The daily returns by way of the single run and pandas."""
    equity = strategy(**params).load_data(bars).backtest(commission=0.001).equity_curve
    return equity.groupby(equity.index.normalize()).last().pct_change().dropna().to_numpy()


@pytest.mark.parametrize("objective", ["sharpe_ratio", "total_return"])
def test_the_numbers_are_those_of_the_runs_one_by_one(sma_cross, stored, daily, objective):
    grid = {"fast": range(3, 9), "slow": range(10, 40, 3)}
    work = build(sma_cross, stored, grid, objective=objective)
    result = load_sweep(work.meta(), [work.run(0, work.count, None, quiet).result])
    returns = [returns_of(sma_cross, daily, params) for params in work.trials.each(0, work.count)]
    variance = (result.trials["sharpe_ratio"] / math.sqrt(252)).var()
    best = returns_of(sma_cross, daily, result.best_params)
    assert result.deflated_sharpe == pytest.approx(
        deflated_sharpe_ratio(best, trials=work.count, variance=variance), rel=1e-5
    )
    assert result.luck.sharpe == pytest.approx(moments(best).sharpe * math.sqrt(252), rel=1e-9)
    held = daily.close[1:] / daily.close[:-1] - 1
    assert result.luck.hold == pytest.approx(moments(held).sharpe * math.sqrt(252), rel=1e-9)
    criterion = "sharpe_ratio" if objective == "sharpe_ratio" else "return"
    exact = probability_of_backtest_overfitting(np.array(returns).T, blocks=10, criterion=criterion)
    assert result.luck.overfitting == exact.probability
    assert (result.luck.sampled, result.luck.runs) == (60, 60)
    assert result.luck.text in repr(result)
    assert "chance alone" in result._repr_html_()


def test_a_sample_is_the_same_however_the_sweep_is_cut(sma_cross, stored):
    work = build(sma_cross, stored, {"fast": range(3, 25), "slow": range(10, 40)}, constraint=lambda p: p.fast < p.slow)
    whole = work.run(0, work.count, None, quiet)
    cuts = [0, 1, 2, 130, 131, 400, work.count]
    parts = [work.run(a, b, None, quiet) for a, b in itertools.pairwise(cuts)]
    left = right = None
    for part, other in zip(parts, reversed(parts), strict=True):
        left, right = fold(left, part.summary), fold(right, other.summary)
    assert left == right == whole.summary
    result = load_sweep(work.meta(), [part.result for part in parts])
    assert result.luck == luck.of(json.loads(json.dumps(left)))
    places = tracks.sampled(work.count)
    assert left["sample"]["index"] == work.trials.numbers[places].tolist()
    assert len(places) == result.luck.sampled == 64
    assert f", from 64 of {work.count} runs" in result.luck.line


@pytest.mark.parametrize("count", [1, 2, 128, 129, 1000, 2048, 4097, 10_011, 10**6])
def test_the_sample_is_even(count):
    places = tracks.sampled(count)
    most = min(tracks.SAMPLE, max(tracks.LEAST_SAMPLE, count // tracks.ONE_OF))
    assert len(set(places.tolist())) == len(places) == (count if count <= tracks.FEW else most)
    assert 0 <= places.min() <= places.max() < count
    assert np.diff(places, prepend=-1, append=count).max() <= 2 * math.ceil(count / len(places))


def test_the_size_of_what_is_kept(sma_cross, stored):
    work = build(sma_cross, stored, {"fast": range(2, 66), "slow": range(66, 130)})
    part = work.run(0, work.count, None, quiet)
    assert work.count == 4096
    assert len(part.summary["sample"]["index"]) == 256
    assert len(json.dumps(part.summary["sample"])) < 40_000


def test_a_budget_that_ends_early_keeps_only_what_ran(sma_cross, stored):
    work = build(sma_cross, stored, {"fast": range(3, 9), "slow": range(10, 40, 3)})
    part = work.run(5, work.count, 0.0, quiet)
    assert part.stop == 6
    assert part.summary["sample"]["index"] == [5]
    assert part.summary["moments"]["index"] == 5
    assert luck.of(part.summary) is None


def test_a_strategy_is_asked_once_for_what_is_at_hand(stored, monkeypatch):
    asked = []

    class Counted(Strategy):
        n: int = 5

        def positions(self, bars):
            asked.append(self.n)
            return bars.close > bars.sma(self.n)

    work = build(Counted, stored, {"n": range(3, 30)})
    first = work.run(0, work.count, None, quiet)
    assert asked == list(range(3, 30))
    monkeypatch.setattr(tracks, "KEPT_RUNS", 0)
    again = work.run(0, work.count, None, quiet)
    assert asked[27:] == [*range(3, 30), first.summary["best"]["params"]["n"]]
    assert again.summary == first.summary


def test_ruin_and_no_trades_are_returns_too(stored):
    class Wild(Strategy):
        size: float = 1.0

        def positions(self, bars):
            return np.full(len(bars), self.size)

    work = build(Wild, stored, {"size": [-20.0, 0.0, 1.0, 20.0]})
    part = work.run(0, 4, None, quiet)
    kept = SweepPart.from_bytes(part.result).arrays
    assert np.isfinite(kept["sums"]).all()
    assert not kept["sums"][1].any()
    # All was lost, by a return of -1, and then there was nothing to move.
    lost = int(np.flatnonzero(kept["sums"][0].any(axis=-1))[-1])
    assert kept["sums"][0, lost, 1] >= 1.0
    assert lost < tracks.BLOCKS - 1
    assert luck.of(part.summary).sampled == 4


def test_too_short_a_history_has_no_overfitting_probability(sma_cross, tmp_path):
    from jobnb.research.bars import Bars
    from jobnb.research.data import DataRef
    from jobnb.research.sample import gbm

    bars = Bars.from_frame(gbm(40), "short")
    path = tmp_path / "short.npy"
    path.write_bytes(bars.to_bytes())
    work = build(sma_cross, DataRef(str(path), bars.meta), {"fast": range(2, 5), "slow": range(5, 9)})
    found = luck.of(work.run(0, work.count, None, quiet).summary)
    assert math.isnan(found.overfitting)
    assert 0.0 <= found.deflated <= 1.0
    assert "overfitting" not in found.line


def test_looking_for_the_least_is_not_ranked_by_the_most(sma_cross, stored):
    work = build(sma_cross, stored, {"fast": range(3, 9), "slow": range(10, 40, 3)}, objective="volatility")
    found = luck.of(work.run(0, work.count, None, quiet).summary)
    assert math.isnan(found.overfitting)
    assert found.line.startswith("best volatility of 60 runs has Sharpe ")


def test_a_winner_that_does_nothing(stored):
    class Idle(Strategy):
        n: int = 5

        def positions(self, bars):
            return (bars.close > bars.sma(self.n)) * (self.n > 3)

    work = build(Idle, stored, {"n": range(3, 9)}, objective="volatility")
    found = luck.of(work.run(0, work.count, None, quiet).summary)
    assert found.verdict == ""
    assert found.line == (
        "best of 6 runs: the lowest of so many is low by chance alone, and its returns do not vary, which leaves "
        "nothing to tell by how much"
    )


def test_a_function_of_your_own_has_no_returns(stored):
    work = build(lambda data, n: {"sharpe_ratio": n}, stored, {"n": range(5)})
    result = load_sweep(work.meta(), [work.run(0, 5, None, quiet).result])
    assert math.isnan(result.deflated_sharpe)
    assert result.luck.verdict == ""
    assert "without the runs' returns there is no way to tell by how much" in repr(result)


def test_when_all_fail_there_is_no_luck_either(stored):
    def broken(data, n):
        raise ValueError(n)

    work = build(broken, stored, {"n": range(5)})
    result = load_sweep(work.meta(), [work.run(0, 5, None, quiet).result])
    assert result.luck is None
    assert math.isnan(result.deflated_sharpe)


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({"deflated": 0.3}, "luck is enough to explain it"),
        ({"deflated": 0.9, "overfitting": 0.6}, "luck is enough to explain it"),
        ({"deflated": 0.99, "overfitting": 0.6}, "more than luck, but which of the runs is best is luck"),
        ({"deflated": 0.8, "overfitting": 0.2}, "luck may explain it"),
        ({"deflated": 0.99, "overfitting": 0.2}, "luck may explain it"),
        ({"deflated": 0.99, "overfitting": 0.02}, "more than luck explains"),
        ({"deflated": 0.99}, "more than luck explains"),
        ({"deflated": 0.99, "sharpe": 1.0, "hold": 1.0}, "no better than buying and holding"),
        ({"overfitting": 0.2}, "luck may explain it"),
        ({}, ""),
    ],
)
def test_the_verdict(known, verdict):
    assert Luck(runs=10, **known).verdict == verdict


def test_the_line():
    found = Luck(runs=10_011, sharpe=1.42, hold=0.9, chance=1.31, deflated=0.61, overfitting=0.48, sampled=256)
    assert found.text == (
        "best Sharpe 1.42 of 10,011 runs, buy and hold 0.90: chance alone would give about 1.31; "
        "deflated Sharpe 0.61 · overfitting probability about 0.5, from 256 of 10,011 runs (luck may explain it)"
    )
    found = Luck(
        runs=60, sharpe=-0.2, chance=0.4, deflated=0.001, overfitting=1.0, sampled=60, objective="calmar_ratio"
    )
    assert found.line == (
        "best calmar ratio of 60 runs has Sharpe −0.20: chance alone would give about 0.40; deflated Sharpe below 0.01 "
        "· overfitting probability by Sharpe above 0.99"
    )


class Protocol:
    """Another engine: holds when the close is above its mean of n bars; says its equity."""

    def __init__(self, n):
        self.n = n

    def load_data(self, data):
        self.close = data["close"]

    def backtest(self):
        held = (self.close > self.close.rolling(self.n).mean()).shift(fill_value=False)
        self.equity_curve = 1000 * (1 + self.close.pct_change().fillna(0.0) * held).cumprod()
        return self.equity_curve

    def get_performance_metrics(self):
        # By a definition of its own.
        return {"sharpe_ratio": 100 * float(self.equity_curve.iloc[-1])}


def test_another_engine_that_tells_its_equity(stored, daily, monkeypatch):
    work = build(Protocol, stored, {"n": range(2, 30)}, objective="sharpe_ratio")
    whole = work.run(0, work.count, None, quiet)
    parts = [work.run(a, b, None, quiet) for a, b in ((0, 1), (1, 20), (20, work.count))]
    total = None
    for part in reversed(parts):
        total = fold(total, part.summary)
    assert total == whole.summary
    result = load_sweep(work.meta(), [part.result for part in parts])
    returns = []
    for n in range(2, 30):
        run = Protocol(n)
        run.load_data(daily.frame)
        returns.append(run.backtest().pct_change().dropna().to_numpy())
    sharpes = [row.mean() / row.std(ddof=1) for row in returns]
    best = returns[result.best_params["n"] - 2]
    expected = deflated_sharpe_ratio(best, trials=28, variance=np.var(sharpes, ddof=1))
    assert result.deflated_sharpe == pytest.approx(expected, rel=1e-5)
    assert result.luck.sharpe == pytest.approx(moments(best).sharpe * math.sqrt(252))
    exact = probability_of_backtest_overfitting(np.array(returns).T, blocks=10)
    assert result.luck.overfitting == pytest.approx(exact.probability)
    # The best run is made again where its equity was not kept.
    monkeypatch.setattr(tracks, "KEPT_BYTES", 0)
    assert work.run(0, work.count, None, quiet).summary == whole.summary


def test_an_equity_that_does_not_fit_the_bars_is_left_alone(stored):
    class Weekly(Protocol):
        def backtest(self):
            equity = super().backtest()
            self.equity_curve = equity.iloc[::5]
            return equity

    work = build(Weekly, stored, {"n": range(2, 6)})
    assert math.isnan(load_sweep(work.meta(), [work.run(0, 4, None, quiet).result]).deflated_sharpe)


@pytest.mark.parametrize(("share", "text"), [(0.04, "below 0.1"), (0.06, "about 0.1"), (0.96, "above 0.9")])
def test_a_sample_says_no_more_than_it_knows(share, text):
    line = Luck(runs=1000, overfitting=share, sampled=64).line
    assert line == f"best of 1,000 runs; overfitting probability {text}, from 64 of 1,000 runs"


def test_a_strategy_that_fails_the_second_time_has_no_winner(stored, monkeypatch):
    asked = []

    class Once(Strategy):
        n: int = 5

        def positions(self, bars):
            asked.append(self.n)
            if asked.count(self.n) > 1:
                raise RuntimeError("only once")
            return bars.close > bars.sma(self.n)

    monkeypatch.setattr(tracks, "KEPT_RUNS", 0)
    found = luck.of((part := build(Once, stored, {"n": range(3, 30)}).run(0, 27, None, quiet)).summary)
    assert part.failed == 0
    assert math.isnan(found.deflated)
    assert 0.0 <= found.overfitting <= 1.0


def test_stops_and_orders_have_returns_too(stored, daily):
    class Stopped(Strategy):
        n: int = 5
        stop_loss: float = 0.02

        def positions(self, bars):
            return bars.close > bars.sma(self.n)

    work = build(Stopped, stored, {"n": range(3, 12), "stop_loss": [0.01, 0.03]})
    result = load_sweep(work.meta(), [work.run(0, work.count, None, quiet).result])
    best = returns_of(Stopped, daily, result.best_params)
    assert result.luck.sharpe == pytest.approx(moments(best).sharpe * math.sqrt(252), rel=1e-9)
    assert result.luck.sharpe == pytest.approx(result.best_value, rel=1e-9)
