"""What the comparisons with other engines share: prices, and five strategies with random parameters.

The other engines are only called. They are not installed with jobnb: where one is missing its tests are skipped,
or fail if ``JOBNB_REQUIRE_PEERS=1``.
"""

import importlib
import os
import warnings

import numpy as np
import pytest

import jobnb


class Crossing(jobnb.Strategy):
    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


class Level(jobnb.Strategy):
    fast: int = 14
    slow: int = 40

    def positions(self, bars):
        return np.nan_to_num(bars.rsi(self.fast), nan=0.0) > self.slow


class Reversal(jobnb.Strategy):
    """Always long or short, but for the warm-up."""

    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        return np.nan_to_num(np.sign(bars.ema(self.fast) - bars.ema(self.slow))).astype(int)


class Breakout(jobnb.Strategy):
    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        made = np.full(len(bars), np.nan)
        made[bars.close >= bars.highest(self.slow, shift=1)] = 1.0
        made[bars.close <= bars.lowest(self.fast, shift=1)] = 0.0
        last = np.maximum.accumulate(np.where(np.isnan(made), 0, np.arange(len(bars))))
        return np.nan_to_num(made[last])


class MeanReversion(jobnb.Strategy):
    """Part of the equity against the move, short too."""

    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        _, upper, lower = bars.bollinger(self.slow, 0.5 + self.fast / 20)
        return np.where(bars.close < lower, 0.75, np.where(bars.close > upper, -0.5, 0.0))


class Never(jobnb.Strategy):
    fast: int = 5
    slow: int = 20

    def positions(self, bars):
        return np.zeros(len(bars))


class Always(Never):
    """Signals on the first bar, and the last."""

    def positions(self, bars):
        made = np.ones(len(bars), dtype=bool)
        made[-1] = self.fast % 2
        made[self.fast :: self.slow] = False
        made[0] = self.slow % 2
        return made


class Edges(Never):
    """A reversal on the last bar, an entry on the second."""

    def positions(self, bars):
        made = np.zeros(len(bars), dtype=int)
        made[1 : self.fast] = 1
        made[-self.slow :] = 1
        made[-1] = -1
        return made


class Replay(jobnb.Strategy):
    """Given targets."""

    @classmethod
    def of(cls, row):
        return type("Replay", (cls,), {"positions": lambda self, bars: row})()


STRATEGIES = (Crossing, Level, Reversal, Breakout, MeanReversion, Never, Always, Edges)
COSTS = ({}, {"commission": 0.001}, {"commission": 0.002, "slippage": 0.001}, {"slippage": 0.0005})


def peer(name):
    """Import another engine, or skip with the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("JOBNB_REQUIRE_PEERS") == "1":
            raise
        pytest.skip(f"{name} is not installed ({error}): pip install 'jobnb[peers]'")


def draws(count, seed, classes=STRATEGIES):
    """Yield random strategies with parameters, and costs."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        cls = classes[i % len(classes)]
        fast = int(rng.integers(2, 15))
        yield cls(fast=fast, slow=fast + int(rng.integers(1, 40))), COSTS[int(rng.integers(len(COSTS)))]
