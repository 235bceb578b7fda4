"""`InstrumentSweepWork`: the trials of a search, each run on several instruments, side by side or with one account.

A front door builds it; a child runs it on one span of trials after the other, like `SweepWork`. What a trial is valued
by is the mean, the median or the worst of its instruments, or what the account did.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from jobnb.research.aligned import Aligned
from jobnb.research.bars import Bars
from jobnb.research.data import DataRef
from jobnb.research.engine import Evaluator
from jobnb.research.instrument_work import InstrumentsWork
from jobnb.research.instruments_result import load_instruments
from jobnb.research.limits import Orders
from jobnb.research.metrics import LOWER_IS_BETTER, METRICS
from jobnb.research.portfolio import PortfolioEvaluator, weights_of
from jobnb.research.portfolio_work import PortfolioWork, universe
from jobnb.research.strategy import Strategy, maker
from jobnb.research.sweep import SweepWork, note
from jobnb.research.tracks import EquityTracks
from jobnb.work import Part, Report

if TYPE_CHECKING:
    from jobnb.research.recount import Run
    from jobnb.research.tracks import Arrays

Floats = npt.NDArray[np.float64]

#: How the metrics of the instruments become one, in the words of a card's foot.
ACROSS: dict[str, str] = {
    "mean": "mean over the instruments",
    "median": "median of the instruments",
    "worst": "worst of the instruments",
    "portfolio": "one account",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class InstrumentSweepWork(SweepWork):
    """The runs of an optimization over several instruments; item i is the i-th trial.

    Attributes
    ----------
    instruments : mapping of str to DataRef
    across : str
        One of `ACROSS`.
    rebalance : str
        Of a portfolio.
    """

    instruments: Mapping[str, DataRef]
    across: str = "mean"
    rebalance: str = "on_change"

    @property
    def name(self) -> str:
        """What the data are called."""
        return str(self.data.meta.get("name", "data"))

    def meta(self) -> dict[str, object]:
        """Return what the result needs beside the parts, JSON-able and small."""
        return {**super().meta(), "instruments": list(self.instruments), "across": self.across}

    def bars(self) -> Bars:
        """Return the times of all, with buy and hold in equal shares for prices."""
        return line_of(universe(self.instruments).aligned)

    def runner(self, bars: Bars) -> Run:
        """Return what makes a run once more, and gives the equity of the account, or of all accounts together."""
        make = maker(self._own)
        if self.across == "portfolio":
            one = self._one
            return lambda params, trial: one(make(dict(params)))[1]
        line, capital = universe(self.instruments).aligned, self.options.initial_capital
        runs = [Evaluator(each, self.options) for each in line.bars.values()]

        def combined(params: Mapping[str, Any], trial: int) -> Floats:
            strategy = make(dict(params))
            made = [run.one(run.wants(strategy)).equity for run in runs]
            curves = [np.nan_to_num(line.spread(each, j), nan=capital) for j, each in enumerate(made)]
            return np.asarray(np.mean(curves, axis=0))

        return combined

    def single(self, params: Mapping[str, Any]) -> PortfolioWork | AcrossWork:
        """Return the work of one run with these parameters."""
        own: dict[str, Any] = {
            "strategy": self.strategy,
            "params": params,
            "options": self.options,
            "instruments": self.instruments,
            "name": self.name,
        }
        if self.across == "portfolio":
            return PortfolioWork(**own, rebalance=self.rebalance)
        line = universe(self.instruments).aligned.time
        return AcrossWork(work=InstrumentsWork(**own, span=(int(line[0]), int(line[-1]))))

    @property
    def _own(self) -> type[Strategy]:
        return cast("type[Strategy]", self.strategy)

    @cached_property
    def _one(self) -> Callable[[Strategy], tuple[Floats, Floats | None, Floats | None]]:
        """Return what runs one trial: the metrics that it is valued by, the account's equity, the metrics of each."""
        bars = universe(self.instruments)
        if self.across == "portfolio":
            account = PortfolioEvaluator(bars, self.options, self.rebalance)

            def one(strategy: Strategy) -> tuple[Floats, Floats | None, Floats | None]:
                values, equity, _, _ = account.one(weights_of(strategy, bars), log=False)
                return values, equity, None

            return one
        runs = [Evaluator(each, self.options) for each in bars.values()]

        def each(strategy: Strategy) -> tuple[Floats, Floats | None, Floats | None]:
            table = np.empty((len(runs), len(METRICS)))
            for j, run in enumerate(runs):
                wanted = run.wants(strategy)
                row, said = (wanted.targets, wanted.limits[None]) if isinstance(wanted, Orders) else (wanted, None)
                run.rows(row[None], 1, table[j : j + 1], said)
            return together(table, self.across), None, table

        return each

    def evaluate(
        self, start: int, stop: int, points: Floats | None, full: Callable[[int], bool], errors: dict[int, str]
    ) -> tuple[tuple[str, ...], Floats, _Told]:
        """Run the trials until ``full(done)``, see `SweepWork.evaluate`."""
        own, one = self._own, self._one
        make, goal = maker(own), self.goals[0]
        column = METRICS.index(goal.name) if goal.name in METRICS else None
        symbols = len(self.instruments)
        rows: list[Floats] = []
        told = _Told(EquityTracks(self.bars(), self.count, start, stop) if self.across == "portfolio" else None)
        for place, params in enumerate(self.trials.each(start, stop, points)):
            try:
                values, equity, table = one(make(dict(params)))
            except Exception as error:  # noqa: BLE001 - whatever a user's strategy raises is that run's outcome
                note(errors, place, error)
                rows.append(np.full(len(METRICS), np.nan))
                told.rows.append(np.full(symbols, np.nan))
            else:
                rows.append(values)
                if told.tracks is not None:
                    told.tracks.see(place, equity)
                if table is not None and column is not None:
                    told.rows.append(table[:, column])
            if full(place + 1):
                break
        return METRICS, np.array(rows).reshape(len(rows), len(METRICS)), told


class _Told:
    """What a part keeps beside the metrics: tracks of the account, or the objective of each instrument."""

    def __init__(self, tracks: EquityTracks | None) -> None:
        self.tracks = tracks
        self.rows: list[Floats] = []

    def arrays(self, index: npt.NDArray[np.int64], best: int | None, again: Callable[[int], Floats | None]) -> Arrays:
        if self.tracks is not None:
            return self.tracks.arrays(index, best, again)
        return {"across": np.array(self.rows)} if len(self.rows) == len(index) else {}


@dataclass(frozen=True, kw_only=True, eq=False)
class AcrossWork:
    """One trial of a search on each instrument, as one item; its result is a `MultiBacktestResult`."""

    work: InstrumentsWork

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run all of the instruments."""
        part = self.work.run(0, self.work.count, None, report)
        if part.stop < self.work.count:
            # The next one raises: here, where it is told.
            self.work.run(part.stop, part.stop + 1, None, report)
        value = load_instruments(self.work.meta(), [part.result])
        return Part(stop=1, result=pickle.dumps(value), summary=part.summary)


def together(table: Floats, across: str) -> Floats:
    """Return one row of metrics for those of the instruments; NaN ones (a Sharpe ratio without trades) do not count.

    Parameters
    ----------
    table : array (instruments, metrics)
    across : {"mean", "median", "worst"}
        The worst is the highest of a metric of which lower is better.
    """
    made = np.full(table.shape[1], np.nan)
    known = np.isfinite(table).any(axis=0)
    found = np.where(np.isfinite(table), table, np.nan)[:, known]
    if across == "worst":
        high = np.array([name in LOWER_IS_BETTER for name in METRICS])[known]
        made[known] = np.where(high, np.nanmax(found, axis=0), np.nanmin(found, axis=0))
    else:
        made[known] = np.nanmedian(found, axis=0) if across == "median" else np.nanmean(found, axis=0)
    return made


def line_of(line: Aligned) -> Bars:
    """Return bars of the times of all, of which the price is buy and hold in equal shares from 1 on."""
    hold = line.hold(1.0)
    block = np.stack([line.time.view(np.float64), hold, hold, hold, hold, np.full(len(line), np.nan)])
    return Bars(block, {"name": "all", "tz": line.zone, "bars": len(line)})
