"""How many independent trials a number of correlated ones are worth.

Arithmetic on a table of returns, run where a researcher asks. It must never run a strategy.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown

#: A variance below this share of the squared mean is rounding: the returns do not vary.
_NO_VARIANCE = 1e-12


def effective_trials(returns: npt.ArrayLike, trials: int | None = None, *, method: str = "average") -> float:
    """Estimate how many independent trials a number of correlated ones are worth.

    Parameters
    ----------
    returns : array_like (n, k)
        Returns of k trials over n periods, one column each; a sample of all trials will do. Columns that do not
        vary are left out.
    trials : int, optional
        How many trials there were in all; default k.
    method : {"average", "spread"}, default "average"
        ``"average"``: from the average correlation ρ, ρ + (1 − ρ) N. Simple and strict.
        ``"spread"``: from how the variance spreads over the principal components, (Σλ)² / Σλ²; never more than k.
        Counts trials in tight groups as one each, so it is much lower for a fine grid.

    Returns
    -------
    float
        From 1 to ``trials``; NaN if no column varies.

    Raises
    ------
    UnknownName
        ``UNKNOWN_NAME``: no such method.
    UsageProblem
        ``USAGE_ERROR``: not a table of at least two periods, or with NaN.

    References
    ----------
    ``average``: D. Bailey and M. López de Prado (2014), see `jobnb.overfitting.deflated_sharpe_ratio`, appendix A.3.
    ``spread``: C. Bretherton et al. (1999), "The effective number of spatial degrees of freedom of a time-varying
    field", Journal of Climate 12(7), eq. 5.
    """
    if method not in ("average", "spread"):
        raise unknown("method", method, ("average", "spread"))
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or not np.isfinite(table).all():
        raise UsageProblem("returns must be a table of finite numbers: at least two periods, one column per trial")
    away = table - table.mean(axis=0)
    size = np.sqrt(np.sum(away**2, axis=0))
    varies = size > math.sqrt(_NO_VARIANCE * len(table)) * np.abs(table.mean(axis=0))
    unit = away[:, varies] / size[varies]
    found = int(np.count_nonzero(varies))
    most = float(found if trials is None else trials)
    if found < 2:
        return most if found else math.nan
    if method == "average":
        average = (float(np.sum(unit.sum(axis=1) ** 2)) - found) / (found * (found - 1))
        made = average + (1.0 - average) * most
    else:
        small = unit @ unit.T if len(unit) < found else unit.T @ unit
        made = found**2 / float(np.sum(small**2))
    return min(max(made, 1.0), most)
