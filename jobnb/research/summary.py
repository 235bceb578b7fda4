"""The small JSON summaries of research jobs that cards draw, and how those of a job's parts fold into one.

Children make them, the service folds them, front doors draw them. Pure Python: it must never import numpy or
pandas, because the service and the cards load it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobnb.research import luck, tiles

if TYPE_CHECKING:
    from jobnb.research.portfolio_result import PortfolioResult
    from jobnb.research.result import BacktestResult

#: A heat map on a card has at most so many rows and columns; larger grids are binned, the best of each bin shown.
HEAT_ROWS = 48
HEAT_COLUMNS = 96
TOP = 5
ERRORS = 3
#: Points of a curve on a card.
POINTS = 240
#: Metrics shown beside each of the top runs.
SHOWN = ("sharpe_ratio", "total_return", "max_drawdown", "trades")

Json = dict[str, Any]


def safe(value: float | None) -> float | None:
    """Return a number JSON can hold; NaN and infinities become None.

    Examples
    --------
    >>> safe(1.5), safe(float("nan"))
    (1.5, None)
    """
    return None if value is None or not math.isfinite(value) else value


def bin_of(place: int, count: int, limit: int) -> int:
    """Return the bin of a value's place among ``count`` values put into at most ``limit`` bins.

    Examples
    --------
    >>> [bin_of(i, 4, 2) for i in range(4)]
    [0, 0, 1, 1]
    """
    return place if count <= limit else place * limit // count


def bin_starts(count: int, limit: int) -> list[int]:
    """Return the first place of each bin."""
    if count <= limit:
        return list(range(count))
    return [-(-b * count // limit) for b in range(limit)]


def sweep_summary(
    *,
    runs: int,
    failed: int,
    errors: Sequence[Mapping[str, object]],
    top: Sequence[Mapping[str, object]],
    heat: Mapping[str, object] | None,
    objective: str,
    maximize: bool,
    space: Sequence[Sequence[object]],
    moments: Mapping[str, object] | None = None,
    sharpe: Mapping[str, int] | None = None,
    sample: Mapping[str, Any] | None = None,
) -> Json:
    """Put together the summary of a part of a sweep.

    Parameters
    ----------
    runs, failed : int
        Runs done, the failed ones included; and failed ones.
    errors : sequence of {"index", "params", "error"}
        The first ones by index.
    top : sequence of {"index", "params", "value", "metrics"}
        The best runs, best first; no NaN.
    heat : {"row", "col", "rows", "cols", "values"} or None
        See `tiles`.
    objective : str
    maximize : bool
    space : sequence of [name, count, first, last]
    moments : {"index", "count", "sharpe", "skewness", "kurtosis", "per_year", "hold"}, optional
        Of the daily returns of the best run; ``hold`` is the Sharpe ratio of the asset itself, per period.
    sharpe : {"count", "sum", "square"}, optional
        Of the finite annual Sharpe ratios of all runs, in units of `luck.UNIT`.
    sample : {"periods", "blocks", "index", "sums"}, optional
        Sums of returns over blocks of days of a sample of the runs, see `luck.overfitting`.
    """
    best = {key: top[0][key] for key in ("index", "value", "params")} if top else None
    return {
        "kind": "sweep",
        "runs": runs,
        "failed": failed,
        "errors": [dict(error) for error in errors[:ERRORS]],
        "best": best,
        "top": [dict(run) for run in top[:TOP]],
        "heat": dict(heat) if heat is not None else None,
        "objective": objective,
        "maximize": maximize,
        "space": [list(row) for row in space],
        "moments": dict(moments) if moments else None,
        "sharpe": dict(sharpe) if sharpe else None,
        "sample": dict(sample) if sample else None,
    }


def fold(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> Json:
    """Add the summary of one part to the summary of others.

    In any order and grouping the same: ties go to the lowest index, and NaN (None) never wins.
    """
    if total is None or part.get("kind") != "sweep":
        return dict(part)
    sign = -1.0 if total["maximize"] else 1.0
    top = sorted([*total["top"], *part["top"]], key=lambda run: (sign * run["value"], run["index"]))
    errors = sorted([*total["errors"], *part["errors"]], key=lambda error: error["index"])
    known = [each.get("moments") for each in (total, part)]
    return sweep_summary(
        runs=total["runs"] + part["runs"],
        failed=total["failed"] + part["failed"],
        errors=errors,
        top=top,
        heat=_fold_heat(total["heat"], part["heat"], maximize=bool(total["maximize"])),
        objective=total["objective"],
        maximize=total["maximize"],
        space=total["space"],
        moments=next((each for each in known if each and top and each["index"] == top[0]["index"]), None),
        sharpe=luck.fold_spread(total.get("sharpe"), part.get("sharpe")),
        sample=luck.fold_sample(total.get("sample"), part.get("sample")),
    )


def _fold_heat(a: Json | None, b: Json | None, *, maximize: bool) -> Json | None:
    if a is None or b is None:
        return a or b
    return {**a, "values": tiles.folded(a["values"], b["values"], maximize=maximize)}


def thin(values: Sequence[float], points: int = POINTS) -> list[float]:
    """Return at most ``points`` values: the first, the last, and between them the extremes of each stretch.

    Examples
    --------
    >>> thin([0, 9, 1, 1, 1, 1, -9, 1], 6)
    [0, 9, 1, 1, -9, 1]
    """
    if len(values) <= points:
        return list(values)
    inner = values[1:-1]
    buckets = max((points - 2) // 2, 1)
    made = [values[0]]
    for b in range(buckets):
        stretch = inner[b * len(inner) // buckets : (b + 1) * len(inner) // buckets]
        low = min(range(len(stretch)), key=stretch.__getitem__)
        high = max(range(len(stretch)), key=stretch.__getitem__)
        made += [stretch[min(low, high)], stretch[max(low, high)]]
    made.append(values[-1])
    return made


def backtest_summary(result: BacktestResult | PortfolioResult) -> Json:
    """Return what a card shows of a backtest.

    Returns
    -------
    dict
        ``metrics``, ``params``, ``curve`` (``t`` first and last time; ``equity``, ``hold`` and ``drawdown`` with
        at most 240 points each, extremes kept), ``data``, ``conventions`` (plain strings), ``options``.
    """
    return {
        "kind": "backtest",
        "name": result.name,
        "metrics": {name: safe(value) for name, value in result.get_performance_metrics().items()},
        "params": {name: _plain(value) for name, value in result.params.items()},
        "curve": {
            "t": [result.data["start"], result.data["end"]],
            "equity": _curve(result.equity.tolist()),
            "hold": _curve(result.hold.tolist()),
            "drawdown": _curve(result.fall.tolist()),
        },
        "data": dict(result.data),
        "conventions": list(result.conventions),
        "options": dict(result.options),
    }


def foreign_summary(
    *,
    name: str,
    metrics: Mapping[str, float],
    params: Mapping[str, object],
    equity: Sequence[float] | None,
    span: tuple[str, str],
    data: str,
    bars: int,
    close: Sequence[float] = (),
    conventions: Sequence[str] = ("metrics by the function itself",),
) -> Json:
    """Return what a card shows of a backtest of the user's own making; the shape of `backtest_summary`.

    ``curve`` is None where there is no equity; its ``hold`` is empty where the equity is not one value for each of
    the closes.
    """
    curve: Json | None = None
    if equity:
        peak, fall = equity[0], []
        for value in equity:
            peak = max(peak, value)
            fall.append(value / peak - 1.0 if peak > 0 else math.nan)
        hold = [equity[0] * price / close[0] for price in close] if len(close) == len(equity) else []
        curve = {"t": list(span), "equity": _curve(equity), "hold": _curve(hold), "drawdown": _curve(fall)}
    return {
        "kind": "backtest",
        "name": name,
        "metrics": {key: safe(value) for key, value in metrics.items()},
        "params": {key: _plain(value) for key, value in params.items()},
        "curve": curve,
        "data": {"name": data, "bars": bars, "start": span[0], "end": span[1]},
        "conventions": list(conventions),
        "options": {},
    }


def _curve(values: Sequence[float]) -> list[float | None]:
    return [safe(float(f"{value:.6g}")) for value in thin(values)]


def _plain(value: object) -> object:
    if isinstance(value, float):
        return safe(value)
    return value if value is None or isinstance(value, str | int | bool) else repr(value)
