"""Bring your own backtest: plain callables, and classes with load_data / backtest / get_performance_metrics.

Runs in a child, one call per combination; what it returns is reduced to named numbers. It must not assume
anything about the engine behind.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobnb.errors import UsageProblem
from jobnb.work import call

if TYPE_CHECKING:
    from jobnb.research.bars import Bars


class ResultError(UsageProblem):
    """The function did not return a number, or a mapping of names to numbers."""

    code = "RESULT_ERROR"


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """What one call gave: named numbers, the value itself, and the equity if there was one."""

    metrics: Mapping[str, float]
    value: object
    equity: list[float] | None = None


def is_foreign(strategy: object) -> bool:
    """Say whether this is anything but a `Strategy` class."""
    from jobnb.research.strategy import Strategy

    return not (isinstance(strategy, type) and issubclass(strategy, Strategy))


def name_of(strategy: Callable[..., object]) -> str:
    """Return what cards call it."""
    return str(getattr(strategy, "name", None) or getattr(strategy, "__name__", None) or type(strategy).__name__)


def run_foreign(
    strategy: Callable[..., object], bars: Bars, params: Mapping[str, object], objective: str
) -> ForeignRun:
    """Call it once on the prices.

    Parameters
    ----------
    strategy : callable
        ``f(data, **params)`` with a DataFrame (lower-case columns), or a class with the protocol.
    bars : Bars
    params : mapping
    objective : str
        The name of the number, where only one number is returned.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: no number came back.
    """
    # A shallow copy: a function that adds a column must not change what the next call gets.
    frame = bars.frame.copy(deep=False)
    if isinstance(strategy, type) and all(
        callable(getattr(strategy, name, None)) for name in ("load_data", "backtest", "get_performance_metrics")
    ):
        made = strategy(**params)
        made.load_data(frame)
        value = made.backtest()
        metrics = numbers_of(made.get_performance_metrics(), objective, name_of(strategy))
        curve = getattr(made, "equity_curve", None)
        equity = None if curve is None else [float(x) for x in curve]
        return ForeignRun(metrics=metrics, value=value, equity=equity)
    value = call(strategy, (frame,), dict(params))
    return ForeignRun(metrics=numbers_of(value, objective, name_of(strategy)), value=value)


def numbers_of(value: object, objective: str, who: str) -> dict[str, float]:
    """Return the numbers in what a function returned, by name."""
    if _is_number(value):
        return {objective: float(value)}  # type: ignore[arg-type]
    items = getattr(value, "items", None)
    if callable(items):
        found = {str(name): float(number) for name, number in items() if _is_number(number)}
        if found:
            return found
    raise ResultError(f"{who} returned {type(value).__name__}; return a number, or a dict of metric names to numbers")


def _is_number(value: object) -> bool:
    if isinstance(value, numbers.Real):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("b", "i", "u", "f") and getattr(value, "ndim", 1) == 0
