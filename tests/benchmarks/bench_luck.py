"""What the answer to "is it luck?" costs: ``python tests/benchmarks/bench_luck.py [--smoke]``.

The same sweeps with and without what is kept for it, in turn, in one process; then the card's arithmetic, and the
answers that a job gives on request. The goal is at most a tenth of the sweep that it comes with.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from bench_engine import sweep  # noqa: E402

from jobnb.research import luck  # noqa: E402
from jobnb.research import sweep as sweeping  # noqa: E402
from jobnb.research.bars import Bars  # noqa: E402
from jobnb.research.cscv import from_sums  # noqa: E402
from jobnb.research.data import DataRef  # noqa: E402
from jobnb.research.reality_check import reality_check, spa  # noqa: E402
from jobnb.research.sample import gbm  # noqa: E402
from jobnb.research.sweep import SweepWork  # noqa: E402


class Nothing:
    """Keeps nothing of the runs."""

    due = sys.maxsize

    def __init__(self, *given):
        pass

    def see(self, place, row):
        pass

    def finish(self, out):
        pass

    def arrays(self, *given):
        return {}


def seconds(work: SweepWork) -> float:
    """CPU-seconds of one sweep."""
    start = time.process_time()
    work.run(0, work.count, None, lambda done: None)
    return time.process_time() - start


def cost(work: SweepWork, rounds: int) -> tuple[float, float]:
    """CPU-seconds without and with it, the quickest of turns: whatever else runs on the machine only slows."""
    real = sweeping.TargetTracks
    times: dict[type, list[float]] = {Nothing: [], real: []}
    seconds(work)
    try:
        for _ in range(rounds):
            for kind, found in times.items():
                sweeping.TargetTracks = kind
                found.append(seconds(work))
    finally:
        sweeping.TargetTracks = real
    return min(times[Nothing]), min(times[real])


def timed(call) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> int:
    """Run everything and print the table; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="smaller, and no number is judged")
    smoke = parser.parse_args().smoke
    rounds, most = (2, np.inf) if smoke else (15, 0.1)
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, bars, windows in (
            ("10,011 pairs, 2,520 daily bars", Bars.from_frame(gbm(2520), "daily"), 142),
            ("1,035 pairs, 2,520 daily bars", Bars.from_frame(gbm(2520), "daily"), 46),
            ("1,035 pairs, 100,000 minute bars", Bars.from_frame(gbm(100_000, "min"), "minutes"), 46),
        ):
            path = Path(folder) / f"{len(bars)}-{windows}.npy"
            path.write_bytes(bars.to_bytes())
            work = sweep(DataRef(f"{path}", bars.meta), windows)
            without, with_it = cost(work, rounds)
            share = with_it / without - 1.0
            # Of a sweep that is over at once nobody notices some milliseconds.
            ok = share <= most or with_it - without < 0.005
            missed |= not ok
            print(
                f"{name:<36} {1000 * without:8.1f} ms, with it {1000 * with_it:8.1f} ms: {100 * share:+5.1f} %"
                f"  <= 10 % or 5 ms  {'ok' if ok else 'MISSED'}"
            )
            summary = work.run(0, work.count, None, lambda done: None).summary
            size = len(json.dumps({name: summary[name] for name in ("sample", "sharpe", "moments")}))
            luck.overfitting.cache_clear()
            drawn = timed(lambda summary=summary: luck.of(summary))
            print(f"{'  in the summary':<36} {size / 1000:8.1f} kB; the card's line takes {1000 * drawn:.1f} ms")
    trials = 500 if smoke else 10_011
    returns = np.random.default_rng(0).normal(0.0, 0.01, (1000, trials))
    sums = np.random.default_rng(0).random((trials, 16, 2))
    print(f"{trials:,} runs of 1,000 returns, on request and without the runs themselves")
    print(f"{'  overfitting, 12,870 splits':<36} {timed(lambda: from_sums(sums, 1000)):8.1f} s")
    print(f"{'  reality check, 1,000 resamples':<36} {timed(lambda: reality_check(returns)):8.1f} s")
    print(f"{'  SPA, 1,000 resamples':<36} {timed(lambda: spa(returns)):8.1f} s")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
