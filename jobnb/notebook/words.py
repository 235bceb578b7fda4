"""What a card says, line by line, as plain text: the HTML card and the terminal card speak the same words.

Pure functions on a `JobView`, run in the kernel and the command line. They must never return markup: whoever draws
escapes or colours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobnb.job import JobRecord, JobView, LogLine, Status
from jobnb.notebook import eta, look
from jobnb.research.luck import of as how_lucky

#: Frames and lines of a traceback that a card keeps; the whole of it is in ``job.error.traceback``.
TRACEBACK_LINES = 40


def part(values: object, name: str) -> Mapping[str, object]:
    """Return a part of a summary that is a mapping, or an empty one."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items(values: object, name: str) -> Sequence[object]:
    """Return a part of a summary that is a list, or an empty one."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, (list, tuple)) else ()


def pace(view: JobView, known: eta.Eta | None = None) -> eta.Eta:
    """Return how fast the job goes, after this look at it."""
    job = view.job
    done, total = look.counts(job)
    started = (job.started_at or job.created_at).timestamp()
    return eta.step(known, at=view.now.timestamp(), done=done, total=total, started=started)


@dataclass(frozen=True, kw_only=True)
class Running:
    """The words of a running job: the count in front, then the rest of the line."""

    #: 0 to 1, or None where the total is not known.
    share: float | None
    count: str
    rest: tuple[str, ...]


def running(view: JobView, known: eta.Eta | None = None) -> Running:
    """Return the words for how far a running job is."""
    job = view.job
    done, total = look.counts(job)
    speed = known or pace(view)
    noun = look.noun_of(job)
    rest: list[str] = []
    if total:
        count = look.number(int(done) if float(done).is_integer() else done)
        of = f"of {look.plural(total, noun)}"
        if job.failed_items:
            of += f", {look.number(job.failed_items)} failed"
    else:
        count, of = (look.plural(done, noun), "") if done else ("running", "")
    rest.append(of)
    if job.status is Status.RUNNING and speed.done > 0 and speed.at - speed.since >= 0.2:
        rest.append(look.rate(speed.rate))
    left = speed.left(view.now.timestamp())
    if left is not None and not job.cancel_requested:
        rest.append(f"about {look.clock(left)} left")
    if job.records is not None:
        rest.append(look.plural(job.records, "record"))
    if job.running > 1:
        rest.append(look.plural(job.running, "task") + " at once")
    if job.attempt > 1:
        rest.append(f"attempt {job.attempt}")
    rest += [job.progress.message, job.note]
    share = min(done / total, 1.0) if total else None
    return Running(share=share, count=count, rest=tuple(r for r in rest if r))


def cancelling(view: JobView) -> str:
    """Return the line of a job whose cancel was asked for."""
    done, total = look.counts(view.job)
    kept = f"{look.DOT}{look.number(int(done))} of {look.plural(total, look.noun_of(view.job))} done" * bool(total > 1)
    return f"cancelling{kept}"


def best(job: JobRecord) -> tuple[str, str, str] | None:
    """Return the name of the objective, its best value and where it was found; None before there is one."""
    found = part(job.summary, "best")
    if found.get("value") is None:
        return None
    objective = str((job.summary or {}).get("objective") or "value")
    return objective, look.metric(objective, found["value"]), look.params(part(found, "params"))


def failed_line(job: JobRecord) -> tuple[str, str]:
    """Return the code and the sentence for why a job or its last attempt failed."""
    error = job.error
    if error is None:
        return "UNKNOWN", "the job failed without saying why"
    return error.code, error.line or "no message"


def retrying(view: JobView) -> tuple[str, str]:
    """Return what follows the error of a job that will be tried again, and when: the clock that counts down."""
    job = view.job
    most = job.options.get("max_attempts")
    # A number that was raised meanwhile must not read as "attempt 5 of 4".
    text = f"attempt {job.attempt}" + (f" of {most}" if isinstance(most, int) and most >= job.attempt else "")
    text += " failed"
    if job.run_at is None:
        return text, ""
    # Rounded up: a clock that counts down is at zero when the time has come, not a second before.
    left = math.ceil((job.run_at - view.now).total_seconds() - 1e-3)
    return (f"{text}, next in", look.clock(left)) if left > 0 else (f"{text}, the next is due", "")


def retrying_line(view: JobView) -> str:
    """Return what follows the error of a job that will be tried again, on one line."""
    return " ".join(retrying(view)).rstrip()


def taken_line(job: JobRecord) -> str:
    """Return what the card of a submit says whose unique key was taken."""
    return f"unique key {job.unique!r} is taken by this job; nothing new was submitted"


def next_second(view: JobView) -> float:
    """Return in how many seconds a clock on the job's card moves."""
    job = view.job
    soonest = 1.0 - job.elapsed(view.now) % 1.0
    if job.run_at is not None and job.status in (Status.RETRYING, Status.SCHEDULED):
        left = (job.run_at - view.now).total_seconds()
        if left > 0:
            soonest = min(soonest, left % 1.0 or 1.0)
    return max(soonest, 0.01)


def cancelled_line(view: JobView) -> str:
    """Return who cancelled the job and after how long."""
    job = view.job
    if job.error is not None:
        return job.error.message
    by = f" by {job.cancelled_by}" if job.cancelled_by else ""
    if job.started_at is None:
        return f"cancelled{by} before it started"
    text = f"cancelled{by} after {look.duration(job.elapsed(view.now))}"
    done, total = look.counts(job)
    if job.items <= 1 and total > 1:
        text += f", at {look.number(int(done))} of {look.plural(int(total), look.noun_of(job))}"
    return text


def kept_line(job: JobRecord) -> str:
    """Return how much of a cancelled job is kept, or an empty string."""
    done, total = job.done, job.items
    if total <= 1 or done <= 0:
        return ""
    return f"{look.number(done)} of {look.plural(total, look.noun_of(job))} had finished and are kept"


def ended_line(view: JobView) -> str:
    """Return the line of a plain job that completed."""
    job = view.job
    text = f"completed in {look.duration(job.elapsed(view.now))}"
    if job.items > 1:
        text += f"{look.DOT}{look.plural(job.items, look.noun_of(job))}"
    if job.records is not None:
        text += f"{look.DOT}{look.plural(job.records, 'record')}"
    if isinstance(gaps := (job.summary or {}).get("gaps"), int) and gaps and job.kind == "data":
        text += f"{look.DOT}{look.plural(gaps, 'gap')}"
    if job.failed_items:
        text += f"{look.DOT}{look.number(job.failed_items)} failed"
    if job.attempt > 1:
        text += f"{look.DOT}attempt {job.attempt}"
    return text


def extracted(job: JobRecord) -> list[str]:
    """Return what an extraction fetches, and where to; empty for other jobs."""
    said = job.params
    if job.kind != "data" or "source" not in said or "interval" not in said:
        return []
    shown = [str(said["source"]), f"bars of {said['interval']}", f"{said.get('start')} to {said.get('end')}"]
    if isinstance(bad := (job.summary or {}).get("unusable"), int) and bad:
        shown.append(f"{look.plural(bad, 'symbol')} with bad bars: see job.result()")
    return [*shown, *([f"in {said['to']}"] if said.get("to") else [])]


def log_lines(log: Sequence[LogLine]) -> list[str]:
    """Return the lines of a log with the local time in front of each."""
    return [f"{line.at.astimezone():%H:%M:%S} {line.text}" for line in log]


def log_title(view: JobView) -> str:
    """Return the title of a log tail: how many lines there are and how many of them are shown."""
    total = max(view.log_total, len(view.log))
    shown = f", last {len(view.log)}" if total > len(view.log) else ""
    return f"log{look.DOT}{look.plural(total, 'line')}{shown}"


def traceback(text: str) -> tuple[str, str]:
    """Return a title and the capped text of a traceback; its end, nearest to the error, is kept."""
    lines = text.rstrip().splitlines()
    frames = sum(line.lstrip().startswith("File ") for line in lines)
    title = f"traceback{look.DOT}{look.plural(frames, 'frame')}" if frames else "traceback"
    if len(lines) > TRACEBACK_LINES:
        lines = [lines[0], f"  … {len(lines) - TRACEBACK_LINES} lines left out", *lines[1 - TRACEBACK_LINES :]]
    return title, "\n".join(lines)


def tiles(job: JobRecord) -> list[tuple[str, str, str]]:
    """Return the large numbers of a completed job: value, words, and ``up``, ``down`` or nothing."""
    return _sweep_tiles(job) if job.kind == "optimize" else _backtest_tiles(job)


def _backtest_tiles(job: JobRecord) -> list[tuple[str, str, str]]:
    metrics = part(job.summary, "metrics")
    shown: list[tuple[str, str, str]] = []
    order = ("total_return", "buy_and_hold_return", "sharpe_ratio", "max_drawdown", "trades", "win_rate", "exposure")
    for name in [n for n in order if n in metrics] or list(metrics)[:7]:
        value = metrics[name]
        tone = ""
        if name == "total_return" and isinstance(value, (int, float)) and value:
            tone = "up" if value > 0 else "down"
        elif name == "max_drawdown" and isinstance(value, (int, float)) and value < 0:
            tone = "down"
        shown.append((look.metric(name, value), look.label(name), tone))
    return shown


def _sweep_tiles(job: JobRecord) -> list[tuple[str, str, str]]:
    found = best(job)
    shown: list[tuple[str, str, str]] = []
    if found:
        shown += [(found[1], f"best {look.label(found[0])}", "up"), (found[2], "at", "code")]
    runs = (job.summary or {}).get("runs", job.done)
    failed = (job.summary or {}).get("failed", job.failed_items)
    stopped = (job.summary or {}).get("stopped")
    if stopped and isinstance(runs, int) and runs < job.items:
        shown.append((f"{look.number(runs)} of {look.number(job.items)}", f"runs, ended by {stopped}", ""))
    else:
        shown.append((look.number(runs), "runs", ""))
    shown += [(look.number(failed), "failed", "down" if failed else "")]
    return shown


def curve_title(job: JobRecord) -> str:
    """Return the text alternative of an equity picture."""
    metrics = part(job.summary, "metrics")
    said = [
        f"{look.label(name)} {look.metric(name, metrics[name])}"
        for name in ("total_return", "max_drawdown")
        if name in metrics
    ]
    return "equity and drawdown" + (": " + ", ".join(said) if said else "")


#: Options that the terms of a run tell in words of their own.
_SAID_IN_TERMS = frozenset({"conventions", "finalize_trades", "sizing", "volatility_period"})


def foot(job: JobRecord) -> list[str]:
    """Return what was run, so that a picture of the card can be trusted."""
    summary = job.summary or {}
    shown: list[str] = []
    params = part(summary, "params") or ({} if "space" in summary else part(job.params, "params"))
    if params:
        shown.append(look.params({k: v for k, v in params.items() if not isinstance(v, (Mapping, list))}))
    for axis in items(summary, "space"):
        if isinstance(axis, (list, tuple)) and len(axis) == 4:
            name, count, first, last = axis
            span = look.number(first) if count == 1 else f"{look.number(first)}…{look.number(last)}"
            span += f" ({count})" if isinstance(count, int) and count != 1 else ""
            shown.append(f"{name} {span}")
    if (method := job.params.get("search", job.params.get("method"))) not in (None, "grid"):
        seed = f" (seed {job.params['seed']})" if "seed" in job.params else ""
        shown.append(f"{method} search{seed}")
    if "," in str(job.params.get("objective", "")):
        shown.append(f"objectives {job.params['objective']}")
    data = part(summary, "data") or part(job.params, "data")
    if data.get("name"):
        shown.append(str(data["name"]))
    if data.get("start") and data.get("end"):
        shown.append(f"{_day(data['start'])} to {_day(data['end'])}")
    if isinstance(bars := data.get("bars"), (int, float)):
        shown.append(look.plural(bars, "bar"))
    said = summary.get("conventions") or job.params.get("terms")
    texts = [str(t) for t in (said.values() if isinstance(said, Mapping) else items({"_": said}, "_")) if t]
    for name, value in (part(summary, "options") or part(job.params, "options")).items():
        named = name.replace("_", " ")
        if name in _SAID_IN_TERMS or value in (None, 0, "") or any(t.startswith(named) for t in texts):
            continue
        if name in ("commission", "slippage") and isinstance(value, (int, float)):
            shown.append(f"{named} {look.number(100 * value)} %")
        else:
            shown.append(f"{named} {look.number(value)}")
    shown += texts
    return [s for s in shown if s]


def _day(value: object) -> str:
    text = str(value)
    return text[:10] if text[10:] in ("", "T00:00:00", " 00:00:00") or len(text) > 19 else text[:16]


def luck(job: JobRecord) -> str:
    """Return the honest sentence under a sweep, from what is known of it."""
    found = how_lucky({"runs": job.done, **(job.summary or {})}) if best(job) else None
    if found is None:
        return ""
    said = [text[:1].upper() + text[1:] for text in (found.verdict, found.line) if text]
    return ". ".join([*said, "Try it on data that the search has not seen."])


@dataclass(frozen=True, kw_only=True)
class Table:
    """The best rows of a sweep."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def top(job: JobRecord, most: int = 5) -> Table | None:
    """Return the best rows of a sweep, or None where there is none."""
    rows = [row for row in items(job.summary, "top") if isinstance(row, Mapping)][:most]
    if not rows:
        return None
    names = list(dict.fromkeys(str(name) for row in rows for name in part(row, "params")))
    objective = str((job.summary or {}).get("objective") or "value")
    metrics = [objective] if any("value" in row for row in rows) else []
    known = ("sharpe_ratio", "total_return", "max_drawdown", "trades")
    metrics += [m for m in known if m != objective and any(_of(row, m) is not None for row in rows)]
    body = tuple(
        (
            *(look.number(part(row, "params").get(name)) for name in names),
            *(look.metric(m, row.get("value") if m == objective else _of(row, m)) for m in metrics),
        )
        for row in rows
    )
    return Table(head=(*names, *(look.HEADS.get(m, look.label(m)) for m in metrics)), rows=body)


def _of(row: Mapping[str, object], metric: str) -> object:
    return part(row, "metrics").get(metric, row.get(metric))


def sweep_errors(job: JobRecord, most: int = 3) -> list[str]:
    """Return the first errors of a sweep, each with the parameters that caused it."""
    return [
        f"{look.params(part(found, 'params'))}: {found.get('error', '')}"
        for found in items(job.summary, "errors")[:most]
        if isinstance(found, Mapping)
    ]
