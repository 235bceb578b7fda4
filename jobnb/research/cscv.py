"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

Arithmetic on a table of returns, or on sums of blocks of it, run where a result is looked at. It must never run a
strategy.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown

Floats = npt.NDArray[np.float64]

#: Returns that a block must hold at least: fewer say nothing.
LEAST_RETURNS = 4
#: More blocks than this would make over 184,756 splits.
MOST_BLOCKS = 20
CRITERIA = ("sharpe_ratio", "return")
#: Splits times trials computed at once: what fits into a processor's cache.
_CHUNK = 2**16
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Overfitting:
    """How often the best half-history choice disappoints in the other half.

    Attributes
    ----------
    probability : float
        Share of the splits in which the trial that was best in one half of the history is at or below the median
        of all trials in the other half; 0.5 is what choosing by chance gives.
    logits : array (splits,)
        ln(ω / (1 − ω)), ω being the relative rank of the chosen trial in the other half; at or below 0 is overfit.
    loss : float
        Share of the splits in which the chosen trial loses in the other half.
    slope : float
        Of the chosen trials' performance in the other half over that in their own: below 0, the better it looked
        the worse it went. NaN if it cannot be told.
    trials : int
        Trials that were compared.
    of : int
        Trials that there were; more than `trials` if these are a sample.
    blocks : int
        Blocks that the history was cut into.
    criterion : str
        What "best" means: ``"sharpe_ratio"`` or ``"return"``.
    """

    probability: float
    logits: Floats = field(repr=False)
    loss: float
    slope: float
    trials: int
    of: int
    blocks: int
    criterion: str

    def __float__(self) -> float:
        return self.probability

    def __repr__(self) -> str:
        some = f"{self.trials:,} of {self.of:,} runs" if self.of > self.trials else f"{self.trials:,} runs"
        by = "Sharpe ratio" if self.criterion == "sharpe_ratio" else "return"
        return (
            f"overfitting probability {self.probability:.2f} by {by}: {len(self.logits):,} splits of {self.blocks} "
            f"blocks, {some}; the chosen run loses out of sample in {100 * self.loss:.0f} % of the splits"
        )


def probability_of_backtest_overfitting(
    returns: npt.ArrayLike, *, blocks: int = 16, criterion: str = "sharpe_ratio", of: int | None = None
) -> Overfitting:
    """Estimate how likely the choice of the best trial is overfit.

    The history is cut into blocks; for each way of giving half of them to one side, the trial that is best there
    is ranked among all trials on the other side.

    Parameters
    ----------
    returns : array_like (n, k)
        Returns of k >= 2 trials over n periods, one column each, without NaN.
    blocks : int, default 16
        An even number from 2 to 20; C(blocks, blocks / 2) splits, 12,870 for 16. Each block must hold at least
        4 periods.
    criterion : {"sharpe_ratio", "return"}, default "sharpe_ratio"
        What the trials are chosen and ranked by: mean over standard deviation, or mean. A trial that does nothing
        in a half has 0.
    of : int, optional
        How many trials there were, if these are a sample of them. Only told in the result.

    Returns
    -------
    Overfitting

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: no such table, or it is too short for so many blocks.
    UnknownName
        ``UNKNOWN_NAME``: no such criterion.

    References
    ----------
    D. Bailey, J. Borwein, M. López de Prado and Q. Zhu (2017), "The probability of backtest overfitting", Journal
    of Computational Finance 20(4). Ties share their ranks; ω is the rank over k + 1.

    Examples
    --------
    >>> import numpy as np
    >>> luck = np.random.default_rng(0).normal(0, 0.01, (1000, 50))
    >>> found = probability_of_backtest_overfitting(luck, blocks=8)
    >>> len(found.logits), 0.2 < found.probability < 0.9
    (70, True)
    """
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise UsageProblem("returns must be a table of finite numbers: one column for each of at least two trials")
    check_blocks(blocks, len(table))
    return from_sums(block_sums(table, blocks), len(table), criterion=criterion, of=of)


def check_blocks(blocks: int, periods: int) -> None:
    """Complain of a number of blocks that cannot be."""
    if not isinstance(blocks, int) or blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise UsageProblem(f"blocks must be an even number from 2 to {MOST_BLOCKS}, not {blocks!r}")
    if periods < LEAST_RETURNS * blocks:
        raise UsageProblem(
            f"{periods} returns are too few for {blocks} blocks of at least {LEAST_RETURNS}; take fewer blocks"
        )


def bounds(periods: int, blocks: int) -> npt.NDArray[np.int64]:
    """Return where each of the blocks begins; their lengths differ by one at most."""
    return np.arange(blocks, dtype=np.int64) * periods // blocks


def block_sums(table: Floats, blocks: int) -> Floats:
    """Return Σr and Σr² of each column in each block, as an array (k, blocks, 2)."""
    starts = bounds(len(table), blocks)
    made = np.stack([np.add.reduceat(table, starts, axis=0), np.add.reduceat(table**2, starts, axis=0)], axis=-1)
    return np.asarray(made.transpose(1, 0, 2))


def from_sums(sums: Floats, periods: int, *, criterion: str = "sharpe_ratio", of: int | None = None) -> Overfitting:
    """Return what `probability_of_backtest_overfitting` does, from `block_sums` of ``periods`` returns."""
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    trials, blocks, _ = sums.shape
    if trials < 2:
        raise UsageProblem("the probability of overfitting needs at least two trials")
    lengths = np.diff(np.append(bounds(periods, blocks), periods)).astype(np.float64)
    # Each split has its mirror, with the same two halves: both are done at once, by the one that has the first block.
    halves = np.array([half for half in itertools.combinations(range(blocks), blocks // 2) if half[0] == 0])
    chosen = np.zeros((len(halves), blocks))
    np.put_along_axis(chosen, halves, 1.0, axis=1)
    logits, inside, outside = (np.empty((2, len(halves))) for _ in range(3))
    # Contiguous, or the products would be no matter of BLAS.
    totals, squares = (np.ascontiguousarray(sums[:, :, which].T) for which in (0, 1))
    step = max(1, _CHUNK // trials)
    for at in range(0, len(halves), step):
        span = slice(at, at + step)
        sides = [_half(pick, totals, squares, lengths, criterion) for pick in (chosen[span], 1.0 - chosen[span])]
        rows = np.arange(len(sides[0].rank))
        for way, (here, there) in enumerate((sides, sides[::-1])):
            best = np.argmax(here.rank, axis=1)
            mine = there.rank[rows, best][:, None]
            below = np.count_nonzero(there.rank < mine, axis=1)
            rank = below + 0.5 * (np.count_nonzero(there.rank == mine, axis=1) + 1.0)
            logits[way, span] = np.log(rank / (trials + 1.0 - rank))
            inside[way, span] = here.value(rows, best)
            outside[way, span] = there.value(rows, best)
    logits, inside, outside = np.concatenate(logits), np.concatenate(inside), np.concatenate(outside)
    spread = float(np.var(inside))
    slope = float(np.mean((inside - inside.mean()) * (outside - outside.mean()))) / spread if spread > 0 else math.nan
    return Overfitting(
        probability=float(np.mean(logits <= 0.0)),
        logits=logits,
        loss=float(np.mean(outside < 0.0)),
        slope=slope,
        trials=trials,
        of=max(of or 0, trials),
        blocks=blocks,
        criterion=criterion,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Half:
    """How the trials do in one half of each of some splits."""

    total: Floats
    square: Floats
    count: Floats
    criterion: str
    #: What ranks as the performance does and costs less, see `luck.overfitting`.
    rank: Floats

    def value(self, rows: npt.NDArray[np.int64], trials: npt.NDArray[np.int64]) -> Floats:
        """Return the performance of one trial in each split."""
        mean = self.total[rows, trials] / self.count[rows]
        if self.criterion == "return":
            return np.asarray(mean)
        variance = self.square[rows, trials] / self.count[rows] - mean**2
        deviation = np.sqrt(np.maximum(variance, _NO_VARIANCE * mean**2))
        return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0.0)


def _half(pick: Floats, totals: Floats, squares: Floats, lengths: Floats, criterion: str) -> _Half:
    """Add up the blocks that each row picks."""
    total = pick @ totals
    square = pick @ squares
    rank = total
    if criterion == "sharpe_ratio":
        # Grows with the Sharpe ratio. A trial that does nothing in a half has 0: it neither wins nor loses there.
        rank = np.divide(total * np.abs(total), square, out=np.zeros_like(total), where=square > 0.0)
    return _Half(total=total, square=square, count=pick @ lengths, criterion=criterion, rank=rank)
