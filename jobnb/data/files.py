"""Reads prices from CSV and Parquet files, local or anywhere fsspec reaches, and writes them.

Used by front doors and children. Nothing that a file holds is ever executed: pickles are refused, and Parquet is read
column by column.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobnb.data.codec import write_atomic
from jobnb.data.origin import Terms
from jobnb.data.parquet import arrow, file_system
from jobnb.errors import DataError, UsageProblem

if TYPE_CHECKING:
    import pandas as pd

_CSV = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq", ".parq")
_PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
#: They run code when they are read.
_PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".npy", ".npz", ".h5", ".hdf", ".hdf5", ".dill")


def read(
    path: str | os.PathLike[str],
    *,
    symbol: str | None = None,
    name: str | None = None,
    tz: str | None = None,
    adjust: bool = False,
    strict: bool = True,
) -> pd.DataFrame:
    """Read prices from a file.

    Parameters
    ----------
    path : path or str
        ``.csv`` (also ``.csv.gz``, ``.bz2``, ``.xz``, ``.zst``, ``.zip``), ``.parquet``, or a folder of Parquet files;
        any fsspec URL, such as ``s3://bucket/aapl.csv`` or ``https://…``.
    symbol : str, optional
        Of a file with several instruments in a column ``symbol`` or ``ticker``: which one.
    name : str, optional
        What cards call the data; the symbol or the file's name by default.
    tz : str, optional
        Time zone: times without one are taken to be in it, others are converted to it.
    adjust : bool, default False
        Scale the four prices by the column ``Adj Close``.
    strict : bool, default True
        Refuse what a backtest would refuse. With False anything with the four columns comes back, for
        `jobnb.data.check` to look at.

    Returns
    -------
    pandas.DataFrame
        float64 columns open, high, low, close and perhaps volume over an ascending DatetimeIndex named ``date``;
        ``attrs`` has ``name``, ``fingerprint`` (SHA-256 of the bars), ``source`` and ``path``.

    Raises
    ------
    DataError
        ``DATA_ERROR``: what is wrong, in which row, and what to do.
    UsageProblem
        ``USAGE_ERROR``: a file of a kind that is not read.
    MissingPackage
        ``MISSING_PACKAGE``: with the command that installs it.
    FileNotFoundError
        There is no such file.
    """
    from jobnb.data.frame import checked_frame, signed, tidy

    url = os.fspath(path)
    stem, kind = _kind(url)
    raw = _raw(url, kind)
    called = name or symbol or stem
    raw, one = _one_symbol(raw, symbol, called)
    frame = tidy(raw, name or one or called, tz=tz, adjust=adjust)
    called = name or one or called
    if strict:
        checked_frame(frame, called)
    return signed(frame, called, source=kind, symbol=one or symbol, path=_without_secrets(url))


def _kind(url: str) -> tuple[str, str]:
    """Return the name of the file without its endings, and ``csv`` or ``parquet``."""
    base = posixpath.basename(re.sub(r"[?#].*$", "", url).rstrip("/\\").replace("\\", "/")) or url
    stem, ending = os.path.splitext(base)
    if ending.lower() in _PACKED:
        stem, ending = os.path.splitext(stem)
    if ending.lower() in _CSV:
        return stem, "csv"
    if ending.lower() in _PARQUET:
        return stem, "parquet"
    if ending.lower() in _PICKLES:
        raise UsageProblem(
            f"{base} is not read: a file of that kind can run code when it is opened. Write CSV or Parquet: "
            "frame.to_parquet('prices.parquet')."
        )
    if not ending or url.endswith(("/", "\\")) or Path(url).is_dir():
        return base, "parquet"
    raise UsageProblem(f"{base} is neither CSV nor Parquet; the name has to end in .csv, .csv.gz or .parquet.")


def _raw(url: str, kind: str) -> pd.DataFrame:
    import pandas as pd

    if "::" not in url and "://" not in url:
        url = os.path.expanduser(url)
    if kind == "csv":
        packed: Any = _PACKED.get(os.path.splitext(re.sub(r"[?#].*$", "", url))[1].lower())
        content = _content(url)
        try:
            head = pd.read_csv(io.BytesIO(content), sep="\0", header=None, nrows=1, compression=packed).iloc[0, 0]
            mark = max(",;\t|", key=str(head).count)
            return pd.read_csv(io.BytesIO(content), sep=mark, compression=packed, skipinitialspace=True)
        except (ValueError, UnicodeDecodeError, OSError, EOFError) as error:
            raise DataError(f"{_without_secrets(url)} is no CSV file that can be read: {error}.") from error
        except ImportError as error:
            raise DataError(f"{_without_secrets(url)} is packed in a way that cannot be read here: {error}.") from error
    pa = arrow()
    system, path = file_system(url)
    if system.isdir(path):
        parts = sorted(p for p in system.find(path) if _visible(p, path) and p.lower().endswith(_PARQUET))
        if not parts:
            raise FileNotFoundError(f"there is no Parquet file in {_without_secrets(url)}.")
    else:
        parts = [path]
    tables = []
    for part in parts:
        try:
            with system.open(part, "rb") as file:
                tables.append(pa.parquet.read_table(io.BytesIO(file.read())))
        except pa.ArrowException as error:
            raise DataError(f"{posixpath.basename(part)} is no Parquet file that can be read: {error}.") from error
    frames: list[pd.DataFrame] = [table.to_pandas() for table in tables]
    return frames[0] if len(frames) == 1 else pd.concat([_flat(f) for f in frames], ignore_index=True)


def _visible(path: str, folder: str) -> bool:
    return not any(word.startswith((".", "_")) for word in path[len(folder) :].split("/") if word)


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return frame.reset_index() if isinstance(frame.index, pd.DatetimeIndex) else frame


def _content(url: str) -> bytes:
    if "://" not in url and "::" not in url:
        return Path(url).read_bytes()
    system, path = file_system(url)
    with system.open(path, "rb") as file:
        return bytes(file.read())


def _one_symbol(raw: pd.DataFrame, symbol: str | None, name: str) -> tuple[pd.DataFrame, str | None]:
    column = next((c for c in raw.columns if str(c).strip().lower() in ("symbol", "ticker")), None)
    if column is None:
        return raw, None
    there = [str(s) for s in raw[column].unique()]
    if symbol is None and len(there) > 1:
        shown = ", ".join(there[:12]) + (", …" if len(there) > 12 else "")
        raise DataError(f"{name} holds {len(there):,} instruments ({shown}); choose one: symbol={there[0]!r}.")
    wanted = symbol if symbol is not None else there[0] if there else None
    if wanted is not None and wanted not in there:
        from jobnb.errors import unknown

        raise unknown("symbol", wanted, there, **{"in": name})
    return raw[raw[column].astype(str) == wanted].drop(columns=column), wanted


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and query, for messages and snapshots."""
    plain = re.sub(r"://[^/@]*@", "://", url)
    return re.sub(r"[?#].*$", "", plain) if "://" in plain else plain


def parquet_bytes(frame: Any, about: dict[str, str]) -> bytes:
    """Return a frame as the bytes of a Parquet file that pandas, polars and DuckDB read alike."""
    pa = arrow()
    table = pa.Table.from_pandas(frame, preserve_index=True)
    told = {f"jobnb.{k}".encode(): v.encode() for k, v in about.items()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **told})
    file = io.BytesIO()
    pa.parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def write(url: str, content: bytes) -> None:
    """Write a file so that it appears whole: renamed into place on a disk, put at once in an object store."""
    if "://" not in url and "::" not in url:
        target = Path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        # What people asked for has the rights of any file of theirs.
        write_atomic(target, content, 0o666)
        return
    system, path = file_system(url)
    parent = posixpath.dirname(path)
    if parent:
        system.makedirs(parent, exist_ok=True)
    system.pipe_file(path, content)


def told(url: str) -> dict[str, str] | None:
    """Return what jobnb wrote of itself into a Parquet file; None if there is no file, empty if it is another's."""
    if "://" not in url and "::" not in url and not os.path.exists(url):
        return None
    pa = arrow()
    system, path = file_system(url)
    if not system.exists(path):
        return None
    try:
        with system.open(path, "rb") as file:
            said = pa.parquet.read_schema(file).metadata or {}
    except pa.ArrowException:
        return {}
    return {k.decode().removeprefix("jobnb."): v.decode() for k, v in said.items() if k.startswith(b"jobnb.")}


@dataclass(frozen=True)
class Files:
    """A folder of CSV or Parquet files as a source, one file per symbol.

    Attributes
    ----------
    path : str
        With ``{symbol}`` and perhaps ``{interval}`` in it: ``"prices/{symbol}.csv"``, ``"s3://bucket/{symbol}.parquet"``.
    tz : str or None
        See `read`.
    """

    path: str
    tz: str | None = None
    name: str = field(default="", init=False)
    terms: Terms = field(default=Terms(cache=False, tries=2), init=False)

    def __post_init__(self) -> None:
        if "{symbol}" not in self.path:
            raise UsageProblem(f"the path of a source of files needs {{symbol}} in it, not {self.path!r}.")
        _kind(self.path)
        object.__setattr__(self, "name", f"files {_without_secrets(self.path)}"[:100])

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        """Read the symbol's file; the caller takes the span it wants."""
        if not symbol or symbol.startswith(".") or re.search(r"[/\\\0:*?{}\[\]|]", symbol):
            raise UsageProblem(f"symbol {symbol!r} cannot be a part of a file's name.")
        # Never str.format: a path is no place for expressions.
        where = self.path.replace("{symbol}", symbol).replace("{interval}", interval)
        return read(where, symbol=None, name=symbol, tz=self.tz, strict=False)
