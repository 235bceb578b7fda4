"""What the card of a walk-forward or a cross-validation says, as plain text, from the summary of its folds.

Pure functions on a `JobRecord`, run in the kernel and the command line. They must never return markup: whoever draws
escapes or colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobnb.job import JobRecord
from jobnb.notebook import look
from jobnb.notebook.words import Table, items, part
from jobnb.research import fold_summary

#: Folds whose rows a card shows; the latest.
ROWS = 6


def known(job: JobRecord) -> Mapping[str, Any] | None:
    """Return the summary of a job of folds, or None if it is none or no fold is done."""
    summary = job.summary or {}
    return summary if summary.get("kind") == "folds" and items(summary, "points") else None


def so_far(job: JobRecord) -> tuple[str, Sequence[float]] | None:
    """Return a line for a running job and the curve of the folds that are done; None before there is one."""
    summary = known(job)
    if summary is None:
        return None
    found, objective = fold_summary.figures(summary), str(summary["objective"])
    said = [f"{look.number(found['won'])} of {look.plural(found['done'], look.noun(job.kind))} made money"]
    if found["out"] is not None:
        said.append(f"median {look.label(objective)} {look.metric(objective, found['out'])} out of sample")
    if found["in"] is not None:
        said.append(f"{look.metric(objective, found['in'])} in sample")
    chain = fold_summary.chained(summary)
    return look.DOT.join(said), chain if len(chain) > 2 else ()


def tiles(job: JobRecord) -> list[tuple[str, str, str]]:
    """Return the large numbers of a job of folds: value, words, and ``up``, ``down`` or nothing."""
    summary = known(job)
    if summary is None:
        return []
    found, objective = fold_summary.figures(summary), str(summary["objective"])
    stitched = part(summary, "stitched")
    metrics, paths = part(stitched, "metrics"), stitched.get("paths")
    several = isinstance(paths, int) and paths > 1
    of = " of the paths, median" if several else " out of sample"
    shown: list[tuple[str, str, str]] = []
    for name in dict.fromkeys(("total_return", objective, "sharpe_ratio", "max_drawdown")):
        value = metrics.get(name)
        if not isinstance(value, (int, float)):
            continue
        tone = ("up" if value > 0 else "down" if value < 0 else "") if name in ("total_return", "max_drawdown") else ""
        shown.append((look.metric(name, value), look.label(name) + (of if not shown else ""), tone))
    if several and (values := items(stitched, "values")):
        low, high = (look.metric(objective, value) for value in (_at(values, 0.05), _at(values, 0.95)))
        shown.append(
            (f"{low} to {high}", f"{look.label(objective)}, 5 % to 95 % of {look.plural(len(values), 'path')}", "")
        )
    if not metrics and found["out"] is not None:
        shown.append((look.metric(objective, found["out"]), f"median {look.label(objective)} out of sample", ""))
    shown.append((f"{found['won']} of {found['done']}", f"{look.noun(job.kind)}s made money", ""))
    if found["efficiency"] is not None:
        kept = look.percent(found["efficiency"], signed=False) if found["efficiency"] > 0 else "none"
        shown.append((kept, "of growth kept", ""))
    return shown


def curve(job: JobRecord) -> Mapping[str, Any]:
    """Return the picture of a job of folds: the stitched curve, or the folds done so far one after the other."""
    summary = known(job)
    if summary is None:
        return {}
    made = part(part(summary, "stitched"), "curve")
    if made:
        return made
    chain, rows = fold_summary.chained(summary), items(summary, "last")
    first = next((row.get("start") for row in rows if isinstance(row, Mapping) and row.get("n") == 0), None)
    last = rows[-1].get("end") if rows and isinstance(rows[-1], Mapping) else None
    return {"equity": chain, "t": [first or "", last or ""]} if len(chain) > 2 else {}


def curve_title(job: JobRecord) -> str:
    """Return the text alternative of that picture."""
    metrics = part(part(job.summary, "stitched"), "metrics")
    said = [f"{look.label(n)} {look.metric(n, metrics[n])}" for n in ("total_return", "max_drawdown") if n in metrics]
    return "equity out of sample" + (": " + ", ".join(said) if said else "")


def table(job: JobRecord) -> Table | None:
    """Return the latest folds as rows, or None where there is none."""
    summary = known(job)
    rows = [row for row in items(summary, "last") if isinstance(row, Mapping)][-ROWS:]
    if summary is None or not rows:
        return None
    objective = str(summary["objective"])
    varying = [axis[0] for axis in items(summary, "space") if isinstance(axis, (list, tuple)) and axis[1] != 1]
    names = [str(name) for name in varying]
    body = tuple(
        (
            look.number(row.get("n")),
            f"{row.get('start')} to {row.get('end')}",
            *(look.number(part(row, "params").get(name)) for name in names),
            look.metric(objective, row.get("in")),
            look.metric(objective, row.get("out")),
            look.metric("total_return", row.get("return")),
        )
        for row in rows
    )
    short = look.HEADS.get(objective, look.label(objective))
    return Table(head=(look.noun(job.kind), "test", *names, f"{short} in", f"{short} out", "return out"), rows=body)


def verdict(job: JobRecord) -> str:
    """Return the honest sentence under a job of folds."""
    summary = known(job)
    if summary is None:
        return ""
    found, objective = fold_summary.figures(summary), str(summary["objective"])
    said = []
    if found["in"] is not None and found["out"] is not None:
        inside, outside = (look.metric(objective, found[side]) for side in ("in", "out"))
        said.append(f"median {look.label(objective)} {inside} where it was chosen, {outside} on bars it had not seen")
    kept = found["efficiency"]
    if kept is not None:
        share = look.percent(kept, signed=False)
        said.append(f"{share} of the growth per year was kept" if kept > 0 else "none of the growth per year was kept")
    values = [v for v in items(part(summary, "stitched"), "values") if isinstance(v, (int, float))]
    if len(values) > 1:
        below = sum(v < 0 for v in values) / len(values)
        said.append(f"{look.percent(below, signed=False)} of the paths have a {look.label(objective)} below 0")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def errors(job: JobRecord) -> list[str]:
    """Return what went wrong in the first folds in which something did."""
    return [
        f"{look.noun(job.kind)} {found.get('fold')}: {found.get('error', '')}"
        for found in items(known(job), "errors")
        if isinstance(found, Mapping)
    ]


def foot(job: JobRecord) -> list[str]:
    """Return how the data was parted, and how much was tried."""
    summary = known(job)
    said = [str(job.params["cv"])] if job.params.get("cv") else []
    return said if summary is None else [*said, f"{look.plural(summary['runs'], 'run')} in all"]


def _at(values: Sequence[object], share: float) -> object:
    return values[round(share * (len(values) - 1))]
