"""The research room's side of the front door: checks a backtest or a search, and makes the work of it.

Run where the job is submitted. Whatever is wrong is found here, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from jobnb.errors import DataError, UsageProblem, unknown
from jobnb.research.data import DataRef
from jobnb.research.engine import check_conventions
from jobnb.research.foreign import check as check_foreign
from jobnb.research.foreign import check_instance, is_foreign, name_of
from jobnb.research.foreign import terms as foreign_terms
from jobnb.research.goal import Objective, goals
from jobnb.research.interval import Interval
from jobnb.research.options import ENGINE_OPTIONS, EngineOptions
from jobnb.research.sampler import Search
from jobnb.research.single import BacktestWork
from jobnb.research.space import Axis, ParameterSpace, Point
from jobnb.research.stops import STOPS
from jobnb.research.strategy import Strategy, check_params
from jobnb.research.sweep import SweepWork

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars


def bars(data: pd.DataFrame | Bars, name: str | None = None) -> Bars:
    """Return checked bars of a data frame.

    Parameters
    ----------
    data : pandas.DataFrame or Bars
    name : str, optional
        What cards call the data; ``data.attrs["name"]`` or ``data`` by default.

    Raises
    ------
    DataError
        It is no data frame, or does not hold usable prices.
    """
    from jobnb.research.bars import Bars

    if isinstance(data, Bars):
        return data
    if not hasattr(data, "columns") or not hasattr(data, "index"):
        kind = type(data).__name__
        raise DataError(
            f"data must be a pandas DataFrame with open, high, low and close over a DatetimeIndex, not {kind}."
            + " Take its result: job.result()." * (kind == "Job")
        )
    made = Bars.from_frame(data, str(name or data.attrs.get("name") or "data"))
    if data.attrs.get("fingerprint"):
        from jobnb.data.frame import provenance

        made.meta["origin"] = provenance(data.attrs)
    return made


def backtest_work(
    strategy: Callable[..., Any], bars: Bars, params: Mapping[str, Any], keep: Callable[[], str]
) -> tuple[BacktestWork, dict[str, Any]]:
    """Check a backtest; return its work and what the card says of it.

    Parameters
    ----------
    strategy : type or callable
    bars : Bars
    params : mapping
        Parameters of the strategy and engine options, side by side.
    keep : callable
        Stores the bars and returns their hash; called once everything is found right.
    """
    check_strategy(strategy)
    engine, own = split(strategy, params)
    options = EngineOptions.parse(engine)
    if is_foreign(strategy):
        check_foreign(strategy, own)
    else:
        own = {**cast(type[Strategy], strategy).parameters, **check_params(cast(type[Strategy], strategy), own)}
        check_conventions(cast(type[Strategy], strategy), options)
    work = BacktestWork(strategy=strategy, params=own, options=options, data=DataRef(keep(), bars.meta))
    return work, _what(strategy, bars, options, {name: plain(value) for name, value in own.items()})


def sweep_work(
    strategy: Callable[..., Any],
    bars: Bars,
    space: Mapping[str, Any],
    keep: Callable[[], str],
    *,
    objective: Objective = "sharpe_ratio",
    method: str = "grid",
    n_trials: int | None = None,
    seed: int | None = None,
    constraint: Callable[[Point], object] | None = None,
    maximize: bool | Sequence[bool | None] | None = None,
    engine: Mapping[str, Any],
) -> tuple[SweepWork, dict[str, Any]]:
    """Check a search; return its work and what the card says of it.

    ``engine`` may fix parameters of the strategy beside engine options; for the others see `jobnb.optimize`.
    """
    check_strategy(strategy)
    terms, fixed = split(strategy, engine)
    engine_in_space, grid = split(strategy, space)
    for name in engine_in_space:
        declare = f", or declare `{name}: float = 0.05` in {name_of(strategy)}" if name in STOPS else ""
        raise UsageProblem(f"{name} is an engine option and cannot be searched; give it beside the space{declare}.")
    options = EngineOptions.parse(terms)
    if is_foreign(strategy):
        check_foreign(strategy, {**fixed, **grid})
    else:
        check_conventions(cast(type[Strategy], strategy), options)
    parsed = ParameterSpace.parse(strategy, {**{k: [v] for k, v in fixed.items()}, **grid})
    wanted = goals(objective, maximize, foreign=is_foreign(strategy))
    trials = Search.make(parsed, method, n_trials=n_trials, seed=seed, constraint=constraint)
    work = SweepWork(
        strategy=strategy,
        # A function's indicators are its own, and its random numbers go by the number of the trial.
        trials=trials if is_foreign(strategy) else trials.near(len(bars)),
        options=options,
        data=DataRef("", bars.meta),
        goals=wanted,
    )
    work = replace(work, data=DataRef(keep(), bars.meta))
    shown = {name: ranged(axis) for name, axis in zip(parsed.names, parsed.values, strict=True)}
    return work, {**_what(strategy, bars, options, shown), **searched(work)}


def searched(work: SweepWork) -> dict[str, Any]:
    """Return what the card says of a search beside what is searched."""
    named = ", ".join(goal.name for goal in work.goals)
    said = {"objective": named, "method": work.trials.method, "runs": work.count, "seed": work.trials.seed}
    return {name: value for name, value in said.items() if value is not None}


def check_strategy(strategy: object) -> None:
    """Refuse what is no strategy: an instance of one, or nothing that can be called."""
    if isinstance(strategy, Strategy):
        raise UsageProblem(
            f"give the class {type(strategy).__name__} itself, not an instance, and its parameters beside it."
        )
    check_instance(strategy)
    if not callable(strategy):
        raise UsageProblem(f"{strategy!r} is neither a strategy class nor a function.")


def split(strategy: object, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part engine options from the strategy's own parameters; complain of a name that is neither.

    Whatever is said to somebody else's engine is its own affair.
    """
    if is_foreign(strategy):
        return {}, dict(given)
    known = cast(type[Strategy], strategy).parameters
    # A stop that the strategy declares is its own.
    engine = {name: value for name, value in given.items() if name in ENGINE_OPTIONS and name not in known}
    own = {name: value for name, value in given.items() if name not in engine}
    for name in own:
        if name not in known:
            raise unknown("parameter", name, [*known, *ENGINE_OPTIONS], of=name_of(cast(Any, strategy)))
    return engine, own


def _what(
    strategy: Callable[..., Any], bars: Bars, options: EngineOptions, params: Mapping[str, Any]
) -> dict[str, Any]:
    start, stop = bars.span
    foreign = is_foreign(strategy)
    return {
        "strategy": name_of(strategy),
        "params": dict(params),
        "data": {"name": bars.name, "bars": len(bars), "start": start, "end": stop},
        "options": {} if foreign else options.to_dict(),
        "terms": foreign_terms(strategy, params) if foreign else [*options.texts, bars.calendar.text],
    }


def ranged(axis: Axis) -> Any:
    """Return the values of a parameter as a card shows them."""
    if isinstance(axis, Interval):
        return repr(axis)
    listed = list(axis)
    if len(listed) == 1:
        return plain(listed[0])
    return f"{plain(listed[0])}…{plain(listed[-1])} ({len(listed)})"


def plain(value: Any) -> Any:
    """Return a value as JSON and a card can hold it."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:80]
