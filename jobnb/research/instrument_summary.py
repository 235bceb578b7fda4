"""The small JSON summary of the instruments that are done, for cards, and how those of a job's parts fold into one.

Children make them, the service folds them, front doors draw them. Pure Python: it must never import numpy or
pandas, because the service and the cards load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

#: Points of the combined curve: the growth of every instrument at the same moments, so that they add up.
POINTS = 160
#: Instruments whose rows are kept, from the best and from the worst end.
ROWS = 5
ERRORS = 3
#: What a row says of an instrument.
SHOWN = ("total_return", "buy_and_hold_return", "sharpe_ratio", "max_drawdown", "trades")


def moments(start: int, stop: int, points: int = POINTS) -> list[int]:
    """Return the times, in whole nanoseconds, at which growth is sampled.

    Examples
    --------
    >>> moments(0, 100, 5)
    [0, 25, 50, 75, 100]
    """
    return [start + (stop - start) * i // (points - 1) for i in range(points)]


def summarize(
    *,
    planned: int,
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    growth: Sequence[float],
    hold: Sequence[float],
    curves: int,
) -> Json:
    """Put together the summary of some instruments.

    Parameters
    ----------
    planned : int
        Instruments of the whole job.
    rows : sequence of mapping
        Of each: ``n`` (its number), ``symbol``, and those of `SHOWN` that are finite.
    errors : sequence of {"n", "symbol", "error"}
        Instruments that failed.
    growth, hold : sequence of float
        Sums over instruments of equity over capital, and of buy and hold, at the job's `moments`; may be empty.
    curves : int
        How many instruments are in them.
    """
    return {
        "kind": "instruments",
        "planned": planned,
        "done": len(rows),
        "failed": len(errors),
        "won": sum((row.get("total_return") or 0.0) > 0.0 for row in rows),
        "sums": {name: _sum([row[name] for row in rows if row.get(name) is not None]) for name in SHOWN},
        **_ends(rows),
        "errors": [dict(error) for error in errors][:ERRORS],
        "growth": list(growth),
        "hold": list(hold),
        "curves": curves,
    }


def fold(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> Json:
    """Add the summary of some instruments to that of others; in any order the same, but for rounding of sums."""
    if total is None:
        return dict(part)
    sums = {name: [a + b for a, b in zip(total["sums"][name], part["sums"][name], strict=True)] for name in SHOWN}
    every = {row["n"]: row for row in (*total["best"], *total["worst"], *part["best"], *part["worst"])}
    return {
        **total,
        **{name: total[name] + part[name] for name in ("done", "failed", "won", "curves")},
        "sums": sums,
        **_ends(list(every.values())),
        "errors": sorted([*total["errors"], *part["errors"]], key=lambda error: int(error["n"]))[:ERRORS],
        "growth": _added(total["growth"], part["growth"]),
        "hold": _added(total["hold"], part["hold"]),
    }


def _sum(values: Sequence[float]) -> list[float]:
    return [len(values), sum(values)]


def _added(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)] if a and b else list(a or b)


def _ends(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Json]]:
    """Return the best rows, best first, and the worst of the others, worst last."""

    def value(row: Mapping[str, Any]) -> tuple[float, int]:
        found = row.get("total_return")
        return (-found if found is not None else float("inf"), int(row["n"]))

    ordered = [dict(row) for row in sorted(rows, key=value)]
    return {"best": ordered[:ROWS], "worst": ordered[ROWS:][-ROWS:]}


def mean(summary: Mapping[str, Any], name: str) -> float | None:
    """Return the mean of a metric over the finished instruments that have it."""
    count, total = summary["sums"].get(name, (0, 0.0))
    return total / count if count else None


def curve(summary: Mapping[str, Any]) -> Json:
    """Return the equal-weight curve of the finished instruments as a card draws it; empty before there is one."""
    count = summary.get("curves") or 0
    if not count:
        return {}
    equity = [value / count for value in summary["growth"]]
    peak, fall = equity[0], []
    for value in equity:
        peak = max(peak, value)
        fall.append(value / peak - 1.0 if peak > 0 else 0.0)
    return {"equity": equity, "hold": [value / count for value in summary["hold"]], "drawdown": fall}
