"""Folds of a data set: which bars choose the parameters and which bars judge them, as pure index arithmetic.

Front doors build them to check a request, children to run it, and users to split data of their own. Nothing here
looks at a price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    import pandas as pd

Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
#: How far ahead a label looks, in bars: one number, or one for each bar.
Horizon = int | Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The bars ``[start, stop)``, and the first bar that may be looked at to decide in them.

    Attributes
    ----------
    start, stop : int
    history : int, default 0
        At most ``start``. Bars from here on warm indicators up; earlier ones do not exist for this piece.
    """

    start: int
    stop: int
    history: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One split: pieces that choose, and pieces that judge; ascending, disjoint.

    Attributes
    ----------
    number : int
    train, test : tuple of Piece
        A train piece after a test piece begins its history at its own start, so that nothing of the test reaches
        the choice, not even through the warm-up of an indicator. A test piece may look at all that came before it.
    """

    number: int
    train: tuple[Piece, ...]
    test: tuple[Piece, ...]

    @property
    def train_indices(self) -> Whole:
        """Positions of the train bars."""
        return _indices(self.train)

    @property
    def test_indices(self) -> Whole:
        """Positions of the test bars."""
        return _indices(self.test)


class Splitter:
    """What every splitter offers: `split` as scikit-learn calls it, and `folds` as jobnb does."""

    #: What cards and results call it.
    kind = "folds"

    def folds(self, count: int, index: pd.DatetimeIndex | None = None) -> list[Fold]:
        """Return the folds of ``count`` bars.

        Parameters
        ----------
        count : int
            Number of bars.
        index : pandas.DatetimeIndex, optional
            Their times; needed only where windows were given as durations.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: there are too few bars; says how many would do.
        """
        raise NotImplementedError

    def split(self, X: object, y: object = None, groups: object = None) -> Iterator[tuple[Whole, Whole]]:  # noqa: N803
        """Yield positions of train and of test rows, as scikit-learn's splitters do.

        Parameters
        ----------
        X : array_like or DataFrame
            Only its length counts, and its DatetimeIndex where windows were given as durations.
        y, groups : object
            Ignored.
        """
        for fold in self._of(X):
            yield fold.train_indices, fold.test_indices

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds; of a walk-forward it depends on the data."""
        if X is None:
            raise UsageProblem(f"{type(self).__name__}.get_n_splits needs the data: get_n_splits(X)")
        return len(self._of(X))

    def _of(self, X: object) -> list[Fold]:  # noqa: N803
        return self.folds(len(X), _times(X))  # type: ignore[arg-type]  # an array or a frame


@runtime_checkable
class SplitsRows(Protocol):
    """Any splitter of scikit-learn's kind."""

    def split(self, X: object, y: object = None, groups: object = None) -> Iterator[tuple[Whole, Whole]]:  # noqa: N803
        """Yield positions of train and of test rows."""
        ...


def folds_of(cv: SplitsRows, index: pd.DatetimeIndex) -> list[Fold]:
    """Return the folds that a splitter makes of bars; any object with scikit-learn's ``split`` will do.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a row is in train and test at once, or a fold has no rows.
    """
    if isinstance(cv, Splitter):
        return cv.folds(len(index), index)
    made = []
    for number, (train, test) in enumerate(cv.split(np.zeros((len(index), 1)))):
        chosen, judged = (_mask(rows, len(index)) for rows in (train, test))
        if (both := np.flatnonzero(chosen & judged)).size:
            raise UsageProblem(f"{type(cv).__name__}: bar {both[0]} is in the train and the test set of fold {number}")
        made.append(fold_of(number, chosen, runs(judged)))
    return made


def fold_of(number: int, train: Mask, test: Sequence[tuple[int, int]]) -> Fold:
    """Return the fold of a mask of train bars and of spans of test bars.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: one of the two is empty.
    """
    spans = runs(train)
    if not spans or not test:
        raise UsageProblem(
            f"fold {number} has no bars left to {'choose by' if test else 'judge by'}; "
            "use fewer folds, a shorter horizon, a smaller embargo, or more bars"
        )
    first = min(start for start, _ in test)
    return Fold(
        number=number,
        train=tuple(Piece(start=a, stop=b, history=a if a > first else 0) for a, b in spans),
        test=tuple(Piece(start=a, stop=b) for a, b in test),
    )


def runs(mask: Mask) -> list[tuple[int, int]]:
    """Return the stretches ``[start, stop)`` in which a mask is true.

    Examples
    --------
    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def reach(horizon: Horizon, count: int) -> Whole:
    """Return for each bar the last bar that its label looks at.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: negative, or not one number for each bar.
    """
    ahead = np.asarray(horizon)
    if ahead.ndim and ahead.shape != (count,):
        raise UsageProblem(f"horizon has {ahead.size:,} values for {count:,} bars; give one number, or one for each")
    if ahead.dtype.kind not in "iu" or (ahead < 0).any():
        raise UsageProblem("horizon counts bars: whole numbers of at least 0")
    ends: Whole = np.minimum(np.arange(count, dtype=np.int64) + ahead, count - 1)
    return ends


def whole(value: object, what: str, least: int = 1) -> int:
    """Return a whole number of at least ``least``.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: with the value that does not fit.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UsageProblem(f"{what} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _indices(pieces: Sequence[Piece]) -> Whole:
    return np.concatenate([np.arange(piece.start, piece.stop, dtype=np.int64) for piece in pieces])


def _mask(rows: npt.ArrayLike, count: int) -> Mask:
    made = np.zeros(count, dtype=np.bool_)
    made[np.asarray(rows)] = True
    return made


def _times(data: object) -> pd.DatetimeIndex | None:
    index = getattr(data, "index", None)
    return index if hasattr(index, "tz") else None
