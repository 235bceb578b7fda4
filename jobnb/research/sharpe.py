"""How much a Sharpe ratio says: its probability, the record it needs, and what is left of it after many trials.

Formulas on a few numbers, used by researchers on their own returns and by cards on the summary of a sweep. All
Sharpe ratios here are per period, never annualised. It must not import numpy before somebody hands in an array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    import numpy.typing as npt

#: The Euler–Mascheroni constant.
EULER_GAMMA = 0.5772156649015329
#: A variance below this share of the squared mean is rounding: the returns do not vary.
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What the formulas need to know of a series of returns.

    Attributes
    ----------
    count : int
        Number of returns.
    sharpe : float
        Mean over standard deviation (ddof 1) per period, *not* annualised; NaN if the returns do not vary.
    skewness : float
        Third standardised moment; 0 for a normal distribution.
    kurtosis : float
        Fourth standardised moment, *not* in excess; 3 for a normal distribution.
    """

    count: int
    sharpe: float
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def error(self) -> float:
        """Standard error of the Sharpe ratio; NaN where it cannot be known.

        References
        ----------
        E. Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)"; in the form of D. Bailey and
        M. López de Prado (2012), see `probabilistic_sharpe_ratio`.
        """
        square = _square(self)
        return math.sqrt(square / (self.count - 1)) if self.count > 1 and square > 0.0 else math.nan


def moments(returns: npt.ArrayLike | Moments) -> Moments:
    """Return what the formulas need to know of a series of returns.

    Parameters
    ----------
    returns : array_like (n,) or Moments
        One simple return per period, for example per day; at least two. NaN is left out.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: not one series, or fewer than two returns.

    Examples
    --------
    >>> moments([0.01, -0.01, 0.02, 0.0]).count
    4
    """
    if isinstance(returns, Moments):
        return returns
    import numpy as np

    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1:
        raise UsageProblem(f"returns must be one series of numbers, not an array of the shape {values.shape}")
    values = values[~np.isnan(values)]
    if values.size < 2:
        raise UsageProblem(f"there are {values.size} returns; give at least two")
    mean = float(values.mean())
    away = values - mean
    variance = float(np.mean(away**2))
    if not variance > _NO_VARIANCE * mean * mean:
        return Moments(count=values.size, sharpe=math.nan, skewness=math.nan, kurtosis=math.nan)
    unit = away / math.sqrt(variance)
    # A product is a tenth of the time of a power.
    square = unit * unit
    return Moments(
        count=values.size,
        sharpe=mean / math.sqrt(variance * values.size / (values.size - 1)),
        skewness=float(np.mean(square * unit)),
        kurtosis=float(np.mean(square * square)),
    )


def probabilistic_sharpe_ratio(returns: npt.ArrayLike | Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark, given how long and how skewed it is.

    Parameters
    ----------
    returns : array_like (n,) or Moments
        One simple return per period.
    benchmark : float, default 0.0
        Sharpe ratio per period, not annualised: an annual one of 1 is ``1 / sqrt(252)`` for daily returns.

    Returns
    -------
    float
        0 to 1; NaN if the returns do not vary.

    References
    ----------
    D. Bailey and M. López de Prado (2012), "The Sharpe ratio efficient frontier", Journal of Risk 15(2), eq. 11:
    Φ((SR − SR*) √(n − 1) / √(1 − γ₃ SR + (γ₄ − 1)/4 SR²)).

    Examples
    --------
    The paper's hedge fund, two years of monthly returns:

    >>> fund = Moments(count=24, sharpe=0.458, skewness=-2.448, kurtosis=10.164)
    >>> round(probabilistic_sharpe_ratio(fund), 3)
    0.913
    """
    of = moments(returns)
    error = of.error
    return normal((of.sharpe - benchmark) / error) if error > 0.0 else math.nan


def minimum_track_record_length(
    returns: npt.ArrayLike | Moments, benchmark: float = 0.0, confidence: float = 0.95
) -> float:
    """Return how many returns are needed to trust that the true Sharpe ratio is above a benchmark.

    Parameters
    ----------
    returns : array_like (n,) or Moments
        One simple return per period.
    benchmark : float, default 0.0
        Sharpe ratio per period, not annualised.
    confidence : float, default 0.95
        Between 0 and 1.

    Returns
    -------
    float
        Number of returns; inf if the Sharpe ratio is not above the benchmark, NaN if the returns do not vary.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: the confidence is not between 0 and 1.

    References
    ----------
    D. Bailey and M. López de Prado (2012), see `probabilistic_sharpe_ratio`, eq. 13:
    1 + (1 − γ₃ SR + (γ₄ − 1)/4 SR²) (Z(confidence) / (SR − SR*))².

    Examples
    --------
    >>> daily = Moments(count=2, sharpe=2 / 252**0.5)
    >>> round(minimum_track_record_length(daily, benchmark=1 / 252**0.5) / 252, 2)
    2.73
    """
    if not 0.0 < confidence < 1.0:
        raise UsageProblem(f"confidence must be between 0 and 1, not {confidence!r}")
    of = moments(returns)
    ahead = of.sharpe - benchmark
    if math.isnan(ahead):
        return math.nan
    if ahead <= 0.0:
        return math.inf
    return 1.0 + _square(of) * (quantile(confidence) / ahead) ** 2


def expected_maximum_sharpe(trials: float, variance: float) -> float:
    """Return the Sharpe ratio that the best of so many worthless trials has on average.

    Parameters
    ----------
    trials : float
        Number of independent trials, at least 1.
    variance : float
        Variance of the trials' Sharpe ratios per period.

    Returns
    -------
    float
        Sharpe ratio per period; 0 for one trial.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: fewer than one trial, or a negative variance.

    References
    ----------
    D. Bailey and M. López de Prado (2014), "The deflated Sharpe ratio", Journal of Portfolio Management 40(5),
    eq. 1 with no skill: √V ((1 − γ) Z(1 − 1/N) + γ Z(1 − 1/(N e))), γ being Euler's constant.
    """
    if not trials >= 1.0 or not variance >= 0.0 or not math.isfinite(trials):
        raise UsageProblem(f"give at least one trial and a variance of at least 0, not {trials!r} and {variance!r}")
    if trials == 1.0:
        return 0.0
    rare = (1.0 - EULER_GAMMA) * quantile(1.0 - 1.0 / trials) + EULER_GAMMA * quantile(1.0 - 1.0 / (trials * math.e))
    # Between one trial and two the approximation by extreme values is below nothing.
    return math.sqrt(variance) * max(rare, 0.0)


def deflated_sharpe_ratio(returns: npt.ArrayLike | Moments, *, trials: float, variance: float) -> float:
    """Return the probability that the best of many trials has a true Sharpe ratio above 0.

    It is the `probabilistic_sharpe_ratio` against what chance alone gives the best of so many. A value below
    0.95 means that luck explains the result well enough.

    Parameters
    ----------
    returns : array_like (n,) or Moments
        Of the best trial, one simple return per period.
    trials : float
        Number of trials that were made, those thrown away included. The formula takes them to be independent:
        with all of them counted the answer is strict, see `jobnb.overfitting.effective_trials` for correlated ones.
    variance : float
        Variance of the trials' Sharpe ratios, *per period*: the variance of annual ones divided by 252 if the
        returns are daily.

    Returns
    -------
    float
        0 to 1; NaN if the returns do not vary.

    References
    ----------
    D. Bailey and M. López de Prado (2014), "The deflated Sharpe ratio: correcting for selection bias, backtest
    overfitting and non-normality", Journal of Portfolio Management 40(5), eq. 2.

    Examples
    --------
    The paper's example: five years of daily returns, the best of 100 trials.

    >>> best = Moments(count=1250, sharpe=2.5 / 250**0.5, skewness=-3, kurtosis=10)
    >>> round(deflated_sharpe_ratio(best, trials=100, variance=0.5 / 250), 2)
    0.9
    """
    return probabilistic_sharpe_ratio(returns, expected_maximum_sharpe(trials, variance))


def normal(z: float) -> float:
    """Return the standard normal distribution function, exact in both tails."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def quantile(p: float) -> float:
    """Return the inverse of `normal` for 0 < p < 1."""
    # Takes some milliseconds to import, which a kernel that only starts must not pay.
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)


def _square(of: Moments) -> float:
    """1 − γ₃ SR + (γ₄ − 1)/4 SR², which is never negative for moments of one series (γ₄ ≥ 1 + γ₃²)."""
    return 1.0 - of.skewness * of.sharpe + 0.25 * (of.kurtosis - 1.0) * of.sharpe**2
