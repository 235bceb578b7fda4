"""Prices to try things with: real ones from matplotlib's sample data, and seeded random ones.

Used by the demo, the tutorials and the tests, in any process. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def goog() -> pd.DataFrame:
    """Return GOOG daily prices, 2004-08-19 to 2008-10-14: 1,047 bars, open/high/low/close/volume.

    Examples
    --------
    >>> goog().shape
    (1047, 5)
    """
    import pandas as pd
    from matplotlib import cbook

    rows = np.asarray(cbook.get_sample_data("goog.npz")["price_data"])  # type: ignore[index]  # not an open file
    index = pd.DatetimeIndex(rows["date"].astype("datetime64[ns]"), name="date")
    columns = {name: rows[name].astype(np.float64) for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=index)


def gbm(
    bars: int = 2520,
    freq: Literal["D", "min"] = "D",
    seed: int = 0,
    *,
    start: str = "2015-01-01",
    price: float = 100.0,
    drift: float = 0.08,
    volatility: float = 0.2,
) -> pd.DataFrame:
    """Return prices from a seeded geometric Brownian motion.

    Parameters
    ----------
    bars : int, default 2520
        How many.
    freq : {"D", "min"}
        Business days, or every minute round the clock.
    seed : int
        The same seed gives the same prices.
    start : str
        First day.
    price : float
        First open.
    drift, volatility : float
        Per year, as fractions.

    Examples
    --------
    >>> gbm(10).shape, gbm(10, "min").index[1].minute
    ((10, 5), 1)
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    index = pd.date_range(start, periods=bars, freq="B" if freq == "D" else "min", name="date", unit="ns")
    step = 1 / 252 if freq == "D" else 1 / (365 * 24 * 60)
    sigma = volatility * np.sqrt(step)
    moves = (drift - volatility**2 / 2) * step + sigma * rng.standard_normal(bars)
    close = price * np.exp(np.cumsum(moves))
    # A small gap between the bars, so that fills at the open differ from fills at the close.
    before = np.append(price, close[:-1])
    opened = before * np.exp(0.25 * sigma * rng.standard_normal(bars))
    high = np.maximum(opened, close) * np.exp(0.5 * sigma * np.abs(rng.standard_normal(bars)))
    low = np.minimum(opened, close) * np.exp(-0.5 * sigma * np.abs(rng.standard_normal(bars)))
    volume = np.round(np.exp(13.0 + 0.3 * rng.standard_normal(bars)))
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return pd.DataFrame(columns, index=index)
