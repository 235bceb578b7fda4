"""The front door of several instruments: checks the data and the request, and makes the work of it.

Run where the job is submitted. Whatever is wrong is found here, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from jobnb.errors import UsageProblem, unknown
from jobnb.research import door, instruments, portfolio
from jobnb.research.aligned import Timeline, check_overlap
from jobnb.research.data import DataRef
from jobnb.research.engine import check_conventions
from jobnb.research.foreign import check as check_foreign
from jobnb.research.foreign import is_foreign, name_of
from jobnb.research.foreign import terms as foreign_terms
from jobnb.research.goal import Objective, goals
from jobnb.research.instrument_sweep import ACROSS, InstrumentSweepWork
from jobnb.research.instrument_work import InstrumentsWork
from jobnb.research.options import PORTFOLIO_OPTIONS, EngineOptions
from jobnb.research.portfolio_work import PortfolioWork
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace, Point
from jobnb.research.strategy import Strategy, check_params

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.work import Work

#: Instruments that a name of data without one lists.
LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked job: its work, its name, what the card says of it, its plan, and the blobs that it needs."""

    work: Work
    name: str
    what: Mapping[str, Any]
    plan: Mapping[str, Any]
    blobs: list[str]


def backtest(
    strategy: Callable[..., Any],
    data: object,
    params: Mapping[str, Any],
    keep: Callable[[Bars], str],
    *,
    data_name: str | None = None,
    on_error: Literal["fail", "record"] = "fail",
) -> Request:
    """Check a backtest of several instruments.

    Parameters
    ----------
    strategy : type or callable
    data : mapping or DataFrame
        See `instruments.read`.
    params : mapping
        Parameters of the strategy and engine options, side by side.
    keep : callable
        Stores the bars of one instrument and returns their hash; called once everything is found right.
    data_name : str, optional
    on_error : {"fail", "record"}
    """
    door.check_strategy(strategy)
    said = asked_of(strategy, params)
    if said.across is not None:
        raise UsageProblem("across says how an optimization values its runs; a backtest keeps each instrument")
    bars, name = read(data, data_name)
    engine, own = door.split(strategy, said.rest)
    options = EngineOptions.parse(engine)
    if said.portfolio:
        return _portfolio(cast(type[Strategy], strategy), bars, name, own, options, said.rebalance, keep)
    if is_foreign(strategy):
        check_foreign(strategy, own)
    else:
        own = {**cast(type[Strategy], strategy).parameters, **check_params(cast(type[Strategy], strategy), own)}
    what = described(strategy, bars, name, options, {key: door.plain(value) for key, value in own.items()})
    refs = kept(bars, keep)
    work = InstrumentsWork(
        strategy=strategy,
        params=own,
        options=options,
        instruments=refs,
        name=name,
        span=(min(int(each.time[0]) for each in bars.values()), max(int(each.time[-1]) for each in bars.values())),
        on_error=on_error,
    )
    return Request(
        work=work,
        name=f"{what['strategy']} on {name}",
        what=what,
        plan=work.plan(),
        blobs=list(dict.fromkeys(ref.key for ref in refs.values())),
    )


def _portfolio(
    strategy: type[Strategy],
    bars: dict[str, Bars],
    name: str,
    own: Mapping[str, Any],
    options: EngineOptions,
    rebalance: str,
    keep: Callable[[Bars], str],
) -> Request:
    own = {**strategy.parameters, **check_params(strategy, own)}
    portfolio.check(strategy, options, rebalance)
    check_overlap(bars)
    what = described(strategy, bars, name, options, {key: door.plain(value) for key, value in own.items()})
    what = {**what, "terms": [*options.texts, portfolio.REBALANCE[rebalance]], "rebalance": rebalance}
    refs = kept(bars, keep)
    work = PortfolioWork(
        strategy=strategy, params=own, options=options, rebalance=rebalance, instruments=refs, name=name
    )
    return Request(
        work=work,
        name=f"{what['strategy']} portfolio on {name}",
        what=what,
        plan={"type": "single", "items": 1},
        blobs=list(dict.fromkeys(ref.key for ref in refs.values())),
    )


def optimize(
    strategy: Callable[..., Any],
    data: object,
    space: Mapping[str, Any],
    keep: Callable[[Bars], str],
    *,
    objective: Objective = "sharpe_ratio",
    method: str = "grid",
    n_trials: int | None = None,
    seed: int | None = None,
    constraint: Callable[[Point], object] | None = None,
    maximize: bool | Sequence[bool | None] | None = None,
    max_time: float | None = None,
    data_name: str | None = None,
    engine: Mapping[str, Any],
) -> Request:
    """Check a search over several instruments; see `jobnb.optimize`.

    ``engine`` may fix parameters of the strategy beside engine options, and hold ``portfolio``, ``rebalance`` and
    ``across``.
    """
    door.check_strategy(strategy)
    if is_foreign(strategy):
        raise UsageProblem(
            f"{name_of(strategy)} is not a jobnb.Strategy, and only these are optimized over several instruments; run "
            "one optimization per instrument"
        )
    own = cast(type[Strategy], strategy)
    said = asked_of(own, engine)
    bars, name = read(data, data_name)
    terms, fixed = door.split(own, said.rest)
    engine_in_space, grid = door.split(own, space)
    for option in engine_in_space:
        raise UsageProblem(f"{option} is an engine option and cannot be searched; give it beside the space.")
    options = EngineOptions.parse(terms)
    if said.portfolio:
        portfolio.check(own, options, said.rebalance)
        check_overlap(bars)
    else:
        check_conventions(own, options)
    parsed = ParameterSpace.parse(own, {**{k: [v] for k, v in fixed.items()}, **grid})
    across = "portfolio" if said.portfolio else said.across or "mean"
    work = InstrumentSweepWork(
        strategy=own,
        trials=Search.make(parsed, method, n_trials=n_trials, seed=seed, constraint=constraint),
        options=options,
        data=DataRef("", {"name": name, "bars": sum(map(len, bars.values()))}),
        goals=goals(objective, maximize, foreign=False),
        instruments={},
        across=across,
        rebalance=said.rebalance,
    )
    work = replace(work, instruments=kept(bars, keep))
    shown = {key: door.ranged(axis) for key, axis in zip(parsed.names, parsed.values, strict=True)}
    what = {**described(own, bars, name, options, shown), **door.searched(work)}
    how = [portfolio.REBALANCE[said.rebalance]] if said.portfolio else []
    what["terms"] = [*what["terms"], ACROSS[across], *how]
    return Request(
        work=work,
        name=f"{what['strategy']} {'portfolio ' if said.portfolio else ''}sweep on {name}",
        what=what if max_time is None else {**what, "max_time": max_time},
        plan=work.plan(max_time),
        blobs=list(dict.fromkeys(ref.key for ref in work.instruments.values())),
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Whether a portfolio is asked for, how it is rebalanced, how instruments are put together, and what else."""

    portfolio: bool
    rebalance: str
    across: str | None = None
    rest: Mapping[str, Any]


def asked_of(strategy: object, params: Mapping[str, Any]) -> Asked:
    """Part ``portfolio`` and ``rebalance`` from the other parameters, unless the strategy has some of that name.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: they contradict the strategy or each other.
    """
    if is_foreign(strategy):
        return Asked(portfolio=False, rebalance="on_change", rest=params)
    own = cast(type[Strategy], strategy)
    said = {name: params[name] for name in PORTFOLIO_OPTIONS if name in params and name not in own.parameters}
    rest = {name: value for name, value in params.items() if name not in said}
    wanted = said.get("portfolio")
    if wanted not in (None, True, False):
        raise UsageProblem(f"portfolio must be True or False, not {wanted!r}")
    if wanted is False and portfolio.has_weights(own):
        raise UsageProblem(f"{own.name} gives weights for all instruments at once: it always runs as a portfolio")
    is_portfolio = bool(wanted) or portfolio.has_weights(own)
    if "rebalance" in said and not is_portfolio:
        raise UsageProblem("rebalance belongs to a portfolio: say portfolio=True, or write weights(self, bars)")
    across = said.get("across")
    if across is not None:
        ways = [way for way in ACROSS if way != "portfolio"]
        if is_portfolio:
            raise UsageProblem("across is of instruments that run side by side; a portfolio has one account")
        if across not in ways:
            raise unknown("across", str(across), ways)
    return Asked(portfolio=is_portfolio, rebalance=said.get("rebalance", "on_change"), across=across, rest=rest)


def unwrapped(data: Any, data_name: str | None) -> tuple[Any, str | None]:
    """Return the one instrument of a frame of two levels as an ordinary frame; anything else as it is."""
    one = instruments.single(data, data_name or "data")
    return (one[1], one[0]) if one is not None else (data, data_name)


def several(data: object, strategy: object, params: Mapping[str, Any]) -> bool:
    """Tell whether a request is one of several instruments, or of a portfolio of one."""
    return instruments.several(data) or asked_of(strategy, params).portfolio


def read(data: object, data_name: str | None) -> tuple[dict[str, Bars], str]:
    """Return the checked bars of each instrument, and what the data are called."""
    attrs = getattr(data, "attrs", None)
    if not instruments.several(data):
        # A portfolio of one.
        one = door.bars(cast(Any, data), data_name)
        return {one.name: one}, one.name
    said = data_name or (attrs.get("name") if isinstance(attrs, dict) else None)
    bars = instruments.read(data, str(said or "data"))
    if said:
        return bars, str(said)
    first = list(bars)[:LISTED]
    return bars, ", ".join(first) + (f" and {len(bars) - LISTED} more" if len(bars) > LISTED else "")


def kept(bars: Mapping[str, Bars], keep: Callable[[Bars], str]) -> dict[str, DataRef]:
    """Store the bars of each instrument by content, and return what the work knows them by."""
    return {symbol: DataRef(keep(each), each.meta) for symbol, each in bars.items()}


def described(
    strategy: Callable[..., Any],
    bars: Mapping[str, Bars],
    name: str,
    options: EngineOptions,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the card says of the job."""
    foreign = is_foreign(strategy)
    line = Timeline.union([each.time for each in bars.values()], [each.meta.get("tz") for each in bars.values()])
    start, end = line.span
    texts = {each.calendar.text: None for each in bars.values()}
    return {
        "strategy": name_of(strategy),
        "params": dict(params),
        "data": {
            "name": name,
            "bars": sum(map(len, bars.values())),
            "start": start,
            "end": end,
            "instruments": len(bars),
        },
        "options": {} if foreign else options.to_dict(),
        "terms": foreign_terms(strategy, params) if foreign else [*options.texts, *texts],
    }
