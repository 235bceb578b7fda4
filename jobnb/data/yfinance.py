"""Yahoo Finance through the package yfinance, as a source. The package is imported when the source is made.

Used by front doors and children. It must never change yfinance's settings for the rest of the process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobnb.data.interval import Interval, micros, moment
from jobnb.data.origin import Terms
from jobnb.data.span import pages
from jobnb.errors import MissingPackage, SourceBusy, SourceError, UnknownName
from jobnb.limit import RateLimit

if TYPE_CHECKING:
    import pandas as pd

#: What Yahoo calls them.
_WORDS = {"1w": "1wk"}
_INTERVALS = ("1m", "2m", "5m", "15m", "30m", "1h", "90m", "1d", "1w", "1mo", "3mo")
#: One request spans seven days of minutes at most.
_PAGES = {"1m": 7 * 24 * 60}
_LOCK = threading.RLock()


def module() -> Any:
    """Return the package.

    Raises
    ------
    MissingPackage
        ``MISSING_PACKAGE``: it is not installed.
    """
    try:
        import yfinance
    except ImportError as error:
        raise MissingPackage(f"source yfinance needs the package ({error}): pip install 'jobnb[yfinance]'") from error
    return yfinance


@dataclass(frozen=True)
class YFinance:
    """Yahoo Finance.

    Attributes
    ----------
    adjusted : bool, default True
        Prices adjusted for dividends and splits; otherwise for splits only. Both restate the past.
    prepost : bool, default False
        Intraday bars before and after the session, too.
    timeout : float, default 20
        Seconds that one request may take.
    """

    adjusted: bool = True
    prepost: bool = False
    timeout: float = 20.0
    terms: Terms = field(
        default=Terms(
            rate=RateLimit(2, 1.0),
            # Yahoo corrects the last daily bar for some hours after the close.
            settles="6h",
            restates=True,
            intervals=_INTERVALS,
        ),
        init=False,
    )

    def __post_init__(self) -> None:
        module()

    @property
    def name(self) -> str:
        """``yfinance``, and what differs from the defaults."""
        return "yfinance" + ("" if self.adjusted else " unadjusted") + (" prepost" if self.prepost else "")

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        """Return the bars of a span; see `DataSource.fetch`.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: Yahoo does not know the symbol.
        SourceBusy
            ``SOURCE_BUSY``: it says "too many requests", is down, or cannot be reached.
        SourceError
            ``SOURCE_ERROR``: it refuses, such as 1m bars of more than a month ago.
        """
        import pandas as pd

        length = Interval.of(interval)
        spans = pages((micros(start), micros(end)), length, _PAGES.get(interval))
        parts = [self._one(symbol, moment(low), moment(high), length) for low, high in spans]
        found = [part for part in parts if len(part)]
        return pd.concat(found) if found else pd.DataFrame()

    def _one(self, symbol: str, start: datetime, end: datetime, length: Interval) -> Any:
        yf = module()
        # Days are dates of the exchange; moments of the day are in UTC.
        bounds: dict[str, Any] = (
            {"start": start, "end": end}
            if length.intraday
            else {"start": f"{start:%Y-%m-%d}", "end": f"{moment(length.ceil(micros(end))):%Y-%m-%d}"}
        )
        try:
            with _errors_are_raised(yf):
                found = yf.Ticker(symbol).history(
                    interval=_WORDS.get(str(length), str(length)), auto_adjust=self.adjusted, prepost=self.prepost,
                    actions=False, timeout=self.timeout, **bounds,
                )  # fmt: skip
        except Exception as error:
            raised = _translated(yf, symbol, error)
            if raised is None:
                return ()
            raise raised from error
        return () if found is None else found.drop(columns="Adj Close", errors="ignore")


def _translated(yf: Any, symbol: str, error: Exception) -> Exception | None:
    """Return what an error of yfinance means; None for an answer without bars."""
    known = yf.exceptions
    if isinstance(error, known.YFRateLimitError):
        # Yahoo blocks an address for minutes, not for seconds.
        return SourceBusy(f"Yahoo Finance refused {symbol}: {error}", after=120.0)
    if isinstance(error, known.YFTzMissingError):
        return UnknownName(f"Yahoo Finance does not know the symbol {symbol!r} (or it is delisted).")
    if isinstance(error, known.YFPricesMissingError):
        reason = getattr(error, "yahoo_reason", None)
        return SourceError(f"Yahoo Finance refused {symbol}: {reason}") if reason and _refusal(str(reason)) else None
    if isinstance(error, known.YFDataException):
        return SourceBusy(f"Yahoo Finance does not serve {symbol}: {error}")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 404:
        return UnknownName(f"Yahoo Finance does not know the symbol {symbol!r}: {error}")
    if isinstance(status, int) and status < 500:
        return SourceError(f"Yahoo Finance refused {symbol}: {error}")
    if isinstance(error, OSError):
        return SourceBusy(f"Yahoo Finance cannot be reached for {symbol}: {error}")
    return error


def _refusal(reason: str) -> bool:
    """Tell a refusal from "there are no prices in this span"."""
    plain = reason.lower()
    return "no data found" not in plain and "data doesn't exist" not in plain


@contextlib.contextmanager
def _errors_are_raised(yf: Any) -> Iterator[None]:
    """Have yfinance raise what it would otherwise only log and answer with an empty frame."""
    with _LOCK:
        debug = yf.config.debug
        before = debug.hide_exceptions
        debug.hide_exceptions = False
        try:
            yield
        finally:
            debug.hide_exceptions = before
