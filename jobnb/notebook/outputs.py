"""What ``%job`` returns besides jobs: text that shows as it is, and a table of jobs.

Runs in the kernel. Everything a user named is escaped; nothing here may read the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from jobnb.job import Job, JobRecord
from jobnb.notebook import card_text, look, words
from jobnb.notebook.style import STYLE


class Text(str):
    """Text that a notebook shows as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


_HEAD = ("id", "name", "kind", "state", "progress", "time", "created")


class JobTable(list[Job]):
    """Jobs, newest first, shown as a table.

    Parameters
    ----------
    jobs : sequence of Job
    records : sequence of JobRecord
        Their rows, as of ``now``.
    now : datetime
    """

    def __init__(self, jobs: Sequence[Job], records: Sequence[JobRecord], now: datetime) -> None:
        super().__init__(jobs)
        self._records = tuple(records)
        self._now = now

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                look.short_id(r.id),
                r.name,
                r.kind,
                look.state_word(r),
                outcome(r),
                look.time_line(r, self._now),
                look.moment(r.created_at, self._now),
            )
            for r in self._records
        ]

    def __repr__(self) -> str:
        if not self._records:
            return "no jobs"
        rows = [(*r[:1], card_text.one_line(r[1])[:40], *r[2:]) for r in self._rows()]
        return "\n".join(card_text.table(_HEAD, rows, left=5))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        if not self._records:
            return "<p>no jobs</p>"
        head = "".join(f'<th class="jn-l">{h}</th>' for h in _HEAD)
        body = "".join(
            f'<tr class="jn-r jn-{escape(row[3])}"><td class="jn-l"><code title="{escape(record.id)}">'
            f"{escape(row[0])}</code></td>"
            + "".join(f'<td class="jn-l">{escape(cell)}</td>' for cell in row[1:3])
            + f'<td class="jn-l"><i class="jn-dot" aria-hidden="true"></i> {escape(row[3])}</td>'
            + "".join(f'<td class="jn-l">{escape(cell)}</td>' for cell in row[4:])
            + "</tr>"
            for row, record in zip(self._rows(), self._records, strict=True)
        )
        return (
            f'{STYLE}<section class="jn-card jn-table"><table><thead><tr class="jn-r">{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></section>"
        )


def outcome(job: JobRecord) -> str:
    """Return in a few words how far a job is or how it ended."""
    if job.error is not None and job.status.value != "completed":
        text = f"{job.error.code}: {job.error.line}"
        return text if len(text) <= 60 else text[:59] + "…"
    if found := words.best(job):
        return f"{look.label(found[0])} {found[1]} at {found[2]}"
    metrics = words.part(job.summary, "metrics")
    if metrics:
        shown = [n for n in ("sharpe_ratio", "total_return") if n in metrics] or list(metrics)[:2]
        return look.DOT.join(f"{look.label(n)} {look.metric(n, metrics[n])}" for n in shown)
    done, total = look.counts(job)
    if total and not job.status.final:
        return f"{look.number(int(done))} of {look.plural(total, look.noun(job.kind))}"
    return job.note if not job.status.final else ""
