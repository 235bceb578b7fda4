"""What can be said about a run beside the strategy's own parameters: capital, costs, and the fill convention.

Front doors check them before anything is enqueued. It must never import numba or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from jobnb.errors import UsageProblem, unknown

#: When a decision fills, by the name of the convention, in the words of a card's foot.
CONVENTIONS: dict[str, str] = {
    "next_open": "fills at next open",
    "close": "fills at the same close",
    "backtesting.py": "fills at next open, whole units, as backtesting.py 0.6.6",
}


#: What every card and result names.
_COMMON = frozenset({"initial_capital", "commission", "slippage", "conventions"})


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
    finalize_trades: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (
            ("initial_capital", 0.0, math.inf),
            ("commission", 0.0, 0.5),
            ("slippage", 0.0, 0.5),
        ):
            value = getattr(self, name)
            try:
                number = float(value) if not isinstance(value, bool | str) else math.nan
            except (TypeError, ValueError):
                number = math.nan
            fits = least < number < most if name == "initial_capital" else least <= number < most
            if not fits:
                terms = "a number above 0" if name == "initial_capital" else f"a fraction from 0 to below {most:g}"
                hint = "; write 0.1 % as 0.001" if name != "initial_capital" else ""
                raise UsageProblem(f"{name} must be {terms}, not {value!r}{hint}")
            object.__setattr__(self, name, number)
        if self.conventions not in CONVENTIONS:
            raise unknown("conventions", str(self.conventions), CONVENTIONS)
        if self.finalize_trades not in (True, False):
            raise UsageProblem(f"finalize_trades must be True or False, not {self.finalize_trades!r}")
        if self.finalize_trades and self.conventions != "backtesting.py":
            raise UsageProblem(
                "finalize_trades belongs to conventions='backtesting.py'; "
                f"with {self.conventions!r} what is open at the end counts as a trade anyway"
            )

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
        return {name: value for name, value in every.items() if name in _COMMON or value != defaults[name]}

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
        closed = ["open trades closed at the end"] if self.finalize_trades else []
        return [*(costs or ["no costs"]), CONVENTIONS[self.conventions], *closed]


#: Names that no strategy parameter may have.
ENGINE_OPTIONS: frozenset[str] = frozenset(field.name for field in fields(EngineOptions))
