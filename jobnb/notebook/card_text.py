"""A job's card as text, for a terminal and for ``text/plain``: the HTML card's words in the same order.

Pure functions of a `JobView`, used by the kernel, the command line and scripts. They must never write to a stream;
colour is put in only where the caller says that a terminal reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jobnb.job import JobView, Status
from jobnb.notebook import fold_words, instrument_words, look, words
from jobnb.notebook.eta import Eta

#: SGR codes by the class of what they colour.
_COLOURS = {
    "running": "34", "completed": "32", "failed": "31", "retrying": "33", "cancelling": "33",
    "queued": "2", "scheduled": "2", "cancelled": "2", "bold": "1", "soft": "2", "up": "32", "down": "31",
}  # fmt: skip

_BLOCKS = " ▏▎▍▌▋▊▉█"
#: What a terminal would obey rather than show; a job's output must not drive it.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return text without control sequences, tabs and line ends kept."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Return text on one line without control sequences."""
    return " ".join(plain(text).split())


def _paint(text: str, how: str, colour: bool) -> str:
    code = _COLOURS.get(how)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text else text


def bar(share: float, width: int = 24) -> str:
    """Return a progress bar of ``width`` characters, drawn to an eighth of one.

    Examples
    --------
    >>> bar(0.5, 8)
    '████    '
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(width)


def _head(view: JobView, colour: bool) -> str:
    job = view.job
    word = look.state_word(job)
    mark = "○" if word in ("queued", "scheduled") else "●"
    return (
        f"{_paint(mark, word, colour)} {_paint(one_line(job.name), 'bold', colour)} "
        f"({one_line(job.kind)}) {look.short_id(job.id)}"
        f"{look.DOT}{_paint(word, word, colour)}{look.DOT}{look.time_line(job, view.now)}"
    )


def render(
    view: JobView,
    *,
    colour: bool = False,
    pace: Eta | None = None,
    notice: str = "",
    trouble: str = "",
    width: int = 100,
) -> str:
    """Return a job's card as lines of text.

    Parameters
    ----------
    view : JobView
        What the store says about the job.
    colour : bool, default False
        Put in terminal colours; say True only where a terminal reads it.
    pace : Eta, optional
        How fast the job goes; measured from its start otherwise.
    notice, trouble : str, default ""
        What is to be said of this card alone, and what the viewer itself has to say.
    width : int, default 100
        Log lines are cut at this many characters.
    """
    lines = [_head(view, colour), *(f"  {line}" for line in _body(view, colour, pace, width))]
    lines += [f"  {one_line(said)}" for said in (notice, trouble) if said]
    return "\n".join(lines)


def _body(view: JobView, colour: bool, pace: Eta | None, width: int) -> list[str]:
    job = view.job
    short = look.short_id(job.id)
    log = [plain(line)[:width] for line in words.log_lines(view.log)]
    if job.cancel_requested and not job.status.final:
        return [words.cancelling(view)]
    match job.status:
        case Status.SCHEDULED | Status.QUEUED:
            parts = look.waiting_line(job, view.now, view.queue_position, view.queue_length)
            return [one_line(look.DOT.join(parts))]
        case Status.RUNNING:
            said = words.running(view, pace)
            lines = [] if said.share is None else [f"{bar(said.share)} {100 * said.share:.0f} %"]
            joint = " " if said.share is not None else look.DOT
            lines.append(one_line(said.count + (joint if said.rest else "") + look.DOT.join(said.rest)))
            if found := words.best(job):
                lines.append(one_line(f"best so far {found[0]} {found[1]} at {found[2]}"))
            if soon := fold_words.so_far(job):
                lines.append(one_line(soon[0]))
            if soon := instrument_words.so_far(job):
                lines.append(one_line(soon[0]))
            return [*lines, *log]
        case Status.RETRYING | Status.FAILED:
            return _failure(view, colour, log)
        case Status.CANCELLED:
            kept = words.kept_line(job)
            line = words.cancelled_line(view) + (f"{look.DOT}{kept}: job.result(partial=True)" if kept else "")
            return [one_line(line), *(_sweep(view, colour) if words.best(job) else _several(view, colour))]
        case Status.COMPLETED:
            if job.kind == "backtest" and words.part(job.summary, "metrics"):
                return [_tiles(view, colour), one_line(look.DOT.join(words.foot(job)))]
            if job.kind == "optimize" and job.summary:
                return _sweep(view, colour)
            if fold_words.known(job):
                return _folds(view, colour)
            if instrument_words.known(job):
                return _instruments(view, colour)
            errors = [one_line(f"FAILED {error}") for error in words.sweep_errors(job)]
            foot = [one_line(look.DOT.join(about))] if (about := words.extracted(job)) else []
            return [f"{words.ended_line(view)}{look.DOT}%job result {short}", *foot, *errors, *log]


def _failure(view: JobView, colour: bool, log: list[str]) -> list[str]:
    job = view.job
    code, line = words.failed_line(job)
    error = job.error
    said = [one_line(line)]
    if error and error.where:
        said.append(f"in {one_line(error.where)}")
    if job.status is Status.RETRYING:
        said.append(words.retrying_line(view))
    tone = "failed" if job.status is Status.FAILED else "retrying"
    lines = [f"{_paint(one_line(code), tone, colour)} {look.DOT.join(said)}"]
    if error and error.hint:
        lines.append(one_line(error.hint))
    if job.status is Status.FAILED:
        if kept := words.kept_line(job):
            lines.append(f"{kept}: job.result(partial=True)")
        lines.append(f"run it again: %job retry {look.short_id(job.id)}")
    return [*lines, *log]


def _tiles(view: JobView, colour: bool) -> str:
    return _row(words.tiles(view.job), colour)


def _row(tiles: Iterable[tuple[str, str, str]], colour: bool) -> str:
    return "   ".join(
        f"{one_line(name)} {_paint(one_line(value), tone or 'bold', colour)}" for value, name, tone in tiles
    )


def _folds(view: JobView, colour: bool) -> list[str]:
    job = view.job
    lines = [_row(fold_words.tiles(job), colour)] if fold_words.known(job) else []
    if found := fold_words.table(job):
        lines += table(found.head, found.rows, colour=colour)
    lines += [one_line(f"FAILED {error}") for error in fold_words.errors(job)]
    if lines:
        lines.append(one_line(look.DOT.join([*fold_words.foot(job), *words.foot(job)])))
    if verdict := fold_words.verdict(job):
        lines.append(one_line(f"Out of sample: {verdict}"))
    return lines


def _several(view: JobView, colour: bool) -> list[str]:
    return _instruments(view, colour) if instrument_words.known(view.job) else _folds(view, colour)


def _instruments(view: JobView, colour: bool) -> list[str]:
    job = view.job
    lines = [_row(instrument_words.tiles(job), colour)]
    if found := instrument_words.table(job):
        lines += table(found.head, found.rows, colour=colour, left=1)
    lines += [one_line(f"FAILED {error}") for error in instrument_words.errors(job)]
    return [*lines, one_line(look.DOT.join(words.foot(job)))]


def _sweep(view: JobView, colour: bool) -> list[str]:
    job = view.job
    lines = [_tiles(view, colour)]
    if found := words.top(job):
        lines += table(found.head, found.rows, colour=colour)
    lines += [one_line(f"FAILED {error}") for error in words.sweep_errors(job)]
    if foot := words.foot(job):
        lines.append(one_line(look.DOT.join(foot)))
    if luck := words.luck(job):
        lines.append(one_line(f"Is it luck? {luck}"))
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool = False, left: int = 0) -> list[str]:
    """Return a table as lines, numbers to the right, the first ``left`` columns to the left."""
    cells = [[one_line(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    return [_paint(lines[0].rstrip(), "soft", colour), *(line.rstrip() for line in lines[1:])]


def status_line(view: JobView, *, colour: bool = False, pace: Eta | None = None, width: int = 100) -> str:
    """Return one line for a terminal that draws it again and again: name, bar, count, rate, time left.

    The line is at most ``width`` characters wide, so that a carriage return brings the cursor back to its start.
    """
    job = view.job
    word = look.state_word(job)
    head = one_line(f"{look.short_id(job.id)} {job.name}")
    if job.status is Status.RUNNING:
        said = words.running(view, pace)
        picture = "" if said.share is None else f" {bar(said.share, 20)} {100 * said.share:3.0f} %"
        joint = " " if said.share is not None else look.DOT
        tail = one_line(said.count + (joint if said.rest else "") + look.DOT.join(said.rest))
        if found := words.best(job):
            tail += one_line(f"{look.DOT}best {found[1]} at {found[2]}")
        line = f"{head}{picture}{look.DOT}{look.clock(job.elapsed(view.now))}{look.DOT}{tail}"
    elif job.status in (Status.QUEUED, Status.SCHEDULED) and word != "cancelling":
        parts = look.waiting_line(job, view.now, view.queue_position, view.queue_length)
        line = one_line(f"{head}{look.DOT}{look.DOT.join(parts)}{look.DOT}{look.time_line(job, view.now)}")
    else:
        line = f"{head}{look.DOT}{word}{look.DOT}{look.time_line(job, view.now)}"
        if job.status in (Status.FAILED, Status.RETRYING):
            line += look.DOT + one_line(": ".join(words.failed_line(job)))
    if len(line) > width:
        line = line[: width - 1] + "…"
    return line.replace(f"{look.DOT}{word}", f"{look.DOT}{_paint(word, word, colour)}", 1)
