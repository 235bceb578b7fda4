"""What a price frame of jobnb looks like: lower-case OHLCV columns over a sorted DatetimeIndex, and its fingerprint.

Pure functions on data frames, used wherever prices come in. They need pandas, and evaluate nothing that they read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jobnb.errors import DataError, did_you_mean
from jobnb.research.bars import Bars
from jobnb.research.checks import PRICES, checked

COLUMNS = (*PRICES, "volume")
#: What the column of time is called in files, most telling first.
_TIMES = ("date", "datetime", "time", "timestamp", "open_time", "open time", "ts", "unnamed: 0", "index", "")
#: Epochs in files: below this many, numbers are seconds, then ms, then µs; above all of them ns. The year 5138.
_EPOCHS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))


def tidy(df: object, name: str, *, tz: str | None = None, adjust: bool = False) -> pd.DataFrame:
    """Return a frame in jobnb's form: columns, index and order mended, values untouched.

    Parameters
    ----------
    df : pandas.DataFrame
        Columns in any capitalisation; the time as index or as a column such as ``Date`` or ``timestamp``.
    name : str
        What errors call it.
    tz : str, optional
        Time zone of the result: times without a zone are taken to be in it, others are converted.
    adjust : bool, default False
        Scale the four prices by ``Adj Close / Close``.

    Returns
    -------
    pandas.DataFrame
        float64 columns open, high, low, close and, if there was one, volume, over an ascending index named ``date``.

    Raises
    ------
    DataError
        ``DATA_ERROR``: a column is missing, the time cannot be read, or one moment has several bars that differ.
    """
    if not isinstance(df, pd.DataFrame):
        raise DataError(f"{name} is a {type(df).__name__}, not a DataFrame with open, high, low and close.")
    if isinstance(df.columns, pd.MultiIndex):
        df = _one_level(df, name)
    by_name: dict[str, Hashable] = {}
    for column in df.columns:
        plain = str(column).strip().lower().replace("_", " ")
        if plain in by_name and plain in (*COLUMNS, "adj close"):
            raise DataError(f"{name} has two columns for {plain}: {by_name[plain]!r} and {column!r}; drop one.")
        by_name.setdefault(plain, column)
    missing = [price for price in PRICES if price not in by_name]
    if missing:
        has = ", ".join(repr(str(c)) for c in list(df.columns)[:8]) or "none"
        hint = next(filter(None, (did_you_mean(m, [str(c) for c in df.columns]) for m in missing)), "")
        raise DataError(f"{name} has no column {', '.join(map(repr, missing))} (it has {has}).{hint}")
    index = _zoned(_times(df, by_name, name), tz, name)
    # Positions, because the frame's own index may have duplicates.
    made = pd.DataFrame(
        {c: _numbers(df[by_name[c]], name) for c in COLUMNS if c in by_name}, index=index.rename("date"), copy=True
    )
    if adjust:
        if "adj close" not in by_name:
            raise DataError(f"{name} has no column 'Adj Close' to adjust by; leave out adjust=True.")
        factor = _numbers(df[by_name["adj close"]], name) / made["close"].to_numpy()
        for price in PRICES:
            made[price] *= factor
    if not made.index.is_monotonic_increasing:
        made = made.sort_index(kind="stable")
    return _without_twins(made, name)


def checked_frame(df: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the frame if a backtest can use it.

    Raises
    ------
    DataError
        ``DATA_ERROR``: NaN, infinite or non-positive prices, high below low, fewer than two bars; says where first.
    """
    checked(df, name)
    return df


def fingerprint(df: pd.DataFrame) -> str:
    """Return the SHA-256 of the bars: times and the five columns, to the last bit.

    It is the name under which a job's data is stored, so that ``job.snapshot["data"]["fingerprint"]`` of a backtest on
    this frame is the same text. Name, zone and other attributes do not count.
    """
    return hashlib.sha256(Bars(_block(df), {}).to_bytes()).hexdigest()


def signed(df: pd.DataFrame, name: str, **about: Any) -> pd.DataFrame:
    """Return the frame with its name, its fingerprint and where it is from in ``attrs``."""
    df.attrs = {"name": name, "fingerprint": fingerprint(df), **{k: v for k, v in about.items() if v is not None}}
    return df


def provenance(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Return what a frame's ``attrs`` say of where it is from, as plain short text for a snapshot."""
    known = ("source", "symbol", "interval", "start", "end", "path", "fingerprint")
    return {k: str(attrs[k])[:300] for k in known if attrs.get(k) is not None}


def _block(df: pd.DataFrame) -> Any:
    values = np.full((6, len(df)), np.nan)
    index = df.index
    assert isinstance(index, pd.DatetimeIndex)
    values[0] = index.as_unit("ns").asi8.view(np.float64)
    for row, column in enumerate(COLUMNS, start=1):
        if column in df:
            values[row] = df[column].to_numpy(dtype=np.float64)
    return values


def _one_level(df: pd.DataFrame, name: str) -> pd.DataFrame:
    """Drop the levels of columns that tell nothing: yfinance puts the symbol beside each price."""
    for level in range(df.columns.nlevels):
        words = {str(w).strip().lower() for w in df.columns.get_level_values(level)}
        others = list(
            zip(*(df.columns.get_level_values(i) for i in range(df.columns.nlevels) if i != level), strict=True)
        )
        if set(PRICES) <= words and len(set(others)) == 1:
            flat = df.copy()
            flat.columns = pd.Index([str(c) for c in df.columns.get_level_values(level)])
            return flat
    raise DataError(
        f"{name} has columns of {df.columns.nlevels} levels with several instruments; choose one: "
        f"{name}.xs('AAPL', level=1, axis=1)"
    )


def _times(df: pd.DataFrame, by_name: Mapping[str, Hashable], name: str) -> pd.DatetimeIndex:
    if isinstance(df.index, pd.DatetimeIndex):
        found = df.index
    else:
        column = next((by_name[t] for t in _TIMES if t in by_name), None)
        raw = pd.Series(df.index) if column is None else df[column].reset_index(drop=True)
        if column is None and isinstance(df.index, pd.RangeIndex):
            raise DataError(
                f"{name} has no column of time (date, datetime, time, timestamp); name one of its columns so: "
                f"{', '.join(repr(str(c)) for c in list(df.columns)[:8])}."
            )
        found = _parsed(raw, name)
    if found.hasnans:
        raise DataError(f"{name} has a bar without a time, in row {int(np.argmax(found.isna()))}; drop it.")
    return found


def _parsed(raw: pd.Series[Any], name: str) -> pd.DatetimeIndex:
    if isinstance(raw.dtype, pd.DatetimeTZDtype) or raw.dtype.kind == "M":
        return pd.DatetimeIndex(raw)
    if raw.dtype.kind in "iuf":
        numbers = raw.to_numpy(dtype=np.float64)
        if len(numbers) and np.isnan(numbers).any():
            raise DataError(f"{name} has a bar without a time, in row {int(np.argmax(np.isnan(numbers)))}; drop it.")
        largest = float(np.max(np.abs(numbers))) if len(numbers) else 0.0
        if 19_000_101 <= largest <= 22_001_231 and bool(np.all(numbers == np.round(numbers))):
            return _from_text(raw.astype(np.int64).astype(str), name, "%Y%m%d")
        unit: Any = next((u for most, u in _EPOCHS if largest < most), "ns")
        whole = raw.astype(np.int64) if raw.dtype.kind in "iu" else raw
        return pd.DatetimeIndex(pd.to_datetime(whole.to_numpy(), unit=unit, utc=True))
    return _from_text(raw.astype(str).str.strip(), name, "ISO8601")


def _from_text(raw: pd.Series[Any], name: str, form: str) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(pd.to_datetime(raw, format=form))
    except ValueError:
        # Mixed offsets (summer and winter time) fit one index in UTC only.
        pass
    try:
        return pd.DatetimeIndex(pd.to_datetime(raw, format=form, utc=True))
    except ValueError:
        bad = pd.to_datetime(raw, format=form, utc=True, errors="coerce").isna()
        row = int(np.argmax(bad.to_numpy())) if bad.any() else 0
        raise DataError(
            f"{name}: the time {raw.iloc[row]!r} in row {row} cannot be read. Write 2020-01-31 or "
            "2020-01-31T09:30:00 (days and months in other orders are ambiguous)."
        ) from None


def _zoned(index: pd.DatetimeIndex, tz: str | None, name: str) -> pd.DatetimeIndex:
    if tz is None:
        return index.as_unit("ns")
    try:
        return (index.tz_localize(tz) if index.tz is None else index.tz_convert(tz)).as_unit("ns")
    except (KeyError, ValueError) as error:
        raise DataError(f"{name}: the times do not fit the zone {tz!r}: {error}") from None


def _numbers(column: pd.Series[Any], name: str) -> Any:
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column.name!r} of {name} holds {column.dtype}, not numbers: {error}.") from None


def _without_twins(df: pd.DataFrame, name: str) -> pd.DataFrame:
    """Drop bars that are there twice and alike; refuse those that differ, because nobody knows which one is right."""
    twins = df.index.duplicated(keep=False)
    if not twins.any():
        return df
    alike = df.reset_index().duplicated(keep="first").to_numpy()
    kept = df[~alike]
    again = kept.index.duplicated(keep=False)
    if again.any():
        count = int(kept.index.duplicated().sum())
        first = kept.index[int(np.argmax(again))]
        values = ", ".join(f"{v:g}" for v in kept[kept.index == first]["close"])
        raise DataError(
            f"{name} has {count:,} moments with several bars that differ, the first at {first} (closes {values}). "
            "Are there several instruments in it? Choose one, or drop the wrong bars."
        )
    return kept
