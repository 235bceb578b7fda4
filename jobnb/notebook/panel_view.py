"""What the panel shows: the recent jobs, the service, what there is to worry about; as HTML and as text.

`read` asks a manager, in the kernel's UI thread or where one is shown; the rest is pure functions of a `PanelView`.
Everything that users or jobs say is escaped; it must never hold a script or anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, Protocol

from jobnb.job import JobRecord, Status
from jobnb.notebook import card_text, job_table, look
from jobnb.notebook.style import STYLE

#: Warnings that are shown, the latest ones.
_WARNINGS = 3
_LIVE = [s.value for s in Status if not s.final]


class Source(Protocol):
    """What is asked of a manager."""

    def records(
        self, status: str | Sequence[str] | None = ..., kind: str | None = ..., tag: str | None = ..., limit: int = ...
    ) -> list[JobRecord]:
        """Return the rows of the newest jobs, newest first."""
        ...

    def stats(self, days: float | None = ...) -> dict[str, Any]:
        """Return how many jobs there are in each state, and how the service is; with ``days``, what has run."""
        ...


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something to worry about: a stuck job, too many that fail."""

    what: str
    why: str
    job: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class PanelView:
    """Everything a panel shows, as of one moment."""

    #: The newest jobs and all that are live, up to the panel's limit of each; newest first.
    records: tuple[JobRecord, ...]
    #: Jobs by state.
    counts: Mapping[str, int]
    dead_letters: int = 0
    warnings: tuple[Warned, ...] = ()
    #: Where the service stands, or an empty text where none runs; and its workers, if that is known.
    service: str = ""
    workers: int | None = None
    now: datetime

    @property
    def live(self) -> tuple[JobRecord, ...]:
        """Those that are to end: what can be cancelled."""
        return tuple(r for r in self.records if not r.status.final and not r.cancel_requested)

    @property
    def failed(self) -> tuple[JobRecord, ...]:
        """Those that can be tried again, or now."""
        return tuple(r for r in self.records if can_be_retried(r))

    @property
    def moves(self) -> bool:
        """True while a job is to end."""
        return any(self.counts.get(state) for state in _LIVE)


def can_be_retried(job: JobRecord) -> bool:
    """Tell whether a job is a dead letter, or waits for its next attempt."""
    return job.dead or (job.status is Status.RETRYING and not job.cancel_requested)


def read(manager: Source, limit: int, now: datetime) -> PanelView:
    """Return what a panel of ``limit`` jobs shows."""
    newest = manager.records(limit=limit)
    shown = {r.id for r in newest}
    # A long sweep must not fall off the panel because many small jobs came after it.
    older = [r for r in manager.records(status=_LIVE, limit=limit) if r.id not in shown]
    stats = manager.stats(None)  # drawn often: without the runs of days
    service = stats["service"]
    return PanelView(
        records=tuple(sorted((*newest, *older), key=lambda r: r.created_at, reverse=True)),
        counts=stats["jobs"],
        dead_letters=stats["dead_letters"],
        warnings=tuple(
            Warned(what=w["what"], why=w["why"], job=w["job"], at=datetime.fromisoformat(w["at"]))
            for w in stats["warnings"][-_WARNINGS:]
        ),
        service=str(service.get("state", "running")) if service["running"] else "",
        workers=service.get("workers") if service["running"] else None,
        now=now,
    )


def head(view: PanelView) -> list[str]:
    """Return the parts of the panel's first line: the service, and how many jobs there are."""
    said = [f"service {view.service}" if view.service else "no service (it starts with the next job)"]
    if view.workers is not None:
        said.append(look.plural(view.workers, "worker"))
    for state in ("running", "retrying", "queued", "scheduled"):
        if count := view.counts.get(state):
            said.append(f"{look.number(count)} {state}")
    if view.dead_letters:
        said.append(look.plural(view.dead_letters, "dead letter"))
    said.append(look.plural(sum(view.counts.values()), "job"))
    return said


def warning(said: Warned, now: datetime) -> tuple[str, str]:
    """Return the code and the sentence of a warning."""
    # "failure rate" is about all jobs, and names the last one that failed only as a beginning.
    about = f"job {look.short_id(said.job)}" if said.what == "stuck" else f"the last is {look.short_id(said.job)}"
    text = f"{about}: {said.why}" if said.what == "stuck" else f"{said.why}; {about}"
    return said.what.upper().replace(" ", "_"), f"{text}{look.DOT}{look.moment(said.at, now)}"


def render(view: PanelView, *, style: bool = True, trouble: str = "") -> str:
    """Return the panel as HTML.

    Parameters
    ----------
    view : PanelView
    style : bool, default True
        Begin with the style sheet; False where the page has it already.
    trouble : str, default ""
        What the panel itself has to say: what became of a button, a store that cannot be read.
    """
    lead = "jn-completed" if view.service else "jn-queued"
    warned = "".join(
        f'<p class="jn-warning"><span class="jn-code">{escape(code)}</span> {escape(text)}</p>'
        for code, text in (warning(w, view.now) for w in view.warnings)
    )
    table = job_table.html(job_table.JOBS, view.records, view.now) if view.records else "<p>no jobs yet</p>"
    said = f'<p class="jn-notice">{escape(trouble)}</p>' if trouble else ""
    return (
        (STYLE if style else "")
        + '<section class="jn-card jn-table jn-panel" aria-label="jobs">'
        + f'<header class="{lead}"><i class="jn-dot" aria-hidden="true"></i> <strong class="jn-name">jobs</strong> '
        + f'<span class="jn-right">{escape(look.DOT.join(head(view)))}</span></header>'
        + warned
        + table
        + said
        + "</section>"
    )


def render_trouble(text: str) -> str:
    """Return a panel whose jobs cannot be read."""
    return (
        '<section class="jn-card jn-table jn-panel"><header class="jn-failed"><i class="jn-dot"></i> '
        f'<strong class="jn-name">jobs</strong></header><p>this panel cannot be drawn: {escape(text)}</p></section>'
    )


def text(view: PanelView, *, colour: bool = False) -> str:
    """Return the panel as lines of text, without what a terminal would obey."""
    lines = [f"jobs{look.DOT}{card_text.one_line(look.DOT.join(head(view)))}"]
    lines += [card_text.one_line(" ".join(warning(w, view.now))) for w in view.warnings]
    if view.records:
        lines += job_table.lines(job_table.JOBS, view.records, view.now, colour=colour)
    return "\n".join(lines)


def choice(job: JobRecord) -> str:
    """Return the words for a job in the panel's list of those that can be cancelled or tried again."""
    name = card_text.one_line(job.name)
    return f"{look.short_id(job.id)}  {name if len(name) <= 36 else name[:35] + '…'}"
