"""The result of a portfolio: metrics and equity of the account; units, weights, fills and trades per instrument.

Made where the portfolio ran, pickled, and read at the front door. It holds arrays and nothing of the strategy's code;
pandas and matplotlib are loaded only for what needs them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import unknown
from jobnb.research.aligned import Timeline
from jobnb.research.metrics import METRICS
from jobnb.research.pictured import Pictured
from jobnb.research.result import TRADE_COLUMNS
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.plots.look import Picture

Floats = npt.NDArray[np.float64]

#: Instruments that a repr lists.
MOST_ROWS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class PortfolioResult(Pictured):
    """The outcome of one strategy on several instruments with one account.

    Every metric is an attribute too: ``result.sharpe_ratio``; see `jobnb.research.portfolio` for the terms.

    Attributes
    ----------
    name : str
        The strategy.
    params, options : dict
        Its parameters, and the terms of the run.
    conventions : list of str
        What was assumed, in words.
    data : dict
        ``name``, ``bars`` (times), ``start``, ``end``, ``instruments``.
    symbols : tuple of str
    equity, hold : array (t,)
        Money at each time: of the account, and of equal shares bought and held.
    """

    name: str
    params: Mapping[str, object]
    options: Mapping[str, float | str]
    conventions: list[str]
    data: Mapping[str, object]
    symbols: tuple[str, ...]
    values: Floats = field(repr=False)
    equity: Floats = field(repr=False)
    hold: Floats = field(repr=False)
    cash_held: Floats = field(repr=False)
    targets_held: Floats = field(repr=False)
    close: Floats = field(repr=False)
    time: npt.NDArray[np.int64] = field(repr=False)
    zone: str | None = field(repr=False, default=None)
    fill_log: Floats = field(repr=False)

    def __getattr__(self, name: str) -> float:
        if name in METRICS:
            return float(self.values[METRICS.index(name)])
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *METRICS})

    def __getstate__(self) -> dict[str, object]:
        # Without what cached properties have computed.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def get_performance_metrics(self) -> dict[str, float]:
        """Return all metrics of the account by name; fractions, not percent."""
        return {name: float(value) for name, value in zip(METRICS, self.values, strict=True)}

    @cached_property
    def metrics(self) -> pd.Series[float]:
        """All metrics of the account as a Series."""
        import pandas as pd

        return pd.Series(self.get_performance_metrics(), name=self.name)

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """All times at which any instrument has a bar."""
        return Timeline(self.time, self.zone).index

    @cached_property
    def equity_curve(self) -> pd.Series[float]:
        """The equity at each close, in money."""
        import pandas as pd

        return pd.Series(self.equity, index=self.index, name="equity")

    @cached_property
    def cash(self) -> pd.Series[float]:
        """The cash after the fills of each time, in money; below 0 where weights borrow."""
        import pandas as pd

        return pd.Series(self.cash_held, index=self.index, name="cash")

    @cached_property
    def drawdown(self) -> pd.Series[float]:
        """The equity over its highest value so far, minus 1."""
        import pandas as pd

        return pd.Series(self.fall, index=self.index, name="drawdown")

    @property
    def fall(self) -> Floats:
        """The drawdown as an array."""
        peak: Floats = np.maximum.accumulate(self.equity)
        fall: Floats = self.equity / peak - 1.0
        return fall

    @cached_property
    def targets(self) -> pd.DataFrame:
        """The weights that the strategy asked for, as fractions of the equity."""
        return self._table(self.targets_held)

    @cached_property
    def units(self) -> pd.DataFrame:
        """Units held at each close."""
        from jobnb.research.portfolio_kernel import BAR, HELD, INSTRUMENT

        made = np.full((len(self.time), len(self.symbols)), np.nan)
        made[0] = 0.0
        for fill in self.fill_log:
            # Of several fills of one instrument at one time (a reversal) the last holds.
            made[int(fill[BAR]), int(fill[INSTRUMENT])] = fill[HELD]
        return self._table(made).ffill()

    @cached_property
    def weights(self) -> pd.DataFrame:
        """The value of each position at each close over the equity; 0 after ruin."""
        with np.errstate(divide="ignore", invalid="ignore"):
            made = self.units.to_numpy() * self.close / self.equity[:, None]
        return self._table(np.where(np.isfinite(made), made, 0.0))

    @cached_property
    def exposures(self) -> pd.DataFrame:
        """Weights together: ``net`` with their signs, ``gross`` without, and how many instruments are ``held``."""
        import pandas as pd

        made = self.weights.to_numpy()
        held = np.count_nonzero(self.units.to_numpy(), axis=1)
        return pd.DataFrame({"net": made.sum(axis=1), "gross": np.abs(made).sum(axis=1), "held": held}, self.index)

    @cached_property
    def fills(self) -> pd.DataFrame:
        """Every fill: time, instrument, units, price, fee, and the cash and the units of the instrument after it."""
        import pandas as pd

        from jobnb.research.portfolio_kernel import BAR, CASH, FEE, HELD, INSTRUMENT, PRICE, UNITS

        log = self.fill_log
        return pd.DataFrame(
            {
                "time": self.index[log[:, BAR].astype(np.int64)],
                "instrument": [self.symbols[int(j)] for j in log[:, INSTRUMENT]],
                "units": log[:, UNITS],
                "price": log[:, PRICE],
                "fee": log[:, FEE],
                "cash": log[:, CASH],
                "held": log[:, HELD],
            }
        )

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The trades of all instruments by their entries; the columns are those of `BacktestResult.trades`."""
        import pandas as pd

        from jobnb.research.measure import BAR, CASH, FEE, FILL_COLUMNS, HELD, PRICE, UNITS
        from jobnb.research.portfolio_kernel import BAR as AT
        from jobnb.research.portfolio_kernel import FEE as PAID
        from jobnb.research.portfolio_kernel import FLOW, INSTRUMENT
        from jobnb.research.portfolio_kernel import HELD as HOLDS
        from jobnb.research.portfolio_kernel import PRICE as AT_PRICE
        from jobnb.research.portfolio_kernel import UNITS as CHANGE
        from jobnb.research.trades import trades

        rows: list[tuple[object, ...]] = []
        for j, symbol in enumerate(self.symbols):
            log = self.fill_log[self.fill_log[:, INSTRUMENT] == j]
            own = np.empty((len(log), FILL_COLUMNS))
            for column, said in ((BAR, AT), (UNITS, CHANGE), (PRICE, AT_PRICE), (FEE, PAID), (HELD, HOLDS)):
                own[:, column] = log[:, said]
            # As if the instrument had an account of its own.
            own[:, CASH] = np.cumsum(log[:, FLOW])
            rows += [(symbol, *row) for row in trades(own, self.close[:, j], 0.0)]
        rows.sort(key=lambda row: row[1])  # type: ignore[arg-type, return-value]  # the bar of the entry
        made = pd.DataFrame.from_records(rows, columns=["instrument", "entry", "exit", *TRADE_COLUMNS[2:]])
        made = made.astype({"entry": int, "exit": int, "bars": int, "open": bool})
        entry, leave = (made.pop(name).to_numpy(dtype=np.int64) for name in ("entry", "exit"))
        made.insert(1, "entry_time", self.index[entry])
        made.insert(2, "exit_time", self.index[leave])
        return made

    @cached_property
    def by_instrument(self) -> pd.DataFrame:
        """What each instrument did in the account.

        ``pnl`` in money after costs, ``share`` of the initial capital, ``trades``, ``win_rate``, ``commission``, mean
        absolute ``weight`` and share of times ``held``.
        """
        import pandas as pd

        from jobnb.research.portfolio_kernel import FEE, FLOW, INSTRUMENT

        whose = self.fill_log[:, INSTRUMENT].astype(np.int64)
        count = len(self.symbols)
        units = self.units.to_numpy()
        left = np.where(units[-1] != 0.0, units[-1] * np.nan_to_num(self.close[-1]), 0.0)
        pnl = np.bincount(whose, self.fill_log[:, FLOW], count) + left
        trades = self.trades.groupby("instrument")["pnl"]
        rows = {
            "pnl": pnl,
            "share": pnl / float(self.options["initial_capital"]),
            "trades": trades.size().reindex(self.symbols, fill_value=0).to_numpy(),
            "win_rate": trades.agg(lambda each: (each > 0).mean()).reindex(self.symbols).to_numpy(),
            "commission": np.bincount(whose, self.fill_log[:, FEE], count),
            "weight": np.abs(self.weights.to_numpy()).mean(axis=0),
            "held": (units != 0.0).mean(axis=0),
        }
        return pd.DataFrame(rows, index=pd.Index(self.symbols, name="instrument"))

    def of(self, symbol: str) -> pd.DataFrame:
        """Return close, units, weight and target of one instrument at all times.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: there is no such instrument.
        """
        import pandas as pd

        if symbol not in self.symbols:
            raise unknown("instrument", symbol, self.symbols)
        j = self.symbols.index(symbol)
        columns = {"close": self.close[:, j], "units": self.units[symbol], "weight": self.weights[symbol]}
        return pd.DataFrame({**columns, "target": self.targets_held[:, j]}, index=self.index)

    def _table(self, values: Floats) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(values, index=self.index, columns=list(self.symbols))

    def to_dict(self) -> dict[str, object]:
        """Return the trades as ``DataFrame.to_dict`` does (column to row to value)."""
        return {str(key): value for key, value in self.trades.to_dict().items()}

    def plot(self) -> Picture:  # type: ignore[override]
        """Draw equity, buy and hold, drawdown, and the weights."""
        from jobnb.research.plots.instruments import portfolio_figure

        return portfolio_figure(self)

    @property
    def title(self) -> str:
        """Strategy, parameters and data in one line."""
        shown = " ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.name} {shown} portfolio of {len(self.symbols)} on {self.data['name']}".replace("  ", " ")

    @property
    def foot(self) -> str:
        """What was run and assumed, in one line."""
        span = f"{self.data['start']} to {self.data['end']}"
        return " · ".join([span, f"{self.data['bars']:,} bars", *self.conventions])

    def _rows(self) -> list[tuple[str, str]]:
        return [(name.replace("_", " "), number(name, value)) for name, value in self.get_performance_metrics().items()]

    def _instruments(self) -> list[tuple[str, ...]]:
        table = self.by_instrument
        order = np.argsort(-table["pnl"].to_numpy(), kind="stable")
        rows: list[tuple[str, ...]] = [
            (
                self.symbols[i],
                number("final_equity", float(table["pnl"].iloc[i])),
                number("trades", float(table["trades"].iloc[i])),
                number("exposure", float(table["weight"].iloc[i])),
            )
            for i in order
        ]
        if len(rows) > MOST_ROWS:
            half = MOST_ROWS // 2
            rows = [*rows[:half], (f"… {len(rows) - 2 * half} between", "", "", ""), *rows[-half:]]
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        wide = max(len(label) for label, _ in rows)
        tall = max(len(text) for _, text in rows)
        lines = [f"  {label:<{wide}}  {text:>{tall}}" for label, text in rows]
        table = [("", "profit", "trades", "mean weight"), *self._instruments()]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines += [
            "  ".join(["", row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip()
            for row in table
        ]
        return "\n".join([self.title, *lines, self.foot])

    def _repr_html_(self) -> str:
        style = "font-variant-numeric:tabular-nums"
        rows = "".join(
            f"<tr><td style='text-align:left'>{label}</td><td style='{style}'>{text}</td></tr>"
            for label, text in self._rows()
        )
        each = "".join(
            f"<tr><td style='text-align:left'>{html.escape(row[0])}</td>"
            + "".join(f"<td style='{style}'>{text}</td>" for text in row[1:])
            + "</tr>"
            for row in self._instruments()
        )
        return (
            f"<p><b>{html.escape(self.title)}</b></p><div style='display:flex;gap:2em;align-items:flex-start'>"
            f"<table><tbody>{rows}</tbody></table>"
            "<table><thead><tr><th></th><th>profit</th><th>trades</th><th>mean weight</th></tr></thead>"
            f"<tbody>{each}</tbody></table></div><p>{html.escape(self.foot)}</p>"
        )
