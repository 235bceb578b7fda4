"""The front door of extractions: checks what is asked for, and makes the work, the card's words and the plan of it.

Run where the job is submitted. Whatever is wrong is found here, before anything is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from jobnb.data.access import DEFAULT_SOURCE, check_interval, span_of
from jobnb.data.extraction import ExtractWork, prepare, source_code_of
from jobnb.data.interval import Interval, text
from jobnb.data.origin import source as named
from jobnb.data.parquet import arrow
from jobnb.data.series import slug
from jobnb.errors import UsageProblem

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


def code_of(work: ExtractWork) -> Callable[..., Any] | None:
    """Return the user's function or class behind the source of a work."""
    return source_code_of(work.extract.source)
