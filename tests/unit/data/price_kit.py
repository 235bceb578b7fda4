"""Prices that tell their time, and a source that remembers what it was asked."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd


def bars(start: str, count: int, freq: str = "D", tz: str | None = None, price: float = 100.0) -> pd.DataFrame:
    """Return bars whose prices tell their time, so that any mix-up shows."""
    index = pd.date_range(start, periods=count, freq=freq, tz=tz, name="date", unit="ns")
    return at(index, price)


def at(index: pd.DatetimeIndex, price: float = 100.0) -> pd.DataFrame:
    day = index.as_unit("ns").asi8 / 86_400e9
    close = price * (1 + 0.1 * np.sin(day))
    values = {"open": close * 0.999, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": day}
    return pd.DataFrame(values, index=index)


class Counting:
    """A source that remembers what it was asked; its prices may be scaled, it may fail, it may have holes."""

    def __init__(self, freq: str = "D", tz: str | None = None) -> None:
        self.freq, self.tz = freq, tz
        self.asked: list[tuple[str, datetime, datetime, str]] = []
        self.scale = 1.0
        self.errors: list[Exception] = []
        self.first = pd.Timestamp("1990-01-01", tz="UTC")

    def __call__(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        self.asked.append((symbol, start, end, interval))
        if self.errors:
            raise self.errors.pop(0)
        low = max(pd.Timestamp(start), self.first).ceil(self.freq)
        index = pd.date_range(low, end, freq=self.freq, inclusive="left", name="date", unit="ns")
        frame = at(index, 100.0 * self.scale)
        return frame.tz_convert(self.tz) if self.tz else frame.tz_localize(None)

    @property
    def spans(self) -> list[str]:
        return [f"{a:%Y-%m-%d}/{b:%Y-%m-%d}" for _, a, b, _ in self.asked]
