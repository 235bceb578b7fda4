"""`InstrumentsWork`: a strategy on each of several instruments; the instruments are the items of one job.

A front door builds it; a child runs it on one span of instruments after the other. What is finished is kept whatever
happens to the others. The results are pickled by plain pickle, like those of single backtests.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import cloudpickle
import numpy as np
import numpy.typing as npt

from jobnb.allowance import Allowance
from jobnb.research import instrument_summary
from jobnb.research.bars import Bars
from jobnb.research.data import DataRef
from jobnb.research.foreign import is_foreign, name_of, run_foreign
from jobnb.research.options import EngineOptions
from jobnb.research.result import run
from jobnb.research.strategy import Strategy, maker
from jobnb.research.summary import safe
from jobnb.retry import RetryLater
from jobnb.work import Failed, Part, Report, item_seeder

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class InstrumentsWork:
    """The backtests of a job; item i is the i-th instrument.

    Attributes
    ----------
    strategy : type or callable
        A `Strategy` class, or what `foreign.run_foreign` takes.
    params : mapping
        Checked at the front door.
    options : EngineOptions
    instruments : mapping of str to DataRef
    name : str
        What the data are called.
    span : (int, int)
        First and last time of all, nanoseconds since 1970-01-01.
    on_error : {"fail", "record"}
        As for `jobnb.work.MapWork`.
    """

    strategy: Callable[..., object]
    params: Mapping[str, object] = field(default_factory=dict)
    options: EngineOptions = field(default_factory=EngineOptions)
    instruments: Mapping[str, DataRef]
    name: str = "data"
    span: tuple[int, int]
    on_error: Literal["fail", "record"] = "fail"

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.instruments)

    def plan(self) -> dict[str, object]:
        """Return how the service cuts the job: see `jobnb.service.plans`."""
        return {"type": "instruments", "items": self.count, "meta": self.meta()}

    def meta(self) -> dict[str, Any]:
        """Return what `instruments_result.load_instruments` needs beside the parts, JSON-able and small."""
        return {"strategy": name_of(self.strategy), "name": self.name, "instruments": self.count}

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run the instruments ``[start, stop)``, fewer if the budget is used up; at least one."""
        allowance = Allowance(budget)
        symbols = list(self.instruments)
        values: list[tuple[str, object]] = []
        told = _Told(self, start)
        seed = item_seeder()
        for number, symbol in enumerate(symbols[start:stop], start):
            if values and allowance.used():
                break
            seed(number)
            try:
                bars = self.instruments[symbol].load()
                value, metrics, equity = self._one(bars)
            except Exception as error:
                if self.on_error == "record" and not isinstance(error, RetryLater):
                    failed = Failed.of(error)
                    values.append((symbol, failed))
                    told.failed(symbol, failed)
                elif values:
                    break  # It begins the next task, and raises there.
                else:
                    # Which of them it was is the first thing to know.
                    error.add_note(f"(instrument {symbol})")
                    raise
            else:
                values.append((symbol, value))
                told.done(symbol, bars, metrics, equity)
            report(len(values))
        return Part(
            stop=start + len(values),
            result=cloudpickle.dumps(values) if is_foreign(self.strategy) else pickle.dumps(values),
            summary=told.summary(),
            failed=len(told.errors),
        )

    def _one(self, bars: Bars) -> tuple[object, Mapping[str, float], Floats | None]:
        if is_foreign(self.strategy):
            foreign = run_foreign(self.strategy, bars, self.params, "value")
            value = foreign.result(name_of(self.strategy), self.params, bars)
            equity = None if foreign.equity is None else np.asarray(foreign.equity, dtype=np.float64)
            return value, foreign.metrics, equity
        result = run(maker(cast(type[Strategy], self.strategy))(dict(self.params)), bars, self.options)
        return result, result.get_performance_metrics(), result.equity


class _Told:
    """What the finished instruments of a part say to the card."""

    def __init__(self, work: InstrumentsWork, start: int) -> None:
        self._work = work
        self._number = start
        self._moments = np.array(instrument_summary.moments(*work.span))
        self._growth = np.zeros(len(self._moments))
        self._hold = np.zeros(len(self._moments))
        self._curves = 0
        self._rows: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []

    def failed(self, symbol: str, failed: Failed) -> None:
        error = f"{failed.type}: {failed.error}"
        self.errors.append({"n": self._number, "symbol": symbol, "error": error[:300]})
        self._number += 1

    def done(self, symbol: str, bars: Bars, metrics: Mapping[str, float], equity: Floats | None) -> None:
        shown = {name: safe(float(metrics[name])) for name in instrument_summary.SHOWN if name in metrics}
        self._rows.append({"n": self._number, "symbol": symbol, **shown})
        self._number += 1
        if equity is None or equity.shape != bars.close.shape or not equity[0] > 0.0:
            return
        at = np.searchsorted(bars.time, self._moments, side="right") - 1
        capital = equity[0] if is_foreign(self._work.strategy) else self._work.options.initial_capital
        for total, values, first in (
            (self._growth, equity, capital),
            (self._hold, bars.close, bars.close[0]),
        ):
            total += np.where(at >= 0, values[at] / first, 1.0)
        self._curves += 1

    def summary(self) -> instrument_summary.Json:
        return instrument_summary.summarize(
            planned=self._work.count,
            rows=self._rows,
            errors=self.errors,
            growth=_short(self._growth) if self._curves else [],
            hold=_short(self._hold) if self._curves else [],
            curves=self._curves,
        )


def _short(values: Floats) -> Sequence[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
