"""The bytes of some finished folds: what each chose, how it did in and out of sample, and its targets and prices.

Children write them, front doors read them; neither pickles, so that a result can be read by any later version.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.errors import BlobMissing
from jobnb.research.limits import Orders

if TYPE_CHECKING:
    from jobnb.research.engine import Wanted

Floats = npt.NDArray[np.float64]

_MAGIC = b"jobnb-folds-1\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldRun:
    """One fold as it was run.

    Attributes
    ----------
    number : int
    train, test : sequence of (start, stop, first, last)
        The bars of each piece, and the times of its first and last bar in nanoseconds since 1970-01-01.
    params : mapping or None
        What was chosen, as JSON can hold it; None if no trial had a finite objective.
    trials, failed : int
        Trials of the search, and those that failed.
    error : str
        Why nothing was chosen, or the first error of a trial; empty if there was none.
    inside, outside : array (len(columns),)
        The metrics of the chosen parameters on the train bars and on the test bars.
    rank : float
        Spearman's correlation of the objective in and out of sample over a sample of the trials.
    years : (float, float)
        Length of the train and of the test pieces in years of trading.
    targets : array
        Of the test pieces, as `Joined.row` makes them; empty for a function that keeps its positions to itself.
    limits : array (4, n)
        The stops and the size that go with the targets, see `limits.limits`; without columns where there are none.
    prices : mapping of int to array (6, k)
        First bar to `Bars.block`, of the test pieces that no earlier fold tests, the bar before each included.
    """

    number: int
    train: Sequence[Sequence[int]]
    test: Sequence[Sequence[int]]
    params: Mapping[str, object] | None
    trials: int
    failed: int
    error: str
    inside: Floats
    outside: Floats
    rank: float
    years: tuple[float, float]
    targets: npt.NDArray[np.int8] | Floats
    limits: Floats
    prices: Mapping[int, Floats]

    @property
    def wanted(self) -> Wanted:
        """What the chosen run wants in the test pieces."""
        return Orders(self.targets, self.limits) if self.limits.size else self.targets


def to_bytes(columns: Sequence[str], folds: Sequence[FoldRun]) -> bytes:
    """Return folds as bytes; ``columns`` names the metrics."""
    head = {
        "columns": list(columns),
        "folds": [
            {
                "number": fold.number,
                "train": [list(piece) for piece in fold.train],
                "test": [list(piece) for piece in fold.test],
                "params": fold.params,
                "trials": fold.trials,
                "failed": fold.failed,
                "error": fold.error,
                "rank": None if math.isnan(fold.rank) else fold.rank,
                "years": list(fold.years),
                "prices": list(fold.prices),
            }
            for fold in folds
        ],
    }
    file = io.BytesIO()
    file.write(_MAGIC)
    file.write(json.dumps(head, separators=(",", ":"), allow_nan=False).encode() + b"\n")
    for fold in folds:
        for array in (fold.inside, fold.outside, fold.targets, fold.limits, *fold.prices.values()):
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def from_bytes(data: bytes) -> tuple[tuple[str, ...], list[FoldRun]]:
    """Read what `to_bytes` wrote.

    Raises
    ------
    BlobMissing
        ``BLOB_MISSING``: these are not the bytes of folds.
    """
    file = io.BytesIO(data)
    try:
        if file.readline() != _MAGIC:
            raise ValueError("unknown format")
        head = json.loads(file.readline())
        return tuple(head["columns"]), [_read(file, said) for said in head["folds"]]
    except (ValueError, KeyError, EOFError) as error:
        raise BlobMissing(f"stored folds cannot be read ({error}); run the job again") from error


def _read(file: io.BytesIO, said: Mapping[str, object]) -> FoldRun:
    fields = dict(said)
    inside, outside, targets, limits = (np.lib.format.read_array(file, allow_pickle=False) for _ in range(4))
    starts = fields.pop("prices")
    assert isinstance(starts, list)
    prices = {int(start): np.lib.format.read_array(file, allow_pickle=False) for start in starts}
    rank = fields.pop("rank")
    return FoldRun(
        **{**fields, "rank": math.nan if rank is None else rank},  # type: ignore[arg-type]  # as `to_bytes` wrote them
        inside=inside,
        outside=outside,
        targets=targets,
        limits=limits,
        prices=prices,
    )
