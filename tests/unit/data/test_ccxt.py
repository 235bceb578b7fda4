"""The adapter of ccxt: with a stand-in of the package, and with the package itself over a faked transport."""

from __future__ import annotations

import pickle
import sys
import warnings
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest

import jobnb
from jobnb.data.ccxt import Ccxt
from jobnb.errors import MissingPackage, SourceBusy, SourceError, UnknownName, UsageProblem

HOUR = 3_600_000
BEGIN = 1_577_836_800_000  # 2020-01-01


class BaseError(Exception):
    pass


class ExchangeError(BaseError):
    pass


class BadSymbol(ExchangeError):
    pass


class OperationFailed(BaseError):
    pass


class NetworkError(OperationFailed):
    pass


class RateLimitExceeded(NetworkError):
    pass


class DDoSProtection(NetworkError):
    pass


class Exchange:
    """Hourly candles in pages of at most ``most``, from ``first`` on; hours in ``holes`` had no trade."""

    most = 1000
    first = BEGIN
    holes: frozenset[int] = frozenset()
    rounds_down = False
    timeframes: ClassVar[dict[str, str]] = {"1h": "60", "1d": "D", "1M": "M"}
    has: ClassVar[dict[str, bool]] = {"fetchOHLCV": True}

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.markets = {"BTC/USDT": {}, "ETH/USDT": {}}
        self.asked: list[tuple[int, int]] = []
        self.errors: list[Exception] = []

    def load_markets(self) -> Any:
        return self.markets

    def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int) -> list[list[float]]:
        self.asked.append((since, limit))
        if self.errors:
            raise self.errors.pop(0)
        at = max(since - since % HOUR if self.rounds_down else -(-since // HOUR) * HOUR, self.first)
        rows = []
        while len(rows) < min(limit, self.most) and at < BEGIN + 5000 * HOUR:
            if (at - BEGIN) // HOUR not in self.holes:
                n = (at - BEGIN) / HOUR
                rows.append([at, 100 + n, 101 + n, 99 + n, 100.5 + n, n])
            at += HOUR
        return rows


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = SimpleNamespace(
        exchanges=["coiner", "other"], coiner=type("coiner", (Exchange,), {}), BaseError=BaseError, BadSymbol=BadSymbol,
        NetworkError=NetworkError, OperationFailed=OperationFailed, RateLimitExceeded=RateLimitExceeded,
        DDoSProtection=DDoSProtection,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ccxt", made)
    return made


def get(source: Any, start: str = "2020-01-01", end: str = "2020-02-01", **more: Any) -> pd.DataFrame:
    return jobnb.data.get("BTC/USDT", start=start, end=end, interval="1h", source=source, **more)


@pytest.mark.parametrize("most", [7, 100, 1000])
@pytest.mark.parametrize("rounds_down", [False, True])
def test_pages_of_any_size_make_the_whole(stand: Any, most: int, rounds_down: bool) -> None:
    stand.coiner.most, stand.coiner.rounds_down = most, rounds_down
    source = Ccxt("coiner")
    got = get(source)
    assert len(got) == 31 * 24
    assert str(got.index[0]) == "2020-01-01 00:00:00+00:00"
    assert got["open"].tolist() == [100.0 + n for n in range(31 * 24)]
    # One that rounds down gives one old candle with each page.
    assert len(source.client().asked) <= 31 * 24 // (min(most, 744) - rounds_down) + 2
    assert source.client().said == {"enableRateLimit": True, "timeout": 20_000}


def test_hours_without_a_trade_are_holes_and_not_the_end(stand: Any) -> None:
    stand.coiner.holes = frozenset(range(100, 300))
    got = get(Ccxt("coiner"))
    assert len(got) == 31 * 24 - 200
    assert [g.bars for g in jobnb.data.check(got).gaps] == [200]


def test_before_the_market_was_there(stand: Any) -> None:
    stand.coiner.first = BEGIN + 1000 * HOUR
    source = Ccxt("coiner")
    assert str(get(source, end="2020-03-01").index[0]) == "2020-02-11 16:00:00+00:00"
    # It skips to what it has: one call tells that there is nothing in the span.
    source.client().asked.clear()
    assert source._rows("BTC/USDT", BEGIN, BEGIN + 900 * HOUR, jobnb.data.interval.Interval.of("1h")) == []
    assert len(source.client().asked) == 1


def test_an_exchange_that_never_gets_on_comes_to_an_end(stand: Any) -> None:
    source = Ccxt("coiner")
    client = source.client()
    client.fetch_ohlcv = lambda *_, **__: [[BEGIN, 1.0, 1.0, 1.0, 1.0, 1.0]]
    rows = source._rows("BTC/USDT", BEGIN, BEGIN + 900 * HOUR, jobnb.data.interval.Interval.of("1h"))
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("raised", "meant"),
    [
        (RateLimitExceeded("429"), SourceBusy),
        (DDoSProtection("cloud"), SourceBusy),
        (NetworkError("reset"), SourceBusy),
        (BadSymbol("no"), UnknownName),
        (ExchangeError("halted"), SourceError),
        (KeyError("bug"), KeyError),
    ],
)
def test_errors_are_told_apart(stand: Any, raised: Exception, meant: type[Exception]) -> None:
    source = Ccxt("coiner")
    source.client().errors = [raised]
    with pytest.raises(meant) as caught:
        source._rows("BTC/USDT", BEGIN, BEGIN + HOUR, jobnb.data.interval.Interval.of("1h"))
    if meant is SourceBusy:
        assert caught.value.retryable


def test_names_that_are_not_there(stand: Any) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'coiner'"):
        jobnb.data.source("ccxt:coine")
    with pytest.raises(UsageProblem, match="say which exchange"):
        jobnb.data.source("ccxt")
    with pytest.raises(UnknownName, match="Did you mean 'BTC/USDT'"):
        jobnb.data.get("BTCUSDT", start="2020", end="2021", source="ccxt:coiner")
    with pytest.raises(UsageProblem, match="has no bars of 5m; it has 1h, 1d, 1M"):
        jobnb.data.get("BTC/USDT", start="2020-01-01", end="2020-01-02", interval="5m", source="ccxt:coiner")
    stand.coiner.has = {"fetchOHLCV": False}
    with pytest.raises(UsageProblem, match="gives no candles"):
        get(Ccxt("coiner"), end="2020-01-02")


def test_months_have_a_word_of_their_own(stand: Any) -> None:
    source = Ccxt("coiner")
    words: list[str] = []
    source.client().fetch_ohlcv = lambda symbol, word, since, limit: words.append(word) or []
    with pytest.raises(jobnb.JobnbError):
        jobnb.data.get("BTC/USDT", start="2020", end="2021", interval="1mo", source=source)
    assert set(words) == {"1M"}


def test_it_travels_without_its_client(stand: Any) -> None:
    source = Ccxt("coiner", timeout=3)
    source.client()
    other = pickle.loads(pickle.dumps(source))
    assert other == source
    assert other._client == []
    assert other.name == "ccxt:coiner"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(MissingPackage, match=r"pip install 'jobnb\[ccxt\]'"):
        jobnb.data.source("ccxt:binance")


def test_the_package_over_a_faked_transport() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ccxt = pytest.importorskip("ccxt")
    source = jobnb.data.source("ccxt:binance")
    assert isinstance(source, Ccxt)
    client = source.client()
    client.set_markets(
        [client.safe_market_structure({
            "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot", "spot": True,
            "contract": False, "inverse": None, "linear": None, "option": False, "active": True,
            "precision": {"price": 0.01, "amount": 0.001}, "limits": {},
        })]
    )  # fmt: skip
    asked: list[str] = []

    def fetch(url: str, *_: Any, **__: Any) -> Any:
        asked.append(url)
        said = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
        since, limit = int(said["startTime"]), int(said["limit"])
        at = [-(-since // HOUR) * HOUR + i * HOUR for i in range(min(limit, 500))]
        return [[t, "1.0", "2.0", "0.5", "1.5", "10.0", t + HOUR - 1, "0", 1, "0", "0", "0"] for t in at]

    client.fetch = fetch
    client.enableRateLimit = False
    got = get(source)
    assert len(got) == 31 * 24
    assert got.iloc[0].tolist() == [1.0, 2.0, 0.5, 1.5, 10.0]
    assert all("klines" in url for url in asked)
    client.fetch = lambda *_, **__: (_ for _ in ()).throw(ccxt.RateLimitExceeded("429"))
    with pytest.raises(SourceBusy, match="429"):
        source._rows("BTC/USDT", BEGIN, BEGIN + HOUR, jobnb.data.interval.Interval.of("1h"))


def test_the_package_has_what_is_used_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ccxt = pytest.importorskip("ccxt")
    for name in ("BaseError", "RateLimitExceeded", "DDoSProtection", "BadSymbol", "NetworkError", "OperationFailed"):
        assert issubclass(getattr(ccxt, name), Exception)
    assert {"binance", "kraken", "coinbase"} <= set(ccxt.exchanges)
    client = ccxt.kraken({"enableRateLimit": True, "timeout": 1000})
    assert client.has["fetchOHLCV"]
    assert {"1h", "1d"} <= set(client.timeframes)
