"""Looks for what is wrong with prices: gaps, doubles, impossible or unlikely values. It reports and never mends.

Pure functions on data frames. Holidays are not known unless a calendar is given, so single missing days are told apart
from longer gaps, not condemned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jobnb.data.gaps import Gap, gaps_in, length_of, shown_time
from jobnb.data.interval import Interval
from jobnb.errors import DataError
from jobnb.research.checks import PRICES

if TYPE_CHECKING:
    import numpy.typing as npt

#: How far a return may be from the median, in robust standard deviations, before it is called an outlier.
OUTLIER = 12.0
#: Bars in a row without any move from which prices count as stale.
STALE = 5
#: Examples that a report shows of each finding.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found.

    Attributes
    ----------
    name : str
    bars : int
    start, end : pandas.Timestamp or None
        The first and the last bar.
    interval : str
        As the data says by itself; empty for fewer than three bars.
    gaps : tuple of Gap
        Missing bars, holidays included.
    duplicates, unsorted, missing, non_positive, inverted, outside : tuple of pandas.Timestamp
        Bars that are: at a moment that was there already; earlier than the bar before; with NaN; with a price not
        above 0 (or a negative volume); with high below low; with open or close outside of high and low.
    outliers : tuple of pandas.Timestamp
        Closes that moved much farther than the others do.
    stale : tuple of Gap
        Runs of bars whose four prices do not move at all; ``bars`` is how many.
    zero_volume : int
        Bars without any volume.
    """

    name: str
    bars: int
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    interval: str
    gaps: tuple[Gap, ...] = ()
    duplicates: tuple[pd.Timestamp, ...] = ()
    unsorted: tuple[pd.Timestamp, ...] = ()
    missing: tuple[pd.Timestamp, ...] = ()
    non_positive: tuple[pd.Timestamp, ...] = ()
    inverted: tuple[pd.Timestamp, ...] = ()
    outside: tuple[pd.Timestamp, ...] = ()
    outliers: tuple[pd.Timestamp, ...] = ()
    stale: tuple[Gap, ...] = ()
    zero_volume: int = 0

    @property
    def ok(self) -> bool:
        """True if a backtest can use the bars; there may be gaps and outliers all the same."""
        return self.bars >= 2 and not any(
            (self.duplicates, self.unsorted, self.missing, self.non_positive, self.inverted)
        )

    @property
    def real_gaps(self) -> tuple[Gap, ...]:
        """The gaps that are too long for holidays."""
        return tuple(g for g in self.gaps if g.likely == "gap")

    @property
    def findings(self) -> dict[str, tuple[int, str]]:
        """How many of each, and the first few, in words; only what was found."""
        found: dict[str, tuple[int, str]] = {}

        def note(what: str, times: Iterable[object], count: int | None = None) -> None:
            listed = [str(t) if isinstance(t, Gap) else shown_time(t) for t in times]
            if listed:
                more = ", …" if len(listed) > _SHOWN else ""
                found[what] = (len(listed) if count is None else count, ", ".join(listed[:_SHOWN]) + more)

        note("duplicates", self.duplicates)
        note("out of order", self.unsorted)
        note("NaN prices", self.missing)
        note("non-positive", self.non_positive)
        note("high below low", self.inverted)
        note("open or close outside high and low", self.outside)
        note("gaps", self.real_gaps)
        note("missing days that may be holidays", [g for g in self.gaps if g.likely == "holiday"])
        note("outliers", self.outliers)
        note("stale runs", self.stale)
        if self.zero_volume:
            found["bars without volume"] = (self.zero_volume, "")
        return found

    @property
    def text(self) -> str:
        """The report as lines of text."""
        span = f", {shown_time(self.start)} to {shown_time(self.end)}" if self.start is not None else ""
        head = f"{self.name}: {self.bars:,} bars{f' of {self.interval}' if self.interval else ''}{span}"
        lines = [f"  {what}: {n:,}{f'  ({where})' if where else ''}" for what, (n, where) in self.findings.items()]
        return "\n".join([f"{head} · {'usable' if self.ok else 'NOT usable'}", *lines])

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(what)}</td><td style='text-align:right'>{n:,}</td><td>{escape(where)}</td></tr>"
            for what, (n, where) in self.findings.items()
        )
        head = escape(self.text.splitlines()[0])
        return f"<div><b>{head}</b>" + (f"<table>{rows}</table>" if rows else "") + "</div>"


def check(
    df: pd.DataFrame,
    *,
    interval: str | None = None,
    calendar: str | Iterable[Any] | None = None,
    name: str | None = None,
) -> Check:
    """Look for what is wrong with prices.

    Parameters
    ----------
    df : pandas.DataFrame
        Columns open, high, low, close and perhaps volume, over a DatetimeIndex.
    interval : str, optional
        The length of a bar; the most frequent distance by default.
    calendar : str or sequence of dates, optional
        The days on which there should be bars: an exchange's code in the package ``exchange_calendars`` (``XNYS``), or
        the dates themselves. By default Monday to Friday, or every day for data that has weekends.
    name : str, optional
        ``df.attrs["name"]`` by default.

    Returns
    -------
    Check
        Prints as text, shows as a table in a notebook. ``.ok`` says whether a backtest would take the bars.

    Raises
    ------
    DataError
        ``DATA_ERROR``: a price column is missing, or the index holds no times.

    Notes
    -----
    Outliers are returns of the close farther than 12 robust standard deviations (1.4826 times the median absolute
    deviation, Hampel 1974) from the median. A hole at the same time of most days is a break of the session.

    Examples
    --------
    >>> from jobnb.research.sample import goog
    >>> report = check(goog(), name="GOOG")
    >>> report.ok, report.interval, len(report.real_gaps)
    (True, '1d', 0)
    """
    called = str(name or df.attrs.get("name") or "data")
    columns = {str(c).strip().lower(): c for c in df.columns}
    absent = [p for p in PRICES if p not in columns]
    if absent or not isinstance(df.index, pd.DatetimeIndex):
        raise DataError(
            f"{called} cannot be checked: it needs open, high, low and close over a DatetimeIndex"
            + (f", and has no {', '.join(absent)}." if absent else ".")
        )
    index = df.index
    price = np.column_stack([df[columns[p]].to_numpy(dtype=np.float64, na_value=np.nan) for p in PRICES])
    volume = df[columns["volume"]].to_numpy(dtype=np.float64, na_value=np.nan) if "volume" in columns else None
    opened, high, low, close = price.T
    lowest = np.nanmin(np.where(np.isnan(price), np.inf, price), axis=1) if len(df) else np.zeros(0)
    bad_volume = np.zeros(len(df), dtype=bool) if volume is None else volume < 0
    # Vendors adjust the four prices one by one: only what no rounding explains.
    slack = 1e-6 * np.abs(close)
    order = np.flatnonzero(np.diff(index.asi8) < 0) + 1
    clean = index[~(np.asarray(index.isna()) | np.asarray(index.duplicated()))].sort_values()
    length = Interval.of(interval) if interval else length_of(clean)
    return Check(
        name=called,
        bars=len(df),
        start=clean[0] if len(clean) else None,
        end=clean[-1] if len(clean) else None,
        interval=str(length) if length else "",
        gaps=tuple(gaps_in(clean, length, calendar)) if length else (),
        duplicates=tuple(index[index.duplicated()]),
        unsorted=tuple(index[order]),
        missing=tuple(index[np.isnan(price).any(axis=1) | index.isna()]),
        non_positive=tuple(index[(lowest <= 0) | bad_volume]),
        inverted=tuple(index[high < low - slack]),
        outside=tuple(
            index[
                (high >= low - slack)
                & ((np.maximum(opened, close) > high + slack) | (np.minimum(opened, close) < low - slack))
            ]
        ),
        outliers=tuple(index[_outliers(close)]),
        stale=tuple(_stale(index, price)),
        zero_volume=0 if volume is None else int(np.count_nonzero(volume == 0)),
    )


def _outliers(close: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    usable = np.flatnonzero(np.isfinite(close) & (close > 0))
    if len(usable) < 20:
        return np.zeros(0, dtype=np.intp)
    moves = np.diff(np.log(close[usable]))
    center = float(np.median(moves))
    sigma = 1.4826 * float(np.median(np.abs(moves - center)))
    if sigma == 0:
        return np.zeros(0, dtype=np.intp)
    return np.asarray(usable[1:][np.abs(moves - center) > OUTLIER * sigma])


def _stale(index: pd.DatetimeIndex, price: npt.NDArray[np.float64]) -> list[Gap]:
    if len(price) < STALE:
        return []
    same = np.append(False, (np.diff(price, axis=0) == 0).all(axis=1))
    starts = np.flatnonzero(same & ~np.append(False, same[:-1]))
    found = []
    for start in map(int, starts):
        stop = start
        while stop + 1 < len(same) and same[stop + 1]:
            stop += 1
        if stop - start + 2 >= STALE:
            found.append(Gap(after=index[start - 1], before=index[stop], bars=int(stop - start + 2)))
    return found
