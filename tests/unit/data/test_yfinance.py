"""The adapter of yfinance: with a stand-in of the package, and with the package itself over a faked transport."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from price_kit import bars

import jobnb
from jobnb.data.yfinance import YFinance
from jobnb.errors import MissingPackage, SourceBusy, SourceError, UnknownName, UsageProblem

START, END = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 10, tzinfo=UTC)


class YFException(Exception):
    pass


class YFDataException(YFException):
    pass


class YFRateLimitError(YFException):
    pass


class YFTickerMissingError(YFException):
    pass


class YFTzMissingError(YFTickerMissingError):
    pass


class YFPricesMissingError(YFTickerMissingError):
    def __init__(self, yahoo_reason: str | None = None) -> None:
        super().__init__(yahoo_reason or "no price data found")
        self.yahoo_reason = yahoo_reason


class Stand:
    """Stands in for the package: remembers what `Ticker.history` was asked, gives or raises what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []
        self.hidden: list[bool] = []
        self.config = SimpleNamespace(debug=SimpleNamespace(hide_exceptions=True))
        self.exceptions = SimpleNamespace(
            YFDataException=YFDataException, YFRateLimitError=YFRateLimitError, YFTzMissingError=YFTzMissingError,
            YFPricesMissingError=YFPricesMissingError,
        )  # fmt: skip

    def Ticker(self, symbol: str) -> Any:
        def history(**said: Any) -> Any:
            self.asked.append((symbol, said))
            self.hidden.append(self.config.debug.hide_exceptions)
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return SimpleNamespace(history=history)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    made = Stand()
    monkeypatch.setitem(sys.modules, "yfinance", made)
    return made


def yahoo(start: str, count: int, freq: str = "D") -> pd.DataFrame:
    """Return what yfinance gives: capitals, the exchange's zone, whole volumes."""
    frame = bars(start, count, freq, tz="America/New_York")
    frame.columns = [c.capitalize() for c in frame]
    return frame.astype({"Volume": "int64"}).rename_axis("Date")


def test_days_are_asked_for_by_date_and_come_as_dates(stand: Stand) -> None:
    stand.answers = [yahoo("2024-01-02", 8)]
    got = jobnb.data.get("AAPL", start="2024-01-02", end="2024-01-10")
    assert stand.asked == [
        (
            "AAPL",
            {
                "start": "2024-01-02", "end": "2024-01-10", "interval": "1d", "auto_adjust": True, "prepost": False,
                "actions": False, "timeout": 20.0,
            },
        )
    ]  # fmt: skip
    assert got.index.tz is None
    assert [str(t.date()) for t in got.index[[0, -1]]] == ["2024-01-02", "2024-01-09"]
    assert got.attrs["source"] == "yfinance"


def test_times_of_day_keep_the_zone_of_the_exchange(stand: Stand) -> None:
    stand.answers = [yahoo("2024-01-02 09:30", 7, "h")]
    got = jobnb.data.get("AAPL", start="2024-01-02", end="2024-01-03", interval="1h")
    assert str(got.index[0]) == "2024-01-02 09:30:00-05:00"
    assert stand.asked[0][1]["start"] == START


def test_words_for_weeks_and_months(stand: Stand) -> None:
    stand.answers = [yahoo("2024-01-01", 2, "7D"), yahoo("2024-01-01", 2, "MS")]
    source = YFinance()
    source.fetch("AAPL", START, END, "1w")
    source.fetch("AAPL", START, END, "1mo")
    assert [said["interval"] for _, said in stand.asked] == ["1wk", "1mo"]
    assert stand.asked[1][1]["end"] == "2024-02-01"


def test_minutes_are_asked_for_a_week_at_a_time(stand: Stand) -> None:
    stand.answers = [yahoo(f"2024-01-{d:02d} 10:00", 3, "min") for d in (2, 9)] + [yahoo("2024-01-02", 0)]
    got = YFinance().fetch("AAPL", START, datetime(2024, 1, 17, tzinfo=UTC), "1m")
    assert len(got) == 6
    assert [(said["end"] - said["start"]).days for _, said in stand.asked] == [7, 7, 1]


def answered(status: int) -> OSError:
    error = OSError(f"HTTP Error {status}")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("raised", "meant", "text"),
    [
        (YFRateLimitError("Too Many Requests"), SourceBusy, "Too Many Requests"),
        (YFDataException("*** YAHOO! FINANCE IS CURRENTLY DOWN! ***"), SourceBusy, "does not serve"),
        (ConnectionError("curl: (6) Could not resolve host"), SourceBusy, "cannot be reached"),
        (YFTzMissingError("$AAPX: possibly delisted; no timezone found"), UnknownName, "does not know the symbol"),
        (
            YFPricesMissingError("1m data not available for startTime=1 and endTime=2. Only 8 days worth"),
            SourceError,
            "1m data not available",
        ),
        (answered(404), UnknownName, "does not know the symbol"),
        (answered(401), SourceError, "401"),
        (answered(503), SourceBusy, "503"),
        (ValueError("other"), ValueError, "other"),
    ],
)
def test_errors_are_told_apart(stand: Stand, raised: Exception, meant: type[Exception], text: str) -> None:
    stand.answers = [raised]
    with pytest.raises(meant, match=text.replace("(", r"\(").replace("*", r"\*")):
        YFinance().fetch("AAPX", START, END, "1d")
    assert stand.hidden == [False]
    assert stand.config.debug.hide_exceptions is True


def test_a_refusal_for_too_many_requests_puts_a_job_off(stand: Stand) -> None:
    stand.answers = [YFRateLimitError("Too Many Requests")]
    with pytest.raises(SourceBusy) as caught:
        jobnb.data.get("AAPL", start="2024-01-02", end="2024-01-10")
    assert caught.value.retry_after == 120.0
    assert len(stand.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        pd.DataFrame(),
        YFPricesMissingError(),
        YFPricesMissingError("No data found, symbol may be delisted"),
        YFPricesMissingError("Data doesn't exist for startDate = 1, endDate = 2"),
    ],
)
def test_no_bars_is_an_answer(stand: Stand, answer: Any) -> None:
    stand.answers = [answer]
    assert len(YFinance().fetch("AAPL", START, END, "1d")) == 0


def test_settings_are_part_of_the_name(stand: Stand) -> None:
    assert jobnb.data.source("yfinance", adjusted=False).name == "yfinance unadjusted"
    frame = yahoo("2024-01-02", 3).assign(**{"Adj Close": 1.0})
    stand.answers = [frame]
    assert "Adj Close" not in YFinance(adjusted=False).fetch("AAPL", START, END, "1d")
    assert stand.asked[0][1]["auto_adjust"] is False
    with pytest.raises(UsageProblem, match="has no bars of 4h"):
        jobnb.data.get("AAPL", start="2024", end="2025", interval="4h")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(MissingPackage, match=r"pip install 'jobnb\[yfinance\]'"):
        jobnb.data.source("yfinance")


# The package itself


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yfinance = pytest.importorskip("yfinance")
    HTTPError = pytest.importorskip("curl_cffi.requests.exceptions").HTTPError
    yfinance.set_tz_cache_location(str(tmp_path / "cache"))

    def serve(answer: dict[str, Any]) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def get(self: Any, url: str, params: Any = None, **_: Any) -> Any:
            asked.append({"url": url, **(params or {})})
            missing = answer["chart"]["result"] is None

            def raise_for_status() -> None:
                if missing:
                    raise HTTPError("HTTP Error 404: ", 0, SimpleNamespace(status_code=404, text=""))

            return SimpleNamespace(
                text=json.dumps(answer), json=lambda: answer, status_code=404 if missing else 200,
                raise_for_status=raise_for_status,
            )  # fmt: skip

        for name in ("get", "cache_get"):
            monkeypatch.setattr(yfinance.data.YfData, name, get)
        return asked

    return serve


def chart(days: pd.DatetimeIndex) -> dict[str, Any]:
    at = [int(t.timestamp()) for t in days]
    n = len(at)
    quote = {
        "open": [10.0 + i for i in range(n)], "high": [12.0 + i for i in range(n)], "low": [9.0 + i for i in range(n)],
        "close": [11.0 + i for i in range(n)], "volume": [1000 + i for i in range(n)],
    }  # fmt: skip
    meta = {
        "currency": "USD", "symbol": "AAPL", "instrumentType": "EQUITY", "exchangeTimezoneName": "America/New_York",
        "timezone": "EST", "gmtoffset": -18000, "validRanges": ["1d", "max"], "priceHint": 2,
        "regularMarketTime": at[-1], "firstTradeDate": 345479400, "dataGranularity": "1d", "range": "",
    }  # fmt: skip
    adjusted = [{"adjclose": [c / 2 for c in quote["close"]]}]
    result = {"meta": meta, "timestamp": at, "indicators": {"quote": [quote], "adjclose": adjusted}}
    return {"chart": {"result": [result], "error": None}}


def test_the_package_over_a_faked_transport(real: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    days = pd.date_range("2024-01-02 09:30", periods=4, freq="B", tz="America/New_York")
    asked = real(chart(days))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = jobnb.data.get("AAPL", start="2024-01-02", end="2024-01-06")
    assert [str(t.date()) for t in got.index] == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    assert got["close"].tolist() == [5.5, 6.0, 6.5, 7.0]
    assert list(got.columns) == ["open", "high", "low", "close", "volume"]
    assert any("chart/AAPL" in each["url"] and each.get("interval") == "1d" for each in asked)


def test_the_package_on_a_symbol_that_is_not_there(real: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    real({"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnknownName, match="does not know the symbol 'NOPE'"):
            YFinance().fetch("NOPE", START, END, "1d")


def test_the_package_has_what_is_used_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yfinance = pytest.importorskip("yfinance")
        from yfinance.scrapers.history import PriceHistory
    known = set(inspect.signature(PriceHistory.history).parameters)
    assert {"interval", "start", "end", "prepost", "actions", "auto_adjust", "timeout"} <= known
    assert yfinance.config.debug.hide_exceptions is True
    for name in ("YFRateLimitError", "YFTzMissingError", "YFPricesMissingError", "YFDataException"):
        assert issubclass(getattr(yfinance.exceptions, name), Exception)
    missing = yfinance.exceptions.YFPricesMissingError("AAPL", "", yahoo_reason="why")
    assert missing.yahoo_reason == "why"
