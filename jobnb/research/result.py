"""The result of one backtest: metrics, equity, trades, and what was assumed.

Made where the backtest ran, pickled, and read at the front door. It holds arrays of the run's own length and
nothing of the strategy's code; pandas and matplotlib are loaded only for what needs them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.engine import Evaluator, Wanted
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions
from jobnb.research.pictured import Pictured
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars
    from jobnb.research.strategy import Strategy

Floats = npt.NDArray[np.float64]

TRADE_COLUMNS = (
    "entry_time",
    "exit_time",
    "side",
    "size",
    "entry_price",
    "exit_price",
    "pnl",
    "return_",
    "commission",
    "bars",
    "open",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class BacktestResult(Pictured):
    """The outcome of one backtest.

    Every metric is an attribute too: ``result.sharpe_ratio``.

    Attributes
    ----------
    name : str
        The strategy.
    params : dict
        Its parameters.
    options : dict
        The engine options of the run.
    conventions : list of str
        What was assumed, in words.
    data : dict
        ``name``, ``bars``, ``start``, ``end`` of the prices.
    """

    name: str
    params: Mapping[str, object]
    options: Mapping[str, float | str]
    conventions: list[str]
    data: Mapping[str, object]
    values: Floats = field(repr=False)
    equity: Floats = field(repr=False)
    close: Floats = field(repr=False)
    time: npt.NDArray[np.int64] = field(repr=False)
    zone: str | None = field(repr=False, default=None)
    fills: Floats = field(repr=False)

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
        """Return all metrics by name; fractions, not percent."""
        return {name: float(value) for name, value in zip(METRICS, self.values, strict=True)}

    @cached_property
    def metrics(self) -> pd.Series[float]:
        """All metrics as a Series."""
        import pandas as pd

        return pd.Series(self.get_performance_metrics(), name=self.name)

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """The time of each bar."""
        import pandas as pd

        index = pd.DatetimeIndex(self.time.view("datetime64[ns]"), name="date")
        return index.tz_localize("UTC").tz_convert(self.zone) if self.zone else index

    @cached_property
    def equity_curve(self) -> pd.Series[float]:
        """The equity at each close, in money."""
        import pandas as pd

        return pd.Series(self.equity, index=self.index, name="equity")

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

    @property
    def hold(self) -> Floats:
        """What the capital would have been worth in the asset itself, bought at the first close."""
        return np.asarray(float(self.options["initial_capital"]) * self.close / self.close[0], dtype=np.float64)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The trades, from flat to flat.

        ``size`` is the largest number of units held, negative for a short; the prices are averages over the
        fills; ``return_`` is on the value put in, after costs; ``bars`` counts closes at which it was held;
        ``open`` marks the one that is still held at the end, valued at the last close.
        """
        made = self._rows
        entry, leave = (made.pop(name).to_numpy(dtype=np.int64) for name in ("entry", "exit"))
        made.insert(0, "entry_time", self.index[entry])
        made.insert(1, "exit_time", self.index[leave])
        return made

    @property
    def _rows(self) -> pd.DataFrame:
        """The trades with the numbers of their bars."""
        import pandas as pd

        from jobnb.research.trades import trades

        rows = trades(self.fills, self.close, float(self.options["initial_capital"]))
        made = pd.DataFrame.from_records(rows, columns=["entry", "exit", *TRADE_COLUMNS[2:]])
        return made.astype({"entry": int, "exit": int, "bars": int, "open": bool})

    def statistics(self) -> pd.Series[float]:
        """Return the metrics and all of `jobnb.research.statistics.STATISTICS`, which says what each means.

        ``sharpe_ratio`` is empyrical's; ``sharpe_ratio_geometric`` is backtesting.py's and ``sharpe_ratio_365``
        vectorbt's, and so with the other ratios.

        Examples
        --------
        >>> from jobnb.research.sample import goog
        >>> from jobnb.research.strategy import Strategy
        >>> class Hold(Strategy):
        ...     def positions(self, bars):
        ...         return bars.close > 0
        >>> round(float(Hold().load_data(goog()).backtest().statistics()["beta"]), 2)
        1.0
        """
        import pandas as pd

        from jobnb.research.bars import day_ends, local_days
        from jobnb.research.metrics import calendar
        from jobnb.research.statistics import statistics

        days = local_days(self.time, self.zone)
        ends = day_ends(days)
        rows = self._rows
        if self.options["conventions"] == "backtesting.py":
            rows = rows[~rows["open"]]
        capital = float(self.options["initial_capital"])
        more = statistics(rows, self.equity, self.close, self.time, ends, capital, calendar(days[ends]))
        return pd.Series({**self.get_performance_metrics(), **more}, name=self.name)

    def to_dict(self) -> dict[str, object]:
        """Return the trades as ``DataFrame.to_dict`` does (column to row to value)."""
        return {str(key): value for key, value in self.trades.to_dict().items()}

    @property
    def title(self) -> str:
        """Strategy, parameters and data in one line."""
        shown = " ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.name} {shown} on {self.data['name']}".replace("  ", " ")

    @property
    def foot(self) -> str:
        """What was run and assumed, in one line."""
        span = f"{self.data['start']} to {self.data['end']}"
        return " · ".join([span, f"{self.data['bars']:,} bars", *self.conventions])

    def __repr__(self) -> str:
        rows = [(name.replace("_", " "), number(name, value)) for name, value in self.get_performance_metrics().items()]
        wide = max(len(label) for label, _ in rows)
        tall = max(len(text) for _, text in rows)
        lines = [f"  {label:<{wide}}  {text:>{tall}}" for label, text in rows]
        return "\n".join([self.title, *lines, self.foot])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{name.replace('_', ' ')}</td>"
            f"<td style='font-variant-numeric:tabular-nums'>{number(name, value)}</td></tr>"
            for name, value in self.get_performance_metrics().items()
        )
        return (
            f"<table><thead><tr><th colspan='2' style='text-align:left'>{html.escape(self.title)}</th></tr></thead>"
            f"<tbody>{rows}</tbody></table><p>{html.escape(self.foot)}</p>"
        )


def run(strategy: Strategy, bars: Bars, options: EngineOptions, wanted: Wanted | None = None) -> BacktestResult:
    """Run a strategy on bars; on what it ``wanted``, where that is known.

    Raises
    ------
    PositionsError, NextError, StopsError
        ``POSITIONS_ERROR``, ``NEXT_ERROR``, ``STOPS_ERROR``: what the strategy returned cannot be used.
    """
    evaluator = Evaluator(bars, options)
    made = evaluator.one(evaluator.wants(strategy) if wanted is None else wanted)
    start, end = bars.span
    return BacktestResult(
        name=strategy.name,
        params=strategy.params,
        options=options.to_dict(),
        conventions=[*options.texts, bars.calendar.text],
        data={"name": bars.name, "bars": len(bars), "start": start, "end": end},
        values=made.values,
        equity=made.equity,
        # A result outlives the memory-mapped file.
        close=bars.close.copy(),
        time=bars.time.copy(),
        zone=str(bars.meta["tz"]) if bars.meta.get("tz") else None,
        fills=made.fills,
    )
