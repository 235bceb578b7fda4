import pytest

from jobnb.research.bars import Bars
from jobnb.research.sample import gbm


@pytest.fixture(scope="session")
def daily():
    return Bars.from_frame(gbm(400, seed=11, volatility=0.4), "daily")


@pytest.fixture(scope="session")
def minutes():
    return Bars.from_frame(gbm(2000, "min", seed=12, volatility=2.0, start="2021-03-01 14:30"), "minutes")
