"""What makes a DataFrame usable as price bars, and an exact complaint where it is not.

Front doors call it before anything is enqueued, so that bad data never becomes a job. Needs pandas, which the
caller has loaded anyway.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobnb.errors import DataError, did_you_mean

PRICES = ("open", "high", "low", "close")


def checked(df: object, name: str) -> tuple[npt.NDArray[np.float64], dict[str, object]]:
    """Return the block of values and the meta of `Bars` for a DataFrame.

    Raises
    ------
    DataError
        ``DATA_ERROR``, see `Bars.from_frame`.
    """
    if not isinstance(df, pd.DataFrame):
        raise DataError(
            f"{name} is a {type(df).__name__}, not a DataFrame with open, high, low and close over a DatetimeIndex"
        )
    columns = _columns(df, name)
    index = _index(df, name)
    values = np.full((6, len(df)), np.nan)
    values[0] = index.as_unit("ns").asi8.view(np.float64)
    for row, column in enumerate((*PRICES, "volume"), start=1):
        if column in columns:
            values[row] = _numbers(df[columns[column]], name)
            _check_values(values[row], df, columns[column], name, price=column != "volume")
    _check_range(values, df, name)
    meta: dict[str, object] = {
        "name": name,
        "tz": str(index.tz) if index.tz is not None else None,
        "has_volume": "volume" in columns,
        "index": str(index.name) if index.name is not None else None,
        "bars": len(df),
    }
    return values, meta


def _columns(df: pd.DataFrame, name: str) -> dict[str, object]:
    if isinstance(df.columns, pd.MultiIndex):
        raise DataError(
            f"{name} has columns of {df.columns.nlevels} levels; choose one instrument, or drop a level: "
            f"{name}.droplevel(1, axis=1)"
        )
    found: dict[str, object] = {}
    for column in df.columns:
        plain = str(column).strip().lower()
        if plain in (*PRICES, "volume"):
            if plain in found:
                raise DataError(f"{name} has two columns for {plain}: {found[plain]!r} and {column!r}; drop one")
            found[plain] = column
    missing = [price for price in PRICES if price not in found]
    if missing:
        has = ", ".join(repr(column) for column in list(df.columns)[:8]) or "none"
        hint = next(filter(None, (did_you_mean(m, [str(c) for c in df.columns]) for m in missing)), "")
        raise DataError(
            f"{name} has no column {_listed(missing)} (it has {has}); rename the columns to "
            f"open, high, low and close, in any capitalisation.{hint}"
        )
    return found


def _index(df: pd.DataFrame, name: str) -> pd.DatetimeIndex:
    index = df.index
    if not isinstance(index, pd.DatetimeIndex):
        dates = [
            c
            for c in df.columns
            if isinstance(c, str) and c.strip().lower() in ("date", "datetime", "time", "timestamp")
        ]
        mend = f"set_index(pd.to_datetime({name}[{dates[0]!r}]))" if dates else "set_index(pd.to_datetime(…))"
        raise DataError(f"{name} has a {type(index).__name__}, not a DatetimeIndex; use {name}.{mend}")
    if len(index) < 2:
        raise DataError(f"{name} has {len(index)} bars; a backtest needs at least 2")
    if index.hasnans:
        bad = np.flatnonzero(index.isna())
        raise DataError(
            f"the index of {name} has {_times(len(bad))} NaT, the first in row {bad[0]}; drop {_them(len(bad))}"
        )
    if index.has_duplicates:
        bad = np.flatnonzero(index.duplicated())
        raise DataError(
            f"the index of {name} has {_times(len(bad))} a duplicate, the first at {index[bad[0]]}; "
            f"use {name}[~{name}.index.duplicated()]"
        )
    if not index.is_monotonic_increasing:
        bad = np.flatnonzero(np.diff(index.asi8) < 0) + 1
        raise DataError(
            f"the index of {name} is not sorted: {_times(len(bad))} a bar is earlier than the one before, the first "
            f"at {index[bad[0]]}; use {name}.sort_index()"
        )
    return index


def _numbers(column: pd.Series[float], name: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {column.name!r} of {name} holds {column.dtype}, not numbers ({error}); use pd.to_numeric"
        ) from error


def _check_values(values: npt.NDArray[np.float64], df: pd.DataFrame, column: object, name: str, *, price: bool) -> None:
    missing = np.isnan(values)
    if price:
        _refuse(missing, df, f"column {column!r} of {name}", "NaN", f"fill or drop them: {name}.dropna()")
    _refuse(np.isinf(values), df, f"column {column!r} of {name}", "infinite", "replace or drop them")
    bad = values <= 0 if price else values < 0
    _refuse(bad, df, f"column {column!r} of {name}", "non-positive" if price else "negative", "drop or mend these bars")


def _check_range(values: npt.NDArray[np.float64], df: pd.DataFrame, name: str) -> None:
    # Only what no rounding explains: vendors adjust the four prices one by one.
    wrong = values[2] < values[3] * (1.0 - 1e-6)
    _refuse(wrong, df, name, "inconsistent (high below low)", "drop or mend these bars")


def _refuse(bad: npt.NDArray[np.bool_], df: pd.DataFrame, what: str, how: str, mend: str) -> None:
    count = int(np.count_nonzero(bad))
    if count:
        first = df.index[int(np.argmax(bad))]
        plural = "bar" if count == 1 else "bars"
        raise DataError(f"{what} is {how} in {count:,} {plural}, the first at {first}; {mend}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
