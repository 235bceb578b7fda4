"""Metrics of an equity curve on any time axis, by the compiled arithmetic of single backtests.

Runs wherever results of several instruments are looked at, and in children. It must never define a metric of its own:
`measure` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.metrics import METRICS

if TYPE_CHECKING:
    from jobnb.research.aligned import Timeline

Floats = npt.NDArray[np.float64]

#: What a curve alone tells; the other metrics need the fills.
OF_CURVE = (
    "total_return",
    "annual_return",
    "volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "max_drawdown",
    "max_drawdown_duration",
    "buy_and_hold_return",
    "final_equity",
)


def row(equity: Floats, hold: Floats, line: Timeline, capital: float, tally: Floats) -> Floats:
    """Return the row of metrics of a curve.

    Parameters
    ----------
    equity, hold : array (t,)
        Money at each time, of the strategy and of buy and hold.
    line : Timeline
    capital : float
        Money at the start.
    tally : array (TALLY,)
        What was counted of the trades, see `measure`.
    """
    from jobnb.research import measure

    made = np.empty(len(METRICS))
    measure.measure(
        np.ascontiguousarray(equity),
        np.ascontiguousarray(hold),
        line.days,
        line.day_end,
        line.day_count,
        capital,
        line.calendar.periods_per_year,
        tally,
        made,
    )
    return made


def metrics_of(equity: Floats, hold: Floats, line: Timeline, capital: float) -> dict[str, float]:
    """Return the metrics that a curve alone tells, by name."""
    from jobnb.research import measure

    tally = np.empty(measure.TALLY)
    measure.clear(tally)
    values = dict(zip(METRICS, row(equity, hold, line, capital, tally).tolist(), strict=True))
    return {name: float(values[name]) for name in OF_CURVE}
