"""The return of each month and year. Pure arithmetic at the front door, over an equity and its times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.course import Floats, Times

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def monthly_returns(time: Times, equity: Floats, capital: float) -> pd.DataFrame:
    """Return the return of each month and of each year.

    A month counts from the last close of the month before it (the first one from the capital) to its own last close,
    so that months compound to years and years to the total return.

    Parameters
    ----------
    time : array (n,) of datetime64
        Ascending.
    equity : array (n,)
        Money at each close.
    capital : float
        Money before the first bar.

    Returns
    -------
    pandas.DataFrame
        Fractions; one row per year, columns ``Jan`` to ``Dec`` and ``Year``; NaN where there are no bars.
    """
    import pandas as pd

    month = time.astype("datetime64[M]").astype(np.int64)
    last = np.flatnonzero(np.append(month[1:] != month[:-1], True))
    value = equity[last]
    before = np.append(capital, value[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(before > 0.0, value / before, 1.0)
    year, place = np.divmod(month[last], 12)
    first = int(year[0])
    table = np.full((int(year[-1]) - first + 1, 13), np.nan)
    table[year - first, place] = growth - 1.0
    whole = np.ones(len(table))
    np.multiply.at(whole, year - first, growth)
    seen = np.unique(year - first)
    table[seen, 12] = whole[seen] - 1.0
    return pd.DataFrame(
        table, index=pd.RangeIndex(1970 + first, 1970 + first + len(table), name="year"), columns=[*MONTHS, "Year"]
    )
