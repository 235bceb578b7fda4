"""What a source of prices is: a name, one function, and the terms on which it may be asked; and who is known by name.

Used by front doors and by the children of extraction jobs, into which a source is pickled whole. Nothing is fetched
here, and no optional package is imported before a source is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jobnb.durations import seconds
from jobnb.errors import UsageProblem, unknown
from jobnb.limit import RateLimit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a source declares of itself.

    Attributes
    ----------
    page : int or None
        Bars that one call of ``fetch`` may be asked for; None for any number.
    rate : RateLimit or None
        How often ``fetch`` may be called, by all processes of this machine together.
    settles : float or str
        Seconds, or ``"6h"``, after a bar's end in which the source may still change it; such a bar is not kept.
    restates : bool
        Whether earlier bars change when a dividend or a split comes (adjusted prices). New bars are then compared with
        kept ones, and all are fetched again where they do not fit.
    cache : bool
        Whether what was fetched is kept in the home folder.
    intervals : tuple of str
        The intervals it knows; empty for any.
    tries : int
        How often one call is made before its failure counts.
    patience : float
        Seconds that a pause between two tries may take; a source that asks for more puts the job off.
    """

    page: int | None = None
    rate: RateLimit | None = None
    settles: float | str = 0.0
    restates: bool = False
    cache: bool = True
    intervals: tuple[str, ...] = ()
    tries: int = 4
    patience: float = 30.0

    def __post_init__(self) -> None:
        if self.page is not None and self.page < 1:
            raise UsageProblem(f"page must be at least 1 bar, not {self.page!r}.")
        if self.tries < 1:
            raise UsageProblem(f"tries must be at least 1, not {self.tries!r}.")

    @property
    def settles_us(self) -> int:
        """``settles`` in µs."""
        return int(1e6 * seconds(self.settles, "settles")) if self.settles else 0


@runtime_checkable
class DataSource(Protocol):
    """Anything that can give price bars. It may also have an attribute ``terms``, a `Terms`.

    Attributes
    ----------
    name : str
        Names the source and its settings: kept bars of another name are never mixed in.
    """

    @property
    def name(self) -> str:
        """The source's name."""
        ...

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        """Return the bars that begin in ``[start, end)``.

        Parameters
        ----------
        symbol : str
        start, end : datetime
            Aware, in UTC; of days and longer, midnight of the date that labels the bar.
        interval : str
            ``1m``, ``5m``, ``1h``, ``1d``, ``1w``, ``1mo`` and the like.

        Returns
        -------
        pandas.DataFrame
            Open, high, low, close, volume over a DatetimeIndex; empty where there are no bars. Bars outside of the
            span are dropped by the caller.

        Raises
        ------
        jobnb.RetryLater, SourceBusy
            Ask again later. Errors of the network are recognised, too.
        """
        ...


def terms_of(source: DataSource) -> Terms:
    """Return what a source declares, or the defaults."""
    found = getattr(source, "terms", None)
    return found if isinstance(found, Terms) else Terms()


@dataclass(frozen=True)
class CallableSource:
    """A function ``fn(symbol, start, end, interval)`` as a source.

    Attributes
    ----------
    fn : callable
        See `DataSource.fetch`.
    name : str
        The function's own name by default.
    terms : Terms
    """

    fn: Callable[[str, datetime, datetime, str], pd.DataFrame]
    name: str = ""
    terms: Terms = field(default_factory=Terms)

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise UsageProblem(f"{self.fn!r} is not a function f(symbol, start, end, interval).")
        if not self.name:
            # Frozen, so that the default can only be set this way.
            object.__setattr__(self, "name", str(getattr(self.fn, "__name__", type(self.fn).__name__)))
        check_name(self.name)

    def fetch(self, symbol: str, start: datetime, end: datetime, interval: str) -> pd.DataFrame:
        """Call the function."""
        return self.fn(symbol, start, end, interval)


def _yfinance(**said: Any) -> DataSource:
    from jobnb.data.yfinance import YFinance

    return YFinance(**said)


def _ccxt(**said: Any) -> DataSource:
    from jobnb.data.ccxt import Ccxt

    return Ccxt(**said)


def _files(**said: Any) -> DataSource:
    from jobnb.data.files import Files

    return Files(**said)


#: Made anew each time: name and factory.
_FACTORIES: dict[str, Callable[..., DataSource]] = {"yfinance": _yfinance, "ccxt": _ccxt, "files": _files}
_registered: dict[str, DataSource] = {}
_lock = threading.Lock()


def register(source: DataSource | Callable[..., pd.DataFrame], name: str | None = None, **terms: Any) -> DataSource:
    """Make a source known by name in this process, for ``source="name"``; return it.

    Parameters
    ----------
    source : DataSource or callable
        A function ``fn(symbol, start, end, interval)`` is made a `CallableSource`.
    name : str, optional
        Its own name by default.
    **terms
        Of a function: the fields of `Terms`, such as ``page=1000`` or ``rate=jobnb.data.RateLimit(5, "1s")``.

    Raises
    ------
    UsageProblem
        It is no source, or the name belongs to one of jobnb's own.

    Examples
    --------
    >>> def mine(symbol, start, end, interval): ...
    >>> register(mine, page=500).name
    'mine'
    """
    made = as_source(source, name or "", terms)
    known = name or made.name
    check_name(known)
    if known in _FACTORIES:
        raise UsageProblem(f"{known!r} is a source of jobnb's own; give yours another name.")
    with _lock:
        _registered[known] = made
    return made


def as_source(given: object, name: str = "", terms: dict[str, Any] | None = None) -> DataSource:
    """Return a source for a source or a function.

    Raises
    ------
    UsageProblem
        It is neither.
    """
    if isinstance(given, type):
        raise UsageProblem(f"give an instance of the source, {given.__name__}(…), not the class.")
    if isinstance(given, DataSource):
        if terms:
            raise UsageProblem(f"terms ({', '.join(terms)}) are given with a function; a source has its own.")
        check_name(given.name)
        return given
    if callable(given):
        known = [f.name for f in fields(Terms)]
        for each in terms or ():
            if each not in known:
                raise unknown("term", each, known, of="a source")
        return CallableSource(given, name, Terms(**(terms or {})))
    raise UsageProblem(f"{given!r} is no source: it needs a name and fetch(symbol, start, end, interval).")


def source(name: str | DataSource | Callable[..., pd.DataFrame], **said: Any) -> DataSource:
    """Return a source by its name.

    Parameters
    ----------
    name : str, DataSource or callable
        ``yfinance``; ``ccxt:binance``, or ``ccxt`` with ``exchange="binance"``; ``files`` with ``path="{symbol}.csv"``;
        or one that was registered. A source or a function is returned as a source.
    **said
        Settings of the source.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: with the nearest right name.
    MissingPackage
        ``MISSING_PACKAGE``: with the command that installs it.
    """
    if not isinstance(name, str):
        return as_source(name, "", said)
    plain, _, rest = name.partition(":")
    if name in _registered:
        if said:
            raise UsageProblem(f"the registered source {name!r} takes no settings ({', '.join(said)}).")
        return _registered[name]
    factory = _FACTORIES.get(plain)
    if factory is None or (rest and plain != "ccxt"):
        raise unknown("source", name, sources())
    if rest:
        said = {"exchange": rest, **said}
    try:
        return factory(**said)
    except TypeError as error:
        raise UsageProblem(f"source {plain!r} does not take that: {error}.") from None


def sources() -> list[str]:
    """Return the names of the sources that can be asked for."""
    return sorted({*_FACTORIES, *_registered})


def check_name(name: object) -> None:
    """Refuse a source's name that is empty, too long or not printable."""
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageProblem(f"a source needs a short printable name, not {name!r}.")
