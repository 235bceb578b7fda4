"""What the folds decided out of sample, stitched to backtests of one account: one for each path.

Runs in the child of a job's last fold, which knows what the others chose, and at the front door for the result: the
same arithmetic on the same positions. No code of the user's runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy.typing as npt

from jobnb.research.folds import Piece
from jobnb.research.joined import Joined
from jobnb.research.strategy import Strategy

if TYPE_CHECKING:
    from jobnb.research.bars import Bars
    from jobnb.research.engine import Wanted
    from jobnb.research.options import EngineOptions
    from jobnb.research.result import BacktestResult

#: Start and stop of each test piece of a fold, by the fold's number.
Tests = Mapping[int, Sequence[tuple[int, int]]]
#: For each test piece of a path, the fold that judges it and the place of the piece among those of the fold.
Path = list[tuple[int, int]]


def paths(tests: Tests, judged: Sequence[Sequence[int]]) -> list[Path]:
    """Return the paths that the finished folds make up.

    Parameters
    ----------
    tests : mapping
        Of the finished folds.
    judged : sequence of sequence of int
        For each path the fold that judges each group, in order; none where all test pieces make up one path.

    Returns
    -------
    list
        Of the complete ones of ``judged``; without them, of the one path of all pieces, none if they overlap.
    """
    if not judged:
        pieces = [(number, at) for number, spans in tests.items() for at in range(len(spans))]
        pieces.sort(key=lambda each: tests[each[0]][each[1]])
        spans = [tests[number][at] for number, at in pieces]
        return [pieces] if pieces and all(a[1] <= b[0] for a, b in pairwise(spans)) else []
    # A group is the piece of a fold that begins where the group begins.
    starts = sorted({start for spans in tests.values() for start, _ in spans})
    where = {(number, start): at for number, spans in tests.items() for at, (start, _) in enumerate(spans)}
    return [
        [(number, where[number, start]) for number, start in zip(path, starts, strict=True)]
        for path in judged
        if all(number in tests for number in path)
    ]


def stitch(
    bars: Bars,
    tests: Tests,
    targets: Mapping[int, Wanted],
    path: Path,
    *,
    name: str,
    options: EngineOptions,
) -> BacktestResult:
    """Run the kernel over the positions of the test pieces of one path.

    Parameters
    ----------
    bars : Bars
        The whole data set, known at least in the test pieces and the bar before each.
    tests : mapping
    targets : mapping
        For each fold what the chosen run wants in its test pieces.
    path : sequence of (fold, place)
        Ascending in time, disjoint.
    name : str
        What the result is called.
    options : EngineOptions
    """
    from jobnb.research.result import run

    pieces = [Piece(start=tests[fold][at][0], stop=tests[fold][at][1]) for fold, at in path]
    rows = [_targets(targets[fold], tests[fold], at) for fold, at in path]
    joined = Joined(bars, pieces)

    def positions(strategy: Strategy, bars: Bars) -> npt.ArrayLike:
        raise NotImplementedError  # What it wants is known.

    stitched: type[Strategy] = type("Stitched", (Strategy,), {"positions": positions, "name": name})
    return run(stitched(), joined.bars, options, joined.join(rows))


def _targets(row: Wanted, spans: Sequence[tuple[int, int]], at: int) -> Wanted:
    """Return the targets of one test piece, with the decision of the bar before where there is one."""
    place = 0
    for number, (start, stop) in enumerate(spans):
        seen = int(start > 0)
        first = place - seen if number else place
        place = first + seen + stop - start
        if number == at:
            return row[first:place]
    raise IndexError(at)
