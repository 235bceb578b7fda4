"""Plain functions and classes with the protocol: which names they take, and one call of them.

The checks run at the front door, the calls in a child. It assumes nothing about the engine behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem, unknown
from jobnb.research.adapters import backtesting_py, vectorbt_portfolio
from jobnb.research.adapters.kinds import has_protocol, is_backtesting_stats, is_vectorbt_portfolio
from jobnb.research.adapters.names import arguments
from jobnb.research.adapters.outcome import ForeignRun, numbers_of
from jobnb.research.options import ENGINE_OPTIONS
from jobnb.work import call

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars


def check(strategy: Callable[..., object], given: Mapping[str, object], who: str) -> None:
    """Refuse names that the function or the class does not take, and say which are missing.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest right name.
    UsageProblem
        ``USAGE_ERROR``: a parameter without default is missing.
    """
    known = arguments(strategy)
    if known is None:
        return
    for name in given:
        if name not in known:
            if name in ENGINE_OPTIONS:
                raise UsageProblem(
                    f"{who} takes no {name}: costs and fills are its own affair. Give it an argument of that name, "
                    "or leave it out."
                )
            raise unknown("parameter", name, known, of=who)
    missing = [name for name, needed in known.items() if needed and name not in given]
    if missing:
        raise UsageProblem(f"{who} also needs {', '.join(missing)}.")


def run(
    strategy: Callable[..., object], frame: pd.DataFrame, bars: Bars, params: Mapping[str, object], objective: str
) -> ForeignRun:
    """Call it once.

    Parameters
    ----------
    strategy : callable
        ``f(data, **params)``, or a class with the protocol.
    frame : pandas.DataFrame
        What it is given.
    bars : Bars
        The same prices.
    params : mapping
    objective : str
        The name of the number, where only one number is returned.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: no number came back.
    """
    who = str(getattr(strategy, "name", None) or getattr(strategy, "__name__", None) or type(strategy).__name__)
    if has_protocol(strategy):
        return run_protocol(strategy, frame, params, objective, who)
    value: Any = call(strategy, (frame,), dict(params))
    if is_vectorbt_portfolio(value):
        return vectorbt_portfolio.reduced(value, bars, who, objective)
    if is_backtesting_stats(value):
        said = ("backtesting.py", "costs and fills as the function says", bars.calendar.text)
        return backtesting_py.reduced(value, bars, backtesting_py.capital_of(value), said)
    return ForeignRun(metrics=numbers_of(value, objective, who), value=value, plain=True)


def run_protocol(
    strategy: Callable[..., Any], frame: pd.DataFrame, params: Mapping[str, object], objective: str, who: str
) -> ForeignRun:
    """Load the data into an instance of a class with the protocol, run it, and ask for its metrics.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: there is no number among the metrics.
    """
    import pandas as pd

    made = strategy(**params)
    made.load_data(frame)
    value = made.backtest()
    metrics = numbers_of(made.get_performance_metrics(), objective, who)
    curve = getattr(made, "equity_curve", None)
    equity = None
    if curve is not None:
        equity = curve if isinstance(curve, pd.Series) else pd.Series([float(x) for x in curve])
        if len(equity) == len(frame) and not isinstance(equity.index, pd.DatetimeIndex):
            equity = equity.set_axis(frame.index)
        equity = equity.astype(float).rename("equity")
    return ForeignRun(
        metrics=metrics,
        value=value,
        equity=equity,
        trades=value if isinstance(value, pd.DataFrame) else None,
        terms=("metrics by the class itself",),
    )
