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
- Where making a position smaller would cost more than there is (little equity, a large position, high costs), all of it
  is closed, and that is the end.
- Going from long to short closes the one trade and opens another, at one price.
- A trade lasts from flat to flat (or to the other side), whatever is added or taken off between. A position
  still open at the end is valued at the last close, without the costs of getting out, and counts as a trade.
- No margin calls; no interest unless ``borrow_cost`` is said. An equity of zero or less at a close (or at the
  price of a fill) is the end: the position is closed there, the equity is 0 from then on, nothing more is traded.
- The equity is marked at each close. Daily returns are taken from the last equity of each day (in the
  data's time zone), starting with the end of the first day.

Stops (``stop_loss``, ``take_profit``, ``trailing_stop``), in this order of events within a bar:

1. ``borrow_cost`` is paid for the time since the bar before, on what was owed at its close.
2. With ``"next_open"`` the decision of the bar before fills at the open. A trade that it opens gets its stops now:
   fractions of its fill price, as said at the bar of the decision; adding to a trade does not move them.
3. If the open is at or beyond the stop, the trade closes at the open (a gap); else if the bar's range reaches the
   stop, at the stop. Only if neither: the same for the target. So where one bar reaches both, the stop counts.
4. The trailing stop follows the best price up to the bar before (the entry's at first): this bar's own high is
   not known to come before its low. Of stop loss and trailing stop the nearer one counts.
5. The equity is marked at the close. With ``"close"`` the decision of this bar fills there, and its stops are
   looked at from the next bar on.

- A stop's fill pays slippage and commission like any other. After it the account stays flat until the target
  changes.
- A fill's commission is ``commission`` of its value and ``commission_per_share`` of its units, and at least
  ``commission_minimum``; a change of less than this minimum is not made. Fractions are of the equity after it.
- Sizes (``position_size``, ``sizing``, ``max_leverage``) are set when a target changes, and not between.
- A run with none of these goes through `kernel`, with any of them through `orders`; both give the same numbers.

``next(i, bars, account)`` is asked at each close, for the target that ``positions`` would hold there. Its run is kept
as the row of targets that it said; one that opens a new trade at the same target, after a stop, differs from the one
before by its last digit.

With ``conventions="backtesting.py"`` (which has none of these) the rules are those of backtesting.py 0.6.6
(``Backtest(data, S, cash=initial_capital, commission=commission, spread=slippage, finalize_trades=…)``, margin 1),
called by this ``next()``, where ``want`` is the target of the bar and ``before`` that of the bar before (0 at first)::

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

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research.limits import Orders, common, limits
from jobnb.research.metrics import METRICS
from jobnb.research.options import MAX_LEVERAGE, EngineOptions
from jobnb.research.stops import STOPS
from jobnb.research.targets import PositionsError as PositionsError
from jobnb.research.targets import Targets as Targets
from jobnb.research.targets import targets as targets

if TYPE_CHECKING:
    from jobnb.research.account import Market
    from jobnb.research.bars import Bars, Floats
    from jobnb.research.measure import Whole
    from jobnb.research.strategy import Strategy

#: What a run wants: targets, with its stops and size where there are any.
Wanted: TypeAlias = "Targets | Orders"


class Ran(NamedTuple):
    """What one run gave: the row of metrics, the log of fills, and the equity at each close."""

    values: Floats
    fills: Floats
    equity: Floats


def has_stops(strategy: type[Strategy]) -> bool:
    """Say whether a strategy has stops of its own, declared or by ``stops``."""
    from jobnb.research.strategy import Strategy as Plain

    return any(name in strategy.parameters for name in STOPS) or strategy.stops is not Plain.stops


def path_dependent(strategy: type[Strategy]) -> bool:
    """Say whether a strategy has stops of its own, or says its targets bar by bar."""
    return strategy._stepped or has_stops(strategy)


def check_conventions(strategy: type[Strategy], options: EngineOptions) -> None:
    """Refuse what the conventions cannot do.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: stops, or ``next``, with ``conventions="backtesting.py"``.
    """
    if options.conventions == "backtesting.py" and path_dependent(strategy):
        what = "next" if strategy._stepped else "stops"
        raise UsageProblem(f"{strategy.name} has {what}; that is not to be had with conventions='backtesting.py'")


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
        times = (bars.days, bars.day_end, bars.day_count)
        costs = (options.initial_capital, options.commission, options.slippage)
        per_year = bars.calendar.periods_per_year
        self._lots = None
        # Of the classes seen: whether targets are all they need, and whether they have stops of their own.
        self._plain: dict[type[Strategy], bool] = {}
        self._own: dict[type[Strategy], bool] = {}
        #: Largest target, see `targets`.
        self.most = MAX_LEVERAGE
        if options.conventions == "backtesting.py":
            self.most = 1.0
            self._lots = lots.evaluate
            self._lots_terms = (bars.open, bars.close, *times, *costs, 1.0, options.finalize_trades, per_year)
            return
        next_open = options.conventions == "next_open"
        self._shift = 1 if next_open else 0
        self._kernel = kernel.evaluate
        price = bars.open if next_open else bars.close
        self._terms = (price, self._ahead, *times, self._shift, *costs, per_year)

    @cached_property
    def _ahead(self) -> Floats:
        from jobnb.research.lanes import padded

        made = padded(self.bars.close)
        made.flags.writeable = False
        return made

    @cached_property
    def _equity(self) -> Floats:
        # What the slower forms write of the last row.
        from jobnb.research.lanes import LANES

        return np.empty(len(self.bars) + LANES)

    @cached_property
    def _order_terms(self) -> Floats:
        from jobnb.research import orders

        options = self.options
        terms = np.zeros(orders.TERMS)
        terms[orders.COMMISSION], terms[orders.SLIPPAGE] = options.commission, options.slippage
        terms[orders.PER_SHARE], terms[orders.MINIMUM] = options.commission_per_share, options.commission_minimum
        terms[orders.BORROW], terms[orders.LEVERAGE] = options.borrow_cost, options.max_leverage or MAX_LEVERAGE
        terms[orders.SIZING] = {"units": orders.IN_UNITS, "cash": orders.IN_CASH}.get(options.sizing, orders.FRACTION)
        return terms

    @cached_property
    def _common(self) -> Floats:
        return common(self.options, self.bars)

    @cached_property
    def _market(self) -> Market:
        from jobnb.research import orders

        bars = self.bars
        # Vendors adjust the four prices one by one: the range of a bar holds its open whatever they say.
        high, low = np.maximum(bars.high, bars.open), np.minimum(bars.low, bars.open)
        made = (high, low, *orders.blocks(high, low))
        for array in made:
            array.flags.writeable = False
        high, low, tops, bottoms = made
        return bars.open, high, low, bars.close, tops, bottoms, self._ahead, bars.days

    def plain(self, strategy: type[Strategy]) -> bool:
        """Say whether the runs of this strategy need nothing but targets; refuse what the conventions cannot do."""
        known = self._plain.get(strategy)
        if known is None:
            check_conventions(strategy, self.options)
            self._own[strategy] = has_stops(strategy)
            known = self._plain[strategy] = not self.options.orders and not path_dependent(strategy)
        return known

    def wants(self, strategy: Strategy) -> Wanted:
        """Ask a strategy what it wants at each bar.

        Raises
        ------
        PositionsError, NextError, StopsError
            ``POSITIONS_ERROR``, ``NEXT_ERROR``, ``STOPS_ERROR``: what is wrong with it.
        """
        bars = self.bars
        said = None
        if not self.plain(type(strategy)):
            own = self._own[type(strategy)]
            said = limits(strategy, self.options, bars, self._common) if own else self._common
        if strategy._stepped:
            from jobnb.research.account import step

            assert said is not None
            capital = self.options.initial_capital
            asked = step(strategy, bars, self._market, self._shift, self._order_terms, said, capital, self.most)
            return Orders(asked, said, said is self._common)
        row = targets(strategy.positions(bars), bars, strategy.name, self.most)
        return row if said is None else Orders(row, said, said is self._common)

    def rows(self, block: Targets, rows: int, out: Floats, limits: Floats | None = None) -> None:
        """Write the metrics of the first ``rows`` rows of targets (with their stops and sizes) to ``out``."""
        self._run(block, rows, limits, out, self._no_fills)

    def one(self, wanted: Wanted) -> Ran:
        """Run one row, and keep the log of its fills and its equity."""
        row = wanted.targets if isinstance(wanted, Orders) else wanted
        if row.dtype == np.bool_:
            row = row.view(np.int8)
        said = wanted.limits[None] if isinstance(wanted, Orders) else None
        changes = int(np.count_nonzero(row[1:] != row[:-1])) + 1
        # A reversal is two fills, a stop one more; so is the end by ruin, or of the data.
        fills = np.empty((3 * changes + 2, self._no_fills.shape[1]))
        out = np.empty((1, len(METRICS)))
        made = self._run(cast("Targets", np.ascontiguousarray(row).reshape(1, -1)), 1, said, out, fills)
        fills = fills[:made].copy()
        if self._lots is not None or said is not None:
            return Ran(out[0], fills, self._equity[: len(self.bars)].copy())
        return Ran(out[0], fills, equity(fills, self.bars.close, self.options.initial_capital))

    @property
    def sums_up(self) -> bool:
        """Whether there are `sums` of runs told by their targets alone."""
        return self._lots is None

    def sums(self, block: Targets, rows: int, ends: Whole, starts: Whole) -> tuple[Floats, Floats]:
        """Return metrics, and Σr and Σr² over blocks of days, of the first rows; see `kernel.sums_of_blocks`."""
        from jobnb.research import kernel

        out, sums = np.empty((rows, len(METRICS))), np.empty((rows, starts.size, 2))
        kernel.sums_of_blocks(block, rows, *self._terms, ends, starts, out, sums)
        return out, sums

    def _run(self, block: Targets, rows: int, limits: Floats | None, out: Floats, fills: Floats) -> int:
        if self._lots is not None:
            return self._lots(block, rows, *self._lots_terms, out, self._equity[: len(self.bars)], fills)
        if limits is None:
            return self._kernel(block, rows, *self._terms, out, fills)
        from jobnb.research import orders

        bars = self.bars
        market = (*self._market, bars.day_end, bars.day_count)
        money = (self.options.initial_capital, self._order_terms, bars.calendar.periods_per_year)
        return orders.evaluate(block, rows, limits, *market, self._shift, *money, out, self._equity, fills)


def equity(fills: Floats, close: Floats, capital: float) -> Floats:
    """Return the equity at each close from the log of fills, by the kernel's own arithmetic."""
    from jobnb.research.daily import equity_of

    made = np.empty(close.size)
    equity_of(fills, close, capital, made)
    return made
