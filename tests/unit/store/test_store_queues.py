"""Queues in the store: what their jobs get, what they let begin, and that a full one costs nothing."""

from datetime import timedelta

import pytest
from tests_store import Clock, new

from jobnb.errors import QueueDraining
from jobnb.job import Priority, Status
from jobnb.retry import Retry
from jobnb.store import Store, queues
from jobnb.store.jobs import from_us
from jobnb.store.leases import Lease

NO_LIMITS = {"max_concurrent": None, "max_tasks": None, "defaults": {}}


def start(store: Store, lease: Lease, job: str) -> bool:
    with store.tasks.fenced(lease):
        return store.tasks.start_job(job)


def test_a_queue_is_defined_changed_turned_and_removed(store: Store) -> None:
    assert store.queues.get("c") is None
    store.queues.put("c", max_concurrent=2, max_tasks=None, defaults={"timeout": 60.0})
    store.queues.turn("c", "paused", "ann")
    store.queues.put("c", max_concurrent=3, max_tasks=7, defaults={})
    found = store.queues.get("c")
    assert found is not None
    assert (found.max_concurrent, found.max_tasks, found.defaults) == (3, 7, {})
    assert (found.state, found.by) == ("paused", "ann")
    store.queues.turn("c", "paused", "bob")
    again = store.queues.get("c")
    assert again == found, "who paused it first stays"
    store.queues.turn("other", "draining", "bob")
    assert [q.name for q in store.queues.all()] == ["c", "other"]
    store.queues.remove("c")
    assert [q.name for q in store.queues.all()] == ["other"]


def test_defaults_stand_for_what_nobody_has_said(store: Store, clock: Clock) -> None:
    retry = Retry(max_retries=7, delay=60)
    defaults = {
        "priority": "high", "timeout": 60.0, "memory_limit": 5, "cancel_grace": 2.0, "retry": retry.to_json(),
        "deadline": 600.0, "tags": ["night"],
    }  # fmt: skip
    store.queues.put("c", **{**NO_LIMITS, "defaults": defaults})
    own = {"timeout": None, "memory_limit": None, "cancel_grace": 0.3, "retry": Retry().to_json(), "max_attempts": 4}
    job = store.jobs.get(store.jobs.add(new(queue="c", options=own)))
    assert job is not None
    assert job.priority is Priority.HIGH
    assert job.tags == ("night",)
    assert job.options == {
        "timeout": 60.0, "memory_limit": 5, "cancel_grace": 2.0, "retry": retry.to_json(), "max_attempts": 8
    }  # fmt: skip
    assert job.deadline_at is not None
    assert timedelta(0) <= from_us(clock.now) + timedelta(seconds=600) - job.deadline_at < timedelta(seconds=1)
    said = store.jobs.get(store.jobs.add(new(queue="c", options=own, said=queues.INHERITED)))
    assert said is not None
    assert (said.priority, said.tags, said.options, said.deadline_at) == (Priority.NORMAL, (), own, None)
    other = store.jobs.get(store.jobs.add(new(queue="d", options=own)))
    assert other is not None
    assert (other.priority, other.options) == (Priority.NORMAL, own)


def test_a_draining_queue_takes_nothing_and_lets_go_on_what_is_there(store: Store, lease: Lease) -> None:
    there = store.jobs.add(new(queue="c"))
    store.queues.turn("c", "draining", "ann")
    with pytest.raises(QueueDraining, match="queue 'c' is being drained by ann and takes no new job"):
        store.jobs.add(new(queue="c"))
    assert store.queues.live("c") == 1
    assert store.jobs.add(new(queue="d"))
    assert start(store, lease, there)
    store.queues.turn("c", "open", "ann")
    assert store.jobs.add(new(queue="c"))


def test_nothing_begins_in_a_paused_queue_or_beyond_the_limit(store: Store, lease: Lease) -> None:
    one, two, three = (store.jobs.add(new(queue="c")) for _ in range(3))
    store.queues.put("c", **{**NO_LIMITS, "max_concurrent": 1})
    assert start(store, lease, one)
    assert not start(store, lease, two)
    with store.tasks.fenced(lease):
        store.tasks.finish(one, Status.COMPLETED)
    store.queues.turn("c", "paused", "ann")
    assert not start(store, lease, two)
    store.queues.turn("c", "open", "ann")
    assert start(store, lease, two)
    assert not start(store, lease, three)
    store.queues.remove("c")
    assert start(store, lease, three)


def test_a_limit_holds_for_two_clusters_together(store: Store, lease: Lease) -> None:
    there = store.leases.take("tcp://there", "other", 15, {})
    assert there is not None
    store.queues.put("c", **{**NO_LIMITS, "max_concurrent": 1})
    here, far = store.jobs.add(new(queue="c")), store.jobs.add(new(queue="c", cluster="tcp://there"))
    assert start(store, lease, here)
    assert not start(store, there, far)
    assert store.queues.lines("tcp://there", store.queues.rules(), 5) == []


def test_the_lines_are_those_with_room(store: Store, lease: Lease) -> None:
    for queue in ("c", "c", "c", "default", "d", "p", "e", "d"):
        store.jobs.add(new(queue=queue))
    urgent = store.jobs.add(new(queue="c", priority=Priority.HIGH))
    store.queues.put("c", **{**NO_LIMITS, "max_concurrent": 2})
    store.queues.turn("p", "paused", "ann")

    def lines(limit: int) -> dict[str, tuple[int, list[tuple[int, int]]]]:
        found = store.queues.lines("local", store.queues.rules(), limit)
        return {line.queue: (line.running, list(line.heads)) for line in found}

    assert lines(9) == {"c": (0, [(2, 9), (1, 1)]), "": (0, [(1, 4), (1, 5), (1, 7), (1, 8)])}
    assert lines(1) == {"c": (0, [(2, 9)]), "": (0, [(1, 4)])}
    assert start(store, lease, urgent)
    assert lines(9)["c"] == (1, [(1, 1)])
    (first, *_) = store.tasks.waiting("local", 1)
    assert start(store, lease, first.id)
    assert "c" not in lines(9)
    assert [job.queue for job in store.tasks.waiting_at([8, 4, 999])] == ["d", "default"]
    for name in ("d", "e", "default"):
        store.queues.turn(name, "paused", "ann")
    assert lines(9) == {}


def test_where_nothing_waits_in_a_defined_queue_all_others_are_read_at_once(store: Store) -> None:
    store.queues.put("c", **{**NO_LIMITS, "max_concurrent": 2})
    assert store.queues.lines("local", store.queues.rules(), 5) == []
    for i in range(7):
        store.jobs.add(new(queue=f"q{i}"))
    (line,) = store.queues.lines("local", store.queues.rules(), 5)
    assert line.heads == tuple((1, i) for i in range(1, 6))


@pytest.mark.parametrize(
    ("sql", "values", "index"),
    [
        (queues.HEADS, ("local", "c", 3), "COVERING INDEX jobs_queued (cluster=? AND queue=?)"),
        (queues.FIRST, ("local", 3), "COVERING INDEX jobs_waiting (cluster=?)"),
        (queues.NAMES, ("local",), "COVERING INDEX jobs_queued (cluster=? AND queue>?)"),
    ],
)
def test_a_claim_reads_by_an_index_alone(store: Store, sql: str, values: tuple[object, ...], index: str) -> None:
    plan = [str(row[-1]) for row in store.database.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any(index in line for line in plan), plan
    assert not any("SCAN jobs" in line or "TEMP B-TREE" in line for line in plan), plan


def test_counts(store: Store, lease: Lease) -> None:
    jobs = [store.jobs.add(new(queue="c")) for _ in range(3)]
    store.jobs.add(new())
    start(store, lease, jobs[0])
    assert store.queues.counts("c") == {"queued": 2, "running": 1}
    assert store.queues.counts("default") == {"queued": 1}
    assert (store.queues.live("c"), store.queues.live("default"), store.queues.live("x")) == (3, 1, 0)
    assert store.queues.named_by_jobs() == ["c", "default"]
    assert store.queues.has_jobs("c")
    assert not store.queues.has_jobs("x")
    assert [job.id for job in store.jobs.select(queue="c", limit=2)] == jobs[:0:-1]
    assert len(store.jobs.select(queue="default")) == 1
