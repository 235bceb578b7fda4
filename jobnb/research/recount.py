"""Runs of a search made once more for their equity, of which a sweep keeps no more than a digest.

Runs in children: for the best run of a part, and for questions that need the returns of all the runs. It must never
touch what the search has found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.options import EngineOptions
    from jobnb.research.strategy import Strategy

Floats = npt.NDArray[np.float64]


#: Makes a run: its parameters and which trial of the search it is, to the equity at each bar or None.
Run = Callable[[Mapping[str, Any], int], "Floats | None"]


def runner(strategy: Callable[..., object], bars: Bars, options: EngineOptions) -> Run:
    """Return what makes a run of a search once more, as it was, and gives its equity.

    Another engine's run that tells no equity, or not one for each bar, gives None. What a run raises goes through.
    """
    from jobnb.research.engine import Evaluator
    from jobnb.research.foreign import is_foreign, run_foreign
    from jobnb.research.strategy import maker

    if is_foreign(strategy):
        from jobnb.research.sweep import seeded

        def foreign(params: Mapping[str, Any], trial: int) -> Floats | None:
            again = next(seeded([params], trial))
            return usable(run_foreign(strategy, bars, again, "value").equity, bars)

        return foreign
    evaluator, make = Evaluator(bars, options), maker(cast("type[Strategy]", strategy))
    return lambda params, trial: evaluator.one(evaluator.wants(make(dict(params)))).equity


def usable(equity: npt.ArrayLike | None, bars: Bars) -> Floats | None:
    """Return an engine's equity as an array; None unless it begins above 0 and has one number for each bar."""
    if equity is None:
        return None
    worth = np.ascontiguousarray(equity, dtype=np.float64)
    fits = worth.shape == bars.close.shape and np.isfinite(worth).all() and worth[0] > 0.0
    return worth if fits else None
