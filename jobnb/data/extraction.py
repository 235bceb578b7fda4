"""Extraction jobs: prices of many symbols, fetched chunk by chunk into the kept series, then written to Parquet.

The front door makes an `ExtractWork`; children run it. The items of a job are all its chunks and, behind a barrier, one
finish per file. A chunk is durable before it counts as done, so that a killed job goes on where it was.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobnb.data import files
from jobnb.data.fetch import Fetcher, fill, retire, shown
from jobnb.data.interval import Interval, text
from jobnb.data.origin import DataSource
from jobnb.data.series import Series
from jobnb.data.span import Span
from jobnb.errors import DataError, SourceBusy, UsageProblem
from jobnb.retry import RetryLater
from jobnb.work import MapWork, Part, Report

MARK = ".token"


@dataclass(frozen=True, kw_only=True)
class Extract:
    """What every item of an extraction needs to know.

    Attributes
    ----------
    source : DataSource
    symbols : tuple of str
    interval : Interval
    span : (int, int)
        µs; nothing in it is later than what was final when the job was submitted.
    chunks : tuple of spans
        The same for each symbol.
    root, token : str
        The folder of kept prices, and what a file in it says: a worker that does not see that is on another disk.
    to : str
        A folder, a ``.parquet`` file, or empty.
    paths : tuple of str
        One file per symbol, or one for all of them; empty if none is wanted.
    asked_at : float
        Seconds since 1970.
    refresh : bool
        Whether only what was fetched since then counts as kept.
    """

    source: DataSource
    symbols: tuple[str, ...]
    interval: Interval
    span: Span
    chunks: tuple[Span, ...]
    root: str
    token: str
    to: str = ""
    paths: tuple[str, ...] = ()
    asked_at: float = 0.0
    refresh: bool = False
    patient: bool = False

    @property
    def fetches(self) -> int:
        """How many items fetch; those after them finish a file each."""
        return len(self.symbols) * len(self.chunks)

    @property
    def finishes(self) -> int:
        """How many items finish."""
        return 1 if len(self.paths) == 1 else len(self.symbols)

    def __call__(self, item: int) -> dict[str, Any]:
        """Do one item; return what is to be told of it."""
        try:
            return self._chunk(item) if item < self.fetches else self._finish(item - self.fetches)
        except SourceBusy as error:
            if self.patient:
                raise
            # What is recorded as failed would never be tried again.
            raise RetryLater(str(error), after=error.retry_after) from error

    def _series(self, symbol: str) -> tuple[Series, Fetcher]:
        root = Path(self.root)
        try:
            here = (root / MARK).read_text()
        except OSError:
            here = ""
        if here != self.token:
            raise UsageProblem(
                f"this worker does not see the folder {root} of the machine that submitted the job. Extract on the "
                "local cluster, or set JOBNB_HOME to a folder that all workers share."
            )
        return Series(root, self.source.name, symbol, self.interval), Fetcher.of(self.source, root)

    def _fill(self, series: Series, fetcher: Fetcher, span: Span) -> tuple[Any, str | None]:
        fresh = self.asked_at if self.refresh else None
        return fill(series, fetcher, span, since=self.asked_at, fresh=fresh)

    def _chunk(self, item: int) -> dict[str, Any]:
        symbol = self.symbols[item // len(self.chunks)]
        span = self.chunks[item % len(self.chunks)]
        _say(f"{symbol} {text(span[0], self.interval)}")
        series, fetcher = self._series(symbol)
        frame, _ = self._fill(series, fetcher, span)
        return {"symbol": symbol, "records": len(frame), "fetched": fetcher.bars, "calls": fetcher.calls}

    def _finish(self, number: int) -> dict[str, Any]:
        symbols = self.symbols if self.finishes == 1 else (self.symbols[number],)
        _say("writing" if self.paths else "checking")
        told, frames, lost = [], [], dict[str, str]()
        for symbol in symbols:
            try:
                one, frame = self._finished(symbol)
            except Exception as error:
                if self.patient or len(symbols) == 1 or isinstance(error, RetryLater | SourceBusy):
                    raise
                # Its chunks are recorded as failed already; the others have their file all the same.
                lost[symbol] = f"{type(error).__name__}: {error}"
                continue
            told.append(one)
            frames.append(frame)
        if not told:
            raise DataError(f"no symbol could be finished: {'; '.join(f'{k}: {v}' for k, v in lost.items())}")
        symbols = tuple(one["symbol"] for one in told)
        if self.paths:
            path = self.paths[number]
            whole = frames[0] if not is_file(self.to) else _stacked(symbols, frames)
            files.write(path, files.parquet_bytes(whole, self.about(symbols)))
            told = [{**one, "path": path} for one in told]
        return {"finished": told, "lost": lost}

    def _finished(self, symbol: str) -> tuple[dict[str, Any], Any]:
        from jobnb.data.frame import fingerprint
        from jobnb.data.quality import check

        series, fetcher = self._series(symbol)
        found, tz = self._fill(series, fetcher, self.span)
        if self.refresh:
            retire(series, fetcher, self.span, self.asked_at)
        frame = shown(found, tz)
        report = check(frame, interval=str(self.interval), name=symbol)
        return {
            "symbol": symbol,
            "bars": len(frame),
            "start": str(frame.index[0]) if len(frame) else "",
            "end": str(frame.index[-1]) if len(frame) else "",
            "fingerprint": fingerprint(frame),
            "gaps": len(report.real_gaps),
            "usable": report.ok,
            "report": report.text,
            "fetched": fetcher.bars,
            "calls": fetcher.calls,
        }, frame

    def about(self, symbols: Sequence[str]) -> dict[str, str]:
        """Return what a file says of itself, so that it may be written again by the like and by nobody else."""
        return {
            "source": self.source.name,
            "interval": str(self.interval),
            "symbols": json.dumps(sorted(symbols), ensure_ascii=False),
        }


@dataclass(frozen=True, kw_only=True)
class ExtractWork:
    """The items of an extraction: its chunks, then its files."""

    extract: Extract
    on_error: Literal["fail", "record"] = "fail"

    @property
    def count(self) -> int:
        """How many items there are."""
        return self.extract.fetches + self.extract.finishes

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Do the items of the span; the summary counts records."""
        part = MapWork(fn=self.extract, items=range(self.count), on_error=self.on_error).run(
            start, stop, budget, report
        )
        values = pickle.loads(part.result)
        told = [v for v in values if isinstance(v, dict)]
        ends = [one for v in told for one in v.get("finished", ())]
        summary = {
            "records": sum(v.get("records", 0) for v in told),
            "fetched": sum(v.get("fetched", 0) for v in (*told, *ends)),
            "calls": sum(v.get("calls", 0) for v in (*told, *ends)),
            "gaps": sum(v["gaps"] for v in ends),
            "unusable": sum(not v["usable"] for v in ends),
            "finished": len(ends),
        }
        return Part(stop=part.stop, result=part.result, failed=part.failed, summary=summary)


def _say(message: str) -> None:
    from jobnb.worker.context import progress

    progress(0, None, message)


def is_file(to: str) -> bool:
    """Tell whether a target is one file, not a folder of them."""
    return to.lower().endswith((".parquet", ".pq"))


def _stacked(symbols: Sequence[str], frames: Sequence[Any]) -> Any:
    import pandas as pd

    parts = [frame.reset_index().assign(symbol=symbol) for symbol, frame in zip(symbols, frames, strict=True)]
    zones = {str(part["date"].dt.tz) for part in parts if len(part)}
    if len(zones) > 1:
        # One column has one zone.
        parts = [part.assign(date=part["date"].dt.tz_convert("UTC")) for part in parts]
    whole = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return whole[["symbol", *(c for c in whole.columns if c != "symbol")]]
