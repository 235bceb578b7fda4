"""What ``weights(self, bars)`` gets: the bars of all instruments on one time, as tables of one column per instrument.

Made in the child that runs a portfolio. It must never show a bar before its time: where an instrument has none, its
last known values stand, and before its first NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.aligned import Aligned
from jobnb.research.bars import Bars

if TYPE_CHECKING:
    import pandas as pd


class Universe(Mapping[str, Bars]):
    """The bars of several instruments.

    ``bars["AAPL"]`` are the `Bars` of one; ``bars.close`` is a DataFrame over all times with one column per instrument.

    Parameters
    ----------
    bars : mapping of str to Bars

    Examples
    --------
    >>> from jobnb.research.sample import gbm
    >>> bars = Universe({"A": Bars.from_frame(gbm(50, seed=1)), "B": Bars.from_frame(gbm(60, seed=2))})
    >>> bars.close.shape, bars.each("sma", 5).shape, len(bars["A"])
    ((60, 2), (60, 2), 50)
    """

    def __init__(self, bars: Mapping[str, Bars]) -> None:
        self.aligned = Aligned(bars)

    def __getitem__(self, symbol: str) -> Bars:
        if symbol not in self.aligned.bars:
            raise unknown("instrument", str(symbol), self.symbols)
        return self.aligned.bars[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instruments."""
        return self.aligned.symbols

    @property
    def index(self) -> pd.DatetimeIndex:
        """All times at which any instrument has a bar."""
        return self.aligned.index

    @cached_property
    def traded(self) -> pd.DataFrame:
        """Where an instrument has a bar."""
        return self._table(self.aligned.traded)

    @cached_property
    def open(self) -> pd.DataFrame:
        """Opens; the last known one where an instrument has no bar."""
        return self.each("open")

    @cached_property
    def high(self) -> pd.DataFrame:
        """Highs; the last known one where an instrument has no bar."""
        return self.each("high")

    @cached_property
    def low(self) -> pd.DataFrame:
        """Lows; the last known one where an instrument has no bar."""
        return self.each("low")

    @cached_property
    def close(self) -> pd.DataFrame:
        """Closes; the last known one where an instrument has no bar."""
        return self._table(self.aligned.close)

    @cached_property
    def volume(self) -> pd.DataFrame:
        """Volumes; the last known one where an instrument has no bar."""
        return self.each("volume")

    def each(self, what: str | Callable[..., npt.ArrayLike], *args: object) -> pd.DataFrame:
        """Return an indicator of each instrument, computed on its own bars, at all times.

        Parameters
        ----------
        what : str or callable
            The name of an indicator or column of `Bars`, or ``f(bars, *args)`` that returns one number per bar.
        *args : object
            Its arguments.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: there is no such indicator, or what came back is not one number per bar.

        Examples
        --------
        >>> from jobnb.research.sample import gbm
        >>> bars = Universe({"A": Bars.from_frame(gbm(50, seed=1))})
        >>> momentum = bars.each(lambda b: b.close / b.sma(20) - 1.0)
        """
        columns = []
        for j, (symbol, bars) in enumerate(self.aligned.bars.items()):
            if isinstance(what, str):
                found = getattr(bars, what, None)
                if found is None or what.startswith("_"):
                    known = [name for name in dir(bars) if not name.startswith("_")]
                    raise unknown("indicator", what, known, of="Bars")
                made = np.asarray(found(*args) if callable(found) else found)
            else:
                made = np.asarray(what(bars, *args))
            if made.shape != bars.close.shape:
                raise UsageProblem(
                    f"{what if isinstance(what, str) else getattr(what, '__name__', what)} of {symbol} has the shape "
                    f"{made.shape}, not one number for each of its {len(bars):,} bars"
                )
            columns.append(self.aligned.spread(made, j))
        return self._table(np.column_stack(columns))

    def _table(self, values: npt.NDArray[np.generic]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(values, index=self.index, columns=list(self.symbols))

    def __repr__(self) -> str:
        start, end = self.aligned.span
        return f"<Universe of {len(self)} instruments: {len(self.aligned):,} times, {start} to {end}>"
