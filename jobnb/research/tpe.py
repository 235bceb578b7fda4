"""Search by a tree-structured Parzen estimator (Optuna's), asked for whole generations, so that a seed is enough.

A generation is asked for at once and is a pure function of the seed, its number, and what all earlier generations
gave; so any child can ask for it, and the table of trials does not depend on how many there are. Runs in children,
and only where a search wants it: importing Optuna takes a second.
"""

from __future__ import annotations

import importlib
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from jobnb.errors import BlobMissing, MissingPackage
from jobnb.research.interval import Interval
from jobnb.research.space import Axis, ParameterSpace, Point, satisfies

if TYPE_CHECKING:
    from jobnb.research.goal import Goal

Floats = npt.NDArray[np.float64]

#: Trials that are asked for at once. Fixed, because the table would depend on it. More would learn less from each;
#: fewer would leave workers idle.
GENERATION: Final = 16
#: Proposals of one trial that the constraint may refuse before one near the last of them is taken.
REFUSALS: Final = 3
_HEAD = struct.Struct("<4sqqqq")
_MAGIC = b"past"


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """What some trials gave, as far as a sampler needs it.

    Attributes
    ----------
    start : int
        Number of the first of these trials.
    points : array (k, parameters)
        What was tried; see `ParameterSpace`.
    values : array (k, goals)
        The objectives; not finite where a trial failed.
    """

    start: int = 0
    points: Floats
    values: Floats

    def to_bytes(self) -> bytes:
        """Return it as a few bytes per trial, to travel with the tasks of later generations."""
        head = _HEAD.pack(_MAGIC, self.start, len(self.points), self.points.shape[1], self.values.shape[1])
        return head + np.ascontiguousarray(self.points).tobytes() + np.ascontiguousarray(self.values).tobytes()

    @classmethod
    def from_bytes(cls, parts: Sequence[bytes]) -> Past:
        """Put together what `to_bytes` wrote, in any order: the trials from number 0 on up to the first gap.

        There is a gap where tasks of the present generation came back before others that were sent earlier.

        Raises
        ------
        BlobMissing
            ``BLOB_MISSING``: something is damaged.
        """
        found: list[Past] = []
        try:
            for part in parts:
                magic, start, count, wide, goals = _HEAD.unpack_from(part)
                flat = np.frombuffer(part, dtype=np.float64, offset=_HEAD.size)
                points, values = flat[: count * wide], flat[count * wide :]
                if magic != _MAGIC:
                    raise ValueError("unknown format")
                found.append(cls(start=start, points=points.reshape(count, wide), values=values.reshape(count, goals)))
        except (struct.error, ValueError) as error:
            raise BlobMissing(f"what earlier trials gave cannot be read ({error}); run the job again") from error
        found.sort(key=lambda past: past.start)
        end = 0
        joined: list[Past] = []
        for past in found:
            if past.start != end:
                break
            end += len(past.points)
            joined.append(past)
        if not joined:
            return cls(points=np.empty((0, 0)), values=np.empty((0, 0)))
        return cls(
            points=np.concatenate([past.points for past in joined]),
            values=np.concatenate([past.values for past in joined]),
        )


def available() -> None:
    """Complain if Optuna is not installed here, without importing it.

    Raises
    ------
    MissingPackage
        ``MISSING_PACKAGE``.
    """
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise MissingPackage("method='tpe' needs Optuna, which is not installed: pip install 'jobnb[tpe]'")


def generation(
    space: ParameterSpace,
    past: Past,
    count: int,
    *,
    seed: int,
    goals: Sequence[Goal],
    constraint: Callable[[Point], object] | None = None,
) -> Floats:
    """Choose the next trials from all that the earlier ones gave.

    Parameters
    ----------
    space : ParameterSpace
    past : Past
        All trials before.
    count : int
        Number of trials wanted.
    seed : int
        Of the whole search.
    goals : sequence of Goal
    constraint : callable, optional

    Returns
    -------
    array (count, len(space.names)) of float64
        Points. None of a space of lists was tried before, as long as there are others: one near by takes the place
        of a proposal that was.

    Notes
    -----
    The estimator is multivariate and told of the trials of its generation that are still out as bad ones
    ("constant liar"), so that they spread. Of several goals, the trials that no other one beats in all count as good.

    References
    ----------
    Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization, NIPS 2011. Watanabe:
    Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their Roles, arXiv:2304.11127.
    """
    from jobnb.research import sampler

    # Independent streams for each generation, of the estimator and of what is drawn in its stead.
    own, instead = np.random.SeedSequence([seed, len(past.points)]).spawn(2)
    rng = np.random.default_rng(instead)
    with _quiet() as optuna:
        study = optuna.create_study(
            directions=["maximize" if goal.maximize else "minimize" for goal in goals],
            sampler=optuna.samplers.TPESampler(
                seed=int(own.generate_state(1)[0]), multivariate=True, constant_liar=True
            ),
        )
        distributions = {name: _distribution(optuna, space.axis(name)) for name in space.varying}
        study.add_trials(list(_told(optuna, space, distributions, past)))
        known = {point.tobytes() for point in past.points}
        made = np.empty((count, len(space.names)))
        for row in made:
            for _ in range(REFUSALS):
                trial = study.ask(distributions)
                row[:] = [trial.params.get(name, 0.0) for name in space.names]
                if row.tobytes() in known:
                    # To ask again costs as much as the first time, and gives much the same.
                    break
                if constraint is None or satisfies(constraint, space.at(row.tolist())):
                    break
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            row[:] = sampler.nearby(space, row, known, rng, constraint)
            known.add(row.tobytes())
    return made


def _told(optuna: Any, space: ParameterSpace, distributions: dict[str, Any], past: Past) -> Iterator[Any]:
    state = optuna.trial.TrialState
    for params, values in zip(past.points.tolist(), past.values.tolist(), strict=True):
        good = bool(np.isfinite(values).all())
        kinds = zip(space.names, space.values, params, strict=True)
        yield optuna.trial.create_trial(
            params={
                name: x if isinstance(axis, Interval) and not axis.whole else int(x)
                for name, axis, x in kinds
                if name in distributions
            },
            distributions=distributions,
            values=values if good else None,
            state=state.COMPLETE if good else state.FAIL,
        )


def _distribution(optuna: Any, axis: Axis) -> Any:
    kinds = optuna.distributions
    if isinstance(axis, Interval):
        low, high = axis.ends
        kind = kinds.IntDistribution if axis.whole else kinds.FloatDistribution
        return kind(low, high, log=axis.log)
    if isinstance(axis, range) or _ordered(axis):
        return kinds.IntDistribution(0, len(axis) - 1)
    return kinds.CategoricalDistribution(list(range(len(axis))))


def _ordered(axis: Sequence[object]) -> bool:
    """Tell whether neighbours in a list are near each other: numbers that go up, or down."""
    numbers = [x for x in axis if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(numbers) < len(axis):
        return False
    steps = np.diff(numbers)
    return bool((steps > 0).all() or (steps < 0).all())


@contextmanager
def _quiet() -> Iterator[Any]:
    """Import Optuna, and have it say nothing of studies and experimental options meanwhile."""
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise MissingPackage(
            f"method='tpe' needs Optuna on the workers ({error}): pip install 'jobnb[tpe]' there"
        ) from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)
