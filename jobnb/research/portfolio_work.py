"""`PortfolioWork`: a strategy on several instruments with one account, as the work of a job of one item.

A front door builds it; a child runs it. The result is pickled by plain pickle: it holds no code of the user's.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobnb.research import summary
from jobnb.research.data import DataRef
from jobnb.research.options import EngineOptions
from jobnb.research.portfolio import run
from jobnb.research.strategy import Strategy, maker
from jobnb.research.universe import Universe
from jobnb.work import Part, Report

#: The universe that this process has opened last: a child serves one job, which has one.
_open: dict[tuple[tuple[str, str], ...], Universe] = {}


def universe(instruments: Mapping[str, DataRef]) -> Universe:
    """Return the bars of these instruments, the same object for the same ones within one process."""
    key = tuple((symbol, ref.key) for symbol, ref in instruments.items())
    if key not in _open:
        made = Universe({symbol: ref.load() for symbol, ref in instruments.items()})
        _open.clear()
        _open[key] = made
    return _open[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class PortfolioWork:
    """One run of a portfolio: a job of one item.

    Attributes
    ----------
    strategy : type
        A `Strategy` class with ``weights`` or ``positions``.
    params : mapping
        Checked at the front door.
    options : EngineOptions
    rebalance : str
    instruments : mapping of str to DataRef
    name : str
        What the data are called.
    """

    strategy: type[Strategy]
    params: Mapping[str, object] = field(default_factory=dict)
    options: EngineOptions = field(default_factory=EngineOptions)
    rebalance: str = "on_change"
    instruments: Mapping[str, DataRef]
    name: str = "data"

    #: Number of items.
    count = 1

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run it; the result is a `PortfolioResult`."""
        bars = universe(self.instruments)
        made = maker(self.strategy)(dict(self.params))
        result = run(made, bars, self.options, self.rebalance, data_name=self.name)
        return Part(stop=1, result=pickle.dumps(result), summary=summary.backtest_summary(result))
