"""`BacktestWork`: one backtest as the work of a job, and how its result is read back.

A front door builds it; a child runs it. The result is pickled by plain pickle: it holds no code of the user's,
unless the user's own function returned some.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import cloudpickle

from jobnb.research import summary
from jobnb.research.data import DataRef
from jobnb.research.foreign import ForeignRun, is_foreign, name_of, run_foreign
from jobnb.research.options import EngineOptions
from jobnb.research.result import run
from jobnb.research.strategy import Strategy, maker
from jobnb.work import Part, Report

if TYPE_CHECKING:
    from jobnb.research.bars import Bars


@dataclass(frozen=True, kw_only=True, eq=False)
class BacktestWork:
    """One run of a strategy: a job of one item.

    Attributes
    ----------
    strategy : type or callable
        A `Strategy` class, or what `foreign.run_foreign` takes.
    params : mapping
        Checked with `strategy.check_params` at the front door.
    options : EngineOptions
    data : DataRef
    """

    strategy: Callable[..., object]
    params: Mapping[str, object] = field(default_factory=dict)
    options: EngineOptions = field(default_factory=EngineOptions)
    data: DataRef

    #: Number of items.
    count = 1

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run it; the result is a `BacktestResult`, a `ForeignResult`, or what the user's own function returned."""
        bars = self.data.load()
        if is_foreign(self.strategy):
            foreign = run_foreign(self.strategy, bars, self.params, "value")
            value = foreign.result(name_of(self.strategy), self.params, bars)
            return Part(stop=1, result=cloudpickle.dumps(value), summary=self._foreign_summary(foreign, bars))
        result = run(maker(cast(type[Strategy], self.strategy))(dict(self.params)), bars, self.options)
        return Part(stop=1, result=pickle.dumps(result), summary=summary.backtest_summary(result))

    def _foreign_summary(self, foreign: ForeignRun, bars: Bars) -> summary.Json:
        return summary.foreign_summary(
            name=name_of(self.strategy),
            metrics=foreign.metrics,
            params=self.params,
            equity=None if foreign.equity is None else foreign.equity.tolist(),
            span=bars.span,
            data=bars.name,
            bars=len(bars),
            close=bars.close.tolist(),
            conventions=foreign.terms,
        )


def load_backtest(parts: Sequence[bytes]) -> object:
    """Return the result of a finished `BacktestWork`."""
    return pickle.loads(parts[0])
