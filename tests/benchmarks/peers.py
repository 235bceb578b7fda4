"""The peers' part of `bench_engine`: run by the Python of an environment in which they are installed.

Prints one JSON line. Nothing of the peers is copied; jobnb is not imported here.
"""

import itertools
import json
import os
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd

WINDOWS = range(5, 147)
COMMISSION = 0.001


def prices(path):
    block = np.load(path)
    index = pd.DatetimeIndex(block[0].view("datetime64[ns]"))
    return pd.DataFrame(dict(zip(("Open", "High", "Low", "Close", "Volume"), block[1:], strict=True)), index=index)


def combinations(count, seed=0):
    every = list(itertools.combinations(WINDOWS, 2))
    chosen = np.random.default_rng(seed).permutation(len(every))[:count]
    return [every[i] for i in chosen]


def backtesting(frame, count, rounds):
    from backtesting import Backtest, Strategy
    from backtesting import __version__ as version

    def mean(values, n):
        return pd.Series(values).rolling(n).mean()

    class Cross(Strategy):
        fast = 10
        slow = 30

        def init(self):
            self.a = self.I(mean, self.data.Close, self.fast)
            self.b = self.I(mean, self.data.Close, self.slow)

        def next(self):
            if self.a[-1] > self.b[-1]:
                if not self.position:
                    self.buy()
            elif self.position:
                self.position.close()

    # Its pool pickles the class by name; it is made here only because the import is optional.
    Cross.__qualname__ = "Cross"
    globals()["Cross"] = Cross
    bench = Backtest(frame, Cross, cash=1_000_000, commission=COMMISSION, finalize_trades=True)
    bench.run()
    rates = []
    for _ in range(rounds):
        start = time.process_time()
        for fast, slow in combinations(count):
            bench.run(fast=fast, slow=slow)
        rates.append(count / (time.process_time() - start))
    # The same grid, coarser, by the peer's own optimizer; its pool's processes count too.
    values = list(range(WINDOWS.start, WINDOWS.stop, 5 if rounds > 1 else 14))
    tried = len(values) * (len(values) - 1) // 2
    start = cpu_seconds()
    bench.optimize(fast=values, slow=values, constraint=lambda p: p.fast < p.slow, maximize="Sharpe Ratio")
    optimize = tried / (cpu_seconds() - start)
    return {"version": version, "rate": max(rates), "count": count, "optimize": optimize, "tried": tried}


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def vectorbt(frame, count, rounds):
    import vectorbt as vbt

    close = frame["Close"]
    minutes = len(close) > 50_000
    means = {n: close.rolling(n).mean().to_numpy() for n in WINDOWS}
    # Decided at a close, filled at the next open.
    opened = frame["Open"].to_numpy()[:, None]

    def run(pairs):
        level = np.empty((len(close), len(pairs)), dtype=bool)
        for i, (fast, slow) in enumerate(pairs):
            level[0, i] = False
            level[1:, i] = (means[fast] > means[slow])[:-1]
        portfolio = vbt.Portfolio.from_signals(
            close,
            pd.DataFrame(level, index=close.index),
            pd.DataFrame(~level, index=close.index),
            price=opened,
            fees=COMMISSION,
            freq="1min" if minutes else "1D",
            init_cash=10_000,
        )
        return portfolio.sharpe_ratio(), portfolio.total_return(), portfolio.max_drawdown(), portfolio.trades.count()

    pairs = combinations(count)
    run(pairs[:2])
    best = {}
    for chunk in (5, 10, 25) if minutes else (50, 100, 200, 400):
        for _ in range(rounds):
            start = time.process_time()
            for at in range(0, count, chunk):
                run(pairs[at : at + chunk])
            best[chunk] = max(best.get(chunk, 0.0), count / (time.process_time() - start))
    chunk = max(best, key=best.__getitem__)
    _, returns, falls, trades = run(pairs[: 5 if minutes else 200])
    check = [] if minutes else [[*pair, *row] for pair, *row in zip(pairs, returns, falls, trades, strict=False)]
    return {"version": vbt.__version__, "rate": best[chunk], "count": count, "chunk": chunk, "check": check}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")
    which, path, count, rounds = sys.argv[1:]
    try:
        made = {"backtesting": backtesting, "vectorbt": vectorbt}[which](prices(path), int(count), int(rounds))
    except ImportError as error:
        made = {"missing": str(error)}
    print(json.dumps(made, default=float))
