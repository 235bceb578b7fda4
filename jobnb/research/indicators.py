"""The indicators of `Bars` as plain functions over price arrays, NaN during the warm-up.

Runs where strategies run: in a child, or in the caller of a direct backtest. `Bars` keeps the results, so
nothing here caches; what needs a loop loads numba only when it is asked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem

Floats = npt.NDArray[np.float64]


def window(n: object, what: str = "window") -> int:
    """Return ``n`` as a whole number of bars of at least 1, or say what is wrong with it."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer | float | np.floating) or n != int(n) or n < 1:
        raise UsageProblem(f"the {what} of an indicator must be a whole number of bars from 1 on, not {n!r}")
    return int(n)


def running_sum(x: Floats) -> Floats:
    """Cumulative sum of ``x - x[0]``: the shift keeps the digits, and makes constant prices exact."""
    return np.cumsum(x - x[0])


def simple(x: Floats, total: Floats, n: int, out: Floats) -> Floats:
    """Arithmetic mean over the last ``n`` bars, from the `running_sum` of ``x``; in ``out``."""
    from jobnb.research import smoothing

    smoothing.simple(x, total, n, out)
    return out


def exponential(x: Floats, n: int, out: Floats | None = None) -> Floats:
    """Exponential mean, ``alpha = 2 / (n + 1)``: pandas' ``ewm(span=n, adjust=False, min_periods=n)``."""
    from jobnb.research import smoothing

    start = int(np.argmax(~np.isnan(x))) if x.size else 0
    out = np.empty(x.size) if out is None else out
    smoothing.exponential(x, 2.0 / (n + 1), start, n - 1, out)
    return out


def relative_strength(x: Floats, n: int) -> Floats:
    """Wilder's RSI, 0 to 100."""
    from jobnb.research import smoothing

    return smoothing.relative_strength(x, n)


def true_range(high: Floats, low: Floats, close: Floats, n: int) -> Floats:
    """Wilder's average true range."""
    from jobnb.research import smoothing

    return smoothing.true_range(high, low, close, n)


def bands(x: Floats, middle: Floats, n: int, k: float) -> tuple[Floats, Floats]:
    """Bollinger's bands: the middle plus and minus ``k`` population standard deviations."""
    from jobnb.research import smoothing

    reach = k * smoothing.deviation(x, n)
    return middle + reach, middle - reach


def volatility(x: Floats, n: int, per_year: float) -> Floats:
    """Standard deviation (ddof 1) of the last ``n`` relative changes, ``per_year`` of which make a year."""
    from jobnb.research import smoothing

    if n < 2:
        raise UsageProblem(f"a volatility needs at least 2 returns, not {n}")
    changes = np.append(np.nan, x[1:] / x[:-1] - 1.0)
    scale = float(np.sqrt(n / (n - 1.0) * per_year))
    return scale * smoothing.deviation(changes, n)


def extreme(x: Floats, n: int, shift: int, *, highest: bool) -> Floats:
    """Highest or lowest value over ``n`` bars, the last of them ``shift`` bars ago."""
    out = np.full(x.size, np.nan)
    count = x.size - n + 1 - shift
    if count > 0:
        windows = np.lib.stride_tricks.sliding_window_view(x, n)[:count]
        out[n - 1 + shift :] = windows.max(axis=1) if highest else windows.min(axis=1)
    return out


def crossover(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Say for each bar whether ``a`` has just risen above ``b``.

    True at bar i where ``a[i] > b[i]`` and ``a[i-1] <= b[i-1]``: touching without crossing does not count,
    and an equal bar before does not lose the cross. False at bar 0 and wherever one of the four values is NaN.

    Parameters
    ----------
    a, b : array_like
        Series of one length; ``b`` (or ``a``) may be a single number.

    Returns
    -------
    numpy.ndarray of bool

    Examples
    --------
    >>> crossover([1, 2, 3, 3], [2, 2, 2, 2]).tolist()
    [False, False, True, False]
    """
    left, right = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    out = np.zeros(left.shape, dtype=np.bool_)
    out[1:] = (left[1:] > right[1:]) & (left[:-1] <= right[:-1])
    return out
