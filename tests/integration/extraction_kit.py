"""A source of prices for extraction jobs: each call leaves a mark, and may wait for a gate, fail, or be busy."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

import jobnb
from jobnb.data.origin import Terms


@dataclass(frozen=True)
class Marked:
    """Daily bars whose prices tell their date.

    Attributes
    ----------
    marks
        A folder in which each call adds a line to a file named after symbol and first day.
    gate
        Calls for days from ``gated`` on wait until this file is there.
    """

    marks: str
    gate: str = ""
    gated: str = "9999"
    bad: tuple[str, ...] = ()
    busy_once: bool = False
    name: str = "marked"
    terms: Terms = field(default_factory=lambda: Terms(page=50, tries=1))

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        mark = Path(self.marks) / f"{symbol}_{start:%Y-%m-%d}"
        with open(mark, "a") as file:
            file.write(f"{os.getpid()}\n")
        if self.busy_once and len(mark.read_text().split()) == 1:
            raise jobnb.RetryLater("slow down", after=0.05)
        if symbol in self.bad:
            raise ValueError(f"{symbol} is rotten")
        if f"{start:%Y-%m-%d}" >= self.gated:
            while not os.path.exists(self.gate):
                time.sleep(0.005)
        elif self.gated != "9999":
            # More than a task's worth: none of these shares a task with one that waits, or is sent ahead behind it.
            time.sleep(0.5)
        return daily(start, end)

    def counts(self) -> dict[str, int]:
        return {p.name: len(p.read_text().split()) for p in sorted(Path(self.marks).iterdir())}


def daily(start: object, end: object) -> pd.DataFrame:
    index = pd.date_range(start, end, freq="D", inclusive="left", name="date", unit="ns").tz_localize(None)
    day = index.asi8 / 86_400e9
    close = 100 + np.sin(day)
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close + 0.5, "volume": day}
    return pd.DataFrame(values, index=index)
