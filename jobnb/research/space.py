"""The parameters of an optimization and what each may be: lists, ranges, continuous intervals.

Built and checked at the front door before anything is enqueued; children turn numbers of combinations, or the
points of a sampler, back into parameters. It never holds one object per combination.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jobnb.errors import UsageProblem, unknown
from jobnb.research.interval import Interval, integers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


#: Combinations decoded at once.
_CHUNK = 1024
#: Combinations that a constraint sees at once, and of how many it is asked once more one by one.
_AT_ONCE = 1 << 16
_ASKED_AGAIN = 64

#: What one parameter may be.
Axis = Sequence[object] | Interval


class Point:
    """Values by name, as a constraint or an objective sees them: ``p.fast`` or ``p["fast"]``."""

    _what = "parameter"

    def __init__(self, values: Mapping[str, object], *, what: str = "parameter") -> None:
        self.__dict__.update(values)
        if what != "parameter":
            self.__dict__["_what"] = what

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float: ...

    else:

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            raise unknown(self._what, name, [known for known in self.__dict__ if known != "_what"])

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class ParameterSpace:
    """What some parameters may be; of their combinations, the last parameter changes fastest.

    A *point* is one choice as a row of float64: of a parameter with a list of values the place in that list, of
    one with an `Interval` the number itself.

    Attributes
    ----------
    names : tuple of str
    values : tuple of sequence or Interval
        For each name its values; ranges stay ranges.
    """

    names: tuple[str, ...]
    values: tuple[Axis, ...]

    @classmethod
    def parse(cls, strategy: Callable[..., object], grid: Mapping[str, object]) -> ParameterSpace:
        """Read a grid as people write it.

        Parameters
        ----------
        strategy : type or callable
            A `Strategy` class, whose parameters are checked, or any other callable.
        grid : mapping
            Name to range, list, tuple, array or a single value; `jobnb.uniform`, `jobnb.log_uniform` or
            `jobnb.integers`; or ``{"type": "int", "min": 5, "max": 20, "step": 5}`` (the maximum included),
            ``{"type": "float", "min": 0.1, "max": 10, "log": True}`` (without a step: any number between),
            ``{"type": "categorical", "values": [...]}``.

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

    def axis(self, name: str) -> Axis:
        """Return what a parameter may be."""
        return self.values[self.names.index(name)]

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the parameters that are no list of values."""
        return tuple(name for name, axis in zip(self.names, self.values, strict=True) if isinstance(axis, Interval))

    @property
    def lists(self) -> tuple[Sequence[object], ...]:
        """The values of each parameter, where each has a list of them.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: a parameter is continuous.
        """
        if self.continuous:
            raise UsageProblem(f"{', '.join(self.continuous)} has no list of values")
        return tuple(axis for axis in self.values if not isinstance(axis, Interval))

    @property
    def count(self) -> int:
        """Number of combinations, where there is one."""
        return math.prod(len(values) for values in self.lists)

    @property
    def varying(self) -> tuple[str, ...]:
        """Names of the parameters with more than one value."""
        return tuple(
            name
            for name, axis in zip(self.names, self.values, strict=True)
            if isinstance(axis, Interval) or len(axis) > 1
        )

    def places(self, i: int) -> tuple[int, ...]:
        """Return for each parameter the place of its value in combination ``i``."""
        found = []
        for values in reversed(self.lists):
            i, place = divmod(i, len(values))
            found.append(place)
        return tuple(reversed(found))

    def params(self, i: int) -> dict[str, object]:
        """Return combination ``i``."""
        return {
            name: values[place] for name, values, place in zip(self.names, self.lists, self.places(int(i)), strict=True)
        }

    def at(self, point: Sequence[float]) -> dict[str, object]:
        """Return the parameters of a point."""
        return {name: _chosen(axis, x) for name, axis, x in zip(self.names, self.values, point, strict=True)}

    def points(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return these combinations as points, one in a row."""
        import numpy as np

        made = np.empty((len(numbers), len(self.names)))
        rest = np.asarray(numbers, dtype=np.int64)
        for column, values in reversed(list(enumerate(self.lists))):
            rest, made[:, column] = np.divmod(rest, len(values))
        return made

    def each_point(self, points: npt.NDArray[np.float64]) -> Iterator[dict[str, object]]:
        """Yield the parameters of each of these points."""
        for at in range(0, len(points), _CHUNK):
            columns = points[at : at + _CHUNK].T.tolist()
            yield from self._named(_column(axis, column) for axis, column in zip(self.values, columns, strict=True))

    def each(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[dict[str, object]]:
        """Yield these combinations; a fifth of the time of `params` for each."""
        return itertools.chain.from_iterable(map(self._chunk, self._cut(numbers)))

    @staticmethod
    def _cut(numbers: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[Sequence[int] | npt.NDArray[np.int64]]:
        for at in range(0, len(numbers), _CHUNK):
            yield numbers[at : at + _CHUNK]

    def _chunk(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[dict[str, object]]:
        import numpy as np

        rest = np.asarray(numbers, dtype=np.int64)
        columns: list[list[object]] = []
        for values in reversed(self.lists):
            rest, place = np.divmod(rest, len(values))
            columns.append([values[i] for i in place.tolist()])
        return self._named(reversed(columns))

    def _named(self, columns: Iterable[Sequence[object]]) -> Iterator[dict[str, object]]:
        """Return the combinations of these columns."""
        return self._combined(zip(*columns, strict=True))

    def _combined(self, rows: Iterable[tuple[object, ...]]) -> Iterator[dict[str, object]]:
        """Return rows of values by name."""
        # No step in Python for each: a sweep makes 100,000 a second.
        return map(dict, map(zip, itertools.repeat(self.names), rows))

    def __iter__(self) -> Iterator[dict[str, object]]:
        return self._combined(itertools.product(*self.lists))

    def allowed(self, constraint: Callable[[Point], object] | None) -> npt.NDArray[np.int64]:
        """Return the numbers of the combinations that satisfy a constraint.

        Parameters
        ----------
        constraint : callable, optional
            Called with a `Point`; true keeps the combination. First it is tried with arrays for values, to be done
            with many combinations at once; see `_satisfied`.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the constraint failed (says for which parameters), or nothing is left.
        """
        import numpy as np

        if constraint is None:
            return np.arange(self.count, dtype=np.int64)
        kept = self._satisfied(constraint)
        if kept is None:
            kept = np.fromiter(map(partial(satisfies, constraint), self), np.bool_, self.count)
        found = np.flatnonzero(kept).astype(np.int64)
        if not found.size:
            raise UsageProblem(f"the constraint leaves none of the {self.count:,} combinations")
        return found

    def _satisfied(self, constraint: Callable[[Point], object]) -> npt.NDArray[np.bool_] | None:
        """Return which combinations satisfy a constraint that can be asked of many at once, as most can; else None.

        It is given arrays of Python's own objects, which compare and calculate as single ones do. What cannot be asked
        so (``and``, ``in``, ``math.log``) raises, or gives no answer for each; a twentieth of the time where it can.
        """
        import numpy as np

        kept = np.empty(self.count, np.bool_)
        lists = [np.fromiter(values, np.object_, len(values)) for values in self.lists]
        for at in range(0, self.count, _AT_ONCE):
            numbers = np.arange(at, min(at + _AT_ONCE, self.count))
            places = self.points(numbers).astype(np.intp).T
            columns = [values[place] for values, place in zip(lists, places, strict=True)]
            try:
                made = constraint(Point(dict(zip(self.names, columns, strict=True))))
            except Exception:  # noqa: BLE001 - asked one by one it says what is wrong, if anything is
                return None
            if not isinstance(made, np.ndarray) or made.dtype != np.bool_ or made.shape != numbers.shape:
                return None
            kept[numbers] = made
        for i in np.unique(np.linspace(0, self.count - 1, _ASKED_AGAIN).astype(int)).tolist():
            if satisfies(constraint, self.params(i)) != kept[i]:
                return None
        return kept

    def to_json(self) -> list[list[object]]:
        """Return names and values as JSON can hold them; what JSON cannot hold becomes its repr."""
        made: list[list[object]] = []
        for name, values in zip(self.names, self.values, strict=True):
            if isinstance(values, Interval):
                made.append([name, {"interval": [*values.ends, values.log, values.whole]}])
            elif isinstance(values, range):
                made.append([name, {"range": [values.start, values.stop, values.step]}])
            else:
                made.append([name, [plain(value) for value in values]])
        return made

    @classmethod
    def from_json(cls, data: Sequence[Sequence[object]]) -> ParameterSpace:
        """Build the space from what `to_json` made."""
        values: list[Axis] = []
        for _, given in data:
            if isinstance(given, Mapping) and "interval" in given:
                low, high, log, whole = given["interval"]
                values.append(Interval(low=low, high=high, log=log, whole=whole))
            elif isinstance(given, Mapping):
                values.append(range(*given["range"]))
            else:
                assert isinstance(given, Sequence)
                values.append(tuple(given))
        return cls(names=tuple(str(name) for name, _ in data), values=tuple(values))


def satisfies(constraint: Callable[[Point], object], params: Mapping[str, object]) -> bool:
    """Tell whether a constraint allows these parameters.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it failed; says for which parameters.
    """
    try:
        return bool(constraint(Point(params)))
    except Exception as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise UsageProblem(f"the constraint failed for {shown}: {type(error).__name__}: {error}") from error


def _column(axis: Axis, places: list[float]) -> Sequence[object]:
    if isinstance(axis, Interval):
        return list(map(int, places)) if axis.whole else places
    return [axis[i] for i in map(int, places)]


def _chosen(axis: Axis, x: float) -> object:
    if isinstance(axis, Interval):
        return int(x) if axis.whole else x
    return axis[int(x)]


def plain(value: object) -> object:
    """Return a value JSON can hold: itself, or its repr."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


def _values(strategy: Callable[..., object], name: str, given: object) -> Axis:
    from jobnb.research.strategy import Strategy, check_params

    values = _listed(name, given)
    own = strategy if isinstance(strategy, type) and issubclass(strategy, Strategy) else None
    if isinstance(values, Interval):
        if own is not None:
            check_params(own, {name: values.low})
            _check_kind(own.parameters[name], name, values)
        return values
    if not len(values):
        raise UsageProblem(f"the parameter {name} has no values: {given!r}")
    if own is not None:
        if isinstance(values, range):
            check_params(own, {name: values[0]})
        else:
            values = [check_params(own, {name: value})[name] for value in values]
    if not isinstance(values, range):
        seen: set[str] = set()
        for value in values:
            if repr(value) in seen:
                raise UsageProblem(f"the parameter {name} has the value {value!r} twice")
            seen.add(repr(value))
        values = tuple(values)
    return values


def _check_kind(default: object, name: str, given: Interval) -> None:
    if isinstance(default, int) and not isinstance(default, bool) and not given.whole:
        raise UsageProblem(
            f"the parameter {name} is a whole number ({default!r}); "
            f"search it as jobnb.integers({math.ceil(given.low)}, {math.floor(given.high)})"
        )


def _listed(name: str, given: object) -> Axis:
    if isinstance(given, range | Interval):
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


def _described(name: str, given: Mapping[object, object]) -> Axis:
    kind = given.get("type", "int" if "min" in given else "categorical")
    if kind in ("categorical", "choice"):
        choices = given.get("values", given.get("choices"))
        if not isinstance(choices, Sequence) or isinstance(choices, str):
            raise UsageProblem(f'the parameter {name} needs "values": [...], not {dict(given)!r}')
        return list(choices)
    try:
        low, high = given["min"], given["max"]
    except KeyError as error:
        raise UsageProblem(f"the parameter {name} has no {error} in {dict(given)!r}") from error
    step, log = given.get("step"), bool(given.get("log", False))
    numbers = (low, high, 1 if step is None else step)
    if kind not in ("int", "float") or not all(isinstance(n, int | float) for n in numbers):
        raise UsageProblem(
            f'the parameter {name} needs "type" int or float and numbers for min, max and step: {dict(given)!r}'
        )
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    assert step is None or isinstance(step, int | float)
    if (step is not None and step <= 0) or high < low:
        raise UsageProblem(f"the parameter {name} needs min <= max and a step above 0: {dict(given)!r}")
    if log and step is not None:
        raise UsageProblem(f"the parameter {name} takes a step or a log scale, not both: {dict(given)!r}")
    if kind == "int":
        return integers(int(low), int(high), step=1 if step is None else int(step) or 1, log=log and low < high)
    if low == high:
        return [float(low)]
    if step is None:
        return Interval(low=low, high=high, log=log)
    # Half a step of slack: 0.1 + 0.1 + 0.1 shall reach 0.3.
    return [round(low + i * step, 12) for i in range(int((high - low) / step + 1e-9) + 1)]
