"""Durable jobs against raw Dask futures: ``python tests/benchmarks/bench_throughput.py [--smoke]``; JSON on request.

Numbers to reach (issue 3), on the same embedded cluster in the same run: single submits at most 3 times slower than
`client.submit` and gather, one `map` at least as fast as `client.map` and gather. A ratio is jobnb's time over Dask's.
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

from jobnb import JobManager


def identity(x: int) -> int:
    return x


def timed(work: Callable[[], list[int]], count: int) -> float:
    """Return how many seconds it takes, and see to it that all of it was done."""
    began = time.perf_counter()
    found = work()
    past = time.perf_counter() - began
    assert found == list(range(count))
    return past


def compare(name: str, ours: Callable[[], list[int]], theirs: Callable[[], list[int]], count: int, rounds: int) -> Any:
    """Time both, in turns, and return the medians and their ratio."""
    pairs = [(timed(ours, count), timed(theirs, count)) for _ in range(rounds)]
    jobnb, dask = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"{name:12} {count:6,} jobs: jobnb {jobnb:7.2f} s ({count / jobnb:7,.0f}/s)   "
        f"dask {dask:7.2f} s ({count / dask:7,.0f}/s)   ratio {jobnb / dask:6.2f}",
        flush=True,
    )
    return {"count": count, "jobnb_s": round(jobnb, 3), "dask_s": round(dask, 3), "ratio": round(jobnb / dask, 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, help="single jobs; 2,000 by default")
    said = parser.parse_args()
    many, singles = (300, 20) if said.smoke else (10_000, said.jobs or 2_000)
    os.environ["DASK_JOBNB__WORKERS"] = str(said.workers)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        manager = JobManager(home=Path(folder) / "home")
        try:
            for job in [manager.submit(identity, (i,)) for i in range(4 * said.workers)]:
                job.result()
            with manager.client() as client:
                client.gather(client.map(identity, range(100), pure=False))

                def submit() -> list[int]:
                    jobs = [manager.submit(identity, (i,)) for i in range(singles)]
                    accepted = time.perf_counter() - began
                    print(f"{'':12} accepted in {accepted:.2f} s ({singles / accepted:,.0f}/s)", flush=True)
                    return [job.result() for job in jobs]

                began = time.perf_counter()
                found["single"] = compare(
                    "submit",
                    submit,
                    lambda: client.gather([client.submit(identity, i, pure=False) for i in range(singles)]),
                    singles,
                    said.rounds,
                )
                found["map"] = compare(
                    "map",
                    lambda: manager.map(identity, range(many)).result(),
                    lambda: client.gather(client.map(identity, range(many), pure=False)),
                    many,
                    said.rounds,
                )
        finally:
            manager.daemon.stop()
            manager.close()
    if said.json:
        said.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
