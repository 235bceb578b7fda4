"""Crypto exchanges through the package ccxt, as a source. The package is imported when the source is made.

Used by front doors and children; only public prices are asked for, and no key is ever needed or taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobnb.data.interval import Interval, micros
from jobnb.data.origin import Terms
from jobnb.errors import MissingPackage, SourceBusy, SourceError, UnknownName, UsageProblem, did_you_mean, unknown

if TYPE_CHECKING:
    import pandas as pd

#: Candles asked for at once; exchanges give fewer when they like to.
PAGE = 1000
#: Calls for one page at most: an exchange that gives very few at once, or the same again, must come to an end.
MOST_CALLS = 200
_COLUMNS = ("time", "open", "high", "low", "close", "volume")


def module() -> Any:
    """Return the package.

    Raises
    ------
    MissingPackage
        ``MISSING_PACKAGE``: it is not installed.
    """
    try:
        import ccxt
    except ImportError as error:
        raise MissingPackage(f"source ccxt needs the package ({error}): pip install 'jobnb[ccxt]'") from error
    return ccxt


@dataclass(frozen=True)
class Ccxt:
    """One exchange.

    Attributes
    ----------
    exchange : str
        Its id in ccxt, such as ``binance`` or ``kraken``.
    timeout : float, default 20
        Seconds that one request may take.
    """

    exchange: str
    timeout: float = 20.0
    #: ccxt keeps the exchange's own rate limit within one process; markets are the same for all pages.
    _client: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __init__(self, exchange: str = "", timeout: float = 20.0) -> None:
        known = module().exchanges
        if not exchange:
            raise UsageProblem("say which exchange: source='ccxt:binance'.")
        if exchange not in known:
            raise unknown("exchange", exchange, known, of="ccxt")
        object.__setattr__(self, "exchange", exchange)
        object.__setattr__(self, "timeout", float(timeout))
        object.__setattr__(self, "_client", [])

    def __reduce__(self) -> tuple[Any, ...]:
        # A client holds sockets; each process makes its own.
        return type(self), (self.exchange, self.timeout)

    @property
    def name(self) -> str:
        """``ccxt:binance``."""
        return f"ccxt:{self.exchange}"

    @property
    def terms(self) -> Terms:
        """Pages of 1,000 bars; candles are final a minute after their end."""
        return Terms(page=PAGE, settles=60.0)

    def client(self) -> Any:
        """Return the exchange's object in ccxt, with the rate limit that ccxt knows of it."""
        if not self._client:
            made = getattr(module(), self.exchange)({"enableRateLimit": True, "timeout": int(1000 * self.timeout)})
            self._client.append(made)
        return self._client[0]

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        """Return the bars of a span, asking as often as the exchange's own page needs; see `DataSource.fetch`.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: the exchange has no such symbol.
        UsageProblem
            ``USAGE_ERROR``: it has no candles, or none of this interval.
        SourceBusy
            ``SOURCE_BUSY``: it says "too many requests", is down, or cannot be reached.
        SourceError
            ``SOURCE_ERROR``: it refuses.
        """
        import pandas as pd

        rows = self._rows(symbol, micros(start) // 1000, -(-micros(end) // 1000), Interval.of(interval))
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        frame.index = pd.to_datetime(frame.pop("time"), unit="ms", utc=True)
        return frame

    def _rows(self, symbol: str, since: int, until: int, interval: Interval) -> list[list[Any]]:
        client = self.client()
        word = str(interval).replace("mo", "M")
        step = interval.step_us // 1000
        try:
            client.load_markets()
            if not client.has.get("fetchOHLCV"):
                raise UsageProblem(f"{self.exchange} gives no candles through ccxt.")
            if client.timeframes and word not in client.timeframes:
                raise UsageProblem(f"{self.exchange} has no bars of {interval}; it has {', '.join(client.timeframes)}.")
            if symbol not in client.markets:
                hint = did_you_mean(symbol, client.markets)
                raise UnknownName(f"{self.exchange} has no symbol {symbol!r}.{hint} Write it like 'BTC/USDT'.")
            found: dict[int, list[Any]] = {}
            at = since
            for _ in range(MOST_CALLS):
                if at >= until:
                    break
                wanted = min(PAGE, -(-(until - at) // step))
                page = client.fetch_ohlcv(symbol, word, since=at, limit=wanted)
                fresh = [row for row in page or () if row and at <= row[0] < until]
                found.update((int(row[0]), list(row[:6])) for row in fresh)
                if fresh:
                    # Not a step further: months are not equally long. An exchange that rounds down repeats one bar.
                    at = max(int(row[0]) for row in fresh) + 1
                elif page:
                    break  # It skips to what it has, and that is beyond the span.
                else:
                    at += wanted * step  # Not listed yet, or closed: look behind the hole.
            return [found[t] for t in sorted(found)]
        except Exception as error:
            raise _translated(module(), self.exchange, symbol, error) from error


def _translated(ccxt: Any, exchange: str, symbol: str, error: Exception) -> Exception:
    """Return what an error of ccxt means."""
    if isinstance(error, (ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
        return SourceBusy(f"{exchange} refused {symbol}: {error}", after=10.0)
    if isinstance(error, ccxt.BadSymbol):
        return UnknownName(f"{exchange} has no symbol {symbol!r}: {error}")
    if isinstance(error, (ccxt.NetworkError, ccxt.OperationFailed)):
        return SourceBusy(f"{exchange} cannot be reached for {symbol}: {error}")
    if isinstance(error, ccxt.BaseError):
        return SourceError(f"{exchange} refused {symbol}: {type(error).__name__}: {error}")
    return error
