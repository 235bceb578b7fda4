"""The small JSON summary of the folds that are done, for cards, and how those of a job's parts fold into one.

Children make them, the service folds them, front doors draw them. Pure Python: it must never import numpy or
pandas, because the service and the cards load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Json = dict[str, Any]

#: Points of the curve of all folds together, and full rows of folds that a summary keeps.
POINTS = 240
ROWS = 8
ERRORS = 3


def points_of(planned: int) -> int:
    """Return how many points of its curve a fold contributes, where so many folds are planned."""
    return max(1, min(POINTS // max(planned, 1), 60))


def summarize(
    *,
    kind: str,
    planned: int,
    objective: str,
    maximize: bool,
    folds: Sequence[Mapping[str, Any]],
    space: Sequence[Sequence[object]] = (),
    stitched: Mapping[str, Any] | None = None,
) -> Json:
    """Put together the summary of some folds.

    Parameters
    ----------
    kind : str
        ``walk-forward``, ``purged-kfold``, ``cpcv`` or ``folds``.
    planned : int
        Number of folds of the job.
    objective : str
    maximize : bool
    folds : sequence of mapping
        Of each: ``n``, ``in`` and ``out`` (the objective, None if not finite), ``return`` (total return out of
        sample), ``growth`` (ln of the final over the initial equity in and out of sample, and the years of both; of
        None where unknown), ``curve`` (equity over its start, its last point the end), ``start``, ``end``,
        ``params``, ``runs``, ``failed``, ``error``.
    space : sequence of [name, count, first, last]
    stitched : mapping, optional
        See `finale.finale`; only with the last fold.
    """
    ordered = sorted(folds, key=lambda fold: int(fold["n"]))
    return {
        "kind": "folds",
        "method": kind,
        "planned": planned,
        "objective": objective,
        "maximize": maximize,
        "runs": sum(fold["runs"] for fold in ordered),
        "failed": sum(fold["failed"] for fold in ordered),
        "errors": [{"fold": fold["n"], "error": fold["error"]} for fold in ordered if fold["error"]][:ERRORS],
        "points": [
            [fold["n"], fold["in"], fold["out"], fold["return"], fold["growth"], fold["curve"]] for fold in ordered
        ],
        "last": [{key: fold[key] for key in _ROW} for fold in ordered[-ROWS:]],
        "space": [list(row) for row in space],
        "stitched": None if stitched is None else dict(stitched),
    }


_ROW = ("n", "in", "out", "return", "start", "end", "params")


def fold(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> Json:
    """Add the summary of some folds to that of others; the same in any order and grouping."""
    if total is None:
        return dict(part)
    return {
        **total,
        "runs": total["runs"] + part["runs"],
        "failed": total["failed"] + part["failed"],
        "errors": sorted([*total["errors"], *part["errors"]], key=lambda error: int(error["fold"]))[:ERRORS],
        "points": sorted([*total["points"], *part["points"]], key=lambda point: int(point[0])),
        "last": sorted([*total["last"], *part["last"]], key=lambda row: int(row["n"]))[-ROWS:],
        "stitched": total["stitched"] or part["stitched"],
    }


def chained(summary: Mapping[str, Any]) -> list[float]:
    """Return the out-of-sample equity of the finished folds, one after the other, over the start of the first.

    Each fold is an account of its own that begins flat; what is stitched from their positions is in the result.
    """
    made, level = [1.0], 1.0
    for *_, curve in summary["points"]:
        made += [level * point for point in curve]
        level = made[-1]
    return made


def figures(summary: Mapping[str, Any]) -> Json:
    """Return the numbers over all finished folds that a card shows.

    Returns
    -------
    dict
        ``done``; ``won`` (folds with a return above 0); ``in`` and ``out`` (median of the objective);
        ``efficiency`` as `stability.efficiency` has it, None where there is none.
    """
    points = summary["points"]
    inside = [point[1] for point in points if point[1] is not None]
    outside = [point[2] for point in points if point[2] is not None]
    known = [point[4] for point in points if None not in point[4]]
    earned, kept, years, later = (sum(growth[i] for growth in known) for i in range(4))
    return {
        "done": len(points),
        "won": sum(1 for point in points if (point[3] or 0.0) > 0),
        "in": median(inside) if inside else None,
        "out": median(outside) if outside else None,
        "efficiency": (kept / later) / (earned / years) if earned > 0 and years > 0 and later > 0 else None,
    }
