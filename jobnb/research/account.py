"""`Account`, what a strategy's ``next`` sees of its own run, and the loop that asks it bar by bar.

Runs where strategies run. The rules are those of `orders`, walked one bar at a time; only the questions are Python.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.strategy import Strategy

Floats = npt.NDArray[np.float64]
#: Open, high, low, close, tops, bottoms, ahead and time, as `orders.walk` takes them.
Market = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats]


class NextError(UsageProblem):
    """``next`` did not return a usable target."""

    code = "NEXT_ERROR"


class Account:
    """The account at the close of a bar, for `Strategy.next`; read it, do not change it.

    Attributes
    ----------
    cash : float
        Money; negative if borrowed.
    equity : float
        Cash and the position at this close.
    units : float
        Held, negative if short.
    entry_price : float
        At which the trade was opened; NaN without one.
    bars_held : int
        Closes at which the open trade was held, this one included; 0 without one.
    stopped : bool
        Whether a stop closed a trade inside this bar.
    target : float
        The last target; 0 where nothing is held.
    """

    __slots__ = ("bars_held", "cash", "entry_price", "equity", "stopped", "target", "units")

    def __init__(self, capital: float) -> None:
        self.cash = self.equity = capital
        self.units = 0.0
        self.entry_price = math.nan
        self.bars_held = 0
        self.stopped = False
        self.target = 0.0

    @property
    def position(self) -> float:
        """Value of the position over the equity, negative if short."""
        return (self.equity - self.cash) / self.equity if self.equity else 0.0

    def __repr__(self) -> str:
        return f"<Account: equity {self.equity:,.2f}, {self.units:g} units, target {self.target:g}>"


def step(
    strategy: Strategy,
    bars: Bars,
    market: Market,
    shift: int,
    terms: Floats,
    limits: Floats,
    capital: float,
    most: float,
) -> Floats:
    """Ask ``next`` at each bar; return what it said as a row of targets that gives the same run.

    Parameters
    ----------
    strategy : Strategy
    bars : Bars
    market, shift, terms, limits
        See `orders.walk`.
    capital, most : float
        Money at the start; largest target.

    Raises
    ------
    NextError
        ``NEXT_ERROR``: what ``next`` returned is no target.
    """
    from jobnb.research import lanes, measure, orders, worth

    n = len(bars)
    target = np.zeros(n)
    turns = np.full(2, n, dtype=np.int64)
    state, tally, equity = np.empty(orders.STATE), np.empty(measure.TALLY), np.empty(n + lanes.LANES)
    calendar = (bars.day_end, bars.day_count == n)
    course, returns = np.empty(worth.COURSE), worth.room_of(bars.day_count)[0]
    fills = np.empty((0, measure.FILL_COLUMNS))
    orders.begin(state, tally, capital)
    worth.set_out(course, capital)
    account = Account(capital)
    changed = False
    since = 0
    for i in range(n):
        turns[0] = i - 1 if changed else n
        orders.walk(
            target,
            turns,
            limits,
            *market,
            *calendar,
            shift,
            terms,
            i,
            i + 1,
            state,
            True,
            equity,
            course,
            returns,
            tally,
            fills,
            0,
        )
        if state[orders.RUINED]:
            # Nothing is asked any more, and nothing would be filled.
            target[i:] = target[i - 1]
            break
        units = float(state[orders.UNITS])
        if units != 0.0 and (account.units == 0.0 or (account.units > 0.0) != (units > 0.0)):
            since = i
        account.stopped = bool(state[orders.STOPPED])
        if units == 0.0:
            # Stopped, or an order that came to nothing: the same target again is an order.
            account.target = 0.0
        account.cash, account.units, account.equity = float(state[orders.CASH]), units, float(equity[i])
        account.entry_price = float(state[orders.ENTRY]) if units else math.nan
        account.bars_held = i - since + 1 if units else 0
        said = strategy.next(i, bars, account)
        want = account.target if said is None else _checked(said, strategy, bars, i, most)
        changed = want != account.target
        account.target = want
        # Only what differs from the bar before trades: a target that opens anew is told apart by its last digit,
        # and one that is kept is kept to the last digit.
        before = target[i - 1] if i else 0.0
        if changed:
            target[i] = np.nextafter(want, 0.0) if want == before else want
        else:
            target[i] = before if units else 0.0
    return target


def _checked(want: object, strategy: Strategy, bars: Bars, i: int, most: float) -> float:
    try:
        number = float(want)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not abs(number) <= most:
        raise NextError(
            f"{strategy.name}.next returned {want!r} at {bars.index[i]}; return a target like 1, 0 or -0.5 "
            f"(at most {most:g} times the equity), or None to keep the last one"
        )
    return number
