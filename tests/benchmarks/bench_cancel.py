"""From a cancel or a time-out to the death of all of the job's processes: ``bench_cancel.py [--smoke] [--tries 200]``.

Over everything in the misbehaviour table that has to be ended, in turns, on a real Dask worker. A cancel counts from
``future.cancel()`` in the client; a time-out from the moment at which it was due. The goal is 0.5 s at the 99th
percentile, of which 0.3 s are the grace that a job gets to clean up.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "chaos")]

import misbehaviour as table  # noqa: E402
from distributed import Client  # noqa: E402

GOAL_SECONDS = 0.5


def seconds_to_death(client: Client, case: table.Case, note: Path) -> float:
    """Have one job do its mischief and be ended."""
    _, future = table.submit(client, case.fn, str(note), **case.options)
    deaths = table.Deaths(table.processes(note))
    if case.ends == "CANCELLED":
        since = time.monotonic()
        future.cancel()
        return deaths.wait() - since
    # The note was written when the job was just begun, a few milliseconds after its time began to run.
    written = note.stat().st_mtime - time.time() + time.monotonic()
    found = deaths.wait() - (written + table.TIMEOUT_SECONDS)
    assert table.outcome(future).error["code"] == "TIMEOUT_ERROR"
    return found


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run; no number is judged")
    parser.add_argument("--tries", type=int, default=200)
    said = parser.parse_args()
    cases = table.CANCELLED + table.TIMED_OUT
    tries = len(cases) if said.smoke else said.tries
    took: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, table.cluster() as cluster, table.connect(cluster) as client:
        table.outcome(table.submit(client, int)[1])
        for i, case in zip(range(tries), itertools.cycle(cases)):
            took[case.name].append(seconds_to_death(client, case, Path(folder) / str(i)))
    width = max(map(len, took))
    print(f"{'':{width}}  tries  p50 ms  max ms")
    for name, values in took.items():
        print(f"{name:{width}}  {len(values):5}  {statistics.median(values) * 1e3:6.0f}  {max(values) * 1e3:6.0f}")
    every = [value for values in took.values() for value in values]
    p50, p99 = percentile(every, 0.5), percentile(every, 0.99)
    print(f"{'all':{width}}  {len(every):5}  {p50 * 1e3:6.0f}  {max(every) * 1e3:6.0f}  p99 {p99 * 1e3:.0f} ms")
    if not said.smoke and p99 > GOAL_SECONDS:
        sys.exit(f"the 99th percentile is over the goal of {GOAL_SECONDS * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
