"""How steady the choices of the folds are: how often which value, how far they scatter, how much is kept.

Pure functions at the front door, over what the folds chose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.space import ParameterSpace


def stability(space: ParameterSpace, chosen: Sequence[Mapping[str, object] | None]) -> pd.DataFrame:
    """Describe what was chosen of each parameter that varies.

    Parameters
    ----------
    space : ParameterSpace
    chosen : sequence of mapping or None
        The parameters of each fold, in order; None where nothing was chosen.

    Returns
    -------
    pandas.DataFrame
        One row per parameter. ``values``: how many different ones were chosen; ``mode`` and ``mode_share``: the most
        frequent one (of equal ones the first) and its share of the folds; ``changed``: share of the steps from one
        fold to the next at which it changed; of numbers also ``mean``, ``std`` (ddof 1), ``min``, ``max``, and
        ``dispersion``: their standard deviation (ddof 0) over that of a choice spread evenly over the same range, so
        0 is always the same and 1 is no better than any. NaN where there is no such number.
    """
    import pandas as pd

    rows = {}
    made = [params for params in chosen if params is not None]
    for name in space.varying:
        values = [params[name] for params in made]
        row: dict[str, object] = {"values": len({repr(value) for value in values})}
        mode, times = Counter(repr(value) for value in values).most_common(1)[0] if values else ("", 0)
        row["mode"] = next((value for value in values if repr(value) == mode), None)
        row["mode_share"] = times / len(values) if values else np.nan
        steps = [a != b for a, b in pairwise(values)]
        row["changed"] = float(np.mean(steps)) if steps else np.nan
        numbers = np.array([value if _is_number(value) else np.nan for value in values], dtype=np.float64)
        whole = bool(len(numbers)) and bool(np.isfinite(numbers).all())
        row["mean"] = float(numbers.mean()) if whole else np.nan
        row["std"] = float(numbers.std(ddof=1)) if whole and len(numbers) > 1 else np.nan
        row["min"] = float(numbers.min()) if whole else np.nan
        row["max"] = float(numbers.max()) if whole else np.nan
        even = _even(space, name) if whole else np.nan
        row["dispersion"] = float(numbers.std()) / even if even > 0 else np.nan
        rows[name] = row
    columns = ["values", "mode", "mode_share", "changed", "mean", "std", "min", "max", "dispersion"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("parameter")


def efficiency(folds: Sequence[tuple[float, float, float, float]]) -> float:
    """Return the efficiency of (return in, return out, years in, years out) of each fold: growth kept out of sample.

    It is growth per year out of sample over growth per year in sample; growth is the sum of ln(1 + return) over the
    folds, so that windows of different lengths compare. NaN where nothing was earned in sample. Pardo (*The
    Evaluation and Optimization of Trading Strategies*, 2nd ed. 2008, ch. 11) takes the same ratio of annualized
    profits.

    Examples
    --------
    >>> round(efficiency([(0.4, 0.05, 2.0, 0.5), (0.2, 0.0, 2.0, 0.5)]), 3)
    0.376
    """
    usable = np.array([fold for fold in folds if np.isfinite(fold).all() and fold[2] > 0 and fold[3] > 0])
    if not len(usable):
        return float("nan")
    with np.errstate(divide="ignore"):
        inside, outside = (np.log1p(np.maximum(usable[:, i], -1.0)).sum() / usable[:, i + 2].sum() for i in (0, 1))
    return float(outside / inside) if 0 < inside < np.inf else float("nan")


def _even(space: ParameterSpace, name: str) -> float:
    """Return the standard deviation of a choice spread evenly over what a parameter may be."""
    axis = space.axis(name)
    low, high = getattr(axis, "low", None), getattr(axis, "high", None)
    if _is_number(low) and _is_number(high):
        return float(np.sqrt((float(high) - float(low)) ** 2 / 12.0))  # type: ignore[arg-type]
    values = list(axis)  # type: ignore[arg-type]
    return float(np.std(np.array(values, dtype=np.float64))) if all(map(_is_number, values)) else float("nan")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
