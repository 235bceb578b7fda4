"""Prices of several instruments as one argument: a mapping, or a frame with an index of two levels.

Front doors call it, before anything is enqueued, to tell several instruments from one and to check each of them. It
must never fill a gap: which bars there are is what the caller's data say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from jobnb.errors import DataError
from jobnb.research.bars import Bars
from jobnb.research.checks import PRICES

if TYPE_CHECKING:
    import pandas as pd

    #: What ``data`` may be.
    Prices: TypeAlias = pd.DataFrame | Bars | Mapping[str, pd.DataFrame | Bars]

#: Longest name of an instrument.
MOST_NAME = 80


def several(data: object) -> bool:
    """Tell whether these are the prices of several instruments.

    A mapping is, however many it holds; so is a frame of which the columns or the rows have two levels, unless they
    name one instrument only (as yfinance gives it for one ticker), which `single` makes an ordinary frame of.
    """
    return isinstance(data, Mapping) or _levels(data) is not None


def single(data: Any, name: str = "data") -> tuple[str, pd.DataFrame] | None:
    """Return name and frame of the one instrument of a frame with two levels; None for anything else."""
    if isinstance(data, Mapping) or _levels(data) is None:
        return None
    found = list(itertools.islice(_frames(data, name), 2))
    return (str(found[0][0]), found[0][1]) if len(found) == 1 else None


def read(data: object, name: str = "data") -> dict[str, Bars]:
    """Return the checked bars of each instrument, in the order of the data.

    Parameters
    ----------
    data : mapping of str to DataFrame or Bars, or DataFrame
        A frame has columns of two levels, (symbol, field) or (field, symbol), or rows of two, (symbol, time) or (time,
        symbol). Rows without any price are no bars of that instrument.
    name : str
        What errors call the data.

    Raises
    ------
    DataError
        ``DATA_ERROR``: there is no instrument, a name is no text, a frame has another shape, or the prices of an
        instrument cannot be used: with its name, and what to do.
    """
    found: dict[str, Any] = {}
    for symbol, frame in _pairs(data, name):
        found[_checked_name(symbol, name)] = frame
    if not found:
        raise DataError(f"{name} is empty: it holds no instrument; give a dict such as {{'AAPL': frame}}")
    made: dict[str, Bars] = {}
    wrong: dict[str, DataError] = {}
    for symbol, frame in found.items():
        try:
            made[symbol] = _bars(frame, symbol, name)
        except DataError as error:
            wrong[symbol] = error
    if wrong:
        first, *others = wrong
        rest = f" ({_counted(others, len(found))})" if others else ""
        raise DataError(f"{wrong[first].message}{rest}")
    _check_zones(made, name)
    return made


def _pairs(data: object, name: str) -> Iterator[tuple[object, object]]:
    if isinstance(data, Mapping):
        yield from data.items()
    else:
        yield from _frames(data, name)


def _checked_name(symbol: object, name: str) -> str:
    if not isinstance(symbol, str):
        raise DataError(
            f"{name} names an instrument {symbol!r}, which is {type(symbol).__name__}; names must be text, such as "
            f"{str(symbol)!r}"
        )
    if not symbol.strip() or len(symbol) > MOST_NAME or not symbol.isprintable():
        raise DataError(
            f"{name} has an instrument {symbol[:MOST_NAME]!r}; a name is printable text, up to {MOST_NAME} characters"
        )
    return symbol


def _bars(frame: object, symbol: str, name: str) -> Bars:
    if isinstance(frame, Bars):
        # Under the name that it has here, without touching the caller's own.
        return frame if frame.name == symbol else Bars(frame.block, {**frame.meta, "name": symbol})
    # So named, what an error tells to type is the caller's own frame.
    made = Bars.from_frame(frame, f"{name}[{symbol!r}]")  # type: ignore[arg-type]  # whatever it is, it is checked
    made.meta["name"] = symbol
    attrs: Mapping[str, Any] = getattr(frame, "attrs", {})
    if attrs.get("fingerprint"):
        from jobnb.data.frame import provenance

        made.meta["origin"] = provenance(attrs)
    return made


def _counted(others: list[str], total: int) -> str:
    named = ", ".join(repr(symbol) for symbol in others[:3]) + (", …" if len(others) > 3 else "")
    return f"and {len(others)} more of the {total} instruments: {named}"


def _check_zones(made: Mapping[str, Bars], name: str) -> None:
    aware = {symbol: bool(bars.meta.get("tz")) for symbol, bars in made.items()}
    if len(set(aware.values())) > 1:
        zoned = next(symbol for symbol, has in aware.items() if has)
        bare = next(symbol for symbol, has in aware.items() if not has)
        raise DataError(
            f"{name}[{zoned!r}] has times with a zone and {name}[{bare!r}] without; they cannot be put on one time: "
            "use tz_localize on the one or tz_localize(None) on the other"
        )


def _levels(data: object) -> str | None:
    """Return which axis of a frame has several levels: ``columns``, ``index`` or both."""
    if not hasattr(data, "columns") or not hasattr(data, "index") or not hasattr(data, "iloc"):
        return None
    named = [axis for axis in ("columns", "index") if getattr(getattr(data, axis), "nlevels", 1) > 1]
    return " and ".join(named) or None


def _frames(data: Any, name: str) -> Iterator[tuple[object, pd.DataFrame]]:
    where = _levels(data)
    if where is None:
        raise DataError(f"{name} must be a dict of data frames, or one frame of two levels, not {type(data).__name__}")
    if where == "columns" and data.columns.nlevels == 2:
        yield from _by_columns(data, name)
    elif where == "index" and data.index.nlevels == 2:
        yield from _by_rows(data, name)
    else:
        sizes = " and ".join(f"{getattr(data, axis).nlevels} levels of {axis}" for axis in where.split(" and "))
        raise DataError(
            f"{name} has {sizes}; several instruments are columns of two levels, (symbol, field), or rows of two, "
            "(symbol, time): drop the others with droplevel, or give a dict of frames"
        )


def _by_columns(data: Any, name: str) -> Iterator[tuple[object, pd.DataFrame]]:
    levels = [{str(value).strip().lower() for value in data.columns.get_level_values(i)} for i in (0, 1)]
    fields = [i for i, found in enumerate(levels) if set(PRICES) <= found]
    if not fields:
        raise DataError(
            f"{name} has columns of two levels, of which none holds open, high, low and close (they begin with "
            f"{data.columns[0]!r}); use (symbol, field) or (field, symbol)"
        )
    symbols = 1 - fields[-1] if len(fields) == 1 else 0
    for symbol in dict.fromkeys(data.columns.get_level_values(symbols)):
        yield symbol, _traded(data.xs(symbol, axis=1, level=symbols))


def _by_rows(data: Any, name: str) -> Iterator[tuple[object, pd.DataFrame]]:
    import pandas as pd

    times = [i for i in (0, 1) if isinstance(data.index.levels[i], pd.DatetimeIndex)]
    if len(times) != 1:
        raise DataError(
            f"{name} has rows of two levels, of which {'none' if not times else 'both'} are times (they begin with "
            f"{data.index[0] if len(data) else '-'!r}); use (symbol, time), the times by pd.to_datetime"
        )
    symbols = 1 - times[0]
    for symbol in dict.fromkeys(data.index.get_level_values(symbols)):
        yield symbol, _traded(data.xs(symbol, level=symbols))


def _traded(frame: Any) -> Any:
    """Return the rows in which there is any price: the others are those of other instruments."""
    prices = [column for column in frame.columns if str(column).strip().lower() in PRICES]
    return frame.dropna(how="all", subset=prices) if prices else frame
