"""Finds the bars that are not there: how long a bar is, when there should be one, and what is a break or a holiday.

Pure functions on moments. Holidays are not known unless a calendar is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jobnb.data.interval import DAY_US, Interval
from jobnb.errors import DataError, MissingPackage

if TYPE_CHECKING:
    import numpy.typing as npt

#: Missing weekdays in a row that may well be holidays: Easter, Christmas and the days around them.
HOLIDAYS = 2
#: Share of the days at which a hole at the same time of day is a break of the session, not a gap.
BREAK_SHARE = 0.5
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
        return f"{shown_time(self.after)} … {shown_time(self.before)} ({self.bars:,})"


def length_of(index: pd.DatetimeIndex) -> Interval | None:
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


def gaps_in(index: pd.DatetimeIndex, length: Interval, calendar: str | Iterable[Any] | None) -> list[Gap]:
    """Return the gaps of ascending moments without doubles, holidays included."""
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


def shown_time(at: object) -> str:
    """Return a moment as short as it can be told."""
    if not isinstance(at, pd.Timestamp) or pd.isna(at):
        return str(at)
    return f"{at:%Y-%m-%d}" if at == at.normalize() else f"{at:%Y-%m-%d %H:%M}"
