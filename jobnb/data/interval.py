"""How long a bar is, ``1m`` to ``1mo``, and which bars of it are final. Pure arithmetic on µs since 1970, UTC.

Used by every process that fetches or checks prices. It imports nothing heavy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

from jobnb.errors import UsageProblem

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_UNITS = {
    "s": "s", "sec": "s", "m": "m", "min": "m", "t": "m", "h": "h", "hour": "h", "d": "d", "day": "d",
    "w": "w", "wk": "w", "week": "w", "mo": "mo", "mon": "mo", "month": "mo", "me": "mo", "ms": "mo",
}  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_WORDS = {"hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "1mo"}


@dataclass(frozen=True)
class Interval:
    """The length of a bar.

    Attributes
    ----------
    count : int
        How many units, at least 1.
    unit : {"s", "m", "h", "d", "w", "mo"}
    """

    count: int
    unit: str

    @classmethod
    def of(cls, text: str | Self) -> Self:
        """Read ``1m``, ``15min``, ``1h``, ``60m``, ``1d``, ``1wk``, ``1mo``; a lone capital ``M`` is a month.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: it is no length of a bar.

        Examples
        --------
        >>> str(Interval.of("60m")), str(Interval.of("1M")), str(Interval.of("1wk"))
        ('1h', '1mo', '1w')
        """
        if isinstance(text, cls):
            return text
        plain = str(text).strip()
        plain = _WORDS.get(plain.lower(), plain)
        found = re.fullmatch(r"(\d*)\s*([A-Za-z]+)", plain)
        unit = None if found is None else "mo" if found[2] == "M" else _UNITS.get(found[2].lower())
        count = 0 if found is None else int(found[1] or 1)
        if unit is None or not 1 <= count <= 10_000:
            raise UsageProblem(f"interval {text!r} is no length of a bar. Write 1m, 5m, 1h, 1d, 1w or 1mo.")
        for small, large, ratio in (("s", "m", 60), ("m", "h", 60), ("h", "d", 24), ("d", "w", 7)):
            if unit == small and count % ratio == 0:
                count, unit = count // ratio, large
        return cls(count, unit)

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def step_us(self) -> int:
        """The length in µs; of a month, 30 days."""
        return self.count * _SECONDS[self.unit] * SECOND_US

    @property
    def intraday(self) -> bool:
        """True if it is shorter than a day."""
        return self.unit in ("s", "m", "h")

    def floor(self, at: int) -> int:
        """Return the start of the day, week (Monday) or month that ``at`` (µs) lies in; intraday the whole second."""
        if self.intraday:
            return at - at % SECOND_US
        day = at // DAY_US
        if self.unit == "w":
            # 1970-01-01 was a Thursday.
            day -= (day + 3) % 7
        elif self.unit == "mo":
            whole = date(1970, 1, 1) + timedelta(days=day)
            day -= whole.day - 1
        return day * DAY_US

    def ceil(self, at: int) -> int:
        """Return the first start of a day, week or month that is not before ``at`` (µs)."""
        low = self.floor(at)
        if low == at:
            return at
        if self.intraday:
            return low + SECOND_US
        if self.unit == "mo":
            return self.floor(low + 31 * DAY_US)
        return low + (7 if self.unit == "w" else 1) * DAY_US

    def final_until(self, now: int, settles_us: int = 0) -> int:
        """Return the end (exclusive, µs) of the labels of bars that are over, and that the source will not change.

        Parameters
        ----------
        now : int
            µs since 1970, UTC.
        settles_us : int, default 0
            How long after a bar's end its source may still correct it.

        Examples
        --------
        >>> noon = 20_000 * DAY_US + DAY_US // 2
        >>> Interval.of("1d").final_until(noon) // DAY_US
        20000
        """
        if self.intraday:
            return self.floor(now - settles_us - self.step_us) + SECOND_US
        # A bar of n days begins n days before its end; the last label is that far back.
        last = self.floor(now - settles_us)
        for _ in range(self.count - 1):
            last = self.floor(last - 1)
        return last


def micros(at: datetime) -> int:
    """Return µs since 1970 of an aware moment."""
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds


def moment(at: int) -> datetime:
    """Return the aware moment of µs since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


def text(at: int, interval: Interval) -> str:
    """Return how a moment is written: a date for days and longer, else to the second."""
    return f"{moment(at):%Y-%m-%d}" if not interval.intraday else f"{moment(at):%Y-%m-%dT%H:%M:%S}"


def boundary(value: object, what: str) -> int:
    """Return µs since 1970 of what people write for a start or an end; without a zone it is UTC.

    Parameters
    ----------
    value : str, date, datetime or pandas.Timestamp
    what : str
        ``start`` or ``end``, for the message.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it is no moment.
    """
    found: datetime | None = None
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, date):
        found = datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        whole = value.strip()
        # A year or a month alone is its beginning.
        whole += {4: "-01-01", 7: "-01"}.get(len(whole), "")
        try:
            found = datetime.fromisoformat(whole)
        except ValueError:
            found = None
    if found is None or found != found:  # pandas' NaT is a datetime that equals nothing
        raise UsageProblem(f"{what} {value!r} is no moment. Write {what}='2020-01-31' or '2020-01-31T09:30'.")
    return micros(found if found.tzinfo else found.replace(tzinfo=UTC))
