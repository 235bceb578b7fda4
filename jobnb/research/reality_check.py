"""White's reality check and Hansen's test of superior predictive ability: the best of many against a benchmark.

Arithmetic on tables of returns, taken in stretches of columns so that ten thousand runs fit into memory. It must
never run a strategy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem

Floats = npt.NDArray[np.float64]

#: Fewer returns than this have no bootstrap worth the name.
LEAST_RETURNS = 20
#: Columns computed at once.
CHUNK = 256
#: Resamples drawn at once.
_DRAWS = 64


@dataclass(frozen=True, kw_only=True)
class RealityCheck:
    """Whether the best of many trials beats the benchmark by more than the search for it explains.

    Attributes
    ----------
    test : str
        ``"reality check"`` or ``"SPA"``.
    p_value : float
        Share of the resamples without any skill whose best trial does as well; small means that the search alone
        does not explain the best trial. For `spa` the consistent one.
    lower, upper : float
        For `spa` the p-values if all, or none, of the trials worse than the benchmark are left out of account; for
        `reality_check` the same as `p_value`.
    statistic : float
        √n times the highest mean excess return; for `spa` over its standard error, and at least 0.
    best : int
        The column that has it.
    trials : int
        Trials compared, those left out that never differ from the benchmark.
    periods : int
        Returns of each.
    block : float
        Mean length of the blocks of the bootstrap.
    resamples : int
    """

    test: str
    p_value: float
    lower: float
    upper: float
    statistic: float
    best: int
    trials: int
    periods: int
    block: float
    resamples: int

    def __float__(self) -> float:
        return self.p_value

    def __repr__(self) -> str:
        name = "Hansen's SPA" if self.test == "SPA" else "White's reality check"
        span = f" (from {_p(self.lower)} to {_p(self.upper)})" if self.test == "SPA" else ""
        return (
            f"{name}: p-value {_p(self.p_value)}{span}, {self.trials:,} runs, {self.periods:,} returns, "
            f"{self.resamples:,} resamples in blocks of {self.block:g}"
        )


def reality_check(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike = 0.0,
    *,
    block: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RealityCheck:
    """Test whether the best of many trials has a higher mean return than a benchmark.

    Parameters
    ----------
    returns : array_like (n, k)
        Returns of k trials over n periods, one column each; all that were tried, not only the good ones.
    benchmark : array_like (n,) or float, default 0.0
        The benchmark's returns, for example of buying and holding.
    block : float, optional
        Mean length of the blocks of the stationary bootstrap, at least 1; √n by default.
    resamples : int, default 1000
    seed : int, default 0
        Of the bootstrap: the same gives the same p-value.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: no such table, too few returns, or a benchmark of another length.

    References
    ----------
    H. White (2000), "A reality check for data snooping", Econometrica 68(5). D. Politis and J. Romano (1994), "The
    stationary bootstrap", Journal of the American Statistical Association 89(428).

    Examples
    --------
    >>> import numpy as np
    >>> luck = np.random.default_rng(1).normal(0, 0.01, (500, 100))
    >>> reality_check(luck).p_value > 0.05
    True
    """
    return _test("reality check", returns, benchmark, block, resamples, seed)


def spa(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike = 0.0,
    *,
    block: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RealityCheck:
    """Test like `reality_check`, but each trial by its own risk, and not diluted by trials that are plainly bad.

    Parameters
    ----------
    returns, benchmark, block, resamples, seed
        See `reality_check`.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: no such table, too few returns, or a benchmark of another length.

    References
    ----------
    P. R. Hansen (2005), "A test for superior predictive ability", Journal of Business & Economic Statistics 23(4);
    the variances as in its section 3.2. (`arch.bootstrap.SPA` compares means that are not divided by their
    standard errors.)
    """
    return _test("SPA", returns, benchmark, block, resamples, seed)


def _test(
    test: str, returns: npt.ArrayLike, benchmark: npt.ArrayLike, block: float | None, resamples: int, seed: int
) -> RealityCheck:
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise UsageProblem("returns must be a table of finite numbers: one column for each trial")
    chunks = (table[:, at : at + CHUNK] for at in range(0, table.shape[1], CHUNK))
    return check(test, chunks, len(table), benchmark, block=block, resamples=resamples, seed=seed)


def check(
    test: str,
    chunks: Iterable[Floats],
    periods: int,
    benchmark: npt.ArrayLike = 0.0,
    *,
    block: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RealityCheck:
    """Do what `reality_check` or `spa` does on columns that come in stretches, each of ``periods`` rows."""
    against = np.asarray(benchmark, dtype=np.float64)
    if periods < LEAST_RETURNS:
        raise UsageProblem(f"{periods} returns are too few for a bootstrap; give at least {LEAST_RETURNS}")
    if against.shape not in ((), (periods,)) or not np.isfinite(against).all():
        raise UsageProblem(f"the benchmark must be a number or {periods:,} returns, not {against.shape}")
    length = math.sqrt(periods) if block is None else float(block)
    if not 1.0 <= length <= periods:
        raise UsageProblem(f"block must be from 1 to {periods:,} periods, not {block!r}")
    if resamples < 1:
        raise UsageProblem(f"resamples must be at least 1, not {resamples!r}")
    weights = np.concatenate(list(_weights(periods, length, resamples, np.random.default_rng(seed))))
    highest = np.full((3, resamples), -np.inf)
    statistic, best, trials, at = -math.inf, -1, 0, 0
    for chunk in chunks:
        excess = chunk - (against[:, None] if against.ndim else against)
        varies = np.flatnonzero(np.ptp(excess, axis=0) > 0.0)
        if varies.size:
            found, place, peaks = _stretch(test, excess[:, varies], weights, length)
            np.maximum(highest, peaks, out=highest)
            trials += varies.size
            if found > statistic:
                statistic, best = found, at + int(varies[place])
        at += chunk.shape[1]
    if not trials:
        raise UsageProblem("no trial ever differs from the benchmark")
    if test == "SPA":
        # The benchmark itself is always among the candidates.
        statistic, highest = max(statistic, 0.0), np.maximum(highest, 0.0)
    lower, consistent, upper = (float(share) for share in np.mean(highest >= statistic, axis=1))
    return RealityCheck(
        test=test,
        p_value=consistent if test == "SPA" else upper,
        lower=lower if test == "SPA" else upper,
        upper=upper,
        statistic=statistic,
        best=best,
        trials=trials,
        periods=periods,
        block=round(length, 1),
        resamples=resamples,
    )


def _stretch(test: str, excess: Floats, weights: Floats, length: float) -> tuple[float, int, Floats]:
    """Return the highest statistic, its place, and the highest of each resample for the three recentrings."""
    periods = len(excess)
    mean = excess.mean(axis=0)
    root = math.sqrt(periods)
    scale = root / deviation(excess, length) if test == "SPA" else np.full(len(mean), root)
    value = scale * mean
    resampled = weights @ excess
    if test != "SPA":
        peaks = np.max(scale * (resampled - mean), axis=1)
        return float(value.max()), int(np.argmax(value)), np.stack([peaks] * 3)
    # Worse than this by the law of the iterated logarithm: not in the running.
    bound = -math.sqrt(2.0 * math.log(math.log(periods)))
    centres = (np.maximum(mean, 0.0), np.where(value >= bound, mean, 0.0), mean)
    peaks = np.stack([np.max(scale * (resampled - centre), axis=1) for centre in centres])
    return float(value.max()), int(np.argmax(value)), peaks


def deviation(excess: Floats, length: float) -> Floats:
    """Return √n times the standard error of each column's mean under the stationary bootstrap.

    References
    ----------
    P. R. Hansen (2005), see `spa`: ω² = γ₀ + 2 Σ κ(i) γᵢ with κ(i) = (n − i)/n (1 − q)ⁱ + i/n (1 − q)ⁿ⁻ⁱ, q being one
    over the mean length of a block.
    """
    periods = len(excess)
    away = excess - excess.mean(axis=0)
    # Autocovariances by the Fourier transform of the padded series: n log n instead of n².
    size = 1 << (2 * periods - 1).bit_length()
    covariance = np.fft.irfft(np.abs(np.fft.rfft(away, size, axis=0)) ** 2, size, axis=0)[:periods] / periods
    lag = np.arange(periods)
    stay = 1.0 - 1.0 / length
    kappa = (periods - lag) / periods * stay**lag + lag / periods * stay ** (periods - lag)
    kappa[0] = 0.5
    variance = 2.0 * (kappa @ covariance)
    # Never negative but for rounding.
    return np.asarray(np.sqrt(np.maximum(variance, 1e-12 * covariance[0])))


def _weights(periods: int, length: float, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each period is drawn, as shares: (some resamples, periods)."""
    for at in range(0, resamples, _DRAWS):
        rows = min(_DRAWS, resamples - at)
        drawn = draw(periods, length, rows, rng)
        flat = (drawn + periods * np.arange(rows)[:, None]).ravel()
        yield np.bincount(flat, minlength=rows * periods).reshape(rows, periods) / periods


def draw(periods: int, length: float, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the periods of some resamples of the stationary bootstrap: blocks of geometric length, around the end."""
    fresh = rng.random((rows, periods)) < 1.0 / length
    fresh[:, 0] = True
    start = rng.integers(0, periods, (rows, periods))
    step = np.arange(periods)
    last = np.maximum.accumulate(np.where(fresh, step, 0), axis=1)
    return np.asarray((np.take_along_axis(start, last, axis=1) + step - last) % periods, dtype=np.int64)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
