"""Looks for what is wrong with prices: gaps, doubles, impossible or unlikely values. It reports and never mends.

Pure functions on data frames. Holidays are not known unless a calendar is given, so single missing days are told apart
from longer gaps, not condemned.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jobnb.data.interval import DAY_US, Interval
from jobnb.errors import DataError, MissingPackage
from jobnb.research.checks import PRICES

if TYPE_CHECKING:
    import numpy.typing as npt

#: Missing weekdays in a row that may well be holidays: Easter, Christmas and the days around them.
HOLIDAYS = 2
#: How far a return may be from the median, in robust standard deviations, before it is called an outlier.
OUTLIER = 12.0
#: Bars in a row without any move from which prices count as stale.
STALE = 5
#: Share of the days at which a hole at the same time of day is a break of the session, not a gap.
BREAK_SHARE = 0.5
#: Examples that a report shows of each finding.
_SHOWN = 5
_NS = 1000


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Bars that are not there.

    Attributes
    ----------
    after, before : pandas.Timestamp
        The bars on both sides.
    bars : int
        How many are missing between them.
    likely : {"gap", "holiday"}
    """

    after: pd.Timestamp
    before: pd.Timestamp
    bars: int
    likely: str = "gap"

    def __str__(self) -> str:
        return f"{_time(self.after)} … {_time(self.before)} ({self.bars:,})"


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
            listed = [str(t) if isinstance(t, Gap) else _time(t) for t in times]
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
        span = f", {_time(self.start)} to {_time(self.end)}" if self.start is not None else ""
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
    length = Interval.of(interval) if interval else _length(clean)
    return Check(
        name=called,
        bars=len(df),
        start=clean[0] if len(clean) else None,
        end=clean[-1] if len(clean) else None,
        interval=str(length) if length else "",
        gaps=tuple(_gaps(clean, length, calendar)) if length else (),
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


def _length(index: pd.DatetimeIndex) -> Interval | None:
    """Return the most frequent distance of bars as an interval, or None where that is none."""
    if len(index) < 3:
        return None
    steps = np.diff(_wall(index))
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[int(np.argmax(counts))])
    median = float(np.median(steps))
    if median >= 26 * DAY_US:
        return Interval(max(1, round(median / (30.4 * DAY_US))), "mo")
    if step < 1_000_000:
        return None
    if step >= DAY_US:
        return Interval.of(f"{round(step / DAY_US)}d")
    return Interval.of(f"{max(1, step // 1_000_000)}s")


def _wall(index: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Return µs on the wall clock of the index's zone."""
    local = index if index.tz is None else index.tz_localize(None)
    return np.asarray(local.as_unit("us").asi8, dtype=np.int64)


def _gaps(index: pd.DatetimeIndex, length: Interval, calendar: str | Iterable[Any] | None) -> list[Gap]:
    if len(index) < 2:
        return []
    wall = _wall(index)
    if length.unit == "d" and length.count == 1:
        return _missing_days(index, wall // DAY_US, calendar)
    if not length.intraday:
        step = length.step_us
        return [
            Gap(after=index[i], before=index[i + 1], bars=max(1, round(float(d) / step) - 1))
            for i, d in enumerate(np.diff(wall))
            if d > 1.5 * step
        ]
    # Of bars within a day the time itself counts, not the wall clock: nothing is missing when summer time begins.
    true = np.asarray(index.as_unit("us").asi8, dtype=np.int64)
    day = wall // DAY_US
    found = []
    steps = np.diff(true)
    round_the_clock = _has_weekends(np.unique(day)) and float(np.mean(steps == length.step_us)) > 0.5
    breaks = set() if round_the_clock else _breaks(wall, day, length)
    for i in map(int, np.flatnonzero(steps > 1.5 * length.step_us)):
        if not round_the_clock and (day[i] != day[i + 1] or int(wall[i] % DAY_US) in breaks):
            continue
        found.append(Gap(after=index[i], before=index[i + 1], bars=max(1, round(steps[i] / length.step_us) - 1)))
    if not round_the_clock:
        firsts = np.flatnonzero(np.append(True, np.diff(day) != 0))
        per_day = round(len(index) / len(firsts))
        for gap in _missing_days(index[firsts], day[firsts], calendar):
            found.append(Gap(after=gap.after, before=gap.before, bars=gap.bars * per_day, likely=gap.likely))
    return sorted(found, key=lambda g: g.after)


def _breaks(wall: npt.NDArray[np.int64], day: npt.NDArray[np.int64], length: Interval) -> set[int]:
    """Return the times of day (µs) after which most days have a hole: lunch."""
    holes = np.flatnonzero((np.diff(wall) > 1.5 * length.step_us) & (np.diff(day) == 0))
    times, counts = np.unique(wall[holes] % DAY_US, return_counts=True)
    most = BREAK_SHARE * len(np.unique(day))
    return {int(t) for t, n in zip(times, counts, strict=True) if n > max(1.0, most)}


def _has_weekends(days: npt.NDArray[np.int64]) -> bool:
    # 1970-01-01 was a Thursday.
    return len(days) > 6 and float(np.mean((days + 3) % 7 >= 5)) > 0.1


def _missing_days(
    index: pd.DatetimeIndex, days: npt.NDArray[np.int64], calendar: str | Iterable[Any] | None
) -> list[Gap]:
    first, last = int(days[0]), int(days[-1])
    expected = np.arange(first, last + 1)
    strict = calendar is not None
    if strict:
        expected = _sessions(calendar, first, last)
    elif not _has_weekends(days):
        expected = expected[(expected + 3) % 7 < 5]
    absent = expected[~np.isin(expected, days)]
    if not len(absent):
        return []
    # Missing days between the same two bars are one gap.
    place = np.searchsorted(days, absent)
    found = []
    for at in np.unique(place):
        count = int(np.count_nonzero(place == at))
        if not 0 < at < len(days):
            continue
        holiday = not strict and count <= HOLIDAYS
        found.append(Gap(after=index[at - 1], before=index[at], bars=count, likely="holiday" if holiday else "gap"))
    return found


def _sessions(calendar: str | Iterable[Any] | None, first: int, last: int) -> npt.NDArray[np.int64]:
    bounds = [pd.Timestamp(d * DAY_US * _NS) for d in (first, last)]
    if isinstance(calendar, str):
        try:
            import exchange_calendars
        except ImportError as error:
            raise MissingPackage(
                f"the calendar {calendar!r} needs a package ({error}): pip install exchange_calendars"
            ) from error
        try:
            with warnings.catch_warnings():
                # Its 4.13 warns of what pandas 4 will change; that is no concern of who checks prices.
                warnings.simplefilter("ignore")
                dates = exchange_calendars.get_calendar(calendar, start=bounds[0]).sessions_in_range(*bounds)
        except (ValueError, exchange_calendars.errors.CalendarError) as error:
            raise DataError(f"the calendar {calendar!r} cannot be used for this span: {error}") from None
    else:
        dates = pd.DatetimeIndex(pd.to_datetime(list(calendar or ())))
    days = np.unique(_wall(dates) // DAY_US)
    return np.asarray(days[(days >= first) & (days <= last)])


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


def _time(at: object) -> str:
    if not isinstance(at, pd.Timestamp) or pd.isna(at):
        return str(at)
    return f"{at:%Y-%m-%d}" if at == at.normalize() else f"{at:%Y-%m-%d %H:%M}"
