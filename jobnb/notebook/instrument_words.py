"""What the card of a backtest of several instruments says, as plain text, from the summary of those that are done.

Pure functions on a `JobRecord`, run in the kernel and the command line. They must never return markup: whoever draws
escapes or colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobnb.job import JobRecord
from jobnb.notebook import look
from jobnb.notebook.words import Table, items, part
from jobnb.research import instrument_summary


def known(job: JobRecord) -> Mapping[str, Any] | None:
    """Return the summary of a job of instruments, or None if it is none or nothing is done."""
    summary = job.summary or {}
    return summary if summary.get("kind") == "instruments" and (summary["done"] or summary["failed"]) else None


def so_far(job: JobRecord) -> tuple[str, Sequence[float]] | None:
    """Return a line for a running job and the combined curve of what is done; None before there is one."""
    summary = known(job)
    if summary is None or not summary["done"]:
        return None
    said = [f"{look.number(summary['won'])} of {look.plural(summary['done'], 'instrument')} made money"]
    for name in ("total_return", "sharpe_ratio"):
        if (value := instrument_summary.mean(summary, name)) is not None:
            said.append(f"mean {look.label(name)} {look.metric(name, value)}")
    if best := next((row for row in items(summary, "best") if isinstance(row, Mapping)), None):
        said.append(f"best {best['symbol']} {look.metric('total_return', best.get('total_return'))}")
    return look.DOT.join(said), instrument_summary.curve(summary).get("equity", ())


def tiles(job: JobRecord) -> list[tuple[str, str, str]]:
    """Return the large numbers: value, words, and ``up``, ``down`` or nothing."""
    summary = known(job)
    if summary is None:
        return []
    shown: list[tuple[str, str, str]] = []
    drawn = instrument_summary.curve(summary)
    if drawn:
        gain = drawn["equity"][-1] - 1.0
        shown += [
            (look.metric("total_return", gain), "combined return", "up" if gain > 0 else "down" if gain < 0 else ""),
            (look.metric("buy_and_hold_return", drawn["hold"][-1] - 1.0), "buy and hold", ""),
        ]
    for name in ("sharpe_ratio", "max_drawdown"):
        if (value := instrument_summary.mean(summary, name)) is not None:
            shown.append((look.metric(name, value), f"mean {look.label(name)}", ""))
    shown.append((f"{look.number(summary['won'])} of {look.number(summary['done'])}", "instruments made money", ""))
    if summary["failed"]:
        shown.append((look.number(summary["failed"]), "failed", "down"))
    return shown


def curve(job: JobRecord) -> Mapping[str, Any]:
    """Return the picture: all finished instruments in equal shares."""
    summary = known(job)
    drawn = instrument_summary.curve(summary) if summary else {}
    data = part(job.params, "data")
    return {**drawn, "t": [data.get("start") or "", data.get("end") or ""]} if drawn else {}


def curve_title(job: JobRecord) -> str:
    """Return the text alternative of that picture."""
    summary = known(job)
    return f"equity of {look.plural(summary['curves'], 'instrument')} in equal shares" if summary else ""


def table(job: JobRecord) -> Table | None:
    """Return the best and the worst instruments as rows, or None where there is none."""
    summary = known(job)
    best, worst = items(summary, "best"), items(summary, "worst")
    rows = [row for row in (*best, *worst) if isinstance(row, Mapping)]
    if summary is None or not rows:
        return None
    names = [name for name in instrument_summary.SHOWN if any(row.get(name) is not None for row in rows)]
    body = [(str(row["symbol"]), *(look.metric(name, row.get(name)) for name in names)) for row in rows]
    if (left := summary["done"] - len(rows)) > 0:
        body.insert(len(best), (f"… {look.number(left)} between", *("" for _ in names)))
    return Table(head=("instrument", *(look.HEADS.get(n, look.label(n)) for n in names)), rows=tuple(body))


def errors(job: JobRecord) -> list[str]:
    """Return why the first of those that failed did."""
    return [
        f"{found.get('symbol')}: {found.get('error', '')}"
        for found in items(known(job), "errors")
        if isinstance(found, Mapping)
    ]
