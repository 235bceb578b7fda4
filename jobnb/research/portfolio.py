"""Running a strategy on several instruments with one account: weights are checked, then the kernel does the rest.

Runs in a child, or in the caller of a direct run. The exact terms:

- ``weights(bars)`` gives for each time and instrument the fraction of the whole equity to be held, decided at that
  time's close; a time is one at which any instrument has a bar. A strategy with ``positions(bars)`` has each
  instrument's position taken of an equal share of the equity, 1 / the number of instruments.
- An instrument trades only at its own bars. With ``conventions="next_open"`` what is decided at a time fills at the
  instrument's next open after it, with ``"close"`` at its close then, or its next one. What was decided and not filled
  gives way to what is decided later. Where it has no bar it is valued at its last close, also after its
  last bar, when nothing can be sold any more; it has none before its first.
- ``rebalance="on_change"``: an instrument trades when its own weight differs from the one before (0 at first), so that
  a constant weight drifts with the prices, as in single backtests. ``"always"``: all are brought to their weights at
  each time. ``"weekly"``, ``"monthly"``, ``"quarterly"``, ``"yearly"``: all are, and weights are looked at only, at the
  first time of each such period.
- Fills at one time are sized together: every position that trades is its weight of the equity *after* the costs of all
  of them. Slippage, commission and trades are those of single backtests, see `engine`; there is no interest, so that
  weights that drift, or that sum to more than 1, may borrow: ``cash`` says so.
- An equity of zero or less ends the run: all is closed there, and what was owed is forgiven.
- The metrics are those of single backtests, of the account. Trades are counted per instrument; exposure is the share of
  times at which anything was held; buy and hold puts an equal share into each instrument at its first close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.engine import path_dependent, targets
from jobnb.research.options import MAX_LEVERAGE, EngineOptions
from jobnb.research.portfolio_result import PortfolioResult

if TYPE_CHECKING:
    from jobnb.research.aligned import Aligned
    from jobnb.research.strategy import Strategy
    from jobnb.research.universe import Universe

Floats = npt.NDArray[np.float64]

#: When a portfolio trades, and how a card says it.
REBALANCE: dict[str, str] = {
    "on_change": "trades when a weight changes",
    "always": "rebalanced at every bar",
    "weekly": "rebalanced weekly",
    "monthly": "rebalanced monthly",
    "quarterly": "rebalanced quarterly",
    "yearly": "rebalanced yearly",
}


class WeightsError(UsageProblem):
    """``weights(bars)`` did not return one usable weight per time and instrument."""

    code = "WEIGHTS_ERROR"


def has_weights(strategy: object) -> bool:
    """Say whether a strategy gives weights for all instruments at once."""
    return callable(getattr(strategy, "weights", None))


def check(strategy: type[Strategy], options: EngineOptions, rebalance: str) -> None:
    """Refuse what a portfolio cannot do, at the front door.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: options or strategies of which each bar depends on the fills before.
    UnknownName
        ``UNKNOWN_NAME``: there is no such ``rebalance``.
    """
    if rebalance not in REBALANCE:
        raise unknown("rebalance", str(rebalance), REBALANCE)
    if options.conventions == "backtesting.py" or options.orders:
        said = options.orders[0] if options.orders else "conventions='backtesting.py'"
        raise UsageProblem(f"{said} is not to be had in a portfolio; say it of each instrument alone: portfolio=False")
    if not has_weights(strategy) and path_dependent(strategy):
        raise UsageProblem(
            f"{strategy.name} depends on its own fills (next or stops), which a portfolio does not know; write "
            "positions or weights, or backtest each instrument alone: portfolio=False"
        )


def weights_of(strategy: Strategy, bars: Universe) -> Floats:
    """Ask a strategy for its weights, and check them.

    Returns
    -------
    array (t, n)
        0 before an instrument's first bar.

    Raises
    ------
    WeightsError, PositionsError
        ``WEIGHTS_ERROR``, ``POSITIONS_ERROR``: wrong shape, kind or value, with the first place.
    """
    line = bars.aligned
    if not has_weights(strategy):
        share = 1.0 / len(bars)
        columns = [
            line.spread(targets(strategy.positions(each), each, strategy.name).astype(np.float64) * share, j)
            for j, each in enumerate(bars.values())
        ]
        return np.nan_to_num(np.column_stack(columns))
    asked: Any = strategy
    return checked(asked.weights(bars), bars, strategy.name)


def checked(made: object, bars: Universe, who: str) -> Floats:
    """Check what ``weights`` returned: a table of times by instruments, or one column or number per instrument."""
    line = bars.aligned
    table = _table(made, bars, who)
    kind = table.dtype.kind
    if kind not in "biuf":
        raise WeightsError(f"{who}.weights returned values of type {table.dtype}; return fractions of the equity")
    real = table.astype(np.float64)
    unlisted = np.isnan(line.close)
    wrong = ~np.isfinite(real) & ~unlisted
    if wrong.any():
        i, j = (int(place) for place in np.argwhere(wrong)[0])
        raise WeightsError(
            f"{who}.weights is {real[i, j]} for {bars.symbols[j]} at {bars.index[i]} and in "
            f"{int(wrong.sum()):,} places in all; return 0 where nothing is to be held, for example by fillna(0)"
        )
    real[unlisted] = 0.0
    if kind in "biu":
        # Signs: equal shares of those that are held.
        if np.abs(real).max(initial=0.0) > 1.0:
            raise WeightsError(f"{who}.weights has whole numbers beyond -1, 0 and 1; fractions must be floats")
        held = np.abs(real).sum(axis=1, keepdims=True)
        real = np.divide(real, held, out=np.zeros_like(real), where=held > 0.0)
    gross = np.abs(real).sum(axis=1)
    if gross.max(initial=0.0) > MAX_LEVERAGE:
        i = int(np.argmax(gross))
        raise WeightsError(
            f"{who}.weights add up to {gross[i]:g} times the equity at {bars.index[i]}; they are fractions of it (1.0 "
            f"is all in), at most {MAX_LEVERAGE:g} together"
        )
    return np.ascontiguousarray(real)


def _table(made: object, bars: Universe, who: str) -> npt.NDArray[Any]:
    shape = (len(bars.aligned), len(bars))
    if made is None:
        raise WeightsError(f"{who}.weights returned nothing; return a table of {shape[0]:,} times by {shape[1]}")
    if hasattr(made, "columns") and hasattr(made, "reindex"):
        frame: Any = made
        for name in frame.columns:
            if name not in bars:
                raise unknown("instrument", str(name), bars.symbols, **{"in": f"{who}.weights"})
        if not frame.index.equals(bars.index):
            raise WeightsError(
                f"{who}.weights has {len(frame):,} rows that are not the times of the bars; keep the index of "
                "bars.close"
            )
        return np.asarray(frame.reindex(columns=list(bars.symbols), fill_value=0).to_numpy())
    items: Any = made
    if hasattr(items, "items") and hasattr(items, "keys"):
        columns = [np.zeros(shape[0])] * shape[1]
        for name, value in items.items():
            if name not in bars:
                raise unknown("instrument", str(name), bars.symbols, **{"in": f"{who}.weights"})
            j = bars.symbols.index(name)
            column = np.asarray(value)
            if column.ndim == 0:
                column = np.full(shape[0], column)
            elif column.shape == bars[name].close.shape:
                column = bars.aligned.spread(column, j)
            if column.shape != (shape[0],):
                raise WeightsError(
                    f"{who}.weights has {column.shape} values for {name}; return one for each of the {shape[0]:,} times"
                )
            columns[j] = column
        return np.column_stack(columns)
    table = np.asarray(made)
    if table.shape != shape:
        raise WeightsError(
            f"{who}.weights returned the shape {table.shape}; return {shape}: a row per time, a column per instrument"
        )
    return table


def looks(line: Aligned, rebalance: str) -> npt.NDArray[np.int8]:
    """Return what is done about the weights of each time, see `portfolio_kernel.walk`."""
    from jobnb.research.portfolio_kernel import CHANGES, EVERY, IGNORED

    if rebalance == "on_change":
        return np.full(len(line), CHANGES, dtype=np.int8)
    if rebalance == "always":
        return np.full(len(line), EVERY, dtype=np.int8)
    day = line.local_day.astype("datetime64[D]")
    # 1970-01-01 was a Thursday; weeks begin on Mondays.
    period = {
        "weekly": (line.local_day + 3) // 7,
        "monthly": day.astype("datetime64[M]").astype(np.int64),
        "quarterly": day.astype("datetime64[M]").astype(np.int64) // 3,
        "yearly": day.astype("datetime64[Y]").astype(np.int64),
    }[rebalance]
    first = np.append(True, np.diff(period) != 0)
    return np.where(first, EVERY, IGNORED).astype(np.int8)


class PortfolioEvaluator:
    """The kernel bound to one universe, one set of options and one way to rebalance."""

    def __init__(self, bars: Universe, options: EngineOptions, rebalance: str = "on_change") -> None:
        line = bars.aligned
        self.bars = bars
        self.options = options
        self.line = line
        self.hold = line.hold(options.initial_capital)
        self._look = looks(line, rebalance)
        next_open = options.conventions == "next_open"
        self._terms = (
            line.open if next_open else line.close,
            line.close,
            line.traded,
            1 if next_open else 0,
            options.initial_capital,
            options.commission,
            options.slippage,
        )

    def one(self, weights: Floats, *, log: bool = True) -> tuple[Floats, Floats, Floats, Floats]:
        """Run one table of weights; return the metrics, the equity, the cash and the fills (none without ``log``)."""
        from jobnb.research import curve, measure, portfolio_kernel

        equity, money = np.empty(len(self.line)), np.empty(len(self.line))
        tally = np.empty(measure.TALLY)
        # On a change a reversal is two fills; where more are made than fit, the run is made once more.
        room = 2 * int(np.count_nonzero(np.diff(weights, axis=0))) + 3 * weights.shape[1] if log else 0
        while True:
            fills = np.empty((room, portfolio_kernel.FILL_COLUMNS))
            made = portfolio_kernel.walk(weights, self._look, *self._terms, equity, money, tally, fills)
            if made <= room or not log:
                break
            room = made
        values = curve.row(equity, self.hold, self.line, self.options.initial_capital, tally)
        return values, equity, money, fills[:made].copy() if log else fills


def run(
    strategy: Strategy, bars: Universe, options: EngineOptions, rebalance: str = "on_change", *, data_name: str = "data"
) -> PortfolioResult:
    """Run a strategy on several instruments with one account.

    Raises
    ------
    WeightsError, PositionsError
        ``WEIGHTS_ERROR``, ``POSITIONS_ERROR``: what the strategy returned cannot be used.
    """
    evaluator = PortfolioEvaluator(bars, options, rebalance)
    weights = weights_of(strategy, bars)
    values, equity, money, fills = evaluator.one(weights)
    line = bars.aligned
    start, end = line.span
    return PortfolioResult(
        name=strategy.name,
        params=strategy.params,
        options={**options.to_dict(), "rebalance": rebalance},
        conventions=[*options.texts, REBALANCE[rebalance], line.calendar.text],
        data={"name": data_name, "bars": len(line), "start": start, "end": end, "instruments": len(bars)},
        symbols=bars.symbols,
        values=values,
        equity=equity,
        cash_held=money,
        hold=evaluator.hold,
        targets_held=weights,
        close=line.close,
        time=line.time,
        zone=line.zone,
        fill_log=fills,
    )
