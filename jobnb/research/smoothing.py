"""The compiled loops of the indicators.

Loaded in a child (or by a direct backtest) the first time an indicator is asked for. Pure numeric functions; checking
and caching is done in `bars` and `indicators`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobnb.research.jit import compiled

Floats = npt.NDArray[np.float64]


@compiled
def simple(x: Floats, total: Floats, n: int, out: Floats) -> None:
    """Write the mean of the last ``n`` values to ``out``, from the cumulative sum of ``x - x[0]``."""
    out[: n - 1] = np.nan
    if n > x.size:
        return
    first = x[0]
    out[n - 1] = total[n - 1] / n + first
    # Parts that begin at 0: with an index that might be negative the compiler does one mean at a time.
    now, then, means = total[n:], total[: x.size - n], out[n:]
    for i in range(means.size):
        means[i] = (now[i] - then[i]) / n + first


@compiled
def exponential(x: Floats, alpha: float, start: int, warmup: int, out: Floats) -> None:
    """Write the exponential mean from bar ``start`` on to ``out``; the first ``warmup`` values after it are NaN."""
    out[: start + warmup] = np.nan
    if start >= x.size:
        return
    value = x[start]
    for i in range(start, x.size):
        value += alpha * (x[i] - value)
        if i - start >= warmup:
            out[i] = value


@compiled
def relative_strength(x: Floats, n: int) -> Floats:
    """Wilder's relative strength index; the first average is the plain mean of the first ``n`` changes."""
    out = np.full(x.size, np.nan)
    if x.size <= n:
        return out
    up = 0.0
    down = 0.0
    for i in range(1, x.size):
        change = x[i] - x[i - 1]
        gain = max(change, 0.0)
        loss = max(-change, 0.0)
        if i <= n:
            up += gain / n
            down += loss / n
        else:
            up += (gain - up) / n
            down += (loss - down) / n
        if i >= n:
            # Prices that never moved say nothing: the middle.
            out[i] = 50.0 if up + down == 0.0 else 100.0 * up / (up + down)
    return out


@compiled
def true_range(high: Floats, low: Floats, close: Floats, n: int) -> Floats:
    """Wilder's average true range; the first average is the plain mean of the true ranges of bars 1 to n."""
    out = np.full(close.size, np.nan)
    value = 0.0
    for i in range(1, close.size):
        reach = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        if i <= n:
            value += reach / n
        else:
            value += (reach - value) / n
        if i >= n:
            out[i] = value
    return out


@compiled
def deviation(x: Floats, n: int) -> Floats:
    """Population standard deviation over the last ``n`` bars, each window by itself so that none drifts."""
    out = np.full(x.size, np.nan)
    for i in range(n - 1, x.size):
        mean = 0.0
        for j in range(i - n + 1, i + 1):
            mean += x[j]
        mean /= n
        total = 0.0
        for j in range(i - n + 1, i + 1):
            total += (x[j] - mean) ** 2
        out[i] = np.sqrt(total / n)
    return out
