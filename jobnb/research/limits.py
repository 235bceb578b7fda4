"""What a run says of its own orders, as numbers: its stops and its size for each decision.

Runs where strategies run. From the engine's options, the strategy's parameters of these names and its
``stops(bars)``; the compiled rules that use them are in `orders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.options import EngineOptions
from jobnb.research.stops import STOPS, Atr, check_stop

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.strategy import Strategy

Floats = npt.NDArray[np.float64]


#: Rows of what goes with a target: the stops, and the size.
LIMITS = len(STOPS) + 1


@dataclass(frozen=True, eq=False)
class Orders:
    """Targets with the stops and the size that go with them; stands where a plain row of targets stands.

    Attributes
    ----------
    targets : array (n,)
    limits : array (4, 1) or (4, n)
        See `limits`.
    shared : bool
        Whether all runs of the evaluator have these limits.
    """

    targets: npt.NDArray[np.int8] | Floats
    limits: Floats
    shared: bool = False

    def __getitem__(self, window: slice) -> Orders:
        return Orders(self.targets[window], self.limits if self.limits.shape[1] == 1 else self.limits[:, window])

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def nbytes(self) -> int:
        """Memory of what is its own."""
        return self.targets.nbytes + (0 if self.shared else self.limits.nbytes)

    @property
    def limits_each(self) -> Floats:
        """The stops and the size of each bar, (4, n)."""
        return np.array(np.broadcast_to(self.limits, (LIMITS, len(self))))

    @property
    def kind(self) -> str:
        """What rows of one block share."""
        return f"{self.targets.dtype.char}{self.limits.shape[1]}{self.shared}"

    def copy(self) -> Orders:
        """Return a copy of both."""
        return Orders(self.targets.copy(), self.limits if self.shared else self.limits.copy(), self.shared)


class StopsError(UsageProblem):
    """``stops(bars)`` did not return usable distances."""

    code = "STOPS_ERROR"


def common(options: EngineOptions, bars: Bars) -> Floats:
    """Return the stops and the size that the engine options say, as `limits` does."""
    return _stacked(
        [*distances({name: getattr(options, name) for name in STOPS}, bars, "options").values()], options, bars
    )


def limits(strategy: Strategy, options: EngineOptions, bars: Bars, said: Floats) -> Floats:
    """Return the stops and the size of a run.

    What ``stops(bars)`` returns goes before a parameter of the strategy, and that before an engine option.

    Parameters
    ----------
    strategy, options, bars
    said : array
        The `common` ones.

    Returns
    -------
    array (4, 1) or (4, n)
        Stop loss, take profit and trailing stop as fractions of the price, NaN for none; and the size.

    Raises
    ------
    StopsError
        ``STOPS_ERROR``: an unknown name, or a value that is no distance.
    """
    own = {name: getattr(strategy, name) for name in STOPS if name in strategy.parameters}
    own.update(checked(strategy.stops(bars), strategy.name))
    if not own:
        return said
    if all((type(value) is float and 0.0 < value < 1.0) or value is None for value in own.values()):
        # What a sweep does for every run.
        made = said.copy()
        for i, name in enumerate(STOPS):
            if name in own:
                made[i] = np.nan if own[name] is None else own[name]
        return made
    found = distances(own, bars, strategy.name)
    return _stacked([found.get(name, said[i]) for i, name in enumerate(STOPS)], options, bars)


def _stacked(rows: list[Floats], options: EngineOptions, bars: Bars) -> Floats:
    rows.append(_size(options, bars))
    if all(row.size == 1 for row in rows):
        return np.stack(rows)
    return np.stack([np.broadcast_to(row, (len(bars),)) for row in rows])


def checked(given: object, who: str) -> Mapping[str, object]:
    """Return what a strategy's ``stops`` returned, if it names stops.

    Raises
    ------
    StopsError
        ``STOPS_ERROR``: no mapping, or an unknown name.
    """
    if not isinstance(given, Mapping):
        raise StopsError(f"{who}.stops returned {type(given).__name__}; return a dict like {{'stop_loss': 0.05}}")
    for name in given:
        if name not in STOPS:
            raise StopsError(str(unknown("stop", str(name), STOPS, of=who)))
    return given


def distances(said: Mapping[str, object], bars: Bars, who: str) -> dict[str, Floats]:
    """Return stops as fractions of the price: one number, or one for each bar, NaN for none.

    Raises
    ------
    StopsError
        ``STOPS_ERROR``: a value that is no distance.
    """
    return {name: _distance(name, value, bars, who) for name, value in said.items()}


def _distance(name: str, value: object, bars: Bars, who: str) -> Floats:
    if isinstance(value, np.ndarray) or hasattr(value, "to_numpy"):
        try:
            made = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise StopsError(f"{name} of {who}.stops holds {getattr(value, 'dtype', '?')}, not numbers") from error
        if made.shape != bars.close.shape:
            raise StopsError(
                f"{name} of {who}.stops has the shape {made.shape}; return a number, or one for each of "
                f"the {len(bars):,} bars"
            )
        if (bad := (made < 0.0) | np.isinf(made)).any():
            i = int(np.argmax(bad))
            raise StopsError(f"{name} of {who}.stops is {made[i]:g} at {bars.index[i]}; a distance is above 0")
        # No distance is no stop, and neither is one that is not known yet.
        return np.where(made > 0.0, made, np.nan)
    if isinstance(value, np.generic):
        value = value.item()
    try:
        checked = check_stop(name, value)
    except UsageProblem as error:
        raise StopsError(f"{who}: {error}") from error
    if isinstance(checked, Atr):
        return checked.multiple * bars.atr(checked.period) / bars.close
    return np.array([np.nan if checked is None else checked])


def _size(options: EngineOptions, bars: Bars) -> Floats:
    if options.sizing != "volatility":
        return np.array([options.position_size])
    found = bars.volatility(options.volatility_period)
    # Before it is known, and where prices do not move, nothing is held.
    known = found > 0.0
    return np.where(known, options.position_size / np.where(known, found, 1.0), np.nan)
