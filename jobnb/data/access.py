"""What people call to get prices: `get`, and what is kept of them: `cached` and `forget`. Run in any process."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobnb import config
from jobnb.data.fetch import Fetcher, described, fill, join, retire, shown
from jobnb.data.interval import Interval, boundary, text
from jobnb.data.origin import DataSource, terms_of
from jobnb.data.origin import source as named
from jobnb.data.series import Series, kept
from jobnb.errors import DataError, UsageProblem

if TYPE_CHECKING:
    import pandas as pd

#: Used where no source is named.
DEFAULT_SOURCE = "yfinance"


def folder(home: str | Path | None = None) -> Path:
    """Return the folder of kept prices of a home; the home in use by default."""
    return config.make_home(Path(home) if home else _home()) / "datasets"


def _home() -> Path:
    from jobnb import manager

    chosen = manager._default
    return config.load(chosen.home if chosen is not None else None).home


def span_of(
    start: object, end: object, interval: Interval, source: DataSource, now: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the span (µs) that is asked for, on whole days, weeks or months, and the part of it that is final.

    Raises
    ------
    UsageProblem
        It is empty or lies in the future.
    """
    if start is None:
        raise UsageProblem("start is missing: say from when prices are wanted, such as start='2015-01-01'.")
    low = interval.floor(boundary(start, "start"))
    present = int(now * 1e6)
    high = present if end is None else interval.ceil(boundary(end, "end"))
    if high <= low:
        raise UsageProblem(f"end {end or 'now'} is not after start {start}.")
    final = min(high, interval.final_until(present, terms_of(source).settles_us))
    return (low, high), (low, max(low, final))


def check_interval(source: DataSource, interval: Interval) -> None:
    """Refuse an interval that the source does not know."""
    known = terms_of(source).intervals
    if known and str(interval) not in known:
        raise UsageProblem(f"source {source.name} has no bars of {interval}. It has: {', '.join(known)}.")


def get(
    symbol: str,
    *,
    start: object,
    end: object = None,
    interval: str = "1d",
    source: str | DataSource | Callable[..., pd.DataFrame] = DEFAULT_SOURCE,
    unfinished: bool = False,
    refresh: bool = False,
) -> pd.DataFrame:
    """Return prices from a source; only what is not kept yet is fetched.

    Parameters
    ----------
    symbol : str
        In the source's own words: ``AAPL``, ``^GSPC``, ``BTC/USDT``.
    start, end : str, date or datetime
        The bars that begin in ``[start, end)``; ``end`` is now by default. Without a zone they are UTC.
    interval : str, default ``1d``
        ``1m``, ``5m``, ``1h``, ``1d``, ``1w``, ``1mo``.
    source : str, DataSource or callable, default ``yfinance``
        See `jobnb.data.source`.
    unfinished : bool, default False
        Also return the bars that are not over, or that the source may still correct. They are never kept.
    refresh : bool, default False
        Fetch everything again.

    Returns
    -------
    pandas.DataFrame
        open, high, low, close, volume over an ascending DatetimeIndex: dates without a zone for days and longer,
        otherwise times in the exchange's zone. ``attrs`` has ``name``, ``fingerprint``, ``source``, ``symbol``,
        ``interval``, ``start`` and ``end``. Bad bars are left as they are: `jobnb.data.check` finds them, and a
        backtest refuses them.

    Raises
    ------
    DataError
        ``DATA_ERROR``: there are no bars, or the answer cannot be used.
    UnknownName, UsageProblem
        The source, the symbol, the interval or the span does not exist.
    SourceBusy
        ``SOURCE_BUSY``: the source asks to wait long.
    MissingPackage
        ``MISSING_PACKAGE``: with the command that installs it.

    Notes
    -----
    Prices are kept as Parquet files in the folder ``datasets`` of jobnb's home, page by page. A file that is damaged is
    fetched again. From a source that adjusts its past for dividends and splits a few known bars are fetched along with
    new ones; where they differ all of it is fetched again, so that two bases never mix.
    """
    from jobnb.data.frame import signed

    made = named(source)
    length = Interval.of(interval)
    check_interval(made, length)
    whole, final = span_of(start, end, length, made, time.time())
    series = Series(folder(), made.name, symbol, length)
    fetcher = Fetcher.of(made, series.root)
    now = time.time()
    parts = [fill(series, fetcher, final, fresh=now if refresh else None)] if final[1] > final[0] else []
    if refresh:
        retire(series, fetcher, final, now)
    if unfinished and whole[1] > final[1]:
        parts.append(fetcher.page(symbol, (final[1], whole[1]), length))
    frame, tz = join(parts)
    if not len(frame):
        hint = "" if final[1] > final[0] or unfinished else " No bar of it is over yet; unfinished=True gives those."
        raise DataError(
            f"{made.name} has no bars of {described(symbol, whole, length)}.{hint or ' Is the symbol right?'}"
        )
    return signed(
        shown(frame, tz), symbol, source=made.name, symbol=symbol, interval=str(length),
        start=text(whole[0], length), end=text(whole[1], length),
    )  # fmt: skip


def sample() -> pd.DataFrame:
    """Return GOOG daily prices, 2004-08-19 to 2008-10-14, from matplotlib's sample data; nothing is downloaded.

    Examples
    --------
    >>> sample().attrs["name"], len(sample())
    ('GOOG', 1047)
    """
    from jobnb.data.frame import signed
    from jobnb.research.sample import goog

    return signed(goog(), "GOOG", source="matplotlib", symbol="GOOG", interval="1d")


def cached(home: str | Path | None = None) -> pd.DataFrame:
    """Return what is kept: one row per source, symbol and interval, with spans, bars, files and bytes.

    Parameters
    ----------
    home : path, optional
        The home in use by default.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for series in kept(folder(home)):
        segments = series.segments()
        if not segments:
            continue
        spans = series.covered(since=0.0)
        size = 0
        for segment in segments:
            with contextlib.suppress(FileNotFoundError):
                size += segment.path.stat().st_size
        rows.append(
            {
                "source": series.source,
                "symbol": series.symbol,
                "interval": str(series.interval),
                "start": text(spans[0][0], series.interval),
                "end": text(spans[-1][1], series.interval),
                "spans": len(spans),
                "bars": sum(s.rows for s in segments),
                "files": len(segments),
                "bytes": size,
            }
        )
    names = ["source", "symbol", "interval", "start", "end", "spans", "bars", "files", "bytes"]
    return pd.DataFrame(rows, columns=names)


def forget(
    symbol: str | None = None, *, source: str | None = None, interval: str | None = None, home: str | Path | None = None
) -> int:
    """Remove kept prices that fit all that is said; return how many series. Without a word: all of them."""
    length = None if interval is None else str(Interval.of(interval))
    gone = 0
    for series in kept(folder(home)):
        if symbol not in (None, series.symbol) or source not in (None, series.source):
            continue
        if length not in (None, str(series.interval)):
            continue
        shutil.rmtree(series.folder, ignore_errors=True)
        gone += 1
    return gone
