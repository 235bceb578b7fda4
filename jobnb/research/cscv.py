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
#: Splits computed at once, to bound the memory.
_CHUNK = 512
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
    halves = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    chosen = np.zeros((len(halves), blocks))
    np.put_along_axis(chosen, halves, 1.0, axis=1)
    logits, inside, outside = (np.empty(len(halves)) for _ in range(3))
    for at in range(0, len(halves), _CHUNK):
        pick = chosen[at : at + _CHUNK]
        here = _performance(pick, sums, lengths, criterion)
        there = _performance(1.0 - pick, sums, lengths, criterion)
        rows = np.arange(len(pick))
        best = np.argmax(here, axis=1)
        mine = there[rows, best][:, None]
        rank = np.sum(there < mine, axis=1) + 0.5 * (np.sum(there == mine, axis=1) + 1.0)
        span = slice(at, at + len(pick))
        logits[span] = np.log(rank / (trials + 1.0 - rank))
        inside[span] = here[rows, best]
        outside[span] = mine[:, 0]
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


def _performance(pick: Floats, sums: Floats, lengths: Floats, criterion: str) -> Floats:
    """Return the performance of each trial in the blocks that each row picks: (rows, trials)."""
    count = (pick @ lengths)[:, None]
    mean = (pick @ sums[:, :, 0].T) / count
    if criterion == "return":
        return np.asarray(mean)
    variance = (pick @ sums[:, :, 1].T) / count - mean**2
    deviation = np.sqrt(np.maximum(variance, _NO_VARIANCE * mean**2))
    # Of a trial that does nothing in a half the Sharpe ratio is 0: it neither wins nor loses there.
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0.0)
