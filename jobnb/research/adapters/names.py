"""Which names other people's strategies take: arguments of functions and classes, class variables of backtesting.py's.

Used at the front door to check, and in the kernel to complete. Pure: it must import neither numpy nor anybody's engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from jobnb.research.adapters.kinds import has_protocol, is_backtesting_strategy

#: What ``backtesting.Backtest`` takes besides data and strategy, in its own words.
BACKTESTING = (
    "cash",
    "spread",
    "commission",
    "margin",
    "trade_on_close",
    "hedging",
    "exclusive_orders",
    "finalize_trades",
)


def arguments(strategy: Callable[..., object]) -> dict[str, bool] | None:
    """Return the names that a function takes beside the data, or a class with the protocol; and whether each is needed.

    Returns
    -------
    dict or None
        None where any name will do, or where that cannot be known.

    Examples
    --------
    >>> arguments(lambda data, fast, slow=30: 0.0)
    {'fast': True, 'slow': False}
    """
    try:
        found = list(inspect.signature(strategy).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return None
    if not has_protocol(strategy):
        # The first one is the data.
        first = next((p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)), None)
        found = [p for p in found if p is not first]
    return {p.name: p.default is p.empty for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def class_variables(strategy: type) -> dict[str, object]:
    """Return the parameters of a ``backtesting.Strategy``, its public class variables but no methods, with values."""
    found: dict[str, object] = {}
    for base in reversed(strategy.__mro__):
        if base is object or base.__module__.split(".")[0] == "backtesting" or base.__module__ in ("abc", "typing"):
            continue
        for name, value in vars(base).items():
            if not name.startswith("_") and not callable(value) and not isinstance(value, property | classmethod):
                found[name] = value
    return found


def offered(strategy: object) -> list[str]:
    """Return the names to complete after a strategy that is not jobnb's own; none where nothing is known."""
    if isinstance(strategy, type) and is_backtesting_strategy(strategy):
        return [*dict.fromkeys([*class_variables(strategy), *BACKTESTING])]
    return list(arguments(strategy) or ()) if callable(strategy) else []
