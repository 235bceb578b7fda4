"""`StrategyOptimizer`, the search as the seed systems write it: add parameters, search here and now, read the results.

Runs in the process that calls it, usually a child whose job is an executor of the user's. It uses one core and must
not submit jobs; `jobnb.optimize` spreads the same search over the cluster.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem, unknown
from jobnb.research import foreign
from jobnb.research.adapters import functions
from jobnb.research.adapters.kinds import has_protocol
from jobnb.research.adapters.names import arguments
from jobnb.research.adapters.trial import Optimized, Trial
from jobnb.research.bars import Bars
from jobnb.research.container import SweepPart
from jobnb.research.data import DataRef
from jobnb.research.goal import goals
from jobnb.research.options import EngineOptions
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace

if TYPE_CHECKING:
    import pandas as pd

REPORT_SECONDS = 0.05

#: ``progress_callback(current)``, or ``(current, total)`` where it takes two.
Callback = Callable[..., object]


class StrategyOptimizer:
    """Searches a strategy's parameters in this process.

    Parameters
    ----------
    strategy_class : type or callable
        A `jobnb.Strategy`, a class with ``load_data``, ``backtest`` and ``get_performance_metrics``, or whatever else
        `jobnb.optimize` takes.
    data : pandas.DataFrame or Bars
        Handed to a class with the protocol as it is; for the others open, high, low and close over a DatetimeIndex.
    initial_capital : float, default 10_000.0
        Money at the start; handed to a class with the protocol if it takes an argument of that name.
    **fixed
        Engine options, and fixed parameters of the strategy.

    Examples
    --------
    >>> from jobnb.research.sample import goog
    >>> from jobnb.research.strategy import Strategy
    >>> class Cross(Strategy):
    ...     fast: int = 10
    ...     slow: int = 30
    ...     def positions(self, bars):
    ...         return bars.sma(self.fast) > bars.sma(self.slow)
    >>> optimizer = StrategyOptimizer(Cross, goog(), initial_capital=5_000)
    >>> optimizer.add_parameter("fast", "int", 5, 20, step=5)
    >>> optimizer.add_parameter("slow", type="int", min=30, max=50, step=10)
    >>> optimizer.get_total_combinations()
    12
    >>> len(optimizer.grid_optimize("total_return").all_results)
    12
    """

    def __init__(
        self,
        strategy_class: Callable[..., Any],
        data: pd.DataFrame | Bars,
        initial_capital: float = 10_000.0,
        **fixed: Any,
    ) -> None:
        foreign.check_instance(strategy_class)
        if not callable(strategy_class):
            raise UsageProblem(f"{strategy_class!r} is neither a strategy class nor a function.")
        self.strategy_class = strategy_class
        self.data = data
        self._fixed = dict(fixed)
        known = arguments(strategy_class) if foreign.is_foreign(strategy_class) else None
        if initial_capital != EngineOptions().initial_capital or "initial_capital" in (known or ()):
            self._fixed["initial_capital"] = initial_capital
        self._space: dict[str, object] = {}

    def add_parameter(
        self,
        name: str,
        type: str = "int",  # noqa: A002 - the seed systems' word
        min: float | None = None,  # noqa: A002
        max: float | None = None,  # noqa: A002
        step: float | None = None,
        choices: Sequence[object] | None = None,
    ) -> None:
        """Add a parameter to the search.

        Parameters
        ----------
        name : str
        type : {"int", "float", "bool", "categorical"}
        min, max : float
            The first and the last value, both included.
        step : float, optional
            1 for whole numbers; a float without one is continuous, which only `random_optimize` can search.
        choices : sequence
            The values of a categorical parameter.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: the strategy has no such parameter, or there is no such type.
        UsageProblem
            ``USAGE_ERROR``: the values do not fit.
        """
        kinds = ("int", "float", "bool", "categorical", "choice")
        if type not in kinds:
            raise unknown("type", str(type), kinds[:4], of=name)
        given = {"min": min, "max": max, "step": step, "choices": choices}
        described: object = {"type": type, **{key: value for key, value in given.items() if value is not None}}
        described = [False, True] if type == "bool" else described
        ParameterSpace.parse(self.strategy_class, {name: described})
        self._space[name] = described

    def get_total_combinations(self) -> int:
        """Return how many combinations a grid search tries.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: there is no parameter yet, or a continuous one.
        """
        return Search.make(self._parsed(), "grid").count

    def grid_optimize(
        self,
        objective: str = "sharpe_ratio",
        progress_callback: Callback | None = None,
        n_jobs: int = 1,
        *,
        maximize: bool | None = None,
    ) -> Optimized:
        """Try every combination.

        Parameters
        ----------
        objective : str, default ``sharpe_ratio``
        progress_callback : callable, optional
            ``progress_callback(current)``, or ``(current, total)``; at most twenty times a second, and at the end.
        n_jobs : int
            Taken for the sake of programs that say it: a job's process has one core. `jobnb.optimize` uses all.
        maximize : bool, optional
            Known for every metric of jobnb's own.

        Returns
        -------
        Optimized
        """
        return self._run(Search.make(self._parsed(), "grid"), objective, progress_callback, maximize)

    def random_optimize(
        self,
        n_iterations: int = 100,
        objective: str = "sharpe_ratio",
        progress_callback: Callback | None = None,
        n_jobs: int = 1,
        seed: int | None = None,
        *,
        maximize: bool | None = None,
    ) -> Optimized:
        """Try ``n_iterations`` combinations drawn at random; see `grid_optimize`.

        Parameters
        ----------
        seed : int, optional
            The same seed gives the same trials; 0 by default.
        """
        search = Search.make(self._parsed(), "random", n_trials=n_iterations, seed=seed)
        return self._run(search, objective, progress_callback, maximize)

    def _parsed(self) -> ParameterSpace:
        if not self._space:
            raise UsageProblem('there is no parameter yet; use add_parameter("fast", "int", 5, 20)')
        return ParameterSpace.parse(self.strategy_class, self._space)

    def _run(self, search: Search, objective: str, callback: Callback | None, maximize: bool | None) -> Optimized:
        tell = _teller(callback, search.count)
        if has_protocol(self.strategy_class) and foreign.is_foreign(self.strategy_class):
            trials, best = self._protocol(search, objective, tell), goals(objective, maximize, foreign=True)[0].maximize
        else:
            trials, best = self._sweep(search, objective, tell, maximize)
        tell(search.count)
        return Optimized(
            name=foreign.name_of(self.strategy_class), objective=objective, maximize=best, all_results=trials
        )

    def _protocol(self, search: Search, objective: str, tell: Callable[[int], None]) -> list[Trial]:
        """Run a class with the protocol on the data as it was given."""
        frame = self.data.frame if isinstance(self.data, Bars) else self.data
        names = {**self._fixed, **dict.fromkeys(search.space.names)}
        functions.check(self.strategy_class, names, foreign.name_of(self.strategy_class))
        trials: list[Trial] = []
        for done, params in enumerate(search.each(0, search.count), start=1):
            try:
                run = functions.run_protocol(
                    self.strategy_class,
                    frame.copy(deep=False),
                    {**self._fixed, **params},
                    objective,
                    foreign.name_of(self.strategy_class),
                )
            except Exception as error:  # noqa: BLE001 - whatever a user's class raises is that run's outcome
                trials.append(Trial(params=params, value=math.nan, error=f"{type(error).__name__}: {error}"))
            else:
                if objective not in run.metrics:
                    raise unknown("objective", objective, run.metrics, of=foreign.name_of(self.strategy_class))
                trials.append(Trial(params=params, value=run.metrics[objective], metrics=run.metrics))
            tell(done)
        return trials

    def _sweep(
        self, search: Search, objective: str, tell: Callable[[int], None], maximize: bool | None
    ) -> tuple[list[Trial], bool]:
        """Run what `jobnb.optimize` takes, by its own code."""
        from jobnb.research import door

        held = door.bars(self.data)
        work, _ = door.sweep_work(
            self.strategy_class,
            held,
            self._space,
            lambda: "",
            objective=objective,
            method=search.method,
            n_trials=None if search.method == "grid" else search.count,
            seed=search.seed,
            maximize=maximize,
            engine=self._fixed,
        )
        work = replace(work, data=Held("", held.meta, held))
        part = SweepPart.from_bytes(work.run(0, work.count, None, tell).result)
        place = list(part.columns).index(objective) if objective in part.columns else None
        return [
            Trial(
                params={name: value for name, value in params.items() if name in self._space},
                value=math.nan if place is None else float(row[place]),
                metrics=dict(zip(part.columns, row.tolist(), strict=True)),
                error=part.errors.get(i, ""),
            )
            for i, (params, row) in enumerate(zip(work.trials.each(0, work.count), part.values, strict=True))
        ], work.maximize


@dataclass(frozen=True)
class Held(DataRef):
    """Bars that are here already."""

    bars: Bars | None = None

    def load(self) -> Bars:
        """Return them."""
        assert self.bars is not None
        return self.bars


def _teller(callback: Callback | None, total: int) -> Callable[[int], None]:
    """Return what tells a callback how many are done: each number once, not too often."""
    if callback is None:
        return lambda done: None
    try:
        inspect.signature(callback).bind(1, total)
        two = True
    except (TypeError, ValueError):
        two = False
    due = time.monotonic() + REPORT_SECONDS
    told = 0

    def tell(done: int) -> None:
        nonlocal due, told
        now = time.monotonic()
        if done == told or (now < due and done < total):
            return
        due, told = now + REPORT_SECONDS, done
        callback(done, total) if two else callback(done)

    return tell
