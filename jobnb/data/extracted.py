"""What an extraction gave, read back from its finished parts where somebody asks for the result."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobnb.data import files
from jobnb.data.extraction import is_file
from jobnb.data.fetch import shown
from jobnb.data.interval import DAY_US, Interval, boundary, moment
from jobnb.data.series import Series
from jobnb.errors import DataError, unknown

if TYPE_CHECKING:
    import pandas as pd

#: A first bar that is so much later than asked for is told: not listed yet, or the source has no more.
_LATE_US = 10 * DAY_US


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What came of one symbol.

    Attributes
    ----------
    symbol : str
    bars : int
    start, end : str
        Its first and last bar; empty if there is none.
    path : str
        The file that has it; empty if none was wanted.
    fingerprint : str
        SHA-256 of the bars.
    gaps : int
        Gaps that are longer than holidays.
    usable : bool
        Whether a backtest takes the bars.
    report : str
        The text of `jobnb.data.check`.
    """

    symbol: str
    bars: int
    start: str
    end: str
    fingerprint: str
    gaps: int
    usable: bool
    report: str = field(repr=False, default="")
    path: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class ExtractResult:
    """What an extraction gave.

    Attributes
    ----------
    records_processed : int
        Bars of all chunks, whether fetched or kept already.
    fetched, calls : int
        Bars that were fetched, and how often the source was asked.
    symbols : mapping of str to Extracted
        Those that are finished.
    failed : mapping of str to str
        Symbols of which a part failed, and why (only with ``on_error="record"``).
    source, interval, start, end : str
    """

    records_processed: int
    fetched: int
    calls: int
    symbols: Mapping[str, Extracted]
    failed: Mapping[str, str]
    source: str
    interval: str
    start: str
    end: str
    root: str = field(repr=False, default="")

    @property
    def paths(self) -> list[str]:
        """The files that were written."""
        return list(dict.fromkeys(one.path for one in self.symbols.values() if one.path))

    @property
    def gaps(self) -> int:
        """Gaps of all symbols."""
        return sum(one.gaps for one in self.symbols.values())

    def frame(self, symbol: str) -> pd.DataFrame:
        """Return the bars of a symbol, from its file or from what is kept; with its fingerprint in ``attrs``.

        Raises
        ------
        UnknownName
            The symbol is not among the finished ones.
        DataError
            What is there is not what was extracted: somebody changed it since.
        """
        from jobnb.data.frame import signed

        one = self.symbols.get(symbol)
        if one is None:
            raise unknown("symbol", symbol, self.symbols, **{"in": "this extraction"})
        if one.path:
            frame = files.read(one.path, symbol=symbol if is_file(one.path) else None, name=symbol, strict=False)
        else:
            length = Interval.of(self.interval)
            span = boundary(self.start, "start"), boundary(self.end, "end")
            frame = shown(*Series(Path(self.root), self.source, symbol, length).load(span))
        made = signed(
            frame, symbol, source=self.source, symbol=symbol, interval=self.interval, start=self.start, end=self.end,
            path=one.path or None,
        )  # fmt: skip
        if made.attrs["fingerprint"] != one.fingerprint:
            raise DataError(
                f"the bars of {symbol} are not those that were extracted: its file or the kept prices have changed "
                f"since (fingerprint {made.attrs['fingerprint'][:12]}…, it was {one.fingerprint[:12]}…). Extract again."
            )
        return made

    def __str__(self) -> str:
        lines = [
            f"{self.records_processed:,} records of {len(self.symbols)} symbols, {self.interval} from {self.source}, "
            f"{self.start} to {self.end}"
        ]
        for one in self.symbols.values():
            flaws = "" if one.usable else " · NOT usable"
            if one.start[:10] > f"{moment(boundary(self.start, 'start') + _LATE_US):%Y-%m-%d}":
                flaws += f" · only since {one.start[:10]}"
            flaws += f" · {one.gaps:,} gap{'s' * (one.gaps != 1)}" if one.gaps else ""
            lines.append(f"  {one.symbol}: {one.bars:,} bars{flaws}{f' · {one.path}' if one.path else ''}")
        lines += [f"  {symbol}: FAILED {why}" for symbol, why in self.failed.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *lines = str(self).splitlines()
        return f"<div><b>{escape(head)}</b><br>" + "<br>".join(escape(line.strip()) for line in lines) + "</div>"


def load_extraction(meta: Mapping[str, Any], parts: Sequence[bytes]) -> ExtractResult:
    """Return what the finished parts of an extraction make up."""
    values: list[Any] = [value for part in parts for value in pickle.loads(part)]
    told = [v for v in values if isinstance(v, dict)]
    ends = [one for v in told for one in v.get("finished", ())]
    known = ("symbol", "bars", "start", "end", "fingerprint", "gaps", "usable", "report", "path")
    done = {one["symbol"]: Extracted(**{k: one[k] for k in known if k in one}) for one in ends}
    failed: dict[str, str] = {}
    for at, value in enumerate(values):
        if not isinstance(value, dict):
            failed.setdefault(_whose(meta, at), f"{value.type}: {value.error}")
    for value in told:
        for symbol, why in value.get("lost", {}).items():
            failed.setdefault(symbol, why)
    return ExtractResult(
        records_processed=sum(v.get("records", 0) for v in told),
        fetched=sum(v.get("fetched", 0) for v in (*told, *ends)),
        calls=sum(v.get("calls", 0) for v in (*told, *ends)),
        symbols=done,
        failed=failed,
        source=meta["source"],
        interval=meta["interval"],
        start=meta["start"],
        end=meta["end"],
        root=meta["root"],
    )


def _whose(meta: Mapping[str, Any], item: int) -> str:
    symbols, chunks = list(meta["symbols"]), int(meta["chunks"])
    if item < len(symbols) * chunks:
        return str(symbols[item // chunks])
    number = item - len(symbols) * chunks
    return str(symbols[number]) if not meta["one_file"] else str(meta["to"])
