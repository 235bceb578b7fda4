"""The names of the metrics, which way is better, and how a year is counted; the numbers come from `kernel`.

Front doors use the names to check an objective, children to label the columns of a sweep. It must never
import numba, pandas or anything of the cluster, so that a magic can check its arguments at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobnb.errors import unknown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Name and meaning of each metric, in the order of the columns of a sweep. Fractions, not percent.
MEANINGS: dict[str, str] = {
    "total_return": "final equity over initial capital, minus 1",
    "annual_return": "total return per year, compounded; a year is `periods_per_year` daily returns",
    "volatility": "standard deviation of the daily returns (ddof 1), per year",
    "sharpe_ratio": "mean over deviation (ddof 1) of the daily returns, per year (empyrical); NaN if they do not vary",
    "sortino_ratio": "mean daily return over downside deviation, per year (empyrical); NaN if no day lost",
    "calmar_ratio": "annual return over the size of the maximum drawdown; NaN if there was none",
    "max_drawdown": "deepest fall of the equity at any close below its highest close before, a negative fraction",
    "max_drawdown_duration": "longest time from a peak until the equity is back there (or the data ends), in days",
    "exposure": "share of the bars at whose close a position was held",
    "turnover": "value traded over equity at that time, summed over all fills, per year; NaN below two days",
    "trades": "number of positions opened, the one still open at the end included",
    "win_rate": "share of trades that made money after costs; NaN without trades",
    "profit_factor": "money won by winning trades over money lost by losing ones; inf if none lost, NaN without trades",
    "best_trade": "highest return of a trade on the value put in, after costs; NaN without trades",
    "worst_trade": "lowest return of a trade on the value put in, after costs; NaN without trades",
    "average_trade": "arithmetic mean of the returns of the trades; NaN without trades",
    "expectancy": "mean profit or loss of a trade in money, after costs; NaN without trades",
    "commissions_paid": "sum of all commissions in money",
    "buy_and_hold_return": "last close over first close, minus 1, without costs",
    "final_equity": "money at the last close, an open position valued there without exit costs",
}

#: The columns of a sweep, in order.
METRICS: tuple[str, ...] = tuple(MEANINGS)

#: Objectives that are minimized unless the caller says otherwise. `max_drawdown` is negative: higher is better.
LOWER_IS_BETTER: frozenset[str] = frozenset({"volatility", "max_drawdown_duration", "turnover", "commissions_paid"})


def check_objective(name: str) -> str:
    """Return ``name`` if it is a metric.

    Raises
    ------
    UnknownName
        With the nearest right name.
    """
    if name not in MEANINGS:
        raise unknown("objective", name, METRICS)
    return name


def maximized(name: str) -> bool:
    """Say whether more of this metric is better.

    Examples
    --------
    >>> maximized("sharpe_ratio"), maximized("volatility")
    (True, False)
    """
    return name not in LOWER_IS_BETTER


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """How the daily returns of a data set are annualised.

    Attributes
    ----------
    periods_per_year : float
        252 for trading days, 365 if the data holds weekends, 52 / 12 / 4 / 1 for coarser bars.
    unit : str
        What one return spans, for example ``"daily"``.
    """

    periods_per_year: float
    unit: str

    @property
    def text(self) -> str:
        """The convention in words, as a card shows it.

        Examples
        --------
        >>> Calendar(periods_per_year=252.0, unit="daily").text
        'Sharpe: daily, 252, empyrical'
        """
        return f"Sharpe: {self.unit}, {self.periods_per_year:g}, empyrical"


#: Median distance in days from which bars count as weekly, monthly, quarterly, yearly; and returns per year.
_COARSE = ((300.0, 1.0, "yearly"), (80.0, 4.0, "quarterly"), (26.0, 12.0, "monthly"), (5.0, 52.0, "weekly"))

#: Weekends are "in the data" if they make up over 60 % of the two sevenths they would have in full.
_WEEKEND_SHARE = 0.6 * 2 / 7


def calendar(days: npt.NDArray[np.int64]) -> Calendar:
    """Find how to annualise from the local days (since 1970-01-01) on which there are bars, each once."""
    import numpy as np

    if len(days) > 1:
        distance = float(np.median(np.diff(days)))
        for least, periods, unit in _COARSE:
            if distance >= least:
                return Calendar(periods_per_year=periods, unit=unit)
    # 1970-01-01 was a Thursday.
    weekend = float(np.mean((days + 3) % 7 >= 5)) if len(days) else 0.0
    return Calendar(periods_per_year=365.0 if weekend > _WEEKEND_SHARE else 252.0, unit="daily")
