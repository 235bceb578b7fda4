"""A job's card as HTML: one pure function of a `JobView`, the same live, saved, and in the panel.

Runs in the kernel (its UI thread, and where a job is shown). Everything a user gave goes through ``html.escape``; it
must never hold a script or anything from elsewhere, and it stays readable where style and pictures are stripped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from jobnb.job import JobRecord, JobView, Status
from jobnb.notebook import fold_words, instrument_words, look, svg, words
from jobnb.notebook.eta import Eta
from jobnb.notebook.style import STYLE
from jobnb.research import tiles

#: Replaced in a live card by the phase of the pulse, which would otherwise start anew at each update.
PHASE = "--jn-phase:0s"


def render(
    view: JobView,
    *,
    live: bool,
    style: bool = True,
    buttons: int = 0,
    pace: Eta | None = None,
    grow_from: float | None = None,
    notice: str = "",
    trouble: str = "",
) -> str:
    """Return a job's card.

    Parameters
    ----------
    view : JobView
        What the store says about the job.
    live : bool
        True where the card will be drawn again: it may move, and needs no commands to type.
    style : bool, default True
        Begin with the style sheet; False where the page has it already.
    buttons : int, default 0
        How many buttons will lie over the card's upper right corner.
    pace : Eta, optional
        How fast the job goes; measured from its start otherwise.
    grow_from : float, optional
        The share, 0 to 1, from which the bar grows to where it is.
    notice : str, default ""
        What is to be said of this card alone, such as that its job was there already.
    trouble : str, default ""
        What the viewer itself has to say, such as a service that does not start.
    """
    job = view.job
    word = look.state_word(job)
    body = _body(view, live=live, pace=pace, grow_from=grow_from)
    if notice:
        body += f'<p class="jn-notice">{escape(notice)}</p>'
    if trouble:
        body += f'<p class="jn-trouble">{escape(trouble)}</p>'
    lead = f"jn-b{min(buttons, 2)} " if buttons else ""
    return (
        (STYLE if style else "")
        + f'<section class="jn-card {lead}jn-{word}" aria-label="{escape(f"job {job.name}: {word}")}">'
        + _header(view, word, live)
        + body
        + "</section>"
    )


def render_trouble(job_id: str, text: str) -> str:
    """Return a card for a job that cannot be read."""
    return (
        f'{STYLE}<section class="jn-card jn-failed"><header><i class="jn-dot"></i> '
        f"<code>{escape(look.short_id(job_id))}</code></header>"
        f"<p>this card cannot be drawn: {escape(text)}</p></section>"
    )


def _header(view: JobView, word: str, live: bool) -> str:
    job = view.job
    motion = f' style="{PHASE}"' if live and word in ("running", "cancelling") else ""
    time = look.time_line(job, view.now)
    return (
        f'<header><i class="jn-dot" aria-hidden="true"{motion}></i> '
        f'<strong class="jn-name" title="{escape(job.name)}">{escape(job.name)}</strong> '
        f'<span class="jn-kind">{escape(job.kind)}</span> '
        f'<code title="{escape(job.id)}">{escape(look.short_id(job.id))}</code> '
        f'<span class="jn-right">{word} · {time}</span></header>'
    )


def _body(view: JobView, *, live: bool, pace: Eta | None, grow_from: float | None) -> str:
    job = view.job
    if job.cancel_requested and not job.status.final:
        share = words.running(view, pace).share
        return _bar(share, share) + f"<p>{escape(words.cancelling(view))}</p>" + _log(view, opened=False)
    match job.status:
        case Status.SCHEDULED | Status.QUEUED:
            return _p(look.waiting_line(job, view.now, view.queue_position, view.queue_length))
        case Status.RUNNING:
            return _running(view, pace, grow_from if live else None)
        case Status.RETRYING:
            said, clock = words.retrying(view)
            return _failure(view, escape(said) + (f" <b>{clock}</b>" if clock else ""), live)
        case Status.COMPLETED:
            return _completed(view)
        case Status.FAILED:
            return _failure(view, "", live) + _log(view, opened=False)
        case Status.CANCELLED:
            return _cancelled(view)


def _p(parts: Iterable[str]) -> str:
    return f"<p>{escape(look.DOT.join(parts))}</p>"


def _bar(share: float | None, grow_from: float | None) -> str:
    if share is None:
        return ""
    grow = f";--jn-from:{100 * grow_from:.1f}%" if grow_from is not None and grow_from < share else ""
    if not grow:
        # Without a start there is nothing to grow from: hold still.
        grow = ";animation:none"
    return (
        f'<div class="jn-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.1f}%{grow}"></i></div>'
    )


def _running(view: JobView, pace: Eta | None, grow_from: float | None) -> str:
    said = words.running(view, pace)
    rest = escape(look.DOT.join(said.rest))
    joint = " " if said.share is not None else look.DOT
    out = _bar(said.share, grow_from) + f"<p><b>{escape(said.count)}</b>{joint if rest else ''}{rest}</p>"
    if found := words.best(view.job):
        name, value, where = found
        line = svg.sparkline(words.items(view.job.summary, "trail"))
        out += (
            f'<div class="jn-row"><div class="jn-best">best so far <b>{escape(name)} {escape(value)}</b> '
            f"at <code>{escape(where)}</code></div>{line}</div>"
        )
    if soon := fold_words.so_far(view.job):
        out += f'<div class="jn-row"><div class="jn-best">{escape(soon[0])}</div>{_spark(soon[1])}</div>'
    if soon := instrument_words.so_far(view.job):
        line = svg.sparkline(soon[1], "equity in equal shares so far") if len(soon[1]) > 2 else ""
        out += f'<div class="jn-row"><div class="jn-best">{escape(soon[0])}</div>{line}</div>'
    return out + _log(view, opened=True)


def _spark(values: Sequence[float]) -> str:
    return svg.sparkline(values, "equity out of sample so far") if values else ""


def _log(view: JobView, *, opened: bool) -> str:
    if not view.log:
        return ""
    lines = "\n".join(
        f'<span class="jn-err">{escape(text)}</span>' if line.stream == "stderr" else escape(text)
        for line, text in zip(view.log, words.log_lines(view.log), strict=True)
    )
    attr = " open" if opened else ""
    return f"<details{attr}><summary>{escape(words.log_title(view))}</summary><pre>{lines}</pre></details>"


def _failure(view: JobView, next_step: str, live: bool) -> str:
    job = view.job
    code, line = words.failed_line(job)
    error = job.error
    said = [escape(line)]
    if error and error.where:
        said.append(f"in <code>{escape(error.where)}</code>")
    if next_step:
        said.append(next_step)
    out = f'<p><span class="jn-code">{escape(code)}</span> {look.DOT.join(said)}</p>'
    if error and error.hint:
        out += f"<p>{escape(error.hint)}</p>"
    if job.status is Status.FAILED:
        kept = words.kept_line(job)
        out += f"<p>{escape(kept)}: <code>job.result(partial=True)</code></p>" if kept else ""
        if not live:
            out += f"<p>run it again: <code>%job retry {escape(look.short_id(job.id))}</code></p>"
    if error and error.traceback:
        title, text = words.traceback(error.traceback)
        out += f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
    return out


def _cancelled(view: JobView) -> str:
    job = view.job
    said = escape(words.cancelled_line(view))
    if kept := words.kept_line(job):
        said += f"{look.DOT}{escape(kept)}: <code>job.result(partial=True)</code>"
    out = f"<p>{said}</p>"
    if job.kind == "optimize" and words.best(job):
        out += _sweep(job)
    elif fold_words.known(job):
        out += _folds(job)
    elif instrument_words.known(job):
        out += _instruments(job)
    return out + _log(view, opened=False)


def _completed(view: JobView) -> str:
    job = view.job
    if job.kind == "backtest" and words.part(job.summary, "metrics"):
        return _tiles(words.tiles(job)) + _curve(job) + _log(view, opened=False)
    if job.kind == "optimize" and job.summary:
        return _sweep(job) + _log(view, opened=False)
    if fold_words.known(job):
        return _folds(job) + _log(view, opened=False)
    if instrument_words.known(job):
        return _instruments(job) + _log(view, opened=False)
    hint = f"<code>%job result {escape(look.short_id(job.id))}</code>"
    out = f"<p>{escape(words.ended_line(view))}{look.DOT}{hint}</p>"
    if said := words.extracted(job):
        out += f'<p class="jn-foot">{escape(look.DOT.join(said))}</p>'
    for error in words.sweep_errors(job):
        out += f'<p><span class="jn-code">FAILED</span> {escape(error)}</p>'
    return out + _log(view, opened=True)


def _folds(job: JobRecord) -> str:
    out = _tiles(fold_words.tiles(job))
    out += _figure(fold_words.curve(job), fold_words.curve_title(job), ())
    out += _table(fold_words.table(job), lead=False)
    out += f'<p class="jn-foot">{escape(look.DOT.join([*fold_words.foot(job), *words.foot(job)]))}</p>'
    for error in fold_words.errors(job):
        out += f'<p><span class="jn-code">FAILED</span> {escape(error)}</p>'
    if verdict := fold_words.verdict(job):
        out += f'<p class="jn-luck"><b>Out of sample:</b> {escape(verdict)}</p>'
    return out


def _instruments(job: JobRecord) -> str:
    out = _tiles(instrument_words.tiles(job))
    out += _figure(instrument_words.curve(job), instrument_words.curve_title(job), ())
    out += _table(instrument_words.table(job), lead=False)
    for error in instrument_words.errors(job):
        out += f'<p><span class="jn-code">FAILED</span> {escape(error)}</p>'
    return out + f'<p class="jn-foot">{escape(look.DOT.join(words.foot(job)))}</p>'


def _tiles(tiles: Iterable[tuple[str, str, str]]) -> str:
    shown = []
    for value, name, tone in tiles:
        text = f"<code>{escape(value)}</code>" if tone == "code" else escape(value)
        css = f" jn-{tone}" if tone in ("up", "down") else ""
        shown.append(f'<div class="jn-tile{css}"><b>{text}</b> <span>{escape(name)}</span></div>')
    return f'<div class="jn-tiles">{"".join(shown)}</div>' if shown else ""


def _curve(job: JobRecord) -> str:
    return _figure(words.part(job.summary, "curve"), words.curve_title(job), words.foot(job))


def _figure(curve: Mapping[str, object], title: str, said: Iterable[str]) -> str:
    plot = svg.equity(curve, title)
    foot = escape(look.DOT.join(said))
    foot = f'<p class="jn-foot">{foot}</p>' if foot else ""
    if plot is None:
        return foot
    times = words.items(curve, "t")
    first, last = (escape(str(t)[:10]) for t in (times[0], times[-1])) if len(times) >= 2 else ("", "")
    keys = '<span class="jn-key">strategy</span> '
    if words.items(curve, "hold"):
        keys += '<span class="jn-key jn-key2">buy and hold</span> '
    if plot.worst < 0:
        keys += f'<span class="jn-key jn-key3">drawdown, deepest {look.percent(plot.worst)}</span> '
    scale = " (log scale)" if plot.log else ""
    return (
        f'<div class="jn-fig">{plot.svg}<span class="jn-at" style="top:0">{look.percent(plot.high)}{scale}</span>'
        f'</div><div class="jn-ends"><span>{first}</span> <span>{keys}</span> <span>{last}</span></div>'
        f"{foot}"
    )


def _sweep(job: JobRecord) -> str:
    table, heat = _table(words.top(job)), _heat(job)
    out = _tiles(words.tiles(job))
    if table and heat:
        out += f'<div class="jn-two"><div>{table}</div><div>{heat}</div></div>'
    else:
        out += table + heat
    for error in words.sweep_errors(job):
        out += f'<p><span class="jn-code">FAILED</span> {escape(error)}</p>'
    if foot := words.foot(job):
        out += f'<p class="jn-foot">{escape(look.DOT.join(foot))}</p>'
    if luck := words.luck(job):
        out += f'<p class="jn-luck"><b>Is it luck?</b> {escape(luck)}</p>'
    return out


def _table(found: words.Table | None, *, lead: bool = True) -> str:
    if found is None:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in found.head)
    rows = ""
    for i, row in enumerate(found.rows):
        first = " jn-first" if lead and not i else ""
        rows += f'<tr class="jn-r{first}">' + "".join(f"<td>{escape(v)}</td>" for v in row) + "</tr>"
    return f'<table><thead><tr class="jn-r">{head}</tr></thead><tbody>{rows}</tbody></table>'


def _heat(job: JobRecord) -> str:
    raw = words.part(job.summary, "heat")
    rows, cols = words.items(raw, "rows"), words.items(raw, "cols")
    cells = tiles.cells(raw)
    if not rows or not cols or not cells:
        return ""
    summary = job.summary or {}
    maximize = bool(summary.get("maximize", True))
    objective = str(summary.get("objective") or "value")
    row, col = str(raw.get("row", "")), str(raw.get("col", ""))
    at = words.part(words.part(summary, "best"), "params")
    where = (_place(rows, at.get(row)), _place(cols, at.get(col)))
    best = None if where[0] is None or where[1] is None else (where[0], where[1])
    label = f"heat map of {objective} over {row} and {col}" + (f", best at {look.params(at)}" if at else "")
    drawn = svg.heat(len(rows), len(cols), cells, best=best, maximize=maximize, label=label)
    if drawn is None:
        return ""
    per = _per_cell(summary, row, len(rows)) * drawn.block[0] * _per_cell(summary, col, len(cols)) * drawn.block[1]
    block = f" · a cell shows the best of about {round(per)}" if per >= 1.2 else ""
    span = (
        f"rows {row} {look.number(rows[0])}…{look.number(rows[-1])} · "
        f"columns {col} {look.number(cols[0])}…{look.number(cols[-1])}{block}"
    )
    legend = svg.legend(drawn.low, drawn.high, objective, maximize)
    return f'{drawn.svg}<p class="jn-foot">{escape(objective)} {legend} · {escape(span)}</p>'


def _place(axis: Sequence[object], value: object) -> int | None:
    """Return where a value lies on an axis whose entries may be the first values of bins."""
    if value in axis:
        return list(axis).index(value)
    numbers = svg.finite([*axis, value])
    if any(map(math.isnan, numbers)):
        return None
    ups = [i for i, n in enumerate(numbers[:-1]) if (n <= numbers[-1]) == (numbers[0] <= numbers[-2])]
    return ups[-1] if ups else None


def _per_cell(summary: Mapping[str, object], name: str, shown: int) -> float:
    for axis in words.items(summary, "space"):
        if isinstance(axis, (list, tuple)) and len(axis) == 4 and axis[0] == name and isinstance(axis[1], int):
            return axis[1] / shown
    return 1.0
