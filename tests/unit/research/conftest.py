import importlib
import os
import warnings

import numpy as np
import pandas as pd
import pytest

from jobnb.research.bars import Bars
from jobnb.research.data import DataRef
from jobnb.research.sample import gbm, goog
from jobnb.research.strategy import Strategy


class SmaCross(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


@pytest.fixture(scope="session")
def sma_cross():
    return SmaCross


@pytest.fixture(scope="session")
def google():
    return Bars.from_frame(goog(), "GOOG")


@pytest.fixture(scope="session")
def daily():
    return Bars.from_frame(gbm(500, seed=3), "daily")


@pytest.fixture(scope="session")
def minutes():
    return Bars.from_frame(gbm(5000, "min", seed=4), "minutes")


@pytest.fixture
def frame():
    return gbm(50, seed=1)


@pytest.fixture
def stored(tmp_path, daily):
    path = tmp_path / "bars.npy"
    path.write_bytes(daily.to_bytes())
    return DataRef(str(path), daily.meta)


@pytest.fixture
def flat():
    """Prices that never move: what remains is costs."""
    index = pd.date_range("2020-01-01", periods=20, freq="B")
    return Bars.from_frame(
        pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), np.full(20, 50.0)), index=index)
    )


@pytest.fixture(scope="session")
def peer():
    """Import another engine, which is no dependency: skip where it is missing, unless it has to be there."""

    def get(name):
        with warnings.catch_warnings():
            # Their imports warn of their own affairs.
            warnings.simplefilter("ignore")
            try:
                return importlib.import_module(name)
            except ImportError as error:
                if os.environ.get("JOBNB_REQUIRE_PEERS") == "1":
                    raise
                pytest.skip(f"{name} is not installed: {error}")

    return get
