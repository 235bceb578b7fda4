"""What can be said about a run beside the strategy's own parameters: capital, costs, and the fill convention.

Front doors check them before anything is enqueued. It must never import numba or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from jobnb.errors import UsageProblem, unknown
from jobnb.research.stops import STOPS, Atr, check_stop

#: A target beyond this is a mistake (percent, units or money instead of a fraction).
MAX_LEVERAGE = 20.0

#: When a decision fills, by the name of the convention, in the words of a card's foot.
CONVENTIONS: dict[str, str] = {
    "next_open": "fills at next open",
    "close": "fills at the same close",
    "backtesting.py": "fills at next open, whole units, as backtesting.py 0.6.6",
}


#: How a size is meant, in the words of a card's foot.
SIZINGS: dict[str, str] = {
    "fraction": "{:.4g} x the target",
    "units": "{:,.10g} units",
    "cash": "{:,.10g} in money",
    "volatility": "for a volatility of {:.4g} a year",
}

#: What stands beside the engine options in a call that means several instruments; see `jobnb.backtest`.
PORTFOLIO_OPTIONS = ("portfolio", "rebalance", "across")

#: What every card and result names.
_COMMON = frozenset({"initial_capital", "commission", "slippage", "conventions"})

#: Options that need the slower, path-dependent form of the engine.
_ORDERS = (
    *STOPS,
    "position_size",
    "sizing",
    "max_leverage",
    "borrow_cost",
    "commission_per_share",
    "commission_minimum",
)


@dataclass(frozen=True)
class _Range:
    """What a number must be."""

    least: float = 0.0
    most: float = math.inf
    above: bool = False
    text: str = "a number from 0 on"
    hint: str = ""

    def check(self, name: str, value: object) -> float:
        try:
            number = float(value) if not isinstance(value, bool | str) else math.nan  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not (self.least < number if self.above else self.least <= number) or not number < self.most:
            raise UsageProblem(f"{name} must be {self.text}, not {value!r}{self.hint}")
        return number


_SHARE = _Range(most=0.5, text="a fraction from 0 to below 0.5", hint="; write 0.1 % as 0.001")
_ABOVE = _Range(above=True, text="a number above 0")
_RANGES = {
    "initial_capital": _ABOVE,
    "commission": _SHARE,
    "slippage": _SHARE,
    "commission_per_share": _Range(),
    "commission_minimum": _Range(),
    "borrow_cost": _Range(most=10.0, text="a yearly rate from 0 to below 10", hint="; write 3 % as 0.03"),
    "position_size": _ABOVE,
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """The terms of a backtest.

    Parameters
    ----------
    initial_capital : float, default 10_000.0
        Money at the start, above 0.
    commission : float, default 0.0
        Fraction of the value of each fill, for example ``0.001`` for 0.1 %; at least 0, below 0.5.
    slippage : float, default 0.0
        Fraction of the price by which each fill is worse; at least 0, below 0.5.
    conventions : {"next_open", "close", "backtesting.py"}, default "next_open"
        Whether a target decided at a bar's close fills at the next bar's open or at that close; or all the rules
        of backtesting.py 0.6.6, see `jobnb.research.engine`. There, ``slippage`` is its ``spread``: on entries only.
    commission_per_share : float, default 0.0
        Money for each unit of a fill, beside ``commission``.
    commission_minimum : float, default 0.0
        Money that each fill costs at least.
    stop_loss, take_profit, trailing_stop : float or Atr, optional
        Close a trade inside a bar: fractions of the entry's price (of the best price since, for the trailing
        stop), or `jobnb.atr(3)`. None or 0 for none. A strategy may declare them as parameters of its own, or
        write ``stops(bars)``.
    position_size : float, default 1.0
        Multiplies the targets.
    sizing : {"fraction", "units", "cash", "volatility"}, default "fraction"
        What a target of 1 times ``position_size`` is: that fraction of the equity after costs; that many units; a
        position of that value; or the fraction of the equity that had that volatility a year over the last
        ``volatility_period`` bars. Set when the target changes, not rebalanced between.
    volatility_period : int, default 20
        Bars, at least 2.
    max_leverage : float, optional
        Largest value of a position over the equity when it is taken; what is beyond is cut. At most 20, the default.
    borrow_cost : float, default 0.0
        Yearly rate on money borrowed and on the value of units sold short, paid by each bar for the days since
        the one before (year of 365 days), on what was owed at its close.
    finalize_trades : bool, default False
        With ``conventions="backtesting.py"`` only, as there: close what is open at the last bar's open, so that
        it counts as a trade.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: with the value that does not fit.
    """

    initial_capital: float = 10_000.0
    commission: float = 0.0
    slippage: float = 0.0
    conventions: str = "next_open"
    commission_per_share: float = 0.0
    commission_minimum: float = 0.0
    stop_loss: float | Atr | None = None
    take_profit: float | Atr | None = None
    trailing_stop: float | Atr | None = None
    position_size: float = 1.0
    sizing: str = "fraction"
    volatility_period: int = 20
    max_leverage: float | None = None
    borrow_cost: float = 0.0
    finalize_trades: bool = False

    def __post_init__(self) -> None:
        for name, fits in _RANGES.items():
            object.__setattr__(self, name, fits.check(name, getattr(self, name)))
        for name in STOPS:
            object.__setattr__(self, name, check_stop(name, getattr(self, name)))
        if self.max_leverage is not None:
            most = _Range(above=True, most=MAX_LEVERAGE + 1e-9, text=f"a number above 0, at most {MAX_LEVERAGE:g}")
            object.__setattr__(self, "max_leverage", most.check("max_leverage", self.max_leverage))
        if self.sizing not in SIZINGS:
            raise unknown("sizing", str(self.sizing), SIZINGS)
        period = self.volatility_period
        if isinstance(period, bool) or not isinstance(period, int) or period < 2:
            raise UsageProblem(f"volatility_period must be a whole number of bars from 2 on, not {period!r}")
        if self.conventions not in CONVENTIONS:
            raise unknown("conventions", str(self.conventions), CONVENTIONS)
        if self.finalize_trades not in (True, False):
            raise UsageProblem(f"finalize_trades must be True or False, not {self.finalize_trades!r}")
        if self.finalize_trades and self.conventions != "backtesting.py":
            raise UsageProblem(
                "finalize_trades belongs to conventions='backtesting.py'; "
                f"with {self.conventions!r} what is open at the end counts as a trade anyway"
            )
        if self.conventions == "backtesting.py" and (said := self.orders):
            raise UsageProblem(f"{said[0]} is not to be had with conventions='backtesting.py'; use 'next_open'")

    @property
    def orders(self) -> list[str]:
        """The options said that need more than the plain kernel."""
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in _ORDERS if getattr(self, name) != defaults[name]]

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> EngineOptions:
        """Build the options from names and values.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: there is no such engine option.
        UsageProblem
            ``USAGE_ERROR``: a value does not fit.
        """
        for name in given:
            if name not in ENGINE_OPTIONS:
                raise unknown("engine option", name, ENGINE_OPTIONS)
        return cls(**given)  # type: ignore[arg-type]  # __post_init__ checks each value

    def to_dict(self) -> dict[str, float | str]:
        """Return names and values, JSON-able; of the less common ones only what was changed."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Atr) else value
            for name, value in every.items()
            if name in _COMMON or value != defaults[name]
        }

    @property
    def texts(self) -> list[str]:
        """The terms in words, as they stand at the foot of a card.

        Examples
        --------
        >>> EngineOptions(commission=0.001).texts
        ['commission 0.1 %', 'fills at next open']
        """
        spread = "spread" if self.conventions == "backtesting.py" else "slippage"
        costs = [
            f"{name} {100 * value:.4g} %"
            for name, value in (("commission", self.commission), (spread, self.slippage))
            if value
        ]
        costs += [
            f"{name.replace('_', ' ')} {getattr(self, name):.10g}"
            for name in ("commission_per_share", "commission_minimum")
            if getattr(self, name)
        ]
        if self.borrow_cost:
            costs.append(f"borrow cost {100 * self.borrow_cost:.4g} % a year")
        more = [
            f"{name.replace('_', ' ')} {value if isinstance(value, Atr) else f'{100 * value:.4g} %'}"
            for name in STOPS
            if (value := getattr(self, name)) is not None
        ]
        if (self.position_size, self.sizing) != (1.0, "fraction"):
            more.append(f"position size {SIZINGS[self.sizing].format(self.position_size)}")
        if self.max_leverage is not None:
            more.append(f"max leverage {self.max_leverage:g}")
        if self.finalize_trades:
            more.append("open trades closed at the end")
        return [*(costs or ["no costs"]), CONVENTIONS[self.conventions], *more]


#: Names that no strategy parameter may have, but for those of `STOPS`.
ENGINE_OPTIONS: frozenset[str] = frozenset(field.name for field in fields(EngineOptions))
