"""Random prices, targets and options for the tests of the engine."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from jobnb.research.bars import Bars

CAPITAL = 5_000.0


@st.composite
def prices(draw, volatility=(0.001, 0.02, 0.2), most=120):
    """Return bars with gaps between them and room above and below open and close."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, most))
    volatility = draw(st.sampled_from(volatility))
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(n)))
    opened = close * np.exp(volatility * rng.standard_normal(n))
    room = np.exp(volatility * np.abs(rng.standard_normal((2, n))))
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * room[0],
            "low": np.minimum(opened, close) / room[1],
            "close": close,
        },
        index=pd.date_range(
            "2021-03-01 09:30", periods=n, freq=draw(st.sampled_from(["B", "D", "3h", "min"])), unit="ns"
        ),
    )
    return Bars.from_frame(frame)


@st.composite
def positions(draw, n):
    """Return one target per bar, held for a while each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    hold = rng.integers(1, draw(st.integers(2, 30)), n)
    kind = draw(st.sampled_from(["bool", "int", "float"]))
    drawn = {
        "bool": rng.random(n) > 0.5,
        "int": rng.integers(-1, 2, n),
        "float": rng.choice([-2.0, -1.0, -0.5, 0.0, 0.3, 1.0, 1.7], n),
    }[kind]
    return np.repeat(drawn, hold)[:n]
