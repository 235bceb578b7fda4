"""How numbers, times and states read on every surface of jobnb: cards, tables, the terminal.

Pure functions on plain values, used by the kernel, the command line and the Jupyter Server alike. It must never
import a widget library, pandas or numpy, and never return markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from jobnb.job import JobRecord, Status

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
DOT = " \N{MIDDLE DOT} "

#: Metrics that are fractions and read as percent; the second set always shows its sign.
_PERCENT = frozenset(
    {"total_return", "annual_return", "volatility", "max_drawdown", "exposure", "win_rate"}
    | {"best_trade", "worst_trade", "average_trade", "buy_and_hold_return"}
)
_SIGNED = _PERCENT - {"volatility", "exposure", "win_rate"}
_COUNT = frozenset({"trades", "max_drawdown_duration"})
_MONEY = frozenset({"final_equity", "commissions_paid", "expectancy"})

#: Short words for the metrics that have one; others read as their name with blanks.
LABELS = {
    "total_return": "total return",
    "annual_return": "annual return",
    "sharpe_ratio": "Sharpe",
    "sortino_ratio": "Sortino",
    "calmar_ratio": "Calmar",
    "max_drawdown": "max drawdown",
    "buy_and_hold_return": "buy and hold",
}
#: Still shorter ones, for the head of a table.
HEADS = {**LABELS, "total_return": "return", "max_drawdown": "max dd"}


def number(value: object, digits: int = 4) -> str:
    """Return a number with at most ``digits`` significant digits, thousands separated, with a real minus.

    Examples
    --------
    >>> number(10011), number(-0.06123456), number(1.5), number(float("nan")), number(2e-9)
    ('10,011', '−0.06123', '1.5', '–', '2e−9')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return DASH if value is None else str(value)
    if isinstance(value, int):
        text = f"{value:,d}"
    elif math.isnan(value):
        return DASH
    elif math.isinf(value):
        text = "∞" if value > 0 else "-∞"
    elif abs(value) >= 10 ** (digits - 1):
        text = f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def fixed(value: object, places: int = 2) -> str:
    """Return a number with a fixed count of decimals, so that a column of them lines up.

    Examples
    --------
    >>> fixed(1.3), fixed(-0.002), fixed(None)
    ('1.30', '0.00', '–')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return number(value)
    text = f"{value:,.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(value: object, *, signed: bool = True) -> str:
    """Return a fraction as percent.

    Examples
    --------
    >>> percent(0.6142), percent(-0.142), percent(0.52, signed=False), percent(12.5)
    ('+61.4 %', '−14.2 %', '52 %', '+1,250 %')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return number(value)
    points = value * 100
    places = 0 if abs(points) >= 1000 or not signed else 1
    text = fixed(points, places)
    if signed and points > 0 and float(f"{points:.{places}f}") != 0:
        text = "+" + text
    return f"{text} %"


def metric(name: str, value: object) -> str:
    """Return a metric's value in the unit that its name has.

    Examples
    --------
    >>> metric("total_return", 0.614), metric("sharpe_ratio", 1.3), metric("trades", 23.0)
    ('+61.4 %', '1.30', '23')
    """
    if name in _PERCENT:
        return percent(value, signed=name in _SIGNED)
    if name in _COUNT and isinstance(value, float) and math.isfinite(value):
        text = number(round(value))
        return f"{text} d" if name == "max_drawdown_duration" else text
    if name in _MONEY:
        return fixed(value, 0 if isinstance(value, (int, float)) and abs(value) >= 1000 else 2)
    if isinstance(value, float) and 0.005 <= abs(value) < 1000:
        return fixed(value)
    return number(value)


def label(name: str) -> str:
    """Return the words for a metric.

    Examples
    --------
    >>> label("sharpe_ratio"), label("win_rate")
    ('Sharpe', 'win rate')
    """
    return LABELS.get(name, name.replace("_", " "))


def clock(seconds: float) -> str:
    """Return a time on a running clock.

    Examples
    --------
    >>> clock(4), clock(187), clock(3765), clock(90061)
    ('0:04', '3:07', '1:02:45', '1 d 1:01:01')
    """
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    if days:
        return f"{days} d {hours}:{minutes:02d}:{secs:02d}"
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def duration(seconds: float) -> str:
    """Return how long something took; below ten seconds in seconds, with one significant digit below 0.1.

    Examples
    --------
    >>> duration(0.042), duration(0.7), duration(3.21), duration(187)
    ('0.04 s', '0.7 s', '3.2 s', '3:07')
    """
    if seconds >= 9.95:
        return clock(round(seconds))
    if seconds >= 0.095:
        return f"{seconds:.1f} s"
    return f"{seconds:.2f} s" if seconds >= 0.005 else "0.00 s"


def rate(per_second: float) -> str:
    """Return a rate; slower than one a second it is the time for one.

    Examples
    --------
    >>> rate(14230), rate(123.4), rate(2.5), rate(0.25), rate(0)
    ('14.2 k/s', '123/s', '2.5/s', '4.0 s each', '')
    """
    if not math.isfinite(per_second) or per_second <= 0:
        return ""
    for size, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if per_second >= size * 0.9995:
            return f"{three(per_second / size)} {unit}"
    if per_second >= 1:
        return f"{three(per_second)}/s"
    return f"{duration(1 / per_second)} each"


def three(value: float) -> str:
    """Return a positive number with three significant digits at most, at most one decimal."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}"


def plural(count: float, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "run"), plural(10011, "run")
    ('1 run', '10,011 runs')
    """
    shown = number(int(count)) if float(count).is_integer() else number(count)
    return f"{shown} {noun}{'' if count == 1 else 's'}"


def ordinal(n: int) -> str:
    """Return ``1st``, ``2nd``, ``11th``."""
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,d}{suffix}"


def params(values: Mapping[str, object], limit: int = 12) -> str:
    """Return parameters as they are typed after ``%job``, each value kept short.

    Examples
    --------
    >>> params({"fast": 12, "slow": 87, "commission": 0.001})
    'fast=12 slow=87 commission=0.001'
    """
    shown = [f"{name}={_value(value)}" for name, value in list(values.items())[:limit]]
    return " ".join(shown) + (" …" if len(values) > limit else "")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def short_id(job_id: str) -> str:
    """Return the beginning of an id that people read and type."""
    return job_id[:4] if len(job_id) > 6 else job_id


def moment(at: datetime, now: datetime) -> str:
    """Return a moment in local time: the clock alone for today, with the date otherwise."""
    local, today = at.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if local.date() == (today + timedelta(days=1)).date():
        return f"tomorrow {local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def state_word(job: JobRecord) -> str:
    """Return the word for where a job stands; ``cancelling`` between the wish and the end."""
    if job.cancel_requested and not job.status.final:
        return "cancelling"
    return job.status.value


def noun(kind: str) -> str:
    """Return what the items of a job of this kind are called."""
    return {"optimize": "run", "map": "item", "walk_forward": "window", "cross_validation": "fold"}.get(kind, "step")


def noun_of(job: JobRecord) -> str:
    """Return what the items of this job are called."""
    return "instrument" if job.plan.get("type") == "instruments" else noun(job.kind)


def counts(job: JobRecord) -> tuple[float, float]:
    """Return how much is done and how much there is to do; the total is 0 where it is not known.

    A job says so itself by ``jobnb.progress``; otherwise the items of its plan count.
    """
    if job.progress.total > 0:
        return min(job.progress.current, job.progress.total), job.progress.total
    if job.items > 1:
        return float(min(job.done, job.items)), float(job.items)
    return job.progress.current, 0.0


def time_line(job: JobRecord, now: datetime) -> str:
    """Return the time that stands at the right of a card: a clock while it moves, a duration at the end."""
    elapsed = job.elapsed(now)
    return duration(elapsed) if job.status.final else clock(elapsed)


def waiting_line(job: JobRecord, now: datetime, position: int = 0, length: int = 0) -> Sequence[str]:
    """Return the parts of the line of a job that has not started yet."""
    parts: list[str] = []
    if job.status is Status.SCHEDULED:
        # One that waits for others says so in its note, and so does one that waits for an outside service.
        begins = None if job.note and job.options.get("needs") else job.run_at
        start = f"starts {moment(begins, now)}" if begins else "" if job.note else "starts later"
        if begins and (left := (begins - now).total_seconds()) > 0:
            start += f", in {clock(left)}"
        parts += ["scheduled", start]
    else:
        place = f"{ordinal(position)} of {length:,d}" if position and length else ""
        queue = "" if job.queue == "default" else f"in {job.queue}"
        parts += ["queued", " ".join(p for p in (place, queue) if p)]
    if job.priority.value != "normal":
        parts.append(f"priority {job.priority.value}")
    parts.append(job.note)
    return [p for p in parts if p]
