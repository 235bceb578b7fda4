"""The list of trades, read off the kernel's log of fills.

Runs wherever a result is looked at; pure Python over a few hundred fills. It must count as the kernel does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.measure import BAR, CASH, FEE, HELD, PRICE, UNITS

Floats = npt.NDArray[np.float64]

#: entry bar, exit bar, side, size, entry price, exit price, pnl, return, commission, bars, open
Row = tuple[int, int, str, float, float, float, float, float, float, int, bool]


def trades(fills: Floats, close: Floats, capital: float) -> list[Row]:
    """Return one row per trade, from flat to flat.

    Parameters
    ----------
    fills : array (k, FILL_COLUMNS)
    close : array (n,)
    capital : float
        Cash before the first fill.
    """
    rows: list[Row] = []
    cash = capital
    current: _Trade | None = None
    for fill in fills.tolist():
        if current is None:
            current = _Trade(entry=int(fill[BAR]), base=cash)
        current.add(fill[UNITS], fill[PRICE], fill[FEE], fill[HELD])
        cash = fill[CASH]
        if fill[HELD] == 0.0:
            rows.append(current.row(int(fill[BAR]), cash, None))
            current = None
    if current is not None:
        rows.append(current.row(close.size - 1, cash, float(close[-1])))
    return rows


class _Trade:
    """A trade while it is read."""

    def __init__(self, *, entry: int, base: float) -> None:
        self.entry = entry
        self.base = base
        self.size = 0.0
        self.held = 0.0
        self.got_in = self.put_in = self.got_out = self.took_out = 0.0
        self.fees = 0.0

    def add(self, units: float, price: float, fee: float, held: float) -> None:
        if self.size == 0.0:
            self.size = units
        if (units > 0.0) == (self.size > 0.0):
            self.got_in += abs(units)
            self.put_in += abs(units) * price
        else:
            self.got_out += abs(units)
            self.took_out += abs(units) * price
        self.fees += fee
        self.held = held
        if abs(held) > abs(self.size):
            self.size = held

    def row(self, leave: int, cash: float, close: float | None) -> Row:
        is_open = close is not None
        value = 0.0
        if close is not None:
            value = self.held * close
            self.got_out += abs(self.held)
            self.took_out += abs(value)
        pnl = cash + value - self.base
        return (
            self.entry,
            leave,
            "long" if self.size > 0.0 else "short",
            self.size,
            self.put_in / self.got_in,
            self.took_out / self.got_out,
            pnl,
            pnl / self.put_in,
            self.fees,
            leave - self.entry + is_open,
            is_open,
        )
