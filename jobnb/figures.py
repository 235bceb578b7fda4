"""Statistics in the form that people ask for them: queue, workers, scheduler, runs of the last days. Pure shaping.

Used by front doors; what it shapes was read by `jobnb.store.statistics`. The names are those of the seed systems.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobnb.errors import UsageProblem
from jobnb.job import Priority, Status
from jobnb.store.statistics import Ended, Live, Scheduled

#: What is given of how long runs took.
PERCENTILES = (50, 90, 95, 99)
DAYS = 7
#: A window of more days than this is a mistake of units.
_MOST_DAYS = 36_500


class Figures(dict[str, Any]):
    """Statistics: a plain dict (it goes through ``json.dumps``) that reads well."""

    def told(
        self,
        live: Sequence[Live],
        ended: Sequence[Ended],
        schedules: Sequence[Scheduled],
        *,
        days: float,
        now: datetime,
    ) -> Figures:
        """Return these with what is said of queue, workers, scheduler and runs."""
        service = self["service"]
        waits = queue(live, self["dead_letters"], now)
        return Figures(
            **self,
            queue=waits,
            workers=workers(ended, waits["processing"], service),
            scheduler=scheduler(schedules, service["running"], now),
            runs=runs(ended, days, window(days, now)),
        )

    def lines(self) -> list[str]:
        """Return what is said of queue, workers, scheduler and runs, one line each."""
        if "runs" not in self:
            return [f"jobs       {self['total']:,}, {self['dead_letters']:,} dead letters"]
        queue, workers, runs = self["queue"], self["workers"], self["runs"]
        by_priority = ", ".join(f"{n:,} {name}" for name, n in queue["pending"].items() if n)
        pending = f"{queue['total_pending']:,} pending" + (f" ({by_priority})" if by_priority else "")
        scheduler = self["scheduler"]
        schedules = f"{scheduler['total_tasks']:,} schedule{'s' * (scheduler['total_tasks'] != 1)}"
        failed = f"{workers['jobs_failed']:,} failed ({_rate(workers['success_rate'])} succeeded)"
        return [
            f"queue      {pending}, {queue['scheduled']:,} scheduled, {queue['retrying']:,} retrying, "
            f"{queue['processing']:,} processing, {queue['dead_letter']:,} dead letters",
            f"workers    {workers['status']}: {workers['jobs_processed']:,} jobs processed, {failed}, "
            f"mean {_time(workers['average_processing_time'])}",
            f"scheduler  {'' if scheduler['running'] else 'not '}running: {schedules}, "
            f"{scheduler['enabled_tasks']:,} enabled, {scheduler['disabled_tasks']:,} disabled, "
            f"{scheduler['due_tasks']:,} due",
            f"runs       {runs['total_runs']:,} in {runs['days']:g} days: {_counts(runs)}; {_times(runs['duration'])}",
            *(
                _service(name, stands)
                for name, stands in self.get("breakers", {}).items()
                if stands["state"] != "closed"
            ),
            *(f"notices    {each['name']}: {each['note']}" for each in self.get("notices", ()) if each["note"]),
        ]

    def tables(self) -> list[list[tuple[str, ...]]]:
        """Return a table of the handlers and one of the schedules, where there are any; heads first."""
        made = []
        for what in ("handler", "schedule"):
            found: Mapping[str, Any] = self.get("runs", {}).get(f"by_{what}", {})
            if found:
                head = (what, "runs", "completed", "failed", "success", "median", "95 %", "last")
                made.append([head, *(_row(name, runs) for name, runs in found.items())])
        return made

    def __repr__(self) -> str:
        parts = ["\n".join(self.lines())]
        for table in self.tables():
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            parts.append("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in table))
        return "\n\n".join(parts)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        rows = [line.partition(" ") for line in self.lines()]
        parts = [_table([(what, said.strip()) for what, _, said in rows], head=False)]
        return "".join([*parts, *(_table(table) for table in self.tables())])


def window(days: float, now: datetime) -> datetime:
    """Return where a window of so many days begins.

    Raises
    ------
    UsageProblem
        It is no number of days.
    """
    try:
        length = float(days)
    except (TypeError, ValueError):
        raise UsageProblem(f"days must be a number, not {days!r}.") from None
    if not 0 < length <= _MOST_DAYS:
        raise UsageProblem(f"days must be more than 0 and at most {_MOST_DAYS:,}, not {days!r}.")
    return now - timedelta(days=length)


def queue(live: Iterable[Live], dead_letters: int, now: datetime) -> dict[str, Any]:
    """Return what waits and runs, with what waits by priority; and the same of each queue.

    ``scheduled`` and ``retrying`` wait for their time and are not pending.
    """
    pending = dict.fromkeys((p.value for p in reversed(Priority)), 0)
    states: Counter[str] = Counter()
    queues: dict[str, Counter[str]] = {}
    oldest: datetime | None = None
    for each in live:
        states[each.status] += each.count
        queues.setdefault(each.queue, Counter())[each.status] += each.count
        if each.status == Status.QUEUED:
            pending[each.priority] += each.count
            oldest = min(oldest or each.oldest, each.oldest)
    return {
        "pending": pending,
        "total_pending": sum(pending.values()),
        "scheduled": states["scheduled"],
        "retrying": states["retrying"],
        "processing": states["running"],
        "dead_letter": dead_letters,
        "oldest_pending_seconds": None if oldest is None else max(0.0, (now - oldest).total_seconds()),
        "queues": {
            name: {"pending": found["queued"], "scheduled": found["scheduled"], "retrying": found["retrying"],
                   "processing": found["running"]}
            for name, found in sorted(queues.items())
        },
    }  # fmt: skip


def workers(ended: Iterable[Ended], processing: int, service: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the workers are, and what they did in the window; cancelled jobs do not count."""
    done = [each for each in ended if each.status != Status.CANCELLED]
    succeeded = sum(each.status == Status.COMPLETED for each in done)
    times = [each.ran for each in done if each.ran is not None]
    working = "processing" if processing else "idle"
    return {
        "status": working if service["running"] else "stopped",
        "workers": service.get("workers") if service["running"] else 0,
        "jobs_processed": len(done),
        "jobs_succeeded": succeeded,
        "jobs_failed": len(done) - succeeded,
        "success_rate": share(succeeded, len(done)),
        "average_processing_time": sum(times) / len(times) if times else None,
    }


def scheduler(schedules: Sequence[Scheduled], running: bool, now: datetime) -> dict[str, Any]:
    """Return how many schedules there are, and each of them."""
    return {
        "running": running,
        "total_tasks": len(schedules),
        "enabled_tasks": sum(s.enabled for s in schedules),
        "disabled_tasks": sum(not s.enabled for s in schedules),
        "due_tasks": sum(s.enabled and s.next_at is not None and s.next_at <= now for s in schedules),
        "tasks": [
            {
                "name": s.name,
                "enabled": s.enabled,
                "next_run": s.next_at.isoformat() if s.enabled and s.next_at else None,
                "runs": s.runs,
                "failures": s.failures,
                "note": s.note,
            }
            for s in schedules
        ],
    }


def runs(ended: Sequence[Ended], days: float, since: datetime) -> dict[str, Any]:
    """Return the runs of a window: by status, how long they took, and the same by kind, handler, schedule and day."""
    codes = Counter(each.code or "unknown" for each in ended if each.status == Status.FAILED)
    return {
        "days": float(days),
        "since": since.isoformat(),
        **_of(ended),
        "waited": spread(each.waited for each in ended),
        "errors": dict(codes.most_common()),
        "by_kind": _grouped(ended, [each.kind for each in ended]),
        "by_handler": _grouped(ended, [each.handler for each in ended]),
        "by_schedule": _grouped(ended, [each.schedule for each in ended]),
        "by_day": {day: _status_counts(found) for day, found in _parted(ended, [f"{e.at:%Y-%m-%d}" for e in ended])},
    }


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Return mean, percentiles and maximum of seconds; None of each where there is none.

    Examples
    --------
    >>> spread([1.0, 2.0, 3.0, None])["p50"]
    2.0
    """
    known = sorted(v for v in values if v is not None)
    made: dict[str, float | None] = {"mean": sum(known) / len(known) if known else None}
    made |= {f"p{p}": percentile(known, p) for p in PERCENTILES}
    return {**made, "max": known[-1] if known else None}


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return a percentile of sorted values, by linear interpolation as numpy does it.

    Examples
    --------
    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.5
    """
    if not ordered:
        return None
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def share(part: int, whole: int) -> float | None:
    """Return a part in percent to two places; None of nothing."""
    return round(100 * part / whole, 2) if whole else None


def _of(ended: Sequence[Ended]) -> dict[str, Any]:
    counts = _status_counts(ended)
    over = counts["completed"] + counts["failed"]
    last = ended[-1] if ended else None
    return {
        "total_runs": len(ended),
        "status_counts": counts,
        "success_rate": share(counts["completed"], over),
        # A cancelled job took as long as somebody let it.
        "duration": spread(each.ran for each in ended if each.status != Status.CANCELLED),
        "last": None if last is None else {"at": last.at.isoformat(), "status": last.status},
    }


def _status_counts(ended: Iterable[Ended]) -> dict[str, int]:
    found = Counter(each.status for each in ended)
    return {status.value: found[status.value] for status in Status if status.final}


def _parted(ended: Iterable[Ended], names: Iterable[str]) -> list[tuple[str, list[Ended]]]:
    parts: dict[str, list[Ended]] = {}
    for each, name in zip(ended, names, strict=True):
        if name:
            parts.setdefault(name, []).append(each)
    return sorted(parts.items())


def _grouped(ended: Iterable[Ended], names: Iterable[str]) -> dict[str, Any]:
    return {name: _of(found) for name, found in _parted(ended, names)}


# In words


def _row(name: str, runs: Mapping[str, Any]) -> tuple[str, ...]:
    counts, duration, last = runs["status_counts"], runs["duration"], runs["last"]
    return (
        name,
        f"{runs['total_runs']:,}",
        f"{counts['completed']:,}",
        f"{counts['failed']:,}",
        _rate(runs["success_rate"]),
        _time(duration["p50"]),
        _time(duration["p95"]),
        f"{last['status']} {last['at'][:16].replace('T', ' ')}" if last else "–",
    )


def _counts(runs: Mapping[str, Any]) -> str:
    said = ", ".join(f"{n:,} {status}" for status, n in runs["status_counts"].items() if n)
    return said or "none"


def _times(duration: Mapping[str, float | None]) -> str:
    said = ", ".join(f"{p} % within {_time(duration[f'p{p}'])}" for p in PERCENTILES[1:])
    return f"median {_time(duration['p50'])}, {said}"


def _service(name: str, stands: Mapping[str, Any]) -> str:
    until = f" until {stands['opens_until'][11:19]} UTC" if stands["state"] == "open" else ""
    count = stands["waiting"]
    waiting = f", {count:,} {'job waits' if count == 1 else 'jobs wait'} for it" if count else ""
    return f"services   breaker {name}: {stands['state']}{until}{waiting}"


def _rate(percent: float | None) -> str:
    return "–" if percent is None else f"{percent:g} %"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def _table(rows: Sequence[Sequence[str]], *, head: bool = True) -> str:
    def line(row: Sequence[str], cell: str) -> str:
        return "<tr>" + "".join(f"<{cell} style='text-align:left'>{html.escape(c)}</{cell}>" for c in row) + "</tr>"

    top = f"<thead>{line(rows[0], 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(line(row, 'td') for row in rows[head:])}</tbody></table>"
