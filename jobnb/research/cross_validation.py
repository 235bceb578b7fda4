"""`PurgedKFold` and `CombinatorialPurgedCV`: cross-validation for series whose labels reach into the future.

Built at the front door, and by users for models of their own; both can stand where scikit-learn takes ``cv=``. Pure
arithmetic on positions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jobnb.errors import UsageProblem
from jobnb.research.folds import Fold, Horizon, Mask, Splitter, Whole, fold_of, reach, whole

if TYPE_CHECKING:
    import pandas as pd


class PurgedKFold(Splitter):
    """k test windows without gaps; train bars whose labels overlap a test window are left out, and some after it.

    Of a bar i the label spans ``[i, i + horizon]``. Left out of the train set are bars whose label overlaps the
    label of any test bar (purging), and then ``embargo`` bars more after it, because of serial correlation (López de
    Prado, *Advances in Financial Machine Learning*, 2018, sections 7.4.1 and 7.4.2). Snippet 7.3 of the book lets
    the train set begin at the very bar at which the last test label ends; here it begins one later.

    Parameters
    ----------
    n_splits : int, default 5
        Number of folds, at least 2.
    horizon : int or array of int, default 0
        Bars that a label looks ahead: one number, or one for each bar.
    embargo : int or float, default 0
        Bars left out after a test window; a number below 1 is a fraction of all bars, rounded down.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a value that does not fit.

    Examples
    --------
    >>> folds = list(PurgedKFold(3, horizon=1, embargo=1).split(range(9)))
    >>> folds[1][0].tolist(), folds[1][1].tolist()
    ([0, 1, 8], [3, 4, 5])
    """

    kind = "purged-kfold"

    def __init__(self, n_splits: int = 5, *, horizon: Horizon = 0, embargo: float = 0) -> None:
        self.n_splits = whole(n_splits, "n_splits", 2)
        self.horizon = horizon
        self.embargo = _embargo(embargo)

    def __repr__(self) -> str:
        return f"PurgedKFold(n_splits={self.n_splits}, horizon={_said(self.horizon)}, embargo={self.embargo!r})"

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of folds."""
        return self.n_splits

    def folds(self, count: int, index: pd.DatetimeIndex | None = None) -> list[Fold]:
        """Return the folds of ``count`` bars; see `Splitter.folds`."""
        ends = reach(self.horizon, count)
        windows = _groups(count, self.n_splits)
        return [
            fold_of(number, purged(count, [window], ends, self.embargo), [window])
            for number, window in enumerate(windows)
        ]


class CombinatorialPurgedCV(Splitter):
    """Every choice of k of N groups is a test set once; their parts make up many backtest paths instead of one.

    There are C(N, k) splits and k / N · C(N, k) paths; each path covers all bars, each group of it judged by a split
    that did not train on that group (López de Prado, *Advances in Financial Machine Learning*, 2018, section 12.4).
    Purging and embargo as in `PurgedKFold`, around each test group.

    Parameters
    ----------
    n_groups : int, default 6
        N, at least 3.
    n_test_groups : int, default 2
        k, from 1 to N - 1.
    horizon, embargo
        As for `PurgedKFold`.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: a value that does not fit.

    Examples
    --------
    >>> cv = CombinatorialPurgedCV(6, 2)
    >>> cv.get_n_splits(), cv.n_paths
    (15, 5)
    """

    kind = "cpcv"
    #: More splits than this are refused: each is a search.
    MOST_SPLITS = 20_000

    def __init__(self, n_groups: int = 6, n_test_groups: int = 2, *, horizon: Horizon = 0, embargo: float = 0) -> None:
        self.n_groups = whole(n_groups, "n_groups", 3)
        self.n_test_groups = whole(n_test_groups, "n_test_groups")
        if self.n_test_groups >= self.n_groups:
            raise UsageProblem(f"n_test_groups must be below n_groups={n_groups}, not {n_test_groups!r}")
        if self.get_n_splits() > self.MOST_SPLITS:
            raise UsageProblem(
                f"{n_groups} groups with {n_test_groups} to test make {self.get_n_splits():,} splits; "
                f"at most {self.MOST_SPLITS:,} are run"
            )
        self.horizon = horizon
        self.embargo = _embargo(embargo)

    def __repr__(self) -> str:
        return (
            f"CombinatorialPurgedCV(n_groups={self.n_groups}, n_test_groups={self.n_test_groups}, "
            f"horizon={_said(self.horizon)}, embargo={self.embargo!r})"
        )

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:  # noqa: N803
        """Return the number of splits, C(N, k)."""
        return math.comb(self.n_groups, self.n_test_groups)

    @property
    def n_paths(self) -> int:
        """Number of backtest paths, k / N · C(N, k)."""
        return math.comb(self.n_groups - 1, self.n_test_groups - 1)

    def folds(self, count: int, index: pd.DatetimeIndex | None = None) -> list[Fold]:
        """Return the splits of ``count`` bars, in lexicographic order of their test groups; see `Splitter.folds`."""
        ends = reach(self.horizon, count)
        windows = _groups(count, self.n_groups)
        return [
            fold_of(number, purged(count, chosen, ends, self.embargo), chosen)
            for number, chosen in enumerate(itertools.combinations(windows, self.n_test_groups))
        ]

    def paths(self) -> list[list[int]]:
        """Return for each path the split that judges each of the groups, in order.

        Examples
        --------
        >>> CombinatorialPurgedCV(4, 2).paths()
        [[0, 0, 1, 2], [1, 3, 3, 4], [2, 4, 5, 5]]
        """
        judged: list[list[int]] = [[] for _ in range(self.n_groups)]
        for split, groups in enumerate(itertools.combinations(range(self.n_groups), self.n_test_groups)):
            for group in groups:
                judged[group].append(split)
        return [list(path) for path in zip(*judged, strict=True)]


def purged(count: int, tests: Sequence[tuple[int, int]], ends: Whole, embargo: float) -> Mask:
    """Return which bars may choose, where these windows judge.

    Parameters
    ----------
    count : int
    tests : sequence of (start, stop)
    ends : array (count,)
        The last bar that the label of each bar looks at, see `folds.reach`.
    embargo : int or float
        Bars, or below 1 a fraction of ``count``.

    References
    ----------
    López de Prado (2018), snippets 7.1 (``getTrainTimes``) and 7.2 (``getEmbargoTimes``).
    """
    after = int(count * embargo) if embargo < 1 else int(embargo)
    kept = np.ones(count, dtype=np.bool_)
    for start, stop in tests:
        last = int(ends[start:stop].max())
        kept[start : last + 1 + after] = False
        kept[:start] &= ends[:start] < start
    return kept


def _groups(count: int, parts: int) -> list[tuple[int, int]]:
    """Part ``count`` bars into stretches as even as can be, longer ones first."""
    if count < 2 * parts:
        raise UsageProblem(f"{count:,} bars cannot be parted into {parts} groups of at least 2; use fewer groups")
    size, rest = divmod(count, parts)
    edges = [i * size + min(i, rest) for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _embargo(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise UsageProblem(f"embargo must be a number of bars, or a fraction below 1, not {value!r}")
    if not 0 <= value < math.inf or (value >= 1 and float(value) != int(value)):
        raise UsageProblem(f"embargo must be a number of bars, or a fraction from 0 to below 1, not {value!r}")
    return int(value) if value >= 1 else float(value)


def _said(horizon: Horizon) -> str:
    return repr(horizon) if isinstance(horizon, int) else "<one for each bar>"
