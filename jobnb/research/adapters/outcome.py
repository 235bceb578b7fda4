"""What a foreign engine gave: named numbers, and what a researcher wants to look at behind them.

Made in a child, pickled, read at the front door, where the engine need not be installed: it holds plain pandas
objects and nothing of the engine's own classes.
"""

from __future__ import annotations

import html
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.pictured import Pictured
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars


class ResultError(UsageProblem):
    """The function did not return a number, or a mapping of names to numbers."""

    code = "RESULT_ERROR"


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """What one call gave.

    Attributes
    ----------
    metrics : mapping of str to float
    value : object
        What the function or the class's ``backtest`` itself returned.
    equity : pandas.Series, optional
        Money at each bar.
    trades : pandas.DataFrame, optional
    stats : mapping, optional
        What the engine itself says of the run, under its own names.
    terms : tuple of str
        What was assumed, in words.
    plain : bool
        True where ``value`` is the result as it is: a function of the user's own.
    """

    metrics: Mapping[str, float]
    value: object = None
    equity: pd.Series[float] | None = None
    trades: pd.DataFrame | None = None
    stats: Mapping[str, object] | None = None
    terms: tuple[str, ...] = ("metrics by the function itself",)
    plain: bool = False

    def result(self, name: str, params: Mapping[str, object], bars: Bars) -> object:
        """Return what the job's ``result()`` is."""
        if self.plain:
            return self.value
        start, end = bars.span
        return ForeignResult(
            name=name,
            params=dict(params),
            conventions=list(self.terms),
            data={"name": bars.name, "bars": len(bars), "start": start, "end": end},
            numbers=dict(self.metrics),
            value=self.value,
            equity=self.equity,
            trades=self.trades,
            # A result outlives the memory-mapped file.
            close=bars.close.copy() if self.equity is not None and len(self.equity) == len(bars) else None,
            own=dict(self.stats or {}),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignResult(Pictured):
    """The outcome of one backtest by somebody else's engine.

    Every metric with a plain name is an attribute too: ``result.sharpe_ratio``.

    Attributes
    ----------
    name : str
        The strategy.
    params : dict
        Its parameters and what was said of the engine.
    conventions : list of str
        What was assumed, in words.
    data : dict
        ``name``, ``bars``, ``start``, ``end`` of the prices.
    value : object
        What the class's ``backtest()`` returned, where it has one.
    trades : pandas.DataFrame or None
        The trades in the engine's own words.
    """

    name: str
    params: Mapping[str, object]
    conventions: list[str]
    data: Mapping[str, object]
    numbers: Mapping[str, float] = field(repr=False)
    value: object = field(repr=False, default=None)
    equity: pd.Series[float] | None = field(repr=False, default=None)
    trades: pd.DataFrame | None = field(repr=False, default=None)
    close: npt.NDArray[np.float64] | None = field(repr=False, default=None)
    own: Mapping[str, object] = field(repr=False, default_factory=dict)

    def __getattr__(self, name: str) -> float:
        found = self.__dict__.get("numbers", {})
        if name in found:
            return float(found[name])
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in self.numbers if name.isidentifier())})

    def get_performance_metrics(self) -> dict[str, float]:
        """Return all metrics by name: jobnb's as fractions, the engine's own as it gives them."""
        return dict(self.numbers)

    @property
    def metrics(self) -> pd.Series[float]:
        """All metrics as a Series."""
        import pandas as pd

        return pd.Series(self.get_performance_metrics(), name=self.name, dtype=float)

    @property
    def stats(self) -> pd.Series[float]:
        """What the engine itself says of the run, under its own names."""
        import pandas as pd

        return pd.Series(dict(self.own), name=self.name, dtype=object)

    @property
    def equity_curve(self) -> pd.Series[float]:
        """The equity at each bar, in money.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the engine told none.
        """
        if self.equity is None:
            raise UsageProblem(f"{self.name} told no equity; give the class an attribute equity_curve.")
        return self.equity

    @property
    def drawdown(self) -> pd.Series[float]:
        """The equity over its highest value so far, minus 1."""
        equity = self.equity_curve
        return (equity / equity.cummax() - 1.0).rename("drawdown")

    @property
    def hold(self) -> npt.NDArray[np.float64] | None:
        """What the first equity would have become in the asset; None where the equity is not one value for each bar."""
        if self.close is None:
            return None
        return np.asarray(self.equity_curve.iloc[0] * self.close / self.close[0], dtype=np.float64)

    @property
    def title(self) -> str:
        """Strategy, parameters and data in one line."""
        shown = " ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.name} {shown} on {self.data['name']}".replace("  ", " ")

    @property
    def foot(self) -> str:
        """What was run and assumed, in one line."""
        span = f"{self.data['start']} to {self.data['end']}"
        return " · ".join([span, f"{self.data['bars']:,} bars", *self.conventions])

    def __repr__(self) -> str:
        rows = [(name.replace("_", " "), number(name, value)) for name, value in self.numbers.items()]
        wide = max((len(label) for label, _ in rows), default=0)
        tall = max((len(text) for _, text in rows), default=0)
        return "\n".join([self.title, *(f"  {label:<{wide}}  {text:>{tall}}" for label, text in rows), self.foot])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name.replace('_', ' '))}</td>"
            f"<td style='font-variant-numeric:tabular-nums'>{number(name, value)}</td></tr>"
            for name, value in self.numbers.items()
        )
        return (
            f"<table><thead><tr><th colspan='2' style='text-align:left'>{html.escape(self.title)}</th></tr></thead>"
            f"<tbody>{rows}</tbody></table><p>{html.escape(self.foot)}</p>"
        )


def numbers_of(value: object, objective: str, who: str) -> dict[str, float]:
    """Return the numbers in what a function returned, by name.

    Parameters
    ----------
    value : object
        A number, or anything with ``items()`` of names and values; values that are no numbers are left out.
    objective : str
        The name of the number, where only one is returned.
    who : str
        The function's name, for the error.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: no number came back.
    """
    if is_number(value):
        return {objective: float(cast(float, value))}
    items = getattr(value, "items", None)
    if callable(items):
        found = {str(name): float(number) for name, number in items() if is_number(number)}
        if found:
            return found
    raise ResultError(f"{who} returned {type(value).__name__}; return a number, or a dict of metric names to numbers")


def is_number(value: object) -> bool:
    """Tell whether this is one real number, Python's or numpy's."""
    if isinstance(value, numbers.Real):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("b", "i", "u", "f") and getattr(value, "ndim", 1) == 0
