"""What it costs to chain jobs: ``python tests/benchmarks/bench_chains.py [--smoke]``; JSON on request.

Number to reach (issue 5): 1,000 chained jobs take at most 20 % longer than the same 1,000 jobs without chains. The same
calls are made in both ways, in turns, on one embedded cluster: 100 lines of 10 against all at once; and one line of
200, of which no two can ever run at the same time, against jobs that are submitted when the one before has ended. A
ratio is the chained time over the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobnb import Job, JobManager


def add(x: int, y: int = 1) -> int:
    return x + y


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def lines(manager: JobManager, count: int, length: int) -> None:
    """Make lines of jobs, each given what the one before it returned, and wait for their ends."""
    ends: list[Job] = [manager.chain([(add, (0,)), *[add] * (length - 1)]) for _ in range(count)]
    manager.wait([job.id for job in ends])
    assert [job.result() for job in ends] == [length] * count


def ordered(manager: JobManager, count: int, length: int) -> None:
    """Make the same lines of jobs that only wait for each other, submitted one by one."""
    from jobnb.option import Options

    ends = []
    for _ in range(count):
        last = manager.submit(add, (0,))
        for _ in range(length - 1):
            last = manager.submit(add, (0,), options=Options().merge(after=last))
        ends.append(last)
    manager.wait([job.id for job in ends])
    assert [job.result() for job in ends] == [1] * count


def flat(manager: JobManager, count: int) -> None:
    """Make as many jobs that have nothing to do with each other."""
    jobs = [manager.submit(add, (i,)) for i in range(count)]
    manager.wait([job.id for job in jobs])
    assert [job.result() for job in jobs[-10:]] == list(range(count - 9, count + 1))


def one_by_one(manager: JobManager, count: int) -> None:
    """Submit each job when the one before it has ended, with its result: what a chain saves one to do."""
    value = 0
    for _ in range(count):
        value = manager.submit(add, (value,)).result()
    assert value == count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    count, length, rounds = (4, 5, 1) if said.smoke else (100, 10, said.rounds)
    jobs, serial = count * length, count * length // 5
    os.environ["DASK_JOBNB__WORKERS"] = str(said.workers)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        manager = JobManager(home=Path(folder) / "home")
        try:
            flat(manager, 20)
            for name, size, chained, other in (
                ("lines", jobs, lambda: lines(manager, count, length), lambda: flat(manager, jobs)),
                ("order only", jobs, lambda: ordered(manager, count, length), lambda: flat(manager, jobs)),
                ("one line", serial, lambda: lines(manager, 1, serial), lambda: one_by_one(manager, serial)),
            ):
                pairs = [(timed(chained), timed(other)) for _ in range(rounds)]
                ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
                ratio = statistics.median(a / b for a, b in pairs)
                print(
                    f"{name:10} {size:6,} jobs: chained {ours:7.2f} s ({size / ours:6,.0f}/s)   "
                    f"without {theirs:7.2f} s ({size / theirs:6,.0f}/s)   ratio {ratio:5.2f}",
                    flush=True,
                )
                found[name] = {"chained_s": round(ours, 3), "without_s": round(theirs, 3), "ratio": round(ratio, 3)}
        finally:
            manager.daemon.stop()
            manager.close()
    if said.json:
        said.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
