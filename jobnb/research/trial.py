"""`TrialWork`: one trial of a finished search as a backtest of its own, with its equity and trades.

A front door builds it from the stored work of the search, which it never unpickles: the child does, and finds there
the strategy, the data and the parameters as they were.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from jobnb.work import Part, Report, unwrapped

if TYPE_CHECKING:
    from jobnb.research.sweep import SweepWork


@dataclass(frozen=True, kw_only=True)
class TrialWork:
    """One run of a search once more: a job of one item.

    Attributes
    ----------
    search : bytes
        The pickled work of the search.
    number : int
        Of the combination in its space; of a search that is no grid, that of the trial.
    point : tuple of float, optional
        Of a search that is no grid; see `jobnb.research.space.ParameterSpace`.
    """

    search: bytes
    number: int
    point: tuple[float, ...] | None = None

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run it; the result is that of `jobnb.backtest`."""
        from jobnb.research.foreign import is_foreign
        from jobnb.research.strategy import Strategy
        from jobnb.research.sweep import seeded

        search = cast("SweepWork", unwrapped(pickle.loads(self.search)))
        params = search.space.params(self.number) if self.point is None else search.space.at(self.point)
        if is_foreign(search.strategy):
            params = dict(next(seeded([params], search.trials.place(self.number))))
        else:
            params = {**cast(type[Strategy], search.strategy).parameters, **params}
        return search.single(params).run(start, stop, budget, report)
