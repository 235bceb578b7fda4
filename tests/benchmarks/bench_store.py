"""Whether the store stays fast as it fills: ``python tests/benchmarks/bench_store.py [--smoke]``; JSON on request.

Number to reach (issue 3): listing, claiming and finishing cost the same with 100 and with 100,000 finished jobs in the
store; growth at most 20 %. And a claim costs the same with 100 and with 100,000 jobs waiting in a queue that is full.
Only counting by state grows, to 3 ms for 100,000. The two stores are measured in turns, so
that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from jobnb.job import Status, utcnow
from jobnb.service import choice
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease

#: Jobs that wait while the others are measured.
WAITING = 20
#: What is done within one measurement; a single call is too short to be timed well.
CALLS = 10


def new(name: str = "work") -> NewJob:
    return NewJob(
        name=name,
        kind="job",
        cluster="local",
        payload="0" * 64,
        tags=["a"],
        params={"x": 1, "y": "two"},
        plan={"type": "single", "items": 1},
        options={"timeout": None, "retry": {"max_retries": 3}},
        snapshot={"seed": 7, "cwd": "somewhere", "versions": {"python": "3"}},
    )


def fill(store: Store, lease: Lease, count: int) -> None:
    """Put finished jobs into the store: one the ordinary way, the others as copies of its rows."""
    model = store.jobs.add(new())
    life(store, lease, model)
    database = store.database
    columns = [str(row[1]) for row in database.rows("PRAGMA table_info(jobs)") if row[1] not in ("seq", "id", "name")]
    copied = ", ".join(columns)
    with database.writing("normal"):
        # A hundred names; every second has failed and is a dead letter; one has ended every thirty seconds.
        database.rows(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
            f"INSERT INTO jobs (id, name, {copied}) "
            f"SELECT printf('%08x', i * 40503), 'name ' || (i % 100), {copied} FROM n, jobs WHERE id = ?2",
            (count - 1, model),
        )
        database.rows("UPDATE jobs SET finished_at = finished_at - seq * 30000000")
        database.rows("UPDATE jobs SET status = 'failed', dead = 1 WHERE seq % 2 = 0")
        database.rows(
            "INSERT INTO tasks (job, task, start, stop, attempt, epoch, state, result, started_at, finished_at) "
            "SELECT jobs.id, task, start, stop, tasks.attempt, epoch, state, result, tasks.started_at, "
            "tasks.finished_at FROM jobs, tasks WHERE tasks.job = ?1 AND jobs.id <> ?1",
            (model,),
        )
        database.rows(
            "INSERT INTO events (job, at, event, who, detail) SELECT jobs.id, at, event, who, detail "
            "FROM jobs, events WHERE events.job = ?1 AND jobs.id <> ?1",
            (model,),
        )
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def begin(store: Store, lease: Lease) -> str:
    """Claim the next job, as the service does."""
    (job, *_) = store.tasks.waiting("local", 3)
    with store.tasks.fenced(lease, "normal"):
        assert store.tasks.start_job(job.id)
    with store.tasks.fenced(lease, "normal"):
        store.tasks.begin(job.id, 0, 0, 1, 1, lease.epoch)
    return job.id


def finish(store: Store, lease: Lease, job: str) -> None:
    with store.tasks.fenced(lease, "normal"):  # a full one measures the disk
        assert store.tasks.settle(job, 0, state="completed", stop=1, kept=(b"result", None), started_at=1)
        store.tasks.update(job, progress=(1.0, 1.0, ""))
        assert store.tasks.finish(job, Status.COMPLETED)


def life(store: Store, lease: Lease, job: str) -> None:
    assert begin(store, lease) == job
    finish(store, lease, job)


class Bench:
    """One store and what is measured in it."""

    def __init__(self, home: Path, finished: int) -> None:
        self.store = Store(home)
        lease = self.store.leases.take("local", "bench", 3600, {})
        assert lease is not None
        self.lease = lease
        fill(self.store, lease, finished)
        for _ in range(WAITING):
            self.store.jobs.add(new())
        self.taken: list[str] = []

    def measures(self) -> dict[str, Callable[[], object]]:
        store = self.store
        jobs, tasks, dead = store.jobs, store.tasks, store.dead_letters
        newest = jobs.select(limit=1)[0]

        def claim() -> None:
            self.taken = [begin(store, self.lease) for _ in range(CALLS)]

        def end() -> None:
            for job in self.taken:
                finish(store, self.lease, job)

        def submit() -> None:
            with store.database.writing("normal"):
                for _ in range(CALLS):
                    jobs.add(new())

        def often(call: Callable[[], object]) -> Callable[[], None]:
            return lambda: [call() for _ in range(CALLS)] and None

        return {
            "claim": claim,
            "finish": end,
            "submit": submit,
            "list 50": often(jobs.select),
            "list 50 failed": often(lambda: jobs.select(status=["failed"])),
            "list 50 live": often(lambda: jobs.select(status=["queued", "running", "retrying", "scheduled"])),
            "list 50 of a kind": often(lambda: jobs.select(kind="job")),
            "find by id": often(lambda: jobs.find(newest.id)),
            "find by name": often(lambda: jobs.find("name 7")),
            "card": often(lambda: store.view(newest.id)),
            "wait": often(lambda: jobs.finals([newest.id])),
            "counts": often(jobs.counts),
            "dead letters": often(lambda: dead.select(limit=50)),
            "service's poll": often(
                lambda: (
                    tasks.next_scheduled("local"),
                    tasks.cancel_requests("local"),
                    tasks.waiting("local", 3),
                    tasks.overdue("local"),
                    tasks.expired("local"),
                    jobs.last_event(),
                    jobs.any_live("local"),
                )
            ),
            "failure rate": often(lambda: jobs.failures_since("local", utcnow() + timedelta(minutes=-10))),
        }


def beside_a_full_queue(sizes: tuple[int, int], rounds: int) -> dict[str, float]:
    """Measure claims while so many jobs wait in a queue that is full, in turns."""
    times: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        stores = [FullQueue(Path(folder) / str(size), size) for size in sizes]
        for _ in range(rounds):
            for each, found in zip(stores, times, strict=True):
                began = time.perf_counter()
                each.claim()
                found.append((time.perf_counter() - began) / CALLS)
        for each in stores:
            each.store.close()
    a, b = (1e6 * statistics.median(each) for each in times)
    print(f"{'claim; full queue of':20} {a:10,.1f} {b:10,.1f} {b / a - 1:+22.0%}", flush=True)
    return {"few_us": round(a, 1), "many_us": round(b, 1), "growth": round(b / a - 1, 3)}


class FullQueue:
    """A store in which many jobs wait in a queue that is full, and a few in others."""

    def __init__(self, home: Path, waiting: int) -> None:
        self.store = Store(home)
        lease = self.store.leases.take("local", "bench", 3600, {})
        assert lease is not None
        self.lease = lease
        store, database = self.store, self.store.database
        store.queues.put("full", max_concurrent=1, max_tasks=None, defaults={})
        for name in ("a", "b"):
            store.queues.put(name, max_concurrent=1_000_000, max_tasks=None, defaults={})
        model = store.jobs.add(replace(new(), queue="full"))
        columns = [str(row[1]) for row in database.rows("PRAGMA table_info(jobs)") if row[1] not in ("seq", "id")]
        copied = ", ".join(columns)
        with database.writing("normal"):
            database.rows(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
                f"INSERT INTO jobs (id, {copied}) SELECT printf('%08x', i), {copied} FROM n, jobs WHERE id = ?2",
                (waiting, model),
            )
        with store.tasks.fenced(lease):
            assert store.tasks.start_job(model)
        for name in ("a", "b", "default") * CALLS:
            store.jobs.add(replace(new(), queue=name))
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def claim(self) -> None:
        """Claim as the service does where queues are defined, and put the job back."""
        store = self.store
        for _ in range(CALLS):
            lines = store.queues.lines("local", store.queues.rules(), 3)
            (job, *_) = store.tasks.waiting_at(choice.merge(lines, 3))
            with store.tasks.fenced(self.lease, "normal"):
                assert store.tasks.start_job(job.id)
            with store.tasks.fenced(self.lease, "normal"):
                store.tasks.requeue(job.id, "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    said = parser.parse_args()
    sizes, rounds = ((100, 1_000), 3) if said.smoke else ((100, 100_000), 60)
    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(Path(folder) / str(size), size) for size in sizes]
        measures = [bench.measures() for bench in benches]
        times: dict[str, list[list[float]]] = {name: [[] for _ in benches] for name in measures[0]}
        for _ in range(rounds):
            for name, found in times.items():
                for which, each in enumerate(measures):
                    began = time.perf_counter()
                    each[name]()
                    found[which].append((time.perf_counter() - began) / CALLS)
        for bench in benches:
            bench.store.close()
    result = {}
    print(f"{'µs each':20} {sizes[0]:>10,} {sizes[1]:>10,} finished jobs   growth")
    for name, (few, many) in times.items():
        a, b = (1e6 * statistics.median(each) for each in (few, many))
        result[name] = {"few_us": round(a, 1), "many_us": round(b, 1), "growth": round(b / a - 1, 3)}
        print(f"{name:20} {a:10,.1f} {b:10,.1f} {b / a - 1:+22.0%}", flush=True)
    result["claim beside a full queue"] = beside_a_full_queue(sizes, rounds)
    if said.json:
        said.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
