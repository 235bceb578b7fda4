"""Bars as bytes of a Parquet file and back, and files that appear whole or not at all.

Pure but for `write_atomic`; used by every process that keeps or reads prices.
"""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import Any

from jobnb.data.parquet import arrow
from jobnb.data.span import Span


def empty() -> Any:
    """Return a frame without bars."""
    import pandas as pd

    from jobnb.data.frame import COLUMNS

    return pd.DataFrame(
        {c: pd.Series(dtype="float64") for c in COLUMNS}, index=pd.DatetimeIndex([], name="date").as_unit("ns")
    )


def within(frame: Any, span: Span) -> Any:
    """Return the bars whose time, as UTC, lies in a span (µs)."""
    at = frame.index.as_unit("ns").asi8
    return frame[(at >= span[0] * 1000) & (at < span[1] * 1000)]


def encode(frame: Any, about: dict[str, str]) -> bytes:
    """Return bars as the bytes of a Parquet file: the time in ns UTC and the prices as float64."""
    pa = arrow()
    from jobnb.data.frame import COLUMNS

    columns = {"time": frame.index.as_unit("ns").asi8}
    columns |= {c: frame[c].to_numpy(dtype="float64") for c in COLUMNS if c in frame}
    table = pa.table(columns).replace_schema_metadata({f"jobnb.{k}": v for k, v in about.items()})
    file = io.BytesIO()
    pa.parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def decode(content: bytes) -> tuple[Any, dict[str, str]]:
    """Return what `encode` wrote: a frame whose times are UTC without a zone, and what was said of it."""
    import pandas as pd

    pa = arrow()
    from jobnb.data.frame import COLUMNS

    # Small files, and a job that forks wants no threads in its process.
    table = pa.parquet.read_table(io.BytesIO(content), use_threads=False)
    said = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    index = pd.DatetimeIndex(table.column("time").to_numpy().view("datetime64[ns]"), name="date")
    columns = {c: table.column(c).to_numpy() for c in COLUMNS if c in table.column_names}
    return (
        pd.DataFrame(columns, index=index),
        {k.removeprefix("jobnb."): v for k, v in said.items() if k.startswith("jobnb.")},
    )


def write_atomic(target: Path, content: bytes, mode: int = 0o600) -> float:
    """Write a file that appears whole or not at all, and outlives a power cut; return when, as its name may be gone.

    Parameters
    ----------
    target : Path
    content : bytes
    mode : int, default 0o600
        The file's rights, less those that the process's umask takes away.
    """
    name = target.parent / f".new-{secrets.token_hex(8)}"
    handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            written = os.fstat(file.fileno()).st_mtime
        os.replace(name, target)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return written
