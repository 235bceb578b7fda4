"""From the matrix of a part of a sweep to its small summary: the best runs and the heat map's cells.

A run is named by its number: that of the combination in a grid, else that of the trial.

Runs in the child, where numpy is at hand; `summary` then only puts together and folds.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research import luck, summary, tiles
from jobnb.research.interval import Interval
from jobnb.research.space import Axis, ParameterSpace, plain

if TYPE_CHECKING:
    from jobnb.research.container import SweepPart
    from jobnb.research.sweep import SweepWork

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: A continuous parameter is shown as so many stretches.
STRETCHES = 24


def digest(work: SweepWork, part: SweepPart) -> summary.Json:
    """Return the summary of a part, see `summary.sweep_summary`."""
    columns = list(part.columns)
    value = (
        part.values[:, columns.index(work.objective)]
        if work.objective in columns
        else np.full(len(part.values), np.nan)
    )
    index = part.index
    shown = [name for name in summary.SHOWN if name in columns] or columns[:4]
    top = [
        {
            "index": int(index[i]),
            "params": params_json(work.space, part, i),
            "value": float(value[i]),
            "metrics": {name: summary.safe(float(part.values[i, columns.index(name)])) for name in shown},
        }
        for i in best(value, summary.TOP, maximize=work.maximize, number=index)
    ]
    errors = [
        {"index": int(index[i]), "params": params_json(work.space, part, i), "error": message}
        for i, message in sorted(part.errors.items(), key=lambda error: int(index[error[0]]))[: summary.ERRORS]
    ]
    return summary.sweep_summary(
        runs=len(part.values),
        failed=len(part.errors),
        errors=errors,
        top=top,
        heat=heat(work.space, index, value, part.points, maximize=work.maximize),
        objective=work.objective,
        maximize=work.maximize,
        space=[
            [name, None, *axis.ends]
            if isinstance(axis, Interval)
            else [name, len(axis), plain(axis[0]), plain(axis[-1])]
            for name, axis in zip(work.space.names, work.space.values, strict=True)
        ],
        moments=winner(part),
        sharpe=spread(part),
        sample=sample(part),
    )


def params_json(space: ParameterSpace, part: SweepPart, i: int) -> dict[str, object]:
    """Return the parameters of run ``i`` of a part as JSON can hold them."""
    if part.points is not None:
        found = space.at(part.points[i].tolist())
    else:
        found = space.params(part.start + i if part.indices is None else int(part.indices[i]))
    return {name: plain(value) for name, value in found.items()}


def tracks(parts: Sequence[SweepPart]) -> summary.Json:
    """Return what the parts of a sweep say about luck: ``moments`` of each part's best run, ``sharpe``, ``sample``."""
    made: summary.Json = {"moments": [], "sharpe": None, "sample": None}
    for part in parts:
        if (found := winner(part)) is not None:
            made["moments"].append(found)
        made["sharpe"] = luck.fold_spread(made["sharpe"], spread(part))
    rows = [part for part in parts if "sample" in part.arrays]
    if rows:
        index = np.concatenate([part.arrays["sample"] for part in rows])
        sums = np.concatenate([part.arrays["sums"] for part in rows])
        order = np.argsort(index, kind="stable")
        made["sample"] = packed(index[order], sums[order], int(rows[0].arrays["calendar"][0]))
    return made


#: The numbers of `SweepPart.arrays["winner"]`, see `tracks.winner`.
_WINNER = ("index", "count", "sharpe", "skewness", "kurtosis", "per_year", "hold")


def winner(part: SweepPart) -> summary.Json | None:
    """Return the moments of the returns of a part's best run, or None where they are not known."""
    row = part.arrays.get("winner")
    if row is None or not np.isfinite(row.astype(np.float64)[:-1]).all():
        return None
    known: summary.Json = dict(zip(_WINNER, map(float, row), strict=True))
    known["hold"] = summary.safe(known["hold"])
    return {**known, "index": int(known["index"]), "count": int(known["count"])}


def spread(part: SweepPart) -> summary.Json | None:
    """Return count, sum and sum of squares of a part's annual Sharpe ratios, in units that add up exactly."""
    columns = list(part.columns)
    if "sharpes" in part.arrays:
        value = part.arrays["sharpes"]
    elif "sharpe_ratio" in columns and "calendar" in part.arrays:
        value = part.values[:, columns.index("sharpe_ratio")]
    else:
        return None
    value = np.clip(value[np.isfinite(value)], -luck.MOST_SHARPE, luck.MOST_SHARPE)
    total, square = (int(np.rint(v / luck.UNIT).astype(np.int64).sum()) for v in (value, value**2))
    return {"count": len(value), "sum": total, "square": square}


def sample(part: SweepPart) -> summary.Json | None:
    """Return the sampled runs of a part, packed."""
    if "sample" not in part.arrays:
        return None
    return packed(part.arrays["sample"], part.arrays["sums"], int(part.arrays["calendar"][0]))


def packed(index: npt.NDArray[np.generic], sums: npt.NDArray[np.generic], periods: int) -> summary.Json:
    """Return sums of blocks (runs, blocks, 2) as `luck.overfitting` reads them."""
    return {
        "periods": periods,
        "blocks": int(sums.shape[1]),
        "index": [int(i) for i in index],
        "sums": base64.b64encode(sums.astype("<f4").tobytes()).decode(),
    }


def best(value: Floats, count: int, *, maximize: bool, number: Whole | None = None) -> list[int]:
    """Return the places of the ``count`` best finite values, best first, ties by ``number`` or else by place."""
    finite = np.flatnonzero(np.isfinite(value))
    if number is not None:
        finite = finite[np.argsort(number[finite], kind="stable")]
    signed = -value[finite] if maximize else value[finite]
    return [int(i) for i in finite[np.argsort(signed, kind="stable")[:count]]]


def places(space: ParameterSpace, index: Whole, points: Floats | None = None) -> list[Whole]:
    """Return for each parameter the places of its values in these runs; of a continuous one, the stretch of it.

    Parameters
    ----------
    space : ParameterSpace
    index : array of int64
        Numbers of combinations; not looked at where there are points.
    points : array, optional
    """
    if points is None:
        made: list[Whole] = []
        rest = np.asarray(index, dtype=np.int64)
        for values in reversed(space.lists):
            rest, place = np.divmod(rest, len(values))
            made.append(place)
        return made[::-1]
    return [
        np.array([min(int(axis.share(x) * STRETCHES), STRETCHES - 1) for x in column.tolist()], dtype=np.int64)
        if isinstance(axis, Interval)
        else column.astype(np.int64)
        for axis, column in zip(space.values, points.T, strict=True)
    ]


def labels(axis: Axis) -> Sequence[object]:
    """Return what stands at the places of a parameter: its values, or where its stretches begin."""
    return axis.grid(STRETCHES) if isinstance(axis, Interval) else axis


def heat(
    space: ParameterSpace, index: Whole, value: Floats, points: Floats | None = None, *, maximize: bool
) -> summary.Json | None:
    """Return the heat map of two varying parameters, binned to the size of a card; None for any other number."""
    names = space.varying
    if len(names) != 2:
        return None
    at = dict(zip(space.names, places(space, index, points), strict=True))
    row_name, column_name = names
    row_values, column_values = labels(space.axis(row_name)), labels(space.axis(column_name))
    rows, columns = len(row_values), len(column_values)
    row = _bins(at[row_name], rows, summary.HEAT_ROWS)
    column = _bins(at[column_name], columns, summary.HEAT_COLUMNS)
    wide = min(columns, summary.HEAT_COLUMNS)
    worst = -np.inf if maximize else np.inf
    grid = np.full(min(rows, summary.HEAT_ROWS) * wide, worst)
    better = np.maximum if maximize else np.minimum
    better.at(grid, row * wide + column, np.where(np.isfinite(value), value, worst))
    # Adding nothing makes -0.0 to 0.0, so that the text is the same whatever was folded first.
    grid = np.where(np.isfinite(grid), grid + 0.0, np.nan)
    return {
        "row": row_name,
        "col": column_name,
        "rows": [plain(row_values[i]) for i in summary.bin_starts(rows, summary.HEAT_ROWS)],
        "cols": [plain(column_values[i]) for i in summary.bin_starts(columns, summary.HEAT_COLUMNS)],
        "values": tiles.packed(grid.astype("<f4").tobytes()),
    }


def _bins(place: Whole, count: int, limit: int) -> Whole:
    return place if count <= limit else place * limit // count
