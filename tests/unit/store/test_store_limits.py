"""Breakers and rate limits in the store: shared, durable, each question counted once, and the jobs that wait."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests_store import SECOND, Clock, new

from jobnb.circuit import Phase
from jobnb.errors import UnknownName, UsageProblem
from jobnb.job import JobRecord, Priority, Status
from jobnb.store import Store
from jobnb.store.leases import Lease
from jobnb.store.limits import ANSWERS_SECONDS, TIDY_EVERY, VALUES_KEPT


def ask(store: Store, op: str, name: str = "yahoo", **more: Any) -> dict[str, Any]:
    return store.limits.answer({"op": op, "name": name, "holder": "me", **more})


def fail(store: Store, times: int, clock: Clock) -> None:
    for _ in range(times):
        said = ask(store, "ask")
        ask(store, "failed", since=said["since"], error="ConnectionError: down")


def needing(store: Store, *needs: str, **changes: Any) -> str:
    return store.jobs.add(new(options={"needs": list(needs or ("yahoo",))}, **changes))


def job_of(store: Store, job: str) -> JobRecord:
    found = store.jobs.get(job)
    assert found is not None
    return found


def test_two_handles_share_one_state_and_a_third_one_finds_it_later(tmp_path: Path) -> None:
    clock = Clock()
    one, two = Store(tmp_path / "home", clock), Store(tmp_path / "home", clock)
    ask(one, "rule", rule={"failures": 2, "open_for": 20.0})
    fail(one, 1, clock)
    fail(two, 1, clock)
    said = ask(one, "ask")
    assert (said["ok"], said["cause"]) == (False, "failed 2 times")
    assert 19 * SECOND < said["again"] - said["now"] <= 20 * SECOND
    one.close()
    two.close()
    three = Store(tmp_path / "home", clock)
    record = three.limits.breaker("yahoo")
    assert (record.phase, record.failed, record.refused, record.rule.failures) == (Phase.OPEN, 2, 1, 2)
    assert record.error == "ConnectionError: down"
    clock.pass_(21)
    assert ask(three, "ask")["ok"]
    refused = ask(three, "ask", holder="you")
    assert (refused["ok"], refused["cause"]) == (False, "is being tried again")
    assert refused["again"] - refused["now"] == 20 * SECOND, "sooner than the probe is given up"
    three.close()


def test_a_question_that_is_asked_again_counts_once(store: Store, clock: Clock) -> None:
    for _ in range(3):
        ask(store, "failed", id="q1", since=clock())
    assert store.limits.breaker("yahoo").failed == 1
    pauses = [ask(store, "take", id="q2", rate=[1, 10.0], count=1)["pause"] for _ in range(3)]
    assert pauses == [0.0, 0.0, 0.0]
    assert ask(store, "take", id="q3", count=1)["pause"] == pytest.approx(10.0, abs=0.01)
    assert store.limits.rate_limit("yahoo").taken == 2
    first = ask(store, "ask", id="q4")
    assert ask(store, "ask", id="q4", holder="another") == first


def test_answers_are_not_kept_for_ever(store: Store, clock: Clock) -> None:
    ask(store, "ask", id="old")
    clock.pass_(ANSWERS_SECONDS + 1)
    for n in range(TIDY_EVERY):
        ask(store, "ask", id=f"q{n}")
    row = store.database.row("SELECT count(*) FROM answers")
    assert row is not None
    assert row[0] == TIDY_EVERY


def test_a_rate_is_kept_by_all_together_whoever_asks_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    ask(store, "take", rate=[5, 60.0], count=0)
    pauses: list[float] = []
    barrier = threading.Barrier(4)

    def take() -> None:
        mine = Store(tmp_path / "home")
        barrier.wait()
        pauses.extend(ask(mine, "take", count=1)["pause"] for _ in range(5))
        mine.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p > 0 for p in pauses) == [False] * 5 + [True] * 15
    assert max(pauses) == pytest.approx(15 * 12.0, abs=2.0)
    store.close()


def test_rates(store: Store) -> None:
    with pytest.raises(UnknownName, match=r"rate limit 'yahoo'.*Say it once"):
        ask(store, "take", count=1)
    ask(store, "take", "yahoo", rate=[3, 60.0], count=2)
    with pytest.raises(UnknownName, match="Did you mean 'yahoo'"):
        ask(store, "take", "yaho", count=1)
    with pytest.raises(UsageProblem, match="4 calls at once"):
        ask(store, "take", count=4)
    refused = ask(store, "take", count=3, most=1.0)
    assert refused["refused"]
    assert store.limits.rate_limit("yahoo").free == 1, "what was refused was not taken"
    ask(store, "take", rate=[100, 1.0], count=0)
    assert str(store.limits.rate_limits()[0].rate) == "100/s"
    store.limits.remove_rate("yahoo")
    assert store.limits.rate_limits() == []


def test_a_breaker_by_hand(store: Store) -> None:
    ask(store, "trip", who="ann", seconds=600.0)
    assert ask(store, "ask")["cause"] == "was tripped by ann"
    assert ask(store, "show")["phase"] == "open"
    ask(store, "reset")
    assert ask(store, "ask")["ok"]
    with pytest.raises(UsageProblem, match="unknown question"):
        ask(store, "nonsense")
    store.limits.remove_breaker("yahoo")
    assert store.limits.breakers() == []


# Jobs that need one


@pytest.fixture
def bad(store: Store, clock: Clock) -> Store:
    """A store whose breaker is open for 30 seconds."""
    ask(store, "rule", rule={"failures": 2})
    fail(store, 2, clock)
    return store


def start(store: Store, lease: Lease, job: str) -> str | None:
    with store.tasks.fenced(lease):
        closed = store.limits.may_start(job_of(store, job), job_of(store, job).options["needs"])
        if closed is None:
            assert store.tasks.start_job(job)
        else:
            store.limits.put_off("local", closed)
    return closed


def over(store: Store, lease: Lease, job: str, state: str, clock: Clock, **error: str) -> None:
    with store.tasks.fenced(lease):
        store.limits.task_over(job, ["yahoo"], state=state, since=clock(), error=error or None)


def test_all_that_need_it_are_put_off_at_once_and_nobody_else(bad: Store, lease: Lease, clock: Clock) -> None:
    waiting = [needing(bad) for _ in range(3)]
    both = needing(bad, "other", "yahoo")
    critical, other, plain = needing(bad, priority=Priority.CRITICAL), needing(bad, "other"), bad.jobs.add(new())
    far = needing(bad, cluster="tcp://far")
    assert start(bad, lease, waiting[0]) == "yahoo"
    for job in (*waiting, both):
        record = job_of(bad, job)
        assert record.status is Status.SCHEDULED
        assert record.note.startswith("waits for yahoo, which failed 2 times; again at ")
        assert record.run_at == bad.limits.breaker("yahoo").opens_until
        assert [e.event for e in bad.jobs.events(job)] == ["submitted", "put off"]
    assert {job_of(bad, job).status for job in (critical, other, plain, far)} == {Status.QUEUED}
    assert bad.limits.breaker("yahoo").waiting == 4
    assert start(bad, lease, other) is None


def test_one_is_the_probe_and_the_others_wait_for_its_verdict(bad: Store, lease: Lease, clock: Clock) -> None:
    first, second, third = (needing(bad) for _ in range(3))
    assert start(bad, lease, first) == "yahoo"
    clock.pass_(31)
    with bad.tasks.fenced(lease):
        bad.tasks.wake_scheduled("local")
    assert start(bad, lease, first) is None
    assert start(bad, lease, second) == "yahoo"
    assert job_of(bad, third).note == "waits for yahoo, which is being tried again"
    # Fails: all wait for the next time.
    over(bad, lease, first, "failed", clock, code="NETWORK_ERROR", bases="ConnectionError OSError", message="down")
    assert {job_of(bad, job).status for job in (second, third)} == {Status.SCHEDULED}
    assert "which failed again; again at" in job_of(bad, third).note
    with bad.tasks.fenced(lease):
        bad.tasks.finish(first, Status.FAILED)
    clock.pass_(31)
    with bad.tasks.fenced(lease):
        bad.tasks.wake_scheduled("local")
    assert start(bad, lease, second) is None
    assert start(bad, lease, third) == "yahoo"
    over(bad, lease, second, "completed", clock)
    assert bad.limits.breaker("yahoo").phase is Phase.CLOSED
    record = job_of(bad, third)
    assert (record.note, record.status) == ("", Status.SCHEDULED)
    with bad.tasks.fenced(lease):
        bad.tasks.wake_scheduled("local")
    assert job_of(bad, third).status is Status.QUEUED
    assert job_of(bad, third).attempt == 1, "no attempt was used up"


@pytest.mark.parametrize("end", ["cancelled", "another error", "gone"])
def test_a_probe_that_says_nothing_makes_room_for_the_next(bad: Store, lease: Lease, clock: Clock, end: str) -> None:
    first, second = needing(bad), needing(bad)
    clock.pass_(31)
    assert start(bad, lease, first) is None
    assert start(bad, lease, second) == "yahoo"
    if end == "gone":
        # A service that died without a word: the next one hands the job back, and somebody cancels it.
        with bad.tasks.fenced(lease):
            bad.tasks.requeue(first, "x")
        bad.jobs.request_cancel(first, "ann")
        assert ask(bad, "ask")["ok"], "nobody tries it any more"
        return
    state = "failed" if end == "another error" else "cancelled"
    over(bad, lease, first, state, clock, code="USER_ERROR", bases="ValueError")
    with bad.tasks.fenced(lease):
        bad.tasks.wake_scheduled("local")
    assert job_of(bad, second).status is Status.QUEUED
    assert start(bad, lease, second) is None


def test_a_reset_calls_them_back_and_a_later_trip_moves_them(bad: Store, lease: Lease, clock: Clock) -> None:
    job = needing(bad)
    scheduled = needing(bad, run_at=job_of(bad, job).created_at.replace(year=2040))
    assert start(bad, lease, job) == "yahoo"
    ask(bad, "trip", who="ann", seconds=3600.0)
    record = job_of(bad, job)
    assert record.run_at == bad.limits.breaker("yahoo").opens_until
    assert "was tripped by ann" in record.note
    moves = bad.limits.moves
    ask(bad, "reset")
    assert bad.limits.moves > moves
    with bad.tasks.fenced(lease):
        bad.tasks.wake_scheduled("local")
    assert job_of(bad, job).status is Status.QUEUED
    # One that has a time of its own keeps it.
    assert job_of(bad, scheduled).status is Status.SCHEDULED


def test_outcomes_of_jobs_that_only_declare_their_need_count(store: Store, lease: Lease, clock: Clock) -> None:
    ask(store, "rule", rule={"failures": 2})
    job = needing(store)
    assert start(store, lease, job) is None
    over(store, lease, job, "failed", clock, code="USER_ERROR", bases="ValueError")
    over(store, lease, job, "lost", clock)
    assert store.limits.breaker("yahoo").failed == 0
    over(store, lease, job, "failed", clock, code="API_ERROR", bases="HTTPError")
    over(store, lease, job, "failed", clock, code="TIMEOUT_ERROR")
    record = store.limits.breaker("yahoo")
    assert (record.failed, record.phase) == (2, Phase.OPEN)


def test_a_job_that_asks_itself_is_not_counted_twice_and_goes_as_its_own_probe(
    bad: Store, lease: Lease, clock: Clock
) -> None:
    job = needing(bad)
    clock.pass_(31)
    assert start(bad, lease, job) is None
    said = ask(bad, "ask", job=job, holder="block")
    assert said["ok"], "it is the probe"
    ask(bad, "succeeded", job=job, holder=said["holder"], since=said["since"])
    assert bad.limits.breaker("yahoo").phase is Phase.CLOSED
    over(bad, lease, job, "failed", clock, code="NETWORK_ERROR")
    assert bad.limits.breaker("yahoo").failed == 2
    assert bad.limits.breaker("yahoo").circuit.failures == ()


def test_a_critical_job_that_needs_it_may_ask_while_it_is_open_and_others_may_not(
    bad: Store, lease: Lease, clock: Clock
) -> None:
    critical, stranger = needing(bad, priority=Priority.CRITICAL), bad.jobs.add(new(priority=Priority.CRITICAL))
    with bad.tasks.fenced(lease):
        bad.tasks.start_job(critical)
        bad.tasks.start_job(stranger)
    assert not ask(bad, "ask", job=stranger)["ok"]
    said = ask(bad, "ask", job=critical)
    assert said["ok"]
    ask(bad, "succeeded", job=critical, holder=said["holder"], since=said["since"])
    assert bad.limits.breaker("yahoo").phase is Phase.CLOSED


# Last values


def test_the_last_value_of_each_call(store: Store, clock: Clock) -> None:
    assert ask(store, "last", call="aapl") == {}
    ask(store, "succeeded", since=clock(), call="aapl", at=100, value=b"one")
    ask(store, "keep", call="msft", at=100, value=b"other")
    with store.database.writing():
        store.limits.keep([("yahoo", "aapl", 200, b"two"), ("yahoo", "aapl", 150, b"late")])
    assert ask(store, "last", call="aapl", id="q") == {"at": 200, "value": b"two"}
    assert ask(store, "last", call="aapl", id="q") == {"at": 200, "value": b"two"}
    assert ask(store, "last", call="msft")["value"] == b"other"
    assert ask(store, "last", "another", call="aapl") == {}


def test_only_the_newest_are_kept(store: Store) -> None:
    with store.database.writing():
        store.limits.keep([("yahoo", str(n), n, b"v") for n in range(1, VALUES_KEPT + 6)])
    assert ask(store, "last", call="5") == {}
    assert ask(store, "last", call="6") == {"at": 6, "value": b"v"}
