"""Price bars: checked once, read-only arrays, memory-mapped in children, with memoised indicators.

Front doors build them from a DataFrame and store the bytes; children open the stored file. They never change,
and what they remember of indicators is bounded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research import indicators
from jobnb.research.memo import Memo
from jobnb.research.metrics import Calendar, calendar

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

#: Rows of the stored file after the index.
COLUMNS = ("open", "high", "low", "close", "volume")

_NS_PER_DAY = 86_400_000_000_000


def _frozen(array: npt.ArrayLike) -> Floats:
    made = np.ascontiguousarray(array, dtype=np.float64)
    if made.flags.writeable:
        made = made.view()
        made.flags.writeable = False
    return made


class Bars:
    """Open, high, low, close and volume over time; read-only.

    Build them with `Bars.from_frame` or `Bars.from_file`. Indicators are computed once per data set and
    arguments. During its warm-up an indicator is NaN, and a comparison with NaN is False: no position.

    Examples
    --------
    >>> from jobnb.research.sample import goog
    >>> bars = Bars.from_frame(goog(), name="GOOG")
    >>> len(bars), int((bars.sma(10) > bars.sma(30)).sum()) > 0
    (1047, True)
    """

    def __init__(self, values: Floats, meta: Mapping[str, object]) -> None:
        # A memmap is an array class of its own, which would cost at every operation.
        block = np.asarray(values)
        self._block = block
        self._time: npt.NDArray[np.int64] = block[0].view(np.int64)
        self._time.flags.writeable = False
        self.open, self.high, self.low, self.close, self.volume = (_frozen(row) for row in block[1:6])
        self.meta: dict[str, object] = dict(meta)
        self._memo = Memo()

    @classmethod
    def from_frame(cls, df: pd.DataFrame, name: str = "data") -> Bars:
        """Check a DataFrame and take its prices.

        Parameters
        ----------
        df : pandas.DataFrame
            Columns open, high, low, close and perhaps volume, in any capitalisation, over a sorted
            DatetimeIndex without duplicates. Other columns are ignored.
        name : str
            What cards and errors call the data.

        Raises
        ------
        DataError
            ``DATA_ERROR``: says what is wrong, where first, how often, and what to do.
        """
        from jobnb.research.checks import checked

        return cls(*checked(df, name))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], meta: Mapping[str, object]) -> Bars:
        """Memory-map what `to_bytes` wrote; ``meta`` is the `meta` of the bars that wrote it."""
        return cls(np.load(path, mmap_mode="r", allow_pickle=False), meta)

    def to_bytes(self) -> bytes:
        """Return the bars as one ``.npy`` file; row 0 is the index, its nanoseconds viewed as float64."""
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(self._block), allow_pickle=False)
        return file.getvalue()

    def cut(self, window: slice) -> Bars:
        """Return the bars of a window, a view with the annualisation of the whole; indicators start afresh there."""
        return Bars.of(self._block[:, window], self)

    @property
    def block(self) -> Floats:
        """All of it as one array: row 0 the index, its nanoseconds viewed as float64, then the columns."""
        return self._block

    @classmethod
    def of(cls, block: Floats, whole: Bars, *, days: Floats | None = None) -> Bars:
        """Return bars of these values that are annualised as the ``whole`` is.

        Parameters
        ----------
        block : array (6, n)
            As `block` has it.
        whole : Bars
        days : array (n,), optional
            Time in days for durations, where it is not that of the index.
        """
        made = cls(block, {**whole.meta, "bars": block.shape[1]})
        made.calendar = whole.calendar
        if days is not None:
            made.days = _frozen(days)
        return made

    def __len__(self) -> int:
        return int(self.close.size)

    def __repr__(self) -> str:
        start, end = self.span
        return f"<Bars {self.name}: {len(self):,} bars, {start} to {end}>"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.to_bytes(), self.meta))

    @property
    def name(self) -> str:
        """What the data is called."""
        return str(self.meta.get("name", "data"))

    @property
    def has_volume(self) -> bool:
        """Whether there was a volume column; if not, `volume` is NaN."""
        return bool(self.meta.get("has_volume", False))

    @property
    def time(self) -> npt.NDArray[np.int64]:
        """Nanoseconds since 1970-01-01, UTC for an index with a time zone."""
        return self._time

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """The DatetimeIndex."""
        import pandas as pd

        index = pd.DatetimeIndex(self._time.view("datetime64[ns]"), name=str(self.meta.get("index") or "date"))
        zone = self.meta.get("tz")
        return index.tz_localize("UTC").tz_convert(str(zone)) if zone else index

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The bars as a DataFrame with lower-case columns; read-only, like the bars."""
        import pandas as pd

        names = COLUMNS if self.has_volume else COLUMNS[:4]
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=self.index, copy=False)

    @cached_property
    def days(self) -> Floats:
        """Time of each bar in days since 1970-01-01, with fractions."""
        return _frozen(self._time / _NS_PER_DAY)

    @cached_property
    def local_day(self) -> npt.NDArray[np.int64]:
        """Day of each bar on the wall clock of the data's time zone, counted from 1970-01-01."""
        zone = self.meta.get("tz")
        return local_days(self._time, str(zone) if zone else None)

    @cached_property
    def day_end(self) -> npt.NDArray[np.int64]:
        """Number of the last bar of the day of each bar."""
        ends = day_ends(self.local_day)
        made = np.repeat(ends, np.diff(np.append(-1, ends))).astype(np.int64)
        made.flags.writeable = False
        return made

    @cached_property
    def day_count(self) -> int:
        """Number of days with bars."""
        return int(np.count_nonzero(np.diff(self.local_day)) + 1)

    @cached_property
    def calendar(self) -> Calendar:
        """How returns on this data are annualised."""
        return calendar(self.local_day[day_ends(self.local_day)])

    @property
    def span(self) -> tuple[str, str]:
        """First and last time in ISO form: dates if all bars are at midnight, else to the second."""
        if self.meta.get("tz"):
            return str(self.index[0].isoformat()), str(self.index[-1].isoformat())
        unit = "D" if not np.any(self._time % _NS_PER_DAY) else "s"
        first, last = self._time[[0, -1]].view("datetime64[ns]").astype(f"datetime64[{unit}]")
        return str(first), str(last)

    # Indicators ----------------------------------------------------------------------------------

    def sma(self, n: int) -> Floats:
        """Simple moving average of the close over ``n`` bars."""
        found = self._memo.at_hand.get(("sma", n))
        return self._memo.one(("sma", n), self._sma, n) if found is None else found

    def ema(self, n: int) -> Floats:
        """Exponential moving average of the close; pandas' ``ewm(span=n, adjust=False, min_periods=n)``."""
        found = self._memo.at_hand.get(("ema", n))
        return self._memo.one(("ema", n), self._ema, n) if found is None else found

    def rsi(self, n: int = 14) -> Floats:
        """Wilder's relative strength index of the close, 0 to 100."""
        return self._memo.one(("rsi", n), lambda: indicators.relative_strength(self.close, indicators.window(n)))

    def atr(self, n: int = 14) -> Floats:
        """Wilder's average true range."""
        return self._memo.one(
            ("atr", n), lambda: indicators.true_range(self.high, self.low, self.close, indicators.window(n))
        )

    def volatility(self, n: int = 20) -> Floats:
        """Standard deviation (ddof 1) of the last ``n`` returns from bar to bar, per year; ``n`` is at least 2."""
        per_year = self.calendar.periods_per_year * len(self) / self.day_count
        return self._memo.one(
            ("volatility", n), lambda: indicators.volatility(self.close, indicators.window(n), per_year)
        )

    def bollinger(self, n: int = 20, k: float = 2.0) -> tuple[Floats, Floats, Floats]:
        """Return Bollinger's bands of the close: middle, upper, lower."""

        def compute() -> tuple[Floats, ...]:
            middle = self.sma(n)
            return (middle, *indicators.bands(self.close, middle, indicators.window(n), k))

        middle, upper, lower = self._memo.many(("bollinger", n, k), compute)
        return middle, upper, lower

    def macd(self, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Floats, Floats, Floats]:
        """Return the MACD line (``ema(fast) - ema(slow)``), its signal line and their difference."""

        def compute() -> tuple[Floats, ...]:
            line = self.ema(fast) - self.ema(slow)
            smooth = indicators.exponential(line, indicators.window(signal))
            return line, smooth, line - smooth

        line, smooth, rest = self._memo.many(("macd", fast, slow, signal), compute)
        return line, smooth, rest

    def highest(self, n: int, shift: int = 0) -> Floats:
        """Highest high of ``n`` bars, the last of them ``shift`` bars ago (0: this one)."""
        return self._memo.one(
            ("highest", n, shift),
            lambda: indicators.extreme(self.high, indicators.window(n), _shift(shift), highest=True),
        )

    def lowest(self, n: int, shift: int = 0) -> Floats:
        """Lowest low of ``n`` bars, the last of them ``shift`` bars ago (0: this one)."""
        return self._memo.one(
            ("lowest", n, shift),
            lambda: indicators.extreme(self.low, indicators.window(n), _shift(shift), highest=False),
        )

    def indicator(self, fn: Callable[..., npt.ArrayLike], *args: object) -> Floats:
        """Return ``fn(*args)`` as one value per bar, computed once for this function and these arguments.

        Parameters
        ----------
        fn : callable
            Any function that returns one number per bar, for example one of TA-Lib. It must depend on its
            arguments only. A lambda without captured variables counts as the same function each time.
        *args : object
            Hashable values, arrays (``bars.close``, another indicator) or the bars themselves.

        Raises
        ------
        UsageProblem
            If an argument cannot be hashed, or the result is not one number per bar.

        Examples
        --------
        >>> import numpy as np
        >>> from jobnb.research.sample import goog
        >>> bars = Bars.from_frame(goog())
        >>> bars.indicator(np.log, bars.close) is bars.indicator(np.log, bars.close)
        True
        """

        def compute() -> Floats:
            made = np.asarray(fn(*args), dtype=np.float64)
            if made.shape != self.close.shape:
                called = getattr(fn, "__name__", repr(fn))
                raise UsageProblem(
                    f"indicator {called} returned the shape {made.shape}, not one number for each of "
                    f"the {len(self):,} bars; fill the warm-up with NaN"
                )
            # A function may return its own argument or keep its result: the memo needs one of its own.
            return made.copy()

        return self._memo.one(("indicator", *self._memo.key(fn, args)), compute, keep=(fn, args))

    def _ema(self, n: int) -> Floats:
        n = indicators.window(n)
        return indicators.exponential(self.close, n, self._memo.room(len(self)))

    def _sma(self, n: int) -> Floats:
        n = indicators.window(n)
        total = self._memo.one(("running_sum",), lambda: indicators.running_sum(self.close))
        return indicators.simple(self.close, total, n, self._memo.room(len(self)))


def local_days(time: npt.NDArray[np.int64], zone: str | None) -> npt.NDArray[np.int64]:
    """Return the day of each time (nanoseconds, UTC) on the wall clock of a zone, counted from 1970-01-01."""
    if zone:
        import pandas as pd

        index = pd.DatetimeIndex(time.view("datetime64[ns]")).tz_localize("UTC").tz_convert(zone)
        time = index.tz_localize(None).as_unit("ns").asi8.astype(np.int64)
    return np.asarray(time // _NS_PER_DAY, dtype=np.int64)


def day_ends(days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of the last bar of each day."""
    return np.flatnonzero(np.append(np.diff(days) != 0, True))


def _shift(shift: int) -> int:
    return shift if shift == 0 else indicators.window(shift, "shift")


def _rebuild(data: bytes, meta: Mapping[str, object]) -> Bars:
    return Bars(np.load(io.BytesIO(data), allow_pickle=False), meta)
