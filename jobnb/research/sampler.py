"""Which parameters a search tries, by the number of the trial: a grid, a random sample, or what a sampler proposes.

The front door draws what can be drawn, so that a seed gives the same trials for any number of workers; children look
them up, or ask `jobnb.research.tpe` for the next generation. Walk-forward, which searches within a child, calls
`jobnb.research.sweep.search` with the same `Search`:

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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from jobnb.errors import BlobMissing, UsageProblem, unknown
from jobnb.research import nearness, tpe
from jobnb.research.interval import Interval
from jobnb.research.space import ParameterSpace, Point, satisfies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobnb.research.goal import Goal

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

Constraint = Callable[[Point], object] | None

#: How parameters can be searched.
METHODS: Final = ("grid", "random", "tpe")
#: Trials of a search that is not told how many.
TRIALS: Final = 100
#: A space of at most so many combinations is listed, to sample it; a larger one is drawn from.
LISTED: Final = 20_000
#: And of at most so many, when drawing finds hardly any that is new and allowed, or to put a grid in another order.
LISTABLE: Final = 2_000_000
#: Draws in vain, beside one for each that is found, after which drawing has no end.
VAIN: Final = 100_000
#: Steps away from a proposal that cannot be taken, further and further, before one is drawn from all of the space.
STEPS: Final = 64
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
        Of a grid that a constraint has thinned, or that is run in another order: the combinations.
    points : array (n, len(space.names)) of float64, optional
        Of a random sample: the points, in the order of the trials. Of a search that learns: those of the trials
        before it has anything to learn from.
    seed : int, optional
    constraint : callable, optional
        Of a search that learns: what its proposals have to satisfy.
    asked : dict
        The last generation that was asked for, by the number of its first trial: tasks of one generation share it.
    """

    space: ParameterSpace
    method: str = "grid"
    count: int
    numbers: Whole | None = None
    points: Floats | None = None
    seed: int | None = None
    constraint: Constraint = None
    asked: dict[int, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def make(
        cls,
        space: ParameterSpace,
        method: str = "grid",
        *,
        n_trials: int | None = None,
        seed: int | None = None,
        constraint: Constraint = None,
    ) -> Search:
        """Choose the trials.

        Parameters
        ----------
        space : ParameterSpace
        method : {"grid", "random", "tpe"}
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
        MissingPackage
            ``MISSING_PACKAGE``: ``tpe`` without Optuna.
        """
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if method == "grid":
            return cls._grid(space, n_trials, constraint)
        wanted = TRIALS if n_trials is None else _counted(n_trials)
        seed = _seed(seed)
        points = draw(space, wanted, seed, constraint)
        search = cls(space=space, method=method, count=len(points), points=points, seed=seed)
        if method == "random":
            return search
        tpe.available()
        return replace(search, points=points[: tpe.GENERATION], constraint=constraint)

    @classmethod
    def _grid(cls, space: ParameterSpace, n_trials: int | None, constraint: Constraint) -> Search:
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

    def near(self, bars: int) -> Search:
        """Return the same search, a grid over long data in an order that runs faster; see `jobnb.research.nearness`."""
        if self.method != "grid" or self.count > LISTABLE or not nearness.pays(self.space, bars):
            return self
        numbers = np.arange(self.count, dtype=np.int64) if self.numbers is None else self.numbers
        return replace(self, numbers=nearness.by_tiles(self.space, numbers))

    @property
    def generation(self) -> int | None:
        """How many trials are chosen at once from what those before gave; None where nothing is learned."""
        return tpe.GENERATION if self.method == "tpe" else None

    def place(self, number: int) -> int:
        """Return which trial has a number as `jobnb.research.container.SweepPart` counts them."""
        return number if self.numbers is None else int(np.flatnonzero(self.numbers == number)[0])

    def end(self, start: int, stop: int) -> int:
        """Return how far trials may be run from ``start`` on before more has to be known."""
        size = self.generation
        return min(stop, self.count) if size is None else min(stop, self.count, (start // size + 1) * size)

    def chosen(self, start: int, stop: int, goals: Sequence[Goal], past: Callable[[], tpe.Past]) -> Floats | None:
        """Return the points of the trials ``[start, stop)``, which are of one generation; None for a grid.

        Parameters
        ----------
        start, stop : int
        goals : sequence of Goal
        past : callable
            Returns what at least all earlier generations gave; asked only where that matters.
        """
        if self.points is None or stop <= len(self.points):
            return None if self.points is None else self.points[start:stop]
        first = start - start % tpe.GENERATION
        points = self.asked.get(first)
        if points is None:
            known = past()
            known = replace(known, points=known.points[:first], values=known.values[:first])
            if len(known.points) < first:
                raise BlobMissing(f"what the trials before {first:,} gave is missing; run the job again")
            count = min(tpe.GENERATION, self.count - first)
            points = tpe.generation(
                self.space, known, count, seed=self.seed or 0, goals=goals, constraint=self.constraint
            )
            self.asked.clear()
            self.asked[first] = points
        return points[start - first : stop - first]

    def each(self, start: int, stop: int, points: Floats | None = None) -> Iterator[Mapping[str, object]]:
        """Yield the parameters of the trials ``[start, stop)``, whose points `chosen` returned."""
        if points is None and self.points is not None:
            points = self.points[start:stop]
        if points is not None:
            return self.space.each_point(points)
        return self.space.each(range(start, stop) if self.numbers is None else self.numbers[start:stop])


def draw(space: ParameterSpace, count: int, seed: int, constraint: Constraint = None) -> Floats:
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
    while len(found) < count and vain <= VAIN + len(found):
        for point in _random(space, rng, _CHUNK):
            key = point.tobytes()
            if key in seen or (constraint is not None and not satisfies(constraint, space.at(point.tolist()))):
                vain += 1
                continue
            seen.add(key)
            found.append(point)
            if len(found) == count:
                break
    if len(found) < count and not space.continuous and space.count <= LISTABLE:
        # Drawing finds nothing new any more: what is left can be listed.
        rest = space.points(rng.permutation(space.allowed(constraint)))
        found += [point for point in rest if point.tobytes() not in seen][: count - len(found)]
    elif len(found) < count and constraint is not None:
        raise UsageProblem(
            f"of {vain + len(found):,} random choices of parameters only {len(found):,} satisfy the constraint, "
            f"where {count:,} are wanted; narrow the ranges instead"
        )
    return np.array(found).reshape(len(found), len(space.names))


def nearby(
    space: ParameterSpace,
    point: Floats,
    known: Collection[bytes],
    rng: np.random.Generator,
    constraint: Constraint = None,
) -> Floats:
    """Return a point that is allowed and not among the known ones: this one, or one as near to it as is found."""

    def fits(candidate: Floats) -> bool:
        if candidate.tobytes() in known:
            return False
        return constraint is None or satisfies(constraint, space.at(candidate.tolist()))

    if fits(point):
        return point
    for i in range(STEPS):
        candidate = _step(space, point, rng, 1 + i // 8)
        if fits(candidate):
            return candidate
    if not space.continuous and space.count <= LISTABLE:
        for i in rng.permutation(space.count).tolist():
            candidate = np.asarray(space.points(np.array([i]))[0])
            if fits(candidate):
                return candidate
    for _ in range(VAIN):
        candidate = np.asarray(_random(space, rng, 1)[0])
        if fits(candidate):
            return candidate
    raise UsageProblem("no other choice of parameters that satisfies the constraint is found by drawing")


def _step(space: ParameterSpace, point: Floats, rng: np.random.Generator, radius: int) -> Floats:
    """Return a point some places, or some hundredths of a range, away."""
    made = point.copy()
    for column, axis in enumerate(space.values):
        if isinstance(axis, Interval) and not axis.whole:
            share = axis.share(point[column]) + rng.normal() * radius / 100
            made[column] = axis.at(min(max(share, 0.0), 1.0))
            continue
        low, high = axis.ends if isinstance(axis, Interval) else (0, len(axis) - 1)
        made[column] = min(max(point[column] + rng.integers(-radius, radius + 1), low), high)
    return made


def _size(space: ParameterSpace) -> float:
    sizes = (
        (axis.high - axis.low + 1 if axis.whole else math.inf) if isinstance(axis, Interval) else len(axis)
        for axis in space.values
    )
    return math.prod(sizes)


def _random(space: ParameterSpace, rng: np.random.Generator, count: int) -> Floats:
    """Draw points; a parameter that is fixed draws nothing, so that the others do not depend on it."""
    varying = space.varying
    shares = np.zeros((count, len(space.names)))
    shares[:, [space.names.index(name) for name in varying]] = rng.random((count, len(varying)))
    return scaled(space, shares)


def scaled(space: ParameterSpace, shares: Floats) -> Floats:
    """Return the points at these shares, from 0 to 1, of each parameter's range."""
    made = np.empty_like(shares)
    for column, axis in enumerate(space.values):
        if isinstance(axis, Interval):
            made[:, column] = [axis.at(share) for share in shares[:, column].tolist()]
        else:
            made[:, column] = np.minimum(np.floor(shares[:, column] * len(axis)), len(axis) - 1)
    return made


def _seed(seed: int | None) -> int:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise UsageProblem(f"a seed must be a whole number from 0 on, not {seed!r}")
    return int(seed or 0)


def _counted(n_trials: int) -> int:
    if isinstance(n_trials, bool) or not isinstance(n_trials, int | np.integer) or n_trials < 1:
        raise UsageProblem(f"n_trials must be a whole number of at least 1, not {n_trials!r}")
    return int(n_trials)
