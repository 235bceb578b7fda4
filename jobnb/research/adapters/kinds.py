"""Recognises other people's classes by the names of their modules, so that nothing of theirs is imported to look.

Used at the front door and in children. Pure: it reads ``__mro__`` and nothing else.
"""

from __future__ import annotations


def inherits(kind: object, module: str, name: str) -> bool:
    """Tell whether a class is, or inherits from, the class ``name`` of ``module`` or of a module below it.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> inherits(OrderedDict, "builtins", "dict"), inherits(OrderedDict, "backtesting", "Strategy")
    (True, False)
    """
    if not isinstance(kind, type):
        return False
    return any(
        base.__name__ == name and (base.__module__ == module or base.__module__.startswith(module + "."))
        for base in kind.__mro__
    )


def is_backtesting_strategy(strategy: object) -> bool:
    """Tell whether this is a subclass of ``backtesting.Strategy``."""
    return inherits(strategy, "backtesting", "Strategy")


def is_backtesting_stats(value: object) -> bool:
    """Tell whether this is what ``backtesting.Backtest.run`` returns."""
    return inherits(type(value), "backtesting", "_Stats")


def is_vectorbt_portfolio(value: object) -> bool:
    """Tell whether this is a ``vectorbt.Portfolio``."""
    return inherits(type(value), "vectorbt", "Portfolio")


def has_protocol(strategy: object) -> bool:
    """Tell whether this is a class with ``load_data``, ``backtest`` and ``get_performance_metrics``."""
    names = ("load_data", "backtest", "get_performance_metrics")
    return isinstance(strategy, type) and all(callable(getattr(strategy, name, None)) for name in names)
