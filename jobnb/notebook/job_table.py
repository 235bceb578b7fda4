"""Tables of jobs, as HTML and as text: the list, the dead letters and the panel have the same rows.

Pure functions of `JobRecord`, run in the kernel and the command line. Everything a user named is escaped; nothing here
may read the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Literal

from jobnb.job import JobRecord, JobView, Status
from jobnb.notebook import card_text, look, words

#: Characters of a name and of an error that a line of text has room for.
_NAME_WIDTH, _ERROR_WIDTH = 40, 60


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its head, what it says of a job, and how it looks."""

    head: str
    says: Callable[[JobRecord, datetime], str]
    look: Literal["text", "id", "name", "state", "code", "progress", "number"] = "text"


def outcome(job: JobRecord, now: datetime) -> str:
    """Return in a few words how far a job is or how it ended."""
    if job.status in (Status.RETRYING, Status.FAILED) and job.error is not None and not job.cancel_requested:
        text = _short(card_text.one_line(f"{job.error.code}: {job.error.line}"), _ERROR_WIDTH)
        clock = words.retrying(JobView(job=job, now=now))[1] if job.status is Status.RETRYING else ""
        return f"next in {clock}{look.DOT}{text}" if clock else text
    if job.status is Status.SCHEDULED and job.run_at is not None:
        return job.note if job.note and job.options.get("needs") else f"starts {look.moment(job.run_at, now)}"
    done, total = look.counts(job)
    count = f"{look.number(int(done))} of {look.plural(total, look.noun_of(job))}" if total else ""
    if not job.status.final:
        found = words.best(job)
        best = f"{look.label(found[0])} {found[1]}" if found else ""
        return look.DOT.join(said for said in (count, best, job.note) if said)
    if job.status is Status.CANCELLED and job.error is not None:
        return _short(card_text.one_line(job.error.message), _ERROR_WIDTH)
    if job.status is Status.CANCELLED and job.items > 1:
        return f"{look.number(job.done)} of {look.plural(job.items, look.noun_of(job))}"
    if found := words.best(job):
        return f"{look.label(found[0])} {found[1]} at {found[2]}"
    metrics = words.part(job.summary, "metrics")
    if metrics:
        shown = [n for n in ("sharpe_ratio", "total_return") if n in metrics] or list(metrics)[:2]
        return look.DOT.join(f"{look.label(n)} {look.metric(n, metrics[n])}" for n in shown)
    return look.plural(job.items, look.noun_of(job)) if job.items > 1 else ""


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _code(job: JobRecord, _now: datetime) -> str:
    return words.failed_line(job)[0]


def _error(job: JobRecord, _now: datetime) -> str:
    return card_text.one_line(words.failed_line(job)[1])


def _ended(job: JobRecord, now: datetime) -> str:
    return look.moment(job.finished_at or job.created_at, now)


_ID = Column(head="id", says=lambda job, _: look.short_id(job.id), look="id")
_NAME = Column(head="name", says=lambda job, _: job.name, look="name")
_KIND = Column(head="kind", says=lambda job, _: job.kind)

JOBS = (
    _ID,
    _NAME,
    _KIND,
    Column(head="state", says=lambda job, _: look.state_word(job), look="state"),
    Column(head="progress", says=outcome, look="progress"),
    Column(head="time", says=lambda job, now: look.time_line(job, now)),
    Column(head="created", says=lambda job, now: look.moment(job.created_at, now)),
)
DEAD_LETTERS = (
    _ID,
    _NAME,
    _KIND,
    Column(head="code", says=_code, look="code"),
    Column(head="error", says=_error, look="name"),
    Column(head="attempts", says=lambda job, _: look.number(job.attempt), look="number"),
    Column(head="failed", says=_ended),
)


def lines(columns: Sequence[Column], records: Sequence[JobRecord], now: datetime, *, colour: bool = False) -> list[str]:
    """Return the table as lines of text."""
    rows = [
        [
            _short(card_text.one_line(column.says(job, now)), _ERROR_WIDTH if column.head == "error" else _NAME_WIDTH)
            if column.look == "name"
            else column.says(job, now)
            for column in columns
        ]
        for job in records
    ]
    # Numbers and moments stand to the right.
    left = next((i for i, c in enumerate(columns) if c.look == "number" or c.head == "time"), len(columns))
    return card_text.table([c.head for c in columns], rows, colour=colour, left=left)


def html(columns: Sequence[Column], records: Sequence[JobRecord], now: datetime) -> str:
    """Return the table as HTML, to stand in a ``jn-card jn-table``."""
    head = "".join(f"<th{_side(c)}>{escape(c.head)}</th>" for c in columns)
    body = "".join(
        f'<tr class="jn-r jn-{escape(look.state_word(job))}">'
        + "".join(f"<td{_side(column)}>{_cell(column, job, now)}</td>" for column in columns)
        + "</tr>"
        for job in records
    )
    return f'<table><thead><tr class="jn-r">{head}</tr></thead><tbody>{body}</tbody></table>'


def _side(column: Column) -> str:
    if column.look == "number":
        return ""
    return ' class="jn-l jn-wide"' if column.look in ("name", "progress") else ' class="jn-l"'


def _cell(column: Column, job: JobRecord, now: datetime) -> str:
    text = escape(column.says(job, now))
    match column.look:
        case "id":
            return f'<code title="{escape(job.id)}">{text}</code>'
        case "state":
            return f'<i class="jn-dot" aria-hidden="true"></i> {text}'
        case "code":
            return f'<span class="jn-code">{text}</span>'
        case "progress":
            return text + _bar(job)
        case _:
            return text


def _bar(job: JobRecord) -> str:
    done, total = look.counts(job)
    if job.status.value != "running" or not total:
        return ""
    # The words beside it say the same.
    return f'<div class="jn-bar" aria-hidden="true"><i style="width:{100 * min(done / total, 1):.0f}%"></i></div>'
