"""The single drawdowns of an equity, deepest first. Pure arithmetic at the front door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobnb.research.course import fall

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.course import Floats, Times

COLUMNS = ("peak", "trough", "recovered", "depth", "days_down", "days_up", "days")


def drawdowns(time: Times, equity: Floats, count: int = 10) -> pd.DataFrame:
    """Return the deepest drawdowns, from a peak until the equity is back there.

    Parameters
    ----------
    time : array (n,) of datetime64
    equity : array (n,)
        Money at each close.
    count : int, default 10
        How many at most.

    Returns
    -------
    pandas.DataFrame
        Deepest first. ``peak``, ``trough``, ``recovered``: when (``recovered`` is NaT while it lasts); ``depth``: a
        negative fraction; ``days_down`` from peak to trough, ``days_up`` from there to the recovery (NaN while it
        lasts), ``days``: from the peak to the recovery or the last bar.
    """
    import pandas as pd

    depth = fall(equity)
    under = depth < 0.0
    starts = np.flatnonzero(under & ~np.append(False, under[:-1]))
    stops = np.flatnonzero(under & ~np.append(under[1:], False))
    found = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        low = start + int(np.argmin(depth[start : stop + 1]))
        back = stop + 1 if stop + 1 < len(equity) else None
        found.append((float(depth[low]), start - 1, low, back))
    rows = []
    for deep, peak, low, back in sorted(found)[:count]:
        end = len(equity) - 1 if back is None else back
        down, whole = (float((time[i] - time[peak]) / np.timedelta64(1, "D")) for i in (low, end))
        rows.append(
            (
                time[peak],
                time[low],
                np.datetime64("NaT", "ns") if back is None else time[back],
                deep,
                down,
                np.nan if back is None else whole - down,
                whole,
            )
        )
    made = pd.DataFrame.from_records(rows, columns=list(COLUMNS))
    return made.astype(dict.fromkeys(COLUMNS[:3], "datetime64[ns]") | dict.fromkeys(COLUMNS[3:], float))
