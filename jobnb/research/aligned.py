"""The bars of several instruments on one time: the union of their bars, in arrays of one column per instrument.

Built in the child that runs a portfolio, and at the front door where curves are combined. An instrument without a bar
at a time keeps its last close there and has no price to trade at; before its first bar it has none at all (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import DataError
from jobnb.research.bars import Bars, day_ends, local_days
from jobnb.research.metrics import Calendar, calendar

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_NS_PER_DAY = 86_400_000_000_000


class Timeline:
    """A time axis with its days and how a year is counted on it.

    Parameters
    ----------
    time : array (t,) of int64
        Nanoseconds since 1970-01-01, ascending.
    zone : str or None
        Time zone of the data.
    """

    def __init__(self, time: Whole, zone: str | None) -> None:
        self.time = time
        self.zone = zone

    @classmethod
    def union(cls, times: Sequence[Whole], zones: Sequence[object]) -> Timeline:
        """Return the times of all; in their common zone, in UTC if they have different ones."""
        named = {str(zone) if zone else None for zone in zones}
        zone = next(iter(named)) if len(named) == 1 else "UTC"
        return cls(np.unique(np.concatenate(times)), zone)

    def __len__(self) -> int:
        return int(self.time.size)

    @cached_property
    def days(self) -> Floats:
        """Time in days since 1970-01-01, with fractions."""
        return np.asarray(self.time / _NS_PER_DAY, dtype=np.float64)

    @cached_property
    def local_day(self) -> Whole:
        """Day of each time in the zone."""
        return local_days(self.time, self.zone)

    @cached_property
    def day_end(self) -> Whole:
        """Number of the last time of the day of each."""
        ends = day_ends(self.local_day)
        return np.repeat(ends, np.diff(np.append(-1, ends))).astype(np.int64)

    @cached_property
    def day_count(self) -> int:
        """Number of days."""
        return int(day_ends(self.local_day).size)

    @cached_property
    def calendar(self) -> Calendar:
        """How returns are annualised."""
        return calendar(self.local_day[day_ends(self.local_day)])

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """The DatetimeIndex."""
        import pandas as pd

        index = pd.DatetimeIndex(self.time.view("datetime64[ns]"), name="date")
        return index.tz_localize("UTC").tz_convert(self.zone) if self.zone else index

    @property
    def span(self) -> tuple[str, str]:
        """First and last time, as `Bars.span`."""
        if self.zone:
            return str(self.index[0].isoformat()), str(self.index[-1].isoformat())
        unit = "D" if not np.any(self.time % _NS_PER_DAY) else "s"
        first, last = self.time[[0, -1]].view("datetime64[ns]").astype(f"datetime64[{unit}]")
        return str(first), str(last)

    def latest(self, time: Whole) -> Whole:
        """Return for each time of this axis the number of the last one of ``time`` that is not later; -1 before it."""
        return np.asarray(np.searchsorted(time, self.time, side="right") - 1, dtype=np.int64)


class Aligned(Timeline):
    """The bars of several instruments on one time.

    Attributes
    ----------
    symbols : tuple of str
    open, close : array (t, n)
        ``open`` is NaN where an instrument has no bar; ``close`` is its last one, NaN before its first.
    traded : array (t, n) of bool
        Where it has a bar.
    """

    def __init__(self, bars: Mapping[str, Bars]) -> None:
        made = Timeline.union([each.time for each in bars.values()], [each.meta.get("tz") for each in bars.values()])
        super().__init__(made.time, made.zone)
        self.bars = dict(bars)
        self.symbols = tuple(bars)
        shape = (len(self), len(self.symbols))
        self.open: Floats = np.full(shape, np.nan)
        self.close: Floats = np.full(shape, np.nan)
        self.traded = np.zeros(shape, dtype=np.bool_)
        self._last = np.empty(shape, dtype=np.int64)
        for j, each in enumerate(bars.values()):
            at = np.searchsorted(self.time, each.time)
            self.open[at, j] = each.open
            self.traded[at, j] = True
            self._last[:, j] = self.latest(each.time)
            self.close[:, j] = self.spread(each.close, j)

    def spread(self, values: npt.ArrayLike, j: int) -> Floats:
        """Return one value per bar of instrument ``j`` at the times of all: the last known, NaN before its first."""
        last = self._last[:, j]
        return np.where(last >= 0, np.asarray(values, dtype=np.float64)[last], np.nan)

    def hold(self, capital: float) -> Floats:
        """Return what equal shares of the capital, put into each instrument at its first close, would be worth."""
        share = capital / len(self.symbols)
        made = np.zeros(len(self))
        for j in range(len(self.symbols)):
            close = self.close[:, j]
            first = int(np.argmax(self.traded[:, j]))
            made += np.where(np.isnan(close), share, share * close / close[first])
        return made


def check_overlap(bars: Mapping[str, Bars]) -> None:
    """Refuse instruments of which one shares no time with any other.

    Raises
    ------
    DataError
        ``DATA_ERROR``: with its name and span.
    """
    spans = {symbol: (int(each.time[0]), int(each.time[-1])) for symbol, each in bars.items()}
    for symbol, (start, stop) in spans.items():
        others = [span for other, span in spans.items() if other != symbol]
        if others and not any(first <= stop and start <= last for first, last in others):
            first, last = bars[symbol].span
            raise DataError(
                f"{symbol} has bars from {first} to {last}, when no other instrument has any; a portfolio needs "
                "instruments that overlap in time: leave it out, or backtest each alone (portfolio=False)"
            )
