"""A stand-in for a notebook kernel: hands in a mixed load for each line that it reads, until it is killed.

Run as a script: ``load.py HOME FOLDER [ADDRESS]``. It prints the id of each job once it is accepted; how a
job must end stands in its tags, so that nothing is lost with this process.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from jobnb import JobManager, Retry, Strategy
from jobnb.option import Options

#: Whatever a killed child is called, and however often a worker goes, the job is not to blame.
AGAIN = Retry(
    max_retries=50,
    max_lost=50,
    delay=0.05,
    factor=1,
    jitter=False,
    on=("CHILD_CRASHED", "MEMORY_ERROR", "ConnectionError"),
)
SPACE = {"fast": [5, 10], "slow": [20, 30, 40]}
MAP_ITEMS = 12


class Cross(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):  # type: ignore[no-untyped-def]
        return bars.sma(self.fast) > bars.sma(self.slow)


def double(x: int) -> int:
    return 2 * x


def slow_double(x: int) -> int:
    time.sleep(0.02)
    return 2 * x


def flaky_double(item: tuple[int, str]) -> int:
    """Fail once at one of the items."""
    x, mark = item
    if x == MAP_ITEMS // 2 and not os.path.exists(mark):
        Path(mark).touch()
        raise ConnectionError("the first time it always fails")
    return 2 * x


def sleep_for_ever() -> None:
    time.sleep(1000)


def crash() -> None:
    os._exit(3)


def wide(n: int) -> bytes:
    """Give back more than fits into a row."""
    return bytes(n)


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(name: str, ends: list[str], value: object = None, retry: Retry | None = AGAIN) -> Options:
    return Options(name=name, tags=(json.dumps({"ends": ends, "value": value}),), retry=retry)


def hand_in(manager: JobManager, folder: Path, draw: random.Random) -> None:
    """Submit one round's load in random order."""
    from jobnb.research.sample import goog

    def single() -> str:
        n = draw.randrange(1000)
        return manager.submit(double, (n,), options=say("single", ["completed"], 2 * n)).id

    def slow() -> str:
        n = draw.randrange(1000)
        return manager.submit(slow_double, (n,), options=say("slow", ["completed"], 2 * n)).id

    def blob() -> str:
        n = draw.randrange(200_000, 400_000)
        return manager.submit(wide, (n,), options=say("blob", ["completed"], n)).id

    def flaky() -> str:
        mark = str(folder / f"flaky-{draw.getrandbits(64):x}")
        items = [(x, mark) for x in range(MAP_ITEMS)]
        return manager.map(flaky_double, items, say("flaky", ["completed"], [2 * x for x in range(MAP_ITEMS)])).id

    def sweep() -> str:
        return manager.optimize(Cross, goog(), SPACE, say("sweep", ["completed"], 6)).id

    def crashing() -> str:
        return manager.submit(
            crash, options=say("crash", ["failed"], "CHILD_CRASHED", Retry(max_retries=0, max_lost=50))
        ).id

    def cancelled_map() -> str:
        items = range(MAP_ITEMS)
        ends = say("cancelled map", ["completed", "cancelled"], [2 * x for x in items])
        job = manager.map(slow_double, items, ends)
        tell(job.id)
        job.cancel()
        return job.id

    def sleeper() -> str:
        job = manager.submit(sleep_for_ever, options=say("sleeper", ["cancelled"]))
        sleepers.append(job)
        return job.id

    sleepers = []
    load = [single] * 4 + [slow] * 2 + [blob, flaky, sweep, crashing, cancelled_map, sleeper]
    draw.shuffle(load)
    for each in load:
        tell(each())
    for job in sleepers:
        job.cancel()
    tell("round over")


def main() -> None:
    manager, folder = JobManager(home=sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3:]:
        manager.connect(sys.argv[3])
    for line in sys.stdin:
        hand_in(manager, folder, random.Random(int(line)))


if __name__ == "__main__":
    main()
