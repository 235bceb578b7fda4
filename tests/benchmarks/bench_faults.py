"""From ``kill -9`` of the service to its jobs going on under the successor: ``bench_faults.py [--smoke] [--tries 10]``.

Somebody waits for the job meanwhile, as a card or ``result()`` does, and starts the successor. The time ends when the
job's function runs again. The goal is 10 s at most.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "integration")]

import service_kit as kit  # noqa: E402

from jobnb import JobManager  # noqa: E402

GOAL_SECONDS = 10.0


def seconds_to_go_on(manager: JobManager, folder: Path) -> tuple[float, float]:
    """Kill the service under a running job; return when a successor was in charge and when the job ran again."""
    marks, gate = folder / "marks", folder / "gate"
    job = manager.submit(kit.mark_and_wait, (str(marks), str(gate)))
    kit.until(lambda: marks.exists() and marks.read_text(), 60)
    old = manager.daemon.lease()
    assert old is not None
    waiting = threading.Thread(target=job.wait)
    waiting.start()
    since = time.monotonic()
    os.kill(old.pid, signal.SIGKILL)
    kit.until(lambda: (lease := manager.daemon.lease()) is not None and lease.epoch > old.epoch, 60)
    in_charge = time.monotonic() - since
    kit.until(lambda: len(marks.read_text().split()) == 2, 60)
    took = time.monotonic() - since
    gate.touch()
    waiting.join()
    assert job.result() == "open"
    return in_charge, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a single try; no number is judged")
    parser.add_argument("--tries", type=int, default=10)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manager = JobManager(home=Path(folder) / "home")
        took = []
        for i in range(1 if said.smoke else said.tries):
            place = Path(folder) / str(i)
            place.mkdir()
            took.append(seconds_to_go_on(manager, place))
        manager.daemon.stop()
    print("service killed to            p50 s  max s")
    for name, values in zip(("successor in charge", "the job runs again"), zip(*took, strict=True), strict=True):
        print(f"{name:27}  {statistics.median(values):5.2f}  {max(values):5.2f}")
    worst = max(again for _, again in took)
    if not said.smoke and worst > GOAL_SECONDS:
        sys.exit(f"the longest is over the goal of {GOAL_SECONDS:g} s")


if __name__ == "__main__":
    main()
