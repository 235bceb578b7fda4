"""The course of a run: what every picture and every report needs of a result, whatever engine it is from.

Made at the front door from a finished result. It computes nothing that the result says itself, and runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.metrics import Calendar, calendar

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]

#: What is shown of a trade, and what backtesting.py and vectorbt call it.
_TRADE_NAMES = {
    "entry_time": ("EntryTime", "Entry Timestamp"),
    "exit_time": ("ExitTime", "Exit Timestamp"),
    "side": ("Direction",),
    "size": ("Size",),
    "entry_price": ("EntryPrice", "Avg Entry Price"),
    "exit_price": ("ExitPrice", "Avg Exit Price"),
    "pnl": ("PnL",),
    "return_": ("ReturnPct", "Return"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """How the equity of a run went.

    Attributes
    ----------
    title, foot : str
        What was run, and what was assumed.
    time : array (n,) of datetime64[ns]
        Of each bar, as clocks at the exchange showed it; where the engine told none, the numbers of the bars.
    equity : array (n,)
        Money at each close.
    capital : float
        Money before the first bar.
    hold : array (n,), optional
        What the capital would have been worth in the asset itself.
    trades : pandas.DataFrame, optional
        With ``entry_time``, ``exit_time``, ``side``, ``return_`` (a fraction) and what else is known of
        `BacktestResult.trades`; times as in ``time``.
    """

    title: str
    foot: str = ""
    time: npt.NDArray[Any] = field(repr=False)
    equity: Floats = field(repr=False)
    capital: float
    hold: Floats | None = field(repr=False, default=None)
    trades: pd.DataFrame | None = field(repr=False, default=None)

    @cached_property
    def fall(self) -> Floats:
        """The equity over its highest value so far, minus 1."""
        return fall(self.equity)

    @property
    def dated(self) -> bool:
        """Whether the times are known."""
        return self.time.dtype.kind == "M"

    @cached_property
    def _day_last(self) -> npt.NDArray[np.int64]:
        self.need_dates()
        days = self.time.astype("datetime64[D]")
        return np.flatnonzero(np.append(days[1:] != days[:-1], True)).astype(np.int64)

    def need_dates(self) -> None:
        """Refuse what needs times where there are none.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``
        """
        if not self.dated:
            raise UsageProblem(f"{self.title}: its equity has no times; give equity_curve an index of dates.")

    @cached_property
    def days(self) -> Times:
        """The days with bars."""
        return self.time[self._day_last].astype("datetime64[D]")

    @cached_property
    def returns(self) -> Floats:
        """The daily returns, one less than there are `days`; after the equity is gone they are 0."""
        value = self.equity[self._day_last]
        before = value[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(before > 0.0, value[1:] / before - 1.0, 0.0)

    @cached_property
    def calendar(self) -> Calendar:
        """How the daily returns are annualised."""
        return calendar(self.days.astype(np.int64))


def fall(equity: Floats) -> Floats:
    """Return the equity over its highest value so far, minus 1."""
    peak = np.maximum.accumulate(equity)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(peak > 0.0, equity / peak - 1.0, 0.0)


def course(result: Any) -> Course:
    """Return the course of a `BacktestResult`, a `ForeignResult`, or of anything with an ``equity_curve``.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: the engine told no equity.
    """
    curve = result.equity_curve
    equity = np.asarray(curve.to_numpy(), dtype=np.float64)
    if not equity.size:
        raise UsageProblem(f"{result.title}: its equity is empty, so there is nothing to draw.")
    dated = hasattr(curve.index, "tz")
    options = getattr(result, "options", None) or {}
    hold: Any = getattr(result, "hold", None)
    if hasattr(hold, "to_numpy"):
        hold = hold.to_numpy()
    return Course(
        title=result.title,
        foot=result.foot,
        time=clock(curve.index) if dated else np.arange(equity.size),
        equity=equity,
        capital=float(options.get("initial_capital", getattr(result, "initial_capital", equity[0]))),
        hold=None if hold is None else np.asarray(hold, dtype=np.float64),
        trades=_trades(getattr(result, "trades", None)) if dated else None,
    )


def clock(index: Any) -> Times:
    """Return the times of an index as clocks at the exchange showed them."""
    return np.asarray(index.tz_localize(None) if index.tz is not None else index, dtype="datetime64[ns]")


def _trades(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the trades under jobnb's names, or None where they are not known."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        return None
    own = {theirs: ours for ours, others in _TRADE_NAMES.items() for theirs in others}
    made = frame.rename(columns={name: own[name] for name in frame.columns if name in own and own[name] not in frame})
    if "side" not in made and "size" in made:
        made["side"] = np.where(made["size"] < 0, "short", "long")
    if not {"entry_time", "exit_time", "side", "return_"} <= set(made):
        return None
    made = made.assign(side=made["side"].astype(str).str.lower())
    for name in ("entry_time", "exit_time"):
        times = pd.to_datetime(made[name])
        made[name] = times.dt.tz_localize(None) if times.dt.tz is not None else times
    return made.reset_index(drop=True)
