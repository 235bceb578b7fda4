"""``vectorbt.Portfolio`` objects that a user's function returns: their numbers under jobnb's names.

Runs in a child, after the user's own code has made the portfolio with an installation of vectorbt of its own. It
only asks the object; nothing of vectorbt is imported or copied here.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jobnb.research.adapters import measures
from jobnb.research.adapters.outcome import ForeignRun, ResultError, is_number
from jobnb.research.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars

TERMS = ("vectorbt", "fills and costs as the function says")


def reduced(portfolio: Any, bars: Bars, who: str, objective: str) -> ForeignRun:
    """Return what a portfolio holds under jobnb's names, computed by jobnb's definitions, and under its own.

    Parameters
    ----------
    portfolio : vectorbt.Portfolio
        Of one column (or one group with shared cash) over the bars.
    bars : Bars
        The prices that the function was given.
    who : str
        The function's name, for errors.
    objective : str
        What a search wants. Its own statistics take longer than the simulation: they are asked for only where the
        objective is one of them, and for a single run (any name that is no metric of jobnb).

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: several columns, or another number of bars.
    """
    with warnings.catch_warnings():
        # It asks for a frequency to annualise by, which jobnb's own numbers do not need; and what it uses of pandas
        # that pandas is going to drop is between those two.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return _reduced(portfolio, bars, who, objective)


def _reduced(portfolio: Any, bars: Bars, who: str, objective: str) -> ForeignRun:
    import pandas as pd

    value = one_column(portfolio.value(), who)
    if len(value) != len(bars):
        raise ResultError(f"{who} returned a Portfolio of {len(value):,} bars; it was given {len(bars):,}.")
    equity = pd.Series(value.to_numpy(dtype=float), index=bars.index, name="equity")
    records = portfolio.trades.records
    put_in = (records["size"].abs() * records["entry_price"]).to_numpy(dtype=float)
    capital = float(np.asarray(portfolio.init_cash).reshape(-1)[0])
    metrics = {
        **measures.of_equity(equity.to_numpy(), bars, capital),
        **measures.of_trades(records["pnl"].to_numpy(dtype=float), put_in),
        "exposure": float(np.mean(np.any(np.atleast_2d(np.asarray(portfolio.assets()).T) != 0.0, axis=0))),
        "commissions_paid": float(portfolio.orders.records["fees"].sum()),
    }
    own: dict[str, object] = {}
    trades = None
    if objective not in METRICS:
        own = {str(name): number for name, number in portfolio.stats().items()}
        metrics |= {name: float(cast(float, number)) for name, number in own.items() if is_number(number)}
        trades = portfolio.trades.records_readable
    return ForeignRun(metrics=metrics, equity=equity, trades=trades, stats=own, terms=(*TERMS, bars.calendar.text))


def one_column(value: Any, who: str) -> pd.Series[float]:
    """Return the value of a portfolio as a Series.

    Raises
    ------
    ResultError
        ``RESULT_ERROR``: it has several columns.
    """
    if getattr(value, "ndim", 1) == 1:
        return value  # type: ignore[no-any-return]
    columns = [str(column) for column in value.columns]
    if len(columns) != 1:
        shown = ", ".join(columns[:4]) + (", …" if len(columns) > 4 else "")
        raise ResultError(
            f"{who} returned a Portfolio of {len(columns)} columns ({shown}), and a run has one result. Return one "
            "column, portfolio[name]; or make what differs between them a parameter and search it with jobnb.optimize."
        )
    return value.iloc[:, 0]  # type: ignore[no-any-return]
