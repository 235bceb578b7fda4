"""Walk-forward and cross-validation against their goal: ``python tests/benchmarks/bench_walk_forward.py [--smoke]``.

CPU-seconds of one warm child for the whole job, without service and cluster: 20 folds of 1,000 combinations on ten
years of daily bars shall take less than 1 s in all. Beside it the same backtests run one by one by public calls, a few
of them measured and the rest counted, so that the ratio holds on any machine.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from jobnb.research import door, fold_door  # noqa: E402
from jobnb.research.bars import Bars  # noqa: E402
from jobnb.research.data import DataRef  # noqa: E402
from jobnb.research.fold_result import load_folds  # noqa: E402
from jobnb.research.fold_work import FoldWork  # noqa: E402
from jobnb.research.sample import gbm  # noqa: E402
from jobnb.research.strategy import Strategy  # noqa: E402

#: What the issue asks of 20 folds times 1,000 combinations, in CPU-seconds.
GOAL = 1.0
KINDS = {
    "walk-forward, rolling": {"method": "walk-forward", "train": 760, "test": 88},
    "walk-forward, anchored": {"method": "walk-forward", "train": 760, "test": 88, "anchored": True},
    "walk-forward, calendar": {"method": "walk-forward", "train": "3y", "test": "4M"},
    "purged k-fold": {"method": "purged-kfold", "n_splits": 10, "horizon": 5, "embargo": 0.01},
    "cpcv": {"method": "cpcv", "n_groups": 6, "n_test_groups": 2, "horizon": 5, "embargo": 0.01},
}


class SmaCross(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


def work(bars: Bars, ref: DataRef, grid: dict[str, range], **said: object) -> FoldWork:
    plan = fold_door.planned(str(said.pop("method")), None, said)
    assert plan is not None
    search = door.sweep_work(SmaCross, bars, grid, lambda: ref.key, method=plan.search, engine={"commission": 0.001})
    made, _ = fold_door.fold_work(*search, plan, bars)
    return replace(made, data=ref)


def seconds(made: FoldWork, rounds: int) -> float:
    """CPU-seconds of all folds, the second and later runs of a warm child; the median."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        part = made.run(0, made.count, None, lambda done: None)
        times.append(time.process_time() - start)
        assert part.stop == made.count
        assert part.failed == 0
    return statistics.median(times[1:])


def plain(bars: Bars, made: FoldWork, grid: dict[str, range], runs: int) -> float:
    """CPU-seconds of the same backtests one by one: the class, on the bars up to the end of a train window."""
    frame = bars.frame
    pairs = [(f, s) for f in grid["fast"] for s in grid["slow"]][:runs]
    strategies = [SmaCross(fast=fast, slow=slow) for fast, slow in pairs]
    (train,) = made.folds[0].train
    start = time.process_time()
    for strategy in strategies:
        strategy.load_data(frame.iloc[train.start : train.stop]).backtest(commission=0.001)
    return (time.process_time() - start) / len(strategies) * made.count * made.trials.count


def main() -> None:
    said = argparse.ArgumentParser()
    said.add_argument("--smoke", action="store_true")
    smoke = said.parse_args().smoke
    count, rounds = (600, 1) if smoke else (2520, 5)
    grid = {"fast": range(5, 9), "slow": range(10, 18)} if smoke else {"fast": range(5, 30), "slow": range(30, 110, 2)}
    bars = Bars.from_frame(gbm(count, seed=1), "gbm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.npy"
        path.write_bytes(bars.to_bytes())
        ref = DataRef(str(path), bars.meta)
        print(f"{count:,} daily bars, {len(grid['fast']) * len(grid['slow']):,} combinations in each fold")
        print(f"{'':24} {'folds':>5} {'runs':>8} {'CPU s':>8} {'runs/CPU s':>12}")
        for name, settings in KINDS.items():
            if smoke:
                settings = {k: {760: 200, "3y": "8M"}.get(v, v) for k, v in settings.items()}
            made = work(bars, ref, grid, **settings)
            took = seconds(made, rounds)
            runs = made.count * made.trials.count
            print(f"{name:24} {made.count:5} {runs:8,} {took:8.3f} {runs / took:12,.0f}")
        made = work(bars, ref, grid, **{**KINDS["walk-forward, rolling"], **({"train": 200} if smoke else {})})
        took, alone = seconds(made, rounds), plain(bars, made, grid, 5 if smoke else 50)
        print(f"{'one by one, counted':24} {made.count:5} {made.count * made.trials.count:8,} {alone:8.2f}")
        part = made.run(0, made.count, None, lambda done: None)
        start = time.perf_counter()
        result = load_folds(made.meta(), [part.result])
        middle = time.perf_counter()
        repr(result)
        read, shown = 1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)
        print(f"result of {len(part.result):,} bytes read in {read:.1f} ms, stitched and shown in {shown:.1f} ms")
        print(f"{alone / took:.0f} times as fast as one by one")
        if not smoke:
            verdict = "met" if took < GOAL else "MISSED"
            print(f"20 folds x 1,000 combinations below {GOAL:.0f} s of CPU: {verdict}")


if __name__ == "__main__":
    main()
