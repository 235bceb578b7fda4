"""`Strategy`, the class a researcher writes: parameters as annotated attributes, and ``positions(bars)``.

Defined in notebooks and modules, sent to children by value, run there; also usable directly. Importing it
must stay cheap: neither numba nor pandas.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from jobnb.errors import UsageProblem, unknown
from jobnb.research.options import ENGINE_OPTIONS, EngineOptions
from jobnb.research.stops import STOPS, check_stop

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from jobnb.research.account import Account
    from jobnb.research.bars import Bars
    from jobnb.research.result import BacktestResult


class Strategy:
    """A trading rule with parameters.

    Declare each parameter as an annotated class attribute with a default, and write `positions` (or `next`).
    ``stop_loss``, ``take_profit`` and ``trailing_stop`` declared so are stops, and can be searched.

    Parameters
    ----------
    **params
        Values for the declared parameters.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: no such parameter; names the nearest one.
    UsageProblem
        ``USAGE_ERROR``: a value of the wrong kind, or (when the class is defined) a parameter without default
        or with a name that is taken.

    Examples
    --------
    >>> class SmaCross(Strategy):
    ...     fast: int = 10
    ...     slow: int = 30
    ...     def positions(self, bars):
    ...         return bars.sma(self.fast) > bars.sma(self.slow)
    >>> from jobnb.research.sample import goog
    >>> result = SmaCross(fast=5, slow=20).load_data(goog()).backtest(commission=0.001)
    >>> int(result.trades.shape[0]) == int(result.metrics["trades"])
    True
    """

    #: What cards and results call it; the class name unless you set it.
    name: ClassVar[str] = "Strategy"
    #: The declared parameters and their defaults, inherited ones first.
    parameters: ClassVar[Mapping[str, object]] = {}

    #: Whether it says its targets bar by bar, by `next`.
    _stepped: ClassVar[bool] = False
    _bars: Bars | None = None
    _result: BacktestResult | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        if "positions" in cls.__dict__ and "next" in cls.__dict__:
            raise UsageProblem(f"{cls.__name__} has both positions and next; write one of them")
        if "positions" in cls.__dict__ or "next" in cls.__dict__:
            cls._stepped = "next" in cls.__dict__
        cls.parameters = _declared(cls)

    def __init__(self, **params: object) -> None:
        self.__dict__.update(check_params(type(self), params))

    def positions(self, bars: Bars) -> npt.ArrayLike:
        """Return the target position of each bar; write this.

        Parameters
        ----------
        bars : Bars
            Prices (``bars.close`` …) and indicators (``bars.sma(20)`` …).

        Returns
        -------
        array_like
            One bool (in or out), -1/0/1 (short, flat, long) or float (fraction of the equity) per bar, decided
            with what is known at that bar's close.
        """
        raise UsageProblem(
            f"{type(self).__name__} has no positions(self, bars); write one that returns a target per bar"
        )

    def next(self, i: int, bars: Bars, account: Account) -> float | None:
        """Return the target at bar ``i``; write this instead of `positions` for what arrays cannot say.

        Called at each bar's close, so it is hundreds of times slower. Look at bars up to ``i`` only.

        Parameters
        ----------
        i : int
            Number of the bar.
        bars : Bars
            All of them; ``bars.close[i]``, ``bars.sma(20)[i]`` …
        account : Account
            ``cash``, ``equity``, ``units``, ``position``, ``entry_price``, ``bars_held``, ``stopped``, ``target``.

        Returns
        -------
        float or None
            As one value of `positions`; None keeps the last target. Where nothing is held (after a stop, say) that
            is 0, so that the same target opens a new trade.

        Examples
        --------
        >>> from jobnb.research.sample import goog
        >>> class TenBars(Strategy):
        ...     def next(self, i, bars, account):
        ...         if account.units:
        ...             return 0 if account.bars_held == 10 else None
        ...         return 1 if bars.close[i] > bars.highest(20, shift=1)[i] else None
        >>> int(TenBars().load_data(goog()).backtest().trades["bars"].max())
        10
        """
        raise UsageProblem(f"{type(self).__name__} has no next(self, i, bars, account)")

    def stops(self, bars: Bars) -> Mapping[str, object]:
        """Return where trades are closed inside a bar; write this if a number is not enough.

        Parameters
        ----------
        bars : Bars

        Returns
        -------
        mapping
            ``stop_loss``, ``take_profit`` and ``trailing_stop`` (any of them) to a fraction of the price, an
            array of one per bar (read at the bar of the decision; NaN for none), `jobnb.atr(3)`, or None.
            They go before parameters and engine options of these names.

        Examples
        --------
        >>> class Trend(Strategy):
        ...     k: float = 3.0
        ...     def positions(self, bars):
        ...         return bars.close > bars.sma(50)
        ...     def stops(self, bars):
        ...         return {"trailing_stop": self.k * bars.atr(20) / bars.close}
        >>> from jobnb.research.sample import goog
        >>> Trend(k=2).load_data(goog()).backtest().trades.shape[0] > 0
        True
        """
        return {}

    @property
    def params(self) -> dict[str, object]:
        """The parameters of this instance."""
        return {name: getattr(self, name) for name in self.parameters}

    def load_data(self, data: pd.DataFrame | Bars, name: str = "data") -> Self:
        """Set the prices to run on; returns the strategy itself.

        Parameters
        ----------
        data : pandas.DataFrame or Bars
            See `Bars.from_frame`.
        name : str
            What results call the data.

        Raises
        ------
        DataError
            ``DATA_ERROR``: what is wrong with the data, and where.
        """
        from jobnb.research.bars import Bars

        self._bars = data if isinstance(data, Bars) else Bars.from_frame(data, name)
        self._result = None
        return self

    def backtest(self, **options: object) -> BacktestResult:
        """Run on the loaded data, here and now.

        Parameters
        ----------
        **options
            Engine options, see `EngineOptions`: ``initial_capital``, ``commission``, ``slippage``, ``conventions``,
            ``stop_loss``, ``position_size`` …

        Returns
        -------
        BacktestResult
            Also kept: `get_performance_metrics`, `equity_curve` and `trades` speak of the last run.
        """
        from jobnb.research.result import run

        for name in options:
            if name in self.parameters:
                raise UsageProblem(f"{name} is a parameter of {self.name}: {type(self).__name__}({name}=…).backtest()")
        terms = EngineOptions.parse(options)
        if self._bars is None:
            raise UsageProblem(f"{self.name} has no data yet; call load_data(prices) first")
        self._result = run(self, self._bars, terms)
        return self._result

    @property
    def result(self) -> BacktestResult:
        """The result of the last `backtest`."""
        if self._result is None:
            raise UsageProblem(f"{self.name} has not been run yet; call load_data(prices).backtest() first")
        return self._result

    def get_performance_metrics(self) -> dict[str, float]:
        """Return the metrics of the last `backtest`."""
        return self.result.get_performance_metrics()

    @property
    def equity_curve(self) -> pd.Series[float]:
        """The equity at each close of the last `backtest`."""
        return self.result.equity_curve

    @property
    def trades(self) -> pd.DataFrame:
        """The trades of the last `backtest`."""
        return self.result.trades

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{type(self).__name__}({shown})"


def _declared(cls: type[Strategy]) -> dict[str, object]:
    """Return the parameters of a strategy class with their defaults, base classes first."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base is object or base is Strategy or base.__module__ == "typing":
            continue
        for name, kind in inspect.get_annotations(base).items():
            if name.startswith("_") or "ClassVar" in str(kind) or name == "name":
                continue
            if name in ENGINE_OPTIONS and name not in STOPS:
                raise UsageProblem(
                    f"{cls.__name__} declares a parameter {name!r}, which is an engine option; give it another name"
                )
            if name in _TAKEN:
                raise UsageProblem(
                    f"{cls.__name__} declares a parameter {name!r}, which Strategy needs; give it another name"
                )
            if not hasattr(cls, name):
                raise UsageProblem(f"the parameter {name!r} of {cls.__name__} has no default; write `{name}: int = 10`")
            if name in STOPS:
                check_stop(name, getattr(cls, name))
            found[name] = None
    # A subclass may give an inherited parameter another default without repeating the annotation.
    return {name: getattr(cls, name) for name in found}


#: Attributes of Strategy itself, and names that calls like ``jobnb.backtest(strategy, data, …)`` use.
_TAKEN = frozenset({*(n for n in vars(Strategy) if not n.startswith("_")), "data", "strategy"})


def check_params(cls: type[Strategy], params: Mapping[str, object]) -> dict[str, object]:
    """Check names and kinds of parameter values; numpy numbers become Python's.

    Raises
    ------
    UnknownName, UsageProblem
        See `Strategy`.
    """
    made: dict[str, object] = {}
    for name, value in params.items():
        if name not in cls.parameters:
            if name not in _TAKEN and not name.startswith("_") and not callable(getattr(cls, name, len)):
                raise UsageProblem(
                    f"{name} of {cls.__name__} is no parameter; annotate it: `{name}: int = {getattr(cls, name)!r}`"
                )
            raise unknown("parameter", name, cls.parameters, of=cls.__name__)
        plain = value.item() if isinstance(value, np.generic) else value
        default = cls.parameters[name]
        if name in STOPS:
            made[name] = check_stop(name, plain)
            continue
        if isinstance(default, int | float) and not isinstance(plain, int | float):
            raise UsageProblem(
                f"the parameter {name} of {cls.__name__} must be a number like {default!r}, not {plain!r}"
            )
        if isinstance(default, int) and isinstance(plain, float) and plain.is_integer():
            plain = int(plain)
        made[name] = plain
    return made


def maker(cls: type[Strategy]) -> Callable[[dict[str, object]], Strategy]:
    """Return what builds an instance from checked parameters, which become its own.

    A class without an ``__init__`` of its own is built without one: a sweep makes 100,000 a second.
    """
    if cls.__init__ is not Strategy.__init__ or cls.__new__ is not object.__new__:
        return lambda params: cls(**params)
    new = cls.__new__

    def make(params: dict[str, object]) -> Strategy:
        made = new(cls)
        made.__dict__ = params
        return made

    return make
