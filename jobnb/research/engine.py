"""Running a strategy on bars: its positions are checked, then the kernel does the rest.

Runs in a child, or in the caller of a direct backtest. The exact terms, which hold for the single run and
the sweep alike:

- ``positions(bars)`` gives a target per bar, decided at that bar's close: the fraction of the equity to be
  held, 1 all in, 0 flat, negative short. bool and -1/0/1 are shorthands.
- Before the first bar the target is 0. Only a target that *differs* from the one of the bar before trades;
  a constant target is not rebalanced when prices move.
- With ``conventions="next_open"`` the target decided at bar i fills at the open of bar i + 1, so what is
  decided at the last bar is never filled; with ``"close"`` it fills at the close of bar i.
- A fill brings the position to the target fraction of the equity *after* the costs of that fill, in
  fractional units, valued at the open (or close). Slippage makes the price worse by its fraction; the
  commission is its fraction of units times that worse price. So a target of 1 leaves no cash, and no debt.
- Going from long to short closes the one trade and opens another, at one price.
- A trade lasts from flat to flat (or to the other side), whatever is added or taken off between. A position
  still open at the end is valued at the last close, without the costs of getting out, and counts as a trade.
- No interest, no margin calls, no borrowing fee. An equity of zero or less at a close (or at the price of a
  fill) is the end: the position is closed there, the equity is 0 from then on, nothing more is traded.
- The equity is marked at each close. Daily returns are taken from the last equity of each day (in the
  data's time zone), starting with the end of the first day.

With ``conventions="backtesting.py"`` the rules are those of backtesting.py 0.6.6 (``Backtest(data, S, cash=
initial_capital, commission=commission, spread=slippage, finalize_trades=finalize_trades)``, margin 1), called by
this ``next()``, where ``want`` is the target of the bar and ``before`` that of the bar before (0 at first)::

    if want != before:
        self.position.close()
        if want > 0: self.buy(size=want)       # size only if it is below 1
        if want < 0: self.sell(size=-want)

- Its first ``next()`` is at bar 1, so the target of bar 0 is not seen, and that of bar 1 is compared with 0.
- Its indicators hold the first ``next()`` back until bar ``1 + the longest warm-up``, for a moving average over n
  bars until bar n. Here nothing is held back: set the targets before that bar to 0 for the same run.
- Whole units only: as many as the fraction of the cash pays for at the next open, its spread and commission
  included. An order too small for one unit is dropped, and not repeated until the target changes.
- The position is closed and opened anew at every change of the target, also from 1 to 0.5.
- The spread is paid on entries, the commission at both ends. A trade open at the end is in the equity, but
  neither a trade of the metrics nor in the commissions; ``finalize_trades=True`` closes it at the last bar's open,
  and fills there too what was decided at the last bar.
- An equity of zero or less at a close ends the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions

if TYPE_CHECKING:
    from jobnb.research.bars import Bars, Floats

_BOOL = np.dtype(np.bool_)

Targets = npt.NDArray[np.int8] | npt.NDArray[np.float64]


class PositionsError(UsageProblem):
    """``positions(bars)`` did not return one usable target per bar."""

    code = "POSITIONS_ERROR"


#: A target beyond this is a mistake (percent, units or money instead of a fraction).
MAX_LEVERAGE = 20.0


def targets(positions: object, bars: Bars, who: str = "positions", most: float = MAX_LEVERAGE) -> Targets:
    """Check what a strategy's ``positions`` returned, and give it the kernel's form.

    Parameters
    ----------
    positions : array_like
        One bool, -1/0/1 or float per bar.
    bars : Bars
    who : str
        The strategy's name, for the error.
    most : float
        Largest target there may be, without its sign.

    Returns
    -------
    numpy.ndarray
        int8 or float64, one value per bar.

    Raises
    ------
    PositionsError
        ``POSITIONS_ERROR``: wrong length, kind or value, with the first place.
    """
    made = positions if isinstance(positions, np.ndarray) else np.asarray(positions)
    if made.dtype is _BOOL and made.shape == bars.close.shape:
        return made.view(np.int8)
    if made.shape != bars.close.shape:
        got = "nothing" if positions is None else f"the shape {made.shape}"
        raise PositionsError(f"{who}.positions returned {got}; return one value for each of the {len(bars):,} bars")
    kind = made.dtype.kind
    if kind == "b":
        return made.astype(np.int8)
    if kind in "iu":
        if made.min() < -1 or made.max() > 1:
            i = int(np.argmax((made < -1) | (made > 1)))
            raise PositionsError(
                f"{who}.positions is {made[i]} at {bars.index[i]}; whole numbers must be -1, 0 or 1, "
                "fractions of the equity must be floats"
            )
        return made.astype(np.int8)
    if kind == "f":
        real = np.ascontiguousarray(made, dtype=np.float64)
        finite = np.isfinite(real)
        if not finite.all():
            i = int(np.argmin(finite))
            raise PositionsError(
                f"{who}.positions is {real[i]} at {bars.index[i]} and in {int((~finite).sum()):,} bars in all; "
                "return 0 where there is no position"
            )
        if (reach := float(np.abs(real).max())) > most:
            margin = "" if most > 1.0 else "; conventions='backtesting.py' has no margin"
            raise PositionsError(
                f"{who}.positions reaches {reach:g} times the equity; "
                f"it is a fraction (1.0 is all in), at most {most:g}{margin}"
            )
        return real
    raise PositionsError(
        f"{who}.positions returned values of type {made.dtype}; return bool, -1/0/1 or float fractions of the equity"
    )


class Ran(NamedTuple):
    """What one run gave: the row of metrics, the log of fills, and the equity at each close."""

    values: Floats
    fills: Floats
    equity: Floats


class Evaluator:
    """The kernel bound to one data set and one set of options.

    Parameters
    ----------
    bars : Bars
    options : EngineOptions
    """

    def __init__(self, bars: Bars, options: EngineOptions) -> None:
        from jobnb.research import kernel, lots, measure

        self.bars = bars
        self.options = options
        # For the log of a run that keeps none.
        self._no_fills = np.empty((0, measure.FILL_COLUMNS))
        data = (bars.close, bars.days, bars.day_end, bars.day_count)
        costs = (options.initial_capital, options.commission, options.slippage)
        per_year = bars.calendar.periods_per_year
        self._lots = None
        #: Largest target, see `targets`.
        self.most = MAX_LEVERAGE
        if options.conventions == "backtesting.py":
            self.most = 1.0
            self._lots = lots.evaluate
            self._lots_terms = (bars.open, *data, *costs, 1.0, options.finalize_trades, per_year)
            self._equity = np.empty(len(bars))
            return
        next_open = options.conventions == "next_open"
        self._kernel = kernel.evaluate
        self._terms = (bars.open if next_open else bars.close, *data, 1 if next_open else 0, *costs, per_year)

    def rows(self, block: Targets, rows: int, out: Floats) -> None:
        """Write the metrics of the first ``rows`` rows of targets to ``out``."""
        self._run(block, rows, out, self._no_fills)

    def one(self, row: Targets) -> Ran:
        """Run one row of targets, and keep the log of its fills and its equity."""
        changes = int(np.count_nonzero(row[1:] != row[:-1])) + 1
        # A reversal is two fills; an end by ruin (or of the data) is one more.
        fills = np.empty((2 * changes + 2, self._no_fills.shape[1]))
        out = np.empty((1, len(METRICS)))
        made = self._run(cast("Targets", np.ascontiguousarray(row).reshape(1, -1)), 1, out, fills)
        fills = fills[:made].copy()
        if self._lots is not None:
            return Ran(out[0], fills, self._equity.copy())
        return Ran(out[0], fills, equity(fills, self.bars.close, self.options.initial_capital))

    def _run(self, block: Targets, rows: int, out: Floats, fills: Floats) -> int:
        if self._lots is not None:
            return self._lots(block, rows, *self._lots_terms, out, self._equity, fills)
        return self._kernel(block, rows, *self._terms, out, fills)


def equity(fills: Floats, close: Floats, capital: float) -> Floats:
    """Return the equity at each close from the log of fills, by the kernel's own arithmetic."""
    from jobnb.research.daily import equity_of

    made = np.empty(close.size)
    equity_of(fills, close, capital, made)
    return made
