"""Which parameters a search tries, by the number of the trial: all combinations of a grid, or a random sample.

The front door draws them once, so that a seed gives the same trials for any number of workers; children only look
them up. Walk-forward, which searches within a child, calls `jobnb.research.sweep.search` with the same `Search`:

>>> from jobnb.research.sample import goog
>>> from jobnb.research.bars import Bars
>>> from jobnb.research.strategy import Strategy
>>> from jobnb.research.sweep import search
>>> class Cross(Strategy):
...     fast: int = 10
...     slow: int = 30
...     def positions(self, bars):
...         return bars.sma(self.fast) > bars.sma(self.slow)
>>> space = ParameterSpace.parse(Cross, {"fast": range(5, 50), "slow": range(10, 200)})
>>> sampled = Search.make(space, "random", n_trials=20, seed=1, constraint=lambda p: p.fast < p.slow)
>>> found = search(Cross, Bars.from_frame(goog()), sampled, window=slice(250, 750))
>>> len(found.values), found.best == int(found.column("sharpe_ratio").argmax())
(20, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.interval import Interval
from jobnb.research.space import ParameterSpace, Point, satisfies

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: How parameters can be searched.
METHODS: Final = ("grid", "random")
#: Trials of a search that is not told how many.
TRIALS: Final = 100
#: A space of at most so many combinations is listed, to sample it; a larger one is drawn from.
LISTED: Final = 200_000
#: Draws in vain, per trial wanted and in all, after which a constraint counts as too narrow.
VAIN_PER_TRIAL: Final = 100
VAIN: Final = 100_000
_CHUNK = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """The trials of a search.

    Attributes
    ----------
    space : ParameterSpace
    method : str
        One of `METHODS`.
    count : int
        Number of trials.
    numbers : array of int64, optional
        Of a grid that a constraint has thinned: the combinations.
    points : array (count, len(space.names)) of float64, optional
        Of a random sample: the points, in the order of the trials.
    seed : int, optional
    """

    space: ParameterSpace
    method: str = "grid"
    count: int
    numbers: Whole | None = None
    points: Floats | None = None
    seed: int | None = None

    @classmethod
    def make(
        cls,
        space: ParameterSpace,
        method: str = "grid",
        *,
        n_trials: int | None = None,
        seed: int | None = None,
        constraint: Callable[[Point], object] | None = None,
    ) -> Search:
        """Choose the trials.

        Parameters
        ----------
        space : ParameterSpace
        method : {"grid", "random"}
        n_trials : int, optional
            How many in all, 100 by default; not for a grid. A space of lists has no trial twice: of one that is
            smaller than ``n_trials`` each combination is tried, in random order.
        seed : int, optional
            The same seed gives the same trials, and those of a smaller ``n_trials`` come first; 0 by default.
        constraint : callable, optional
            ``lambda p: p.fast < p.slow``; what it refuses is not tried.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: a grid over a continuous parameter, or with ``n_trials``; a constraint that leaves
            nothing, or nearly nothing.
        UnknownName
            ``UNKNOWN_NAME``: there is no such method.
        """
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if method == "grid":
            return cls._grid(space, n_trials, constraint)
        wanted = TRIALS if n_trials is None else _counted(n_trials)
        points = draw(space, wanted, 0 if seed is None else seed, constraint)
        return cls(space=space, method=method, count=len(points), points=points, seed=seed)

    @classmethod
    def _grid(cls, space: ParameterSpace, n_trials: int | None, constraint: Callable[[Point], object] | None) -> Search:
        if space.continuous:
            name = space.continuous[0]
            raise UsageProblem(
                f"a grid needs a list of values for {name}, which is any number of {space.axis(name)!r}; "
                f'give a step, or try n_trials=200 of them with method="random"'
            )
        if n_trials is not None:
            raise UsageProblem(
                f"a grid tries every combination, so n_trials={n_trials!r} says nothing; "
                f'try that many of them with method="random"'
            )
        numbers = None if constraint is None else space.allowed(constraint)
        return cls.of(space, numbers)

    @classmethod
    def of(cls, space: ParameterSpace, numbers: Whole | None = None) -> Search:
        """Return the search of all combinations, or of those of these numbers, in this order."""
        if numbers is not None and len(numbers) == space.count:
            numbers = None
        return cls(space=space, count=space.count if numbers is None else len(numbers), numbers=numbers)

    def each(self, start: int, stop: int) -> Iterator[Mapping[str, object]]:
        """Yield the parameters of the trials ``[start, stop)``."""
        if self.points is not None:
            return self.space.each_point(self.points[start:stop])
        return self.space.each(range(start, stop) if self.numbers is None else self.numbers[start:stop])


def draw(space: ParameterSpace, count: int, seed: int, constraint: Callable[[Point], object] | None = None) -> Floats:
    """Draw points at random, each once where the space is one of lists.

    Parameters
    ----------
    space : ParameterSpace
    count : int
        At most so many: all there are of a smaller space.
    seed : int
    constraint : callable, optional

    Returns
    -------
    array (n, len(space.names)) of float64
        The points of a smaller ``count`` with the same seed come first.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: the constraint leaves nothing, or so little that it is not found by drawing.
    """
    rng = np.random.default_rng(seed)
    if not space.continuous and space.count <= LISTED:
        return space.points(rng.permutation(space.allowed(constraint))[:count])
    count = int(min(count, _size(space)))
    found: list[Floats] = []
    seen: set[bytes] = set()
    vain = 0
    while len(found) < count:
        for point in scaled(space, rng.random((_CHUNK, len(space.names)))):
            key = point.tobytes()
            if key in seen or (constraint is not None and not satisfies(constraint, space.at(point.tolist()))):
                vain += 1
                continue
            seen.add(key)
            found.append(point)
            if len(found) == count:
                break
        if vain > VAIN + VAIN_PER_TRIAL * len(found):
            if constraint is None:
                break  # What is left of a log scale of whole numbers is hardly ever drawn.
            raise UsageProblem(
                f"of {vain + len(found):,} random choices of parameters only {len(found):,} satisfy the constraint, "
                f"where {count:,} are wanted; narrow the ranges instead"
            )
    return np.array(found).reshape(len(found), len(space.names))


def _size(space: ParameterSpace) -> float:
    sizes = (
        (axis.high - axis.low + 1 if axis.whole else math.inf) if isinstance(axis, Interval) else len(axis)
        for axis in space.values
    )
    return math.prod(sizes)


def scaled(space: ParameterSpace, shares: Floats) -> Floats:
    """Return the points at these shares, from 0 to 1, of each parameter's range."""
    made = np.empty_like(shares)
    for column, axis in enumerate(space.values):
        if isinstance(axis, Interval):
            made[:, column] = [axis.at(share) for share in shares[:, column].tolist()]
        else:
            made[:, column] = np.minimum(np.floor(shares[:, column] * len(axis)), len(axis) - 1)
    return made


def _counted(n_trials: int) -> int:
    if isinstance(n_trials, bool) or not isinstance(n_trials, int | np.integer) or n_trials < 1:
        raise UsageProblem(f"n_trials must be a whole number of at least 1, not {n_trials!r}")
    return int(n_trials)
