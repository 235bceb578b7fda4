"""Bring your own backtest: any callable, classes with a protocol, and the strategies of other engines.

The one place that chooses an adapter (`jobnb.research.adapters`). At the front door it checks names, in a child it
runs one combination and reduces what comes back to named numbers. It must not import anybody's engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from jobnb.errors import UsageProblem
from jobnb.research.adapters.kinds import is_backtesting_strategy
from jobnb.research.adapters.outcome import ForeignRun as ForeignRun
from jobnb.research.adapters.outcome import ResultError as ResultError
from jobnb.research.adapters.outcome import numbers_of as numbers_of

if TYPE_CHECKING:
    from jobnb.research.bars import Bars


def is_foreign(strategy: object) -> bool:
    """Say whether this is anything but a `Strategy` class."""
    from jobnb.research.strategy import Strategy

    return not (isinstance(strategy, type) and issubclass(strategy, Strategy))


def name_of(strategy: Callable[..., object]) -> str:
    """Return what cards call it."""
    return str(getattr(strategy, "name", None) or getattr(strategy, "__name__", None) or type(strategy).__name__)


def check(strategy: Callable[..., object], given: Mapping[str, object]) -> None:
    """Refuse names that the strategy does not take, at the front door.

    Parameters
    ----------
    strategy : callable
    given : mapping
        Parameters, and options of its engine, side by side; of a search, the values to try.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest right name.
    UsageProblem
        ``USAGE_ERROR``: something is missing, or means nothing to this engine.
    """
    from jobnb.research.adapters import backtesting_py, functions

    if is_backtesting_strategy(strategy):
        backtesting_py.check(cast(type, strategy), given)
    else:
        functions.check(strategy, given, name_of(strategy))


def terms(strategy: Callable[..., object], params: Mapping[str, object]) -> list[str]:
    """Return what is assumed, in words, for the card."""
    from jobnb.research.adapters import backtesting_py

    if is_backtesting_strategy(strategy):
        return list(backtesting_py.terms(cast(type, strategy), params))
    return ["costs and fills as the strategy itself says"]


def run_foreign(
    strategy: Callable[..., object], bars: Bars, params: Mapping[str, object], objective: str
) -> ForeignRun:
    """Run it once on the prices.

    Parameters
    ----------
    strategy : callable
        ``f(data, **params)`` with a DataFrame (lower-case columns), a class with the protocol, or a subclass of
        ``backtesting.Strategy``. What a function returns may be a number, a mapping of names to numbers, a
        ``vectorbt.Portfolio`` or what ``backtesting.Backtest.run`` gives.
    bars : Bars
    params : mapping
    objective : str
        The name of the number, where only one number is returned.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: no number came back.
    """
    from jobnb.research.adapters import backtesting_py, functions

    if is_backtesting_strategy(strategy):
        return backtesting_py.run(cast(type, strategy), bars, params)
    # A shallow copy: a function that adds a column must not change what the next call gets.
    return functions.run(strategy, bars.frame.copy(deep=False), bars, params, objective)


def check_instance(strategy: object) -> None:
    """Refuse an instance of a class that is itself wanted, which would be called as a function.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``
    """
    from jobnb.research.adapters.kinds import has_protocol

    kind = type(strategy)
    if has_protocol(kind) or is_backtesting_strategy(kind):
        raise UsageProblem(f"give the class {kind.__name__} itself, not an instance, and its parameters beside it.")
