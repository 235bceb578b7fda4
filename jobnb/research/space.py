"""The grid of parameters of an optimization: which combinations there are, by number.

Built and checked at the front door before anything is enqueued; children turn numbers back into parameters.
It never holds one object per combination.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobnb.errors import UsageProblem, unknown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


#: Combinations decoded at once.
_CHUNK = 1024


class Point:
    """One combination, as a constraint sees it: ``p.fast`` or ``p["fast"]``."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float: ...

    else:

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            raise unknown("parameter", name, self.__dict__)

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class ParameterSpace:
    """All combinations of the values of some parameters; the last parameter changes fastest.

    Attributes
    ----------
    names : tuple of str
    values : tuple of sequence
        For each name its values; ranges stay ranges.
    """

    names: tuple[str, ...]
    values: tuple[Sequence[object], ...]

    @classmethod
    def parse(cls, strategy: Callable[..., object], grid: Mapping[str, object]) -> ParameterSpace:
        """Read a grid as people write it.

        Parameters
        ----------
        strategy : type or callable
            A `Strategy` class, whose parameters are checked, or any other callable.
        grid : mapping
            Name to range, list, tuple, array or a single value; or ``{"type": "int", "min": 5, "max": 20,
            "step": 5}`` (the maximum included), ``{"type": "categorical", "values": [...]}``.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: the strategy has no such parameter.
        UsageProblem
            ``USAGE_ERROR``: no values, a value twice, a value of the wrong kind.

        Examples
        --------
        >>> space = ParameterSpace.parse(print, {"fast": range(5, 7), "slow": [10, 20, 30]})
        >>> space.count, space.params(4)
        (6, {'fast': 6, 'slow': 20})
        """
        if not grid:
            raise UsageProblem('there is no parameter to vary; give for example {"fast": range(5, 50)}')
        return cls(names=tuple(grid), values=tuple(_values(strategy, name, given) for name, given in grid.items()))

    @property
    def count(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.values)

    @property
    def varying(self) -> tuple[str, ...]:
        """Names of the parameters with more than one value."""
        return tuple(name for name, values in zip(self.names, self.values, strict=True) if len(values) > 1)

    def places(self, i: int) -> tuple[int, ...]:
        """Return for each parameter the place of its value in combination ``i``."""
        found = []
        for values in reversed(self.values):
            i, place = divmod(i, len(values))
            found.append(place)
        return tuple(reversed(found))

    def params(self, i: int) -> dict[str, object]:
        """Return combination ``i``."""
        return {
            name: values[place]
            for name, values, place in zip(self.names, self.values, self.places(int(i)), strict=True)
        }

    def each(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[dict[str, object]]:
        """Yield these combinations; a third of the time of `params` for each."""
        import numpy as np

        for at in range(0, len(numbers), _CHUNK):
            rest = np.asarray(numbers[at : at + _CHUNK], dtype=np.int64)
            columns: list[list[object]] = []
            for values in reversed(self.values):
                rest, place = np.divmod(rest, len(values))
                columns.append([values[i] for i in place.tolist()])
            for combination in zip(*reversed(columns), strict=True):
                yield dict(zip(self.names, combination, strict=True))

    def __iter__(self) -> Iterator[dict[str, object]]:
        for combination in itertools.product(*self.values):
            yield dict(zip(self.names, combination, strict=True))

    def allowed(self, constraint: Callable[[Point], object] | None) -> npt.NDArray[np.int64]:
        """Return the numbers of the combinations that satisfy a constraint.

        Parameters
        ----------
        constraint : callable, optional
            Called with a `Point`; true keeps the combination.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the constraint failed (says for which parameters), or nothing is left.
        """
        import numpy as np

        if constraint is None:
            return np.arange(self.count, dtype=np.int64)
        kept = np.zeros(self.count, dtype=np.bool_)
        for i, params in enumerate(self):
            try:
                kept[i] = bool(constraint(Point(params)))
            except Exception as error:
                shown = ", ".join(f"{name}={value!r}" for name, value in params.items())
                raise UsageProblem(f"the constraint failed for {shown}: {type(error).__name__}: {error}") from error
        found = np.flatnonzero(kept).astype(np.int64)
        if not found.size:
            raise UsageProblem(f"the constraint leaves none of the {self.count:,} combinations")
        return found

    def to_json(self) -> list[list[object]]:
        """Return names and values as JSON can hold them; what JSON cannot hold becomes its repr."""
        made: list[list[object]] = []
        for name, values in zip(self.names, self.values, strict=True):
            if isinstance(values, range):
                made.append([name, {"range": [values.start, values.stop, values.step]}])
            else:
                made.append([name, [plain(value) for value in values]])
        return made

    @classmethod
    def from_json(cls, data: Sequence[Sequence[object]]) -> ParameterSpace:
        """Build the space from what `to_json` made."""
        values: list[Sequence[object]] = []
        for _, given in data:
            if isinstance(given, Mapping):
                values.append(range(*given["range"]))
            else:
                assert isinstance(given, Sequence)
                values.append(tuple(given))
        return cls(names=tuple(str(name) for name, _ in data), values=tuple(values))


def plain(value: object) -> object:
    """Return a value JSON can hold: itself, or its repr."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


def _values(strategy: Callable[..., object], name: str, given: object) -> Sequence[object]:
    from jobnb.research.strategy import Strategy, check_params

    values = _listed(name, given)
    if not len(values):
        raise UsageProblem(f"the parameter {name} has no values: {given!r}")
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        if isinstance(values, range):
            check_params(strategy, {name: values[0]})
        else:
            values = [check_params(strategy, {name: value})[name] for value in values]
    if not isinstance(values, range):
        seen: set[str] = set()
        for value in values:
            if repr(value) in seen:
                raise UsageProblem(f"the parameter {name} has the value {value!r} twice")
            seen.add(repr(value))
        values = tuple(values)
    return values


def _listed(name: str, given: object) -> Sequence[object]:
    if isinstance(given, range):
        return given
    if isinstance(given, Mapping):
        return _described(name, given)
    if isinstance(given, str | bytes) or given is None:
        return [given]
    tolist = getattr(given, "tolist", None)
    if callable(tolist):
        made = tolist()
        return list(made) if isinstance(made, list) else [made]
    if isinstance(given, set | frozenset):
        raise UsageProblem(f"the values of {name} are a set, which has no order; give a list")
    if isinstance(given, Sequence | Iterator):
        return [value.item() if hasattr(value, "item") else value for value in given]
    return [given]


def _described(name: str, given: Mapping[object, object]) -> Sequence[object]:
    kind = given.get("type", "int" if "min" in given else "categorical")
    if kind in ("categorical", "choice"):
        choices = given.get("values", given.get("choices"))
        if not isinstance(choices, Sequence) or isinstance(choices, str):
            raise UsageProblem(f'the parameter {name} needs "values": [...], not {dict(given)!r}')
        return list(choices)
    try:
        low, high, step = given["min"], given["max"], given.get("step", 1 if kind == "int" else None)
    except KeyError as error:
        raise UsageProblem(f"the parameter {name} has no {error} in {dict(given)!r}") from error
    numbers = (low, high, step)
    if kind not in ("int", "float") or not all(isinstance(n, int | float) for n in numbers):
        raise UsageProblem(
            f'the parameter {name} needs "type" int or float and numbers for min, max and step: {dict(given)!r}'
        )
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    assert isinstance(step, int | float)
    if step <= 0 or high < low:
        raise UsageProblem(f"the parameter {name} needs min <= max and a step above 0: {dict(given)!r}")
    if kind == "int":
        return range(int(low), int(high) + 1, int(step) or 1)
    # Half a step of slack: 0.1 + 0.1 + 0.1 shall reach 0.3.
    return [round(low + i * step, 12) for i in range(int((high - low) / step + 1e-9) + 1)]
