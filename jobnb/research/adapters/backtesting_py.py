"""``backtesting.Strategy`` subclasses: which names they take, one run of them, and their numbers under jobnb's names.

The checks run at the front door, the runs in a child, by ``Backtest(...).run(...)`` of the user's own installation of
backtesting.py. Nothing of it is copied, and it is imported only where a class of it is to be run.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jobnb.errors import UsageProblem, unknown
from jobnb.research.adapters import measures
from jobnb.research.adapters.names import BACKTESTING, class_variables
from jobnb.research.adapters.outcome import ForeignRun, is_number
from jobnb.research.options import CONVENTIONS, ENGINE_OPTIONS, EngineOptions

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars

#: jobnb's engine options that it has an equal of, and what it calls them.
SAME = {"initial_capital": "cash", "commission": "commission", "slippage": "spread", "conventions": "trade_on_close"}


def check(strategy: type, given: Mapping[str, object]) -> None:
    """Refuse what neither the strategy nor the engine knows.

    Parameters
    ----------
    strategy : type
    given : mapping
        Names and values; of a search, the values are those to try.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest right name.
    UsageProblem
        ``USAGE_ERROR``: an option that backtesting.py has no equal of, or one thing said twice.
    """
    own = class_variables(strategy)
    for name in given:
        if name in own or name in BACKTESTING or name in SAME:
            continue
        if name in ENGINE_OPTIONS:
            raise UsageProblem(f"backtesting.py knows no {name}. Leave it out.")
        raise unknown("parameter", name, {*own, *BACKTESTING, *SAME}, of=strategy.__name__)
    if "conventions" in given and "conventions" not in own:
        said = given["conventions"]
        for value in [said] if isinstance(said, str) or not isinstance(said, Iterable) else said:
            EngineOptions.parse({"conventions": value})
    for ours, theirs in SAME.items():
        if ours != theirs and ours in given and theirs in given and theirs not in own:
            raise UsageProblem(f"{ours} and {theirs} mean the same; give one of them.")


def terms(strategy: type, params: Mapping[str, object]) -> tuple[str, ...]:
    """Return what is assumed, in words, for the card's foot."""
    engine, _ = _split(strategy, params)
    said = [f"{name} {engine[name]}" for name in BACKTESTING if name in engine and name != "trade_on_close"]
    if "spread" in engine:
        said[said.index(f"spread {engine['spread']}")] += " at entries only"
    fills = {True: CONVENTIONS["close"], False: CONVENTIONS["next_open"]}.get(engine.get("trade_on_close", False))
    ends = (
        () if engine.get("finalize_trades") else ("a position open at the end is in the equity, not among the trades",)
    )
    # Of a search over it, the card says so among the parameters.
    return ("backtesting.py", *(said or ("no costs",)), *([fills] if fills else []), *ends)


def run(strategy: type, bars: Bars, params: Mapping[str, object]) -> ForeignRun:
    """Run a strategy once, by the installed backtesting.py.

    Parameters
    ----------
    strategy : type
    bars : Bars
    params : mapping
        Parameters of the strategy, and options of the engine.
    """
    engine, own = _split(strategy, params)
    frame = bars.frame.rename(columns=str.capitalize)
    with warnings.catch_warnings():
        # Said on the card instead, once: see `terms`.
        warnings.filterwarnings("ignore", message="Some trades remain open at the end of backtest")
        # What it asks of pandas that pandas is going to drop is between those two.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="backtesting")
        stats = _module().Backtest(frame, strategy, **engine).run(**own)
    capital = float(engine.get("cash", EngineOptions().initial_capital))
    return reduced(stats, bars, capital, (*terms(strategy, params), bars.calendar.text))


def reduced(stats: Any, bars: Bars, capital: float, said: tuple[str, ...]) -> ForeignRun:
    """Return what ``Backtest.run`` gave under jobnb's names, computed by jobnb's definitions, and under its own.

    Parameters
    ----------
    stats : pandas.Series
        What ``Backtest.run`` returned.
    bars : Bars
        The prices it ran on.
    capital : float
        Money at the start.
    said : tuple of str
        What was assumed, in words.
    """
    import pandas as pd

    equity = pd.Series(stats["_equity_curve"]["Equity"].to_numpy(dtype=float), index=bars.index, name="equity")
    trades: pd.DataFrame = stats["_trades"]
    put_in = (trades["Size"].abs() * trades["EntryPrice"]).to_numpy(dtype=float)
    metrics = {
        **measures.of_equity(equity.to_numpy(), bars, capital),
        "exposure": float(stats["Exposure Time [%]"]) / 100.0,
        **measures.of_trades(trades["PnL"].to_numpy(dtype=float), put_in),
    }
    if "Commission" in trades:
        metrics["commissions_paid"] = float(trades["Commission"].sum())
    own = {str(name): value for name, value in stats.items() if not str(name).startswith("_")}
    metrics |= {name: float(value) for name, value in own.items() if is_number(value) and name not in metrics}
    return ForeignRun(metrics=metrics, equity=equity, trades=trades, stats=own, terms=said)


def capital_of(stats: Any) -> float:
    """Return the money at the start of a run of which only the outcome is known: the equity before the first trade."""
    return float(np.asarray(stats["_equity_curve"]["Equity"], dtype=float)[0])


def _split(strategy: type, params: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, object]]:
    """Part what is said to ``Backtest`` from the strategy's own parameters, and translate it."""
    own = class_variables(strategy)
    engine: dict[str, Any] = {}
    mine: dict[str, object] = {}
    for name, value in params.items():
        if name in own:
            mine[name] = value
        elif name == "conventions":
            engine["trade_on_close"] = value == "close" if value in CONVENTIONS else value
        else:
            engine[SAME.get(name, name)] = value
    return engine, mine


def _module() -> Any:
    return importlib.import_module("backtesting")
