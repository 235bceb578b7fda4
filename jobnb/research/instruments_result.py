"""The results of a strategy on several instruments: a mapping of symbols to backtests, a table, and one curve.

Read at the front door from the finished parts of a job; pandas and matplotlib are loaded only for what needs them.
"""

from __future__ import annotations

import html
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.aligned import Timeline
from jobnb.research.pictured import Pictured
from jobnb.research.result import BacktestResult
from jobnb.research.text import number
from jobnb.work import Failed

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.plots.look import Picture

Floats = npt.NDArray[np.float64]

#: Columns of the table that a repr shows, and its longest.
SHOWN = ("total_return", "buy_and_hold_return", "sharpe_ratio", "max_drawdown", "trades", "win_rate")
MOST_ROWS = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiBacktestResult(Pictured, Mapping[str, Any]):
    """The outcome of one strategy on each of several instruments.

    ``result["AAPL"]`` is the `BacktestResult` of that instrument, or what another engine gave for it.

    Attributes
    ----------
    name : str
        The strategy.
    data_name : str
        What the data are called.
    results : mapping of str to BacktestResult
        In the order of the data; only those that finished.
    failed : mapping of str to str
        Instruments that failed, and why (only with ``on_error="record"``).
    planned : int
        Instruments of the job: more than there are results in a partial result.
    """

    name: str
    data_name: str
    results: Mapping[str, Any] = field(repr=False)
    failed: Mapping[str, str] = field(default_factory=dict)
    planned: int

    def __getitem__(self, symbol: str) -> Any:
        if symbol in self.results:
            return self.results[symbol]
        if symbol in self.failed:
            raise UsageProblem(f"{symbol} failed: {self.failed[symbol]}")
        raise unknown("instrument", str(symbol), self.results, **{"in": self.data_name})

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.results

    def __getstate__(self) -> dict[str, object]:
        # Without what cached properties have computed.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instruments that finished."""
        return tuple(self.results)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics, one row per instrument."""
        import pandas as pd

        rows = {symbol: _numbers(value) for symbol, value in self.results.items()}
        made = pd.DataFrame.from_dict(rows, orient="index", dtype=float)
        made.index.name = "instrument"
        return made

    @property
    def _own(self) -> dict[str, BacktestResult]:
        found = {symbol: value for symbol, value in self.results.items() if isinstance(value, BacktestResult)}
        if not found:
            raise UsageProblem(
                f"{self.name} tells no equity over its own bars, so there is no combined curve; look at the results "
                "one by one"
            )
        return found

    @cached_property
    def timeline(self) -> Timeline:
        """The times of all instruments together."""
        own = self._own.values()
        return Timeline.union([each.time for each in own], [each.zone for each in own])

    def _combined(self, name: str) -> Floats:
        """Return the sum over instruments of equity or buy and hold, each with an equal share of the capital."""
        own = self._own
        made = np.zeros(len(self.timeline))
        for each in own.values():
            values: Floats = getattr(each, name)
            at = self.timeline.latest(each.time)
            capital = float(each.options["initial_capital"])
            made += np.where(at >= 0, values[at], capital) / len(own)
        return made

    @cached_property
    def equity(self) -> Floats:
        """The combined curve as an array, see `equity_curve`."""
        return self._combined("equity")

    @cached_property
    def hold(self) -> Floats:
        """Buy and hold of all instruments in equal shares, as an array."""
        return self._combined("hold")

    @cached_property
    def equity_curve(self) -> pd.Series[float]:
        """The initial capital in equal shares, one for each instrument, each left to itself: money at each close.

        Shares of instruments that have no bar yet, or none any more, stay as they are. With one account for all, and
        weights, see ``portfolio=True``.
        """
        import pandas as pd

        return pd.Series(self.equity, index=self.timeline.index, name="equity")

    @cached_property
    def combined(self) -> pd.Series[float]:
        """The metrics of the combined curve."""
        import pandas as pd

        from jobnb.research.curve import metrics_of

        first = next(iter(self._own.values()))
        capital = float(first.options["initial_capital"])
        return pd.Series(metrics_of(self.equity, self.hold, self.timeline, capital), name="combined")

    @property
    def title(self) -> str:
        """Strategy, parameters and data in one line."""
        first = next(iter(self.results.values()), None)
        params = getattr(first, "params", None) or {}
        shown = " ".join(f"{name}={value}" for name, value in params.items())
        counted = f"{len(self)} instrument{'s' * (len(self) != 1)}"
        return f"{self.name} {shown} on {self.data_name}: {counted}".replace("  ", " ")

    @property
    def foot(self) -> str:
        """What was run and assumed, in one line."""
        own = [value for value in self.results.values() if isinstance(value, BacktestResult)]
        said = []
        if own:
            start, end = self.timeline.span
            said += [f"{start} to {end}", *own[0].conventions]
        if len(self) + len(self.failed) < self.planned:
            said.append(f"{len(self)} of {self.planned} instruments are done")
        if self.failed:
            said.append(f"{len(self.failed)} failed: {', '.join(list(self.failed)[:5])}")
        return " · ".join(said)

    @property
    def initial_capital(self) -> float:
        """The capital that the combined curve begins with."""
        return float(next(iter(self._own.values())).options["initial_capital"])

    def plot(self) -> Picture:  # type: ignore[override]
        """Draw the combined curve, those of the instruments, and the combined drawdown."""
        from jobnb.research.plots.instruments import instruments_figure

        return instruments_figure(self)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        table = self.metrics
        names = [name for name in SHOWN if name in table.columns] or [str(name) for name in table.columns[:6]]
        cells = table[names].to_numpy(dtype=float).tolist()
        body = [
            [symbol, *(number(n, value) for n, value in zip(names, row, strict=True))]
            for symbol, row in zip(self.results, cells, strict=True)
        ]
        if any(isinstance(value, BacktestResult) for value in self.results.values()) and len(self) > 1:
            combined = self.combined
            body.append(["combined", *(number(n, float(combined[n])) if n in combined else "" for n in names)])
        if len(body) > MOST_ROWS:
            left = len(body) - MOST_ROWS
            body = [*body[: MOST_ROWS - 2], [f"… {left + 1} more", *([""] * len(names))], body[-1]]
        return ["", *(name.replace("_", " ") for name in names)], body

    def __repr__(self) -> str:
        head, body = self._rows()
        widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
        lines = [
            "  "
            + "  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in (head, *body)
        ]
        return "\n".join(line.rstrip() for line in (self.title, *lines, self.foot))

    def _repr_html_(self) -> str:
        head, body = self._rows()
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        rows = "".join(
            "<tr>"
            + f"<td style='text-align:left'>{html.escape(row[0])}</td>"
            + "".join(f"<td style='font-variant-numeric:tabular-nums'>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in body
        )
        return (
            f"<table><caption style='text-align:left'>{html.escape(self.title)}</caption>"
            f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table><p>{html.escape(self.foot)}</p>"
        )


def _numbers(value: object) -> dict[str, float]:
    """Return the metrics of what a backtest gave, as far as it has any."""
    from jobnb.research.foreign import ResultError, numbers_of

    asked = getattr(value, "get_performance_metrics", None)
    try:
        return numbers_of(asked() if callable(asked) else value, "value", "the strategy")
    except ResultError:
        return {}


def load_instruments(meta: Mapping[str, Any], parts: Sequence[bytes]) -> MultiBacktestResult:
    """Return what the finished parts of an `InstrumentsWork` make up."""
    values: list[tuple[str, Any]] = [pair for part in parts for pair in pickle.loads(part)]
    return MultiBacktestResult(
        name=meta["strategy"],
        data_name=meta["name"],
        results={symbol: value for symbol, value in values if not isinstance(value, Failed)},
        failed={symbol: f"{value.type}: {value.error}" for symbol, value in values if isinstance(value, Failed)},
        planned=meta["instruments"],
    )
