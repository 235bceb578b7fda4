"""What schedules cost, and how punctual they are: ``python tests/benchmarks/bench_schedules.py [--smoke]``.

Numbers to reach (issue 5): with 10,000 schedules a tick costs at most 50 ms of CPU when 100 are due, and nothing
measurable when none is; from fire time to running on a warm service a median of at most 150 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import jobnb
from jobnb import JobManager, Status
from jobnb.service.planner import Planner
from jobnb.store import Store
from jobnb.store.jobs import from_us, to_us
from jobnb.triggers.described import parse

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = to_us(BEGIN)

    def __call__(self) -> int:
        return self.now


def nothing() -> None:
    """Be a job."""


def fill(manager: JobManager, count: int, due: int) -> None:
    """Put schedules into the store, ``due`` of them for each minute; a third is cron, a third has a filter."""
    minutes = count // due
    planned = manager.planned("model", nothing, "1h")
    begin = from_us(manager.store.clock())
    with manager.store.database.writing("normal"):
        for i in range(count):
            minute, kind = i % minutes, i // minutes % 3
            if kind == 0:
                trigger = parse(timedelta(minutes=minutes), anchor=begin + timedelta(minutes=minute))
            elif kind == 1:
                at = (begin + timedelta(minutes=minute or minutes)).astimezone(ZoneInfo("America/New_York"))
                trigger = parse(f"{at.minute} {at.hour} * * *", tz="America/New_York")
            else:
                trigger = parse(timedelta(minutes=minutes), anchor=begin + timedelta(minutes=minute), only="weekdays")
            manager.store.schedules.put(
                f"schedule {i}", planned.rows, trigger=trigger.to_json(), policy=planned.policy.to_json(),
                next_at=trigger.after(begin), decided_at=begin,
            )  # fmt: skip


def steps(home: Path, count: int, due: int, ticks: int) -> dict[str, Any]:
    """Measure the planner alone, on a clock that is moved."""
    clock = Clock()
    manager = JobManager(home=home)
    store = manager._store = Store(home, clock=clock)
    manager.ensure_service = lambda: None  # type: ignore[method-assign]
    fill(manager, count, due)
    lease = store.leases.take("local", "bench", 1e9, {})
    planner = Planner(store=store, keeper=SimpleNamespace(lease=lease))  # type: ignore[arg-type]
    planner.step(store.version())
    costs, fired = [], []
    for _ in range(ticks):
        clock.now += 60_000_000
        before, began = store.jobs.counts()["queued"], time.process_time()
        planner.step(store.version())
        costs.append((time.process_time() - began) * 1e3)
        fired.append(store.jobs.counts()["queued"] - before)
        for job in store.jobs.select(status=["queued"], limit=-1):
            # As if they had run: or they would overlap.
            with store.tasks.fenced(lease, "normal"):
                store.tasks.start_job(job.id)
                store.tasks.finish(job.id, Status.COMPLETED)
        planner.step(store.version())
    idle, changed = 100_000, 2_000
    version = store.version()
    began = time.process_time()
    for _ in range(idle):
        planner.step(version)
    none = (time.process_time() - began) / idle * 1e6
    began = time.process_time()
    for i in range(changed):
        planner.step((i, -1))
    written = (time.process_time() - began) / changed * 1e6
    store.close()
    return {
        "schedules": count,
        "due": statistics.median(fired),
        "cpu_ms_of_a_tick": round(statistics.median(costs), 2),
        "cpu_ms_of_the_worst": round(max(costs), 2),
        "cpu_us_when_none_is_due": round(none, 2),
        "cpu_us_when_somebody_wrote": round(written, 2),
    }


def punctuality(home: Path, ticks: int) -> dict[str, Any]:
    """Measure a real service: from each moment to the start of its job."""
    manager = JobManager(home=home)
    try:
        manager.submit(nothing).wait(120)
        schedule = manager.schedule("beat", nothing, "1s", overlap="queue")
        while schedule.runs < ticks + 1:
            time.sleep(0.2)
        schedule.pause()
        jobs = schedule.jobs(ticks)
        for job in jobs:
            job.wait(60)
        late = sorted((j.record.started_at - j.record.fire_at).total_seconds() * 1e3 for j in jobs)  # type: ignore[operator]
        return {
            "ticks": len(late),
            "fire_to_running_ms": {"median": round(statistics.median(late), 1), "worst": round(late[-1], 1)},
        }
    finally:
        manager.daemon.stop(now=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    found: dict[str, Any] = {"jobnb": jobnb.__version__}
    with tempfile.TemporaryDirectory(prefix="jobnb-") as folder:
        home = Path(folder)
        sizes = (200, 10, 3) if said.smoke else (10_000, 100, 20)
        found["planner"] = steps(home / "planner", *sizes)
        found["service"] = punctuality(home / "service", 2 if said.smoke else 30)
    if said.json:
        print(json.dumps(found, indent=2))
        return
    planner, service = found["planner"], found["service"]
    print(f"{planner['schedules']:,} schedules, {planner['due']:.0f} due: {planner['cpu_ms_of_a_tick']} ms CPU a tick")
    idle, wrote = planner["cpu_us_when_none_is_due"], planner["cpu_us_when_somebody_wrote"]
    print(f"none due: {idle} µs CPU; after somebody wrote: {wrote} µs")
    late = service["fire_to_running_ms"]
    print(f"fire time to running: median {late['median']} ms, worst {late['worst']} ms of {service['ticks']}")


if __name__ == "__main__":
    main()
