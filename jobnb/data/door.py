"""The front door of extractions: checks what is asked for, and makes the work, the card's words and the plan of it.

Run where the job is submitted. Whatever is wrong is found here, before anything is stored.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jobnb.data import files
from jobnb.data.access import DEFAULT_SOURCE, check_interval, span_of
from jobnb.data.codec import write_atomic
from jobnb.data.extraction import MARK, Extract, ExtractWork, is_file
from jobnb.data.interval import Interval, text
from jobnb.data.origin import CallableSource, DataSource, terms_of
from jobnb.data.origin import source as named
from jobnb.data.parquet import arrow
from jobnb.data.series import slug
from jobnb.data.span import Span, pages
from jobnb.errors import UsageProblem

#: Bars per chunk of a source that gives any number at once.
CHUNK_BARS = 5000
#: Chunks per symbol at most, unless somebody asks for more.
MOST_CHUNKS = 200
#: Symbols that a card lists by name.
_SHOWN = 5


def extract_work(
    symbols: str | Iterable[str],
    *,
    home: Path,
    start: object,
    end: object,
    interval: str,
    source: Any,
    to: Any,
    chunk: int | None,
    refresh: bool,
    overwrite: bool,
    on_error: Literal["fail", "record"],
) -> tuple[ExtractWork, dict[str, Any], dict[str, Any]]:
    """Return the work of an extraction, what the card says of it, and its plan; see `jobnb.extract`.

    Raises
    ------
    UsageProblem, UnknownName, MissingPackage
        Something of it does not exist or makes no sense. Nothing was enqueued.
    """
    listed = list(dict.fromkeys([symbols] if isinstance(symbols, str) else symbols))
    if not listed:
        raise UsageProblem("there is nothing to extract: give one symbol or several.")
    for symbol in listed:
        if not isinstance(symbol, str):
            raise UsageProblem(f"a symbol is a text such as 'AAPL', not {symbol!r}.")
        slug(symbol)
    arrow()
    made = named(DEFAULT_SOURCE if source is None else source)
    length = Interval.of(interval)
    check_interval(made, length)
    now = time.time()
    _, span = span_of(start, end, length, made, now)
    if span[1] <= span[0]:
        raise UsageProblem(f"no bar of {length} since {start} is over yet; there is nothing to extract.")
    work = prepare(
        listed, source=made, interval=length, span=span, to=to, chunk=chunk, root=home / "datasets", now=now,
        refresh=refresh, overwrite=overwrite, on_error=on_error,
    )  # fmt: skip
    extract = work.extract
    bounds = {"start": text(span[0], length), "end": text(span[1], length)}
    what: dict[str, Any] = {
        "source": made.name,
        "symbols": ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""),
        "interval": str(length),
        **bounds,
        "chunks": extract.fetches,
    }
    if extract.to:
        what["to"] = extract.to
    meta = {
        "source": made.name, "symbols": listed, "interval": str(length), **bounds, "chunks": len(extract.chunks),
        "one_file": extract.finishes < len(listed), "to": extract.to, "root": extract.root,
    }  # fmt: skip
    # The generation is a barrier: files are written when all chunks are there.
    return work, what, {"type": "extract", "items": work.count, "generation": extract.fetches, "meta": meta}


def name_of(what: Mapping[str, Any]) -> str:
    """Return the name of an extraction's job."""
    return f"{what['symbols']} {what['interval']} from {what['source']}"[:120]


def chunks_of(span: Span, interval: Interval, source: DataSource, bars: int | None) -> tuple[Span, ...]:
    """Return a span cut into the chunks of an extraction: whole pages of the source, not too many."""
    if bars is None:
        page = terms_of(source).page or CHUNK_BARS
        total = -(-(span[1] - span[0]) // interval.step_us)
        bars = page * max(1, -(-total // (page * MOST_CHUNKS)))
    return tuple(pages(span, interval, bars))


def targets(to: str, symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the files to write: one per symbol in a folder, or the one that is named.

    Examples
    --------
    >>> targets("prices", ["AAPL", "BTC/USDT"])
    ('prices/AAPL.parquet', 'prices/BTC_USDT.parquet')
    """
    if not to:
        return ()
    if is_file(to):
        return (to,)
    names: dict[str, str] = {}
    for symbol in symbols:
        plain = re.sub(r"[^\w.=^-]", "_", symbol).lstrip(".") or "_"
        # Also where capitals do not count, each has a file of its own.
        others = [n for n in names if n == plain.lower() or n.startswith(f"{plain.lower()}~")]
        name = f"{plain}~{len(others) + 1}" if others else plain
        names[name.lower()] = name
    return tuple(f"{to.rstrip('/')}/{name}.parquet" for name in names.values())


def prepare(
    symbols: Sequence[str],
    *,
    source: DataSource,
    interval: Interval,
    span: Span,
    to: str | os.PathLike[str] | None,
    chunk: int | None,
    root: Path,
    now: float,
    refresh: bool,
    overwrite: bool,
    on_error: Literal["fail", "record"],
) -> ExtractWork:
    """Check a request and return its work; see `jobnb.extract`.

    Raises
    ------
    UsageProblem
        The target is no Parquet file or folder, or a file there is not of the same kind.
    """
    where = "" if to is None else os.fspath(to)
    if where and "://" not in where and "::" not in where:
        where = os.path.abspath(os.path.expanduser(where))
    if where.lower().endswith((".csv", ".gz", ".json", ".feather", ".xlsx", ".pkl", ".pickle", ".h5")):
        raise UsageProblem(f"an extraction writes Parquet: to={where!r} has to be a folder or end in .parquet.")
    if chunk is not None and chunk < 1:
        raise UsageProblem(f"chunk must be at least 1 bar, not {chunk!r}.")
    if is_file(where) and os.path.isdir(where):
        raise UsageProblem(f"{where} is a folder; name a file or another folder.")
    if not terms_of(source).cache:
        raise UsageProblem(
            f"the prices of {source.name} are not kept (cache=False): there is nothing to extract. Read them with "
            "jobnb.data.get."
        )
    extract = Extract(
        source=source,
        symbols=tuple(symbols),
        interval=interval,
        span=span,
        chunks=chunks_of(span, interval, source, chunk),
        root=str(root),
        token=_token(root),
        to=where,
        paths=targets(where, symbols),
        asked_at=now,
        refresh=refresh,
        patient=on_error == "fail",
    )
    if not overwrite:
        for i, path in enumerate(extract.paths):
            mine = extract.about(symbols if is_file(where) else [symbols[i]])
            there = files.told(path)
            if there is not None and not _replaces(mine, there):
                whose = f"holds {' '.join(there.values())}" if there else "is not jobnb's"
                raise UsageProblem(f"{path} exists and {whose}; give another name, or overwrite=True.")
    return ExtractWork(extract=extract, on_error=on_error)


def _replaces(mine: Mapping[str, str], there: Mapping[str, str]) -> bool:
    """Tell whether a file may take the place of another: the like of it, with all of its symbols."""
    same = all(mine[k] == there.get(k) for k in ("source", "interval"))
    return same and set(json.loads(there["symbols"])) <= set(json.loads(mine["symbols"]))


def _token(root: Path) -> str:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = root / MARK
    try:
        if found := path.read_text():
            return found
    except FileNotFoundError:
        pass
    made = secrets.token_hex(16)
    write_atomic(path, made.encode())
    # Two front doors may have made one at once: the last one is there to stay.
    return path.read_text()


def code_of(source: DataSource) -> Callable[..., Any] | None:
    """Return the user's function or class behind a source, whose text is kept with the job."""
    if isinstance(source, CallableSource):
        return source.fn
    kind = type(source)
    return None if kind.__module__.startswith("jobnb.") else kind
