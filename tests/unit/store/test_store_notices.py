"""The outbox: written with what it tells, by whoever writes that; claimed, marked, given up."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests_store import Clock, new

from jobnb import channel
from jobnb.channel import Channel
from jobnb.job import Status
from jobnb.store import Store
from jobnb.store.leases import Lease
from jobnb.store.notices import KEPT, WAITING

URL = "json://localhost/s3cr3t"
ERROR = {"code": "NETWORK_ERROR", "type": "ConnectionError", "message": "no route"}


def put(store: Store, name: str = "ops", url: str = URL, on: str = "all", **more: object) -> Channel:
    made = channel.channel(url, name=name, events=on, **more)  # type: ignore[arg-type]
    store.notices.put(made)
    return made


def end(
    store: Store, lease: Lease, clock: Clock, status: Status = Status.COMPLETED, *, takes: float = 1, **job: object
) -> str:
    made = store.jobs.add(new(**job))
    with store.tasks.fenced(lease):
        store.tasks.start_job(made)
    clock.pass_(takes)
    with store.tasks.fenced(lease):
        store.tasks.finish(made, status, error=ERROR if status is Status.FAILED else None)
    return made


def told(store: Store, name: str = "ops") -> list[str]:
    return [each.notice.event for each in reversed(store.notices.history(name))]


def test_what_happens_to_jobs_is_told_to_who_wants_it(store: Store, lease: Lease, clock: Clock) -> None:
    put(store)
    put(store, "quiet", on="stuck")
    end(store, lease, clock)
    failed = end(store, lease, clock, Status.FAILED, takes=5, tags=["a"], queue="collection")
    waiting = store.jobs.add(new())
    store.jobs.request_cancel(waiting, "ann")
    with store.tasks.fenced(lease):
        store.jobs.event(failed, "stuck", "service", "no sign of life")
        store.jobs.event(failed, "failure rate", "service", "6 of 10")
    assert told(store) == ["completed", "failed", "cancelled", "stuck", "failure rate"]
    assert told(store, "quiet") == ["stuck"]
    facts = store.notices.history("ops")[3].notice.facts
    assert facts["seconds"] == pytest.approx(5, abs=0.01)
    assert {k: facts[k] for k in ("job", "name", "code", "type", "message", "tags", "queue", "status")} == {
        "job": failed, "name": "x", "code": "NETWORK_ERROR", "type": "ConnectionError", "message": "no route",
        "tags": ["a"], "queue": "collection", "status": "failed",
    }  # fmt: skip


def test_filters(store: Store, lease: Lease, clock: Clock) -> None:
    put(store, "backtests", on="completed", kinds="backtest")
    put(store, "tagged", on="completed", tags=["risk", "books"])
    put(store, "long", on="completed,stuck", longer_than="10m")
    end(store, lease, clock, kind="backtest")
    job = end(store, lease, clock, takes=601, tags=["books", "x"])
    with store.tasks.fenced(lease):
        store.jobs.event(job, "started", "service")
    assert (told(store, "backtests"), told(store, "tagged"), told(store, "long")) == (["completed"],) * 3
    (one,) = store.notices.history("long")
    assert one.notice.facts["job"] == job


def test_one_that_is_stuck_has_not_run_too_short(store: Store, lease: Lease) -> None:
    put(store, "long", on="stuck", longer_than="10m")
    job = store.jobs.add(new())
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        store.jobs.event(job, "stuck", "service")
    assert told(store, "long") == ["stuck"]


def test_a_dead_letter_is_told_once(store: Store, lease: Lease, clock: Clock) -> None:
    put(store, on="failed,dead")
    put(store, "dead", on="dead")
    end(store, lease, clock, Status.FAILED)
    assert (told(store), told(store, "dead")) == (["failed"], ["failed"])


def test_a_job_names_its_channel(store: Store, lease: Lease, clock: Clock) -> None:
    put(store, on="failing", longer_than="1h")
    end(store, lease, clock)
    end(store, lease, clock, options={"notify": ["ops", "gone"]})
    assert told(store) == ["completed"]


def test_it_is_written_with_what_it_tells_or_not_at_all(store: Store, lease: Lease) -> None:
    put(store)
    job = store.jobs.add(new())

    def broken() -> None:
        with store.tasks.fenced(lease):
            store.tasks.start_job(job)
            store.tasks.finish(job, Status.COMPLETED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert told(store) == []


def test_what_it_tells_may_be_gone(store: Store, lease: Lease, clock: Clock) -> None:
    put(store)
    end(store, lease, clock)
    store.jobs.forget(before=datetime(2100, 1, 1, tzinfo=UTC), status=[Status.COMPLETED])
    assert told(store) == ["completed"]
    # Numbers are not used again: who counts on by them misses nothing.
    before = store.notices.last()
    store.notices.remove("ops")
    put(store)
    end(store, lease, clock)
    assert store.notices.last() > before


def test_schedules_that_jobnb_pauses(store: Store, lease: Lease, clock: Clock) -> None:
    put(store, on="paused")
    put(store, "own", on="failed")
    for name, options in (("beat", {}), ("named", {"notify": ["own"]})):
        made = new(name, options=options)
        policy = {"pause_after": 2}
        at = datetime(2026, 1, 1, tzinfo=UTC)
        store.schedules.put(name, made, trigger={}, policy=policy, next_at=at, decided_at=at)
        for _ in range(2):
            end(store, lease, clock, Status.FAILED, schedule=name)
    assert told(store) == ["schedule paused", "schedule paused"]
    assert told(store, "own").count("schedule paused") == 1
    assert store.notices.history("ops")[0].notice.body == "paused after 2 failures in a row"
    # By hand, or because it is over, is no news.
    store.schedules.enable("beat", True, next_at=at, decided_at=at)
    store.schedules.enable("beat", False)
    store.schedules.enable("beat", True, next_at=at, decided_at=at)
    with store.tasks.fenced(lease):
        store.schedules.decided("beat", at, None, "over after 3 runs")
    assert len(told(store)) == 2


def test_claimed_sent_and_marked(store: Store, lease: Lease, clock: Clock) -> None:
    one = put(store)
    end(store, lease, clock)
    end(store, lease, clock, Status.FAILED)
    assert store.notices.due("local") == [one]
    assert store.notices.due("elsewhere") == []
    with store.tasks.fenced(lease):
        claimed = store.notices.claim(one, "local", tries=3, pause=2)
    assert [n.event for n in claimed] == ["completed", "failed"]
    # Were it to die here, they would be tried again after a while.
    assert store.notices.due("local") == []
    clock.pass_(3)
    assert store.notices.due("local") == [one]
    store.notices.sent("ops", claimed)
    store.notices.sent("ops", claimed)
    (state,) = store.notices.states()
    assert (state.waiting, state.lost, state.note, state.failures) == (0, 0, "", 0)
    assert state.sent_at is not None
    assert [(t.tries, t.why) for t in store.notices.history("ops")] == [(1, ""), (1, "")]


def test_what_cannot_be_sent_is_given_up_with_a_reason(store: Store, lease: Lease, clock: Clock) -> None:
    one = put(store)
    end(store, lease, clock)
    for tries in range(3):
        (due,) = store.notices.due("local")
        with store.tasks.fenced(lease):
            assert store.notices.claim(due, "local", tries=3, pause=2)
        lost = store.notices.failed("ops", "local", "nobody answers", tries=3, pause=2)
        assert lost == (tries == 2)
        clock.pass_(3)
    (state,) = store.notices.states()
    assert (state.waiting, state.lost, state.note, state.failures) == (0, 1, "nobody answers", 3)
    assert store.notices.history("ops")[0].why == "nobody answers"
    assert store.notices.due("local") == []
    # Another address has not failed.
    put(store, url="json://localhost/other")
    (state,) = store.notices.states()
    assert (state.note, state.failures) == ("", 0)
    assert one.name == "ops"


def test_one_over_which_services_die_is_given_up(store: Store, lease: Lease, clock: Clock) -> None:
    one = put(store)
    end(store, lease, clock)
    for _ in range(3):
        with store.tasks.fenced(lease):
            assert store.notices.claim(one, "local", tries=3, pause=2)
    with store.tasks.fenced(lease):
        assert store.notices.claim(one, "local", tries=3, pause=2) == []
    assert "the service died" in store.notices.history("ops")[0].why


def test_the_outbox_is_bounded(store: Store, lease: Lease, clock: Clock) -> None:
    one = put(store)
    job = store.jobs.add(new())
    with store.database.writing():
        for _ in range(WAITING + 50):
            store.jobs.event(job, "stuck", "service")
    sent = 0
    while store.notices.due("local"):
        with store.tasks.fenced(lease):
            claimed = store.notices.claim(one, "local", tries=3, pause=0)
        sent += len(claimed)
        store.notices.sent("ops", claimed)
    assert sent == WAITING
    (state,) = store.notices.states()
    assert (state.sent, state.lost, state.waiting) == (WAITING, 50, 0)
    assert len(store.notices.history("ops", limit=10_000)) <= KEPT + 1


def test_a_service_does_not_leave_while_something_is_to_be_sent(store: Store, lease: Lease, clock: Clock) -> None:
    one = put(store)
    end(store, lease, clock)
    assert store.jobs.any_live("local")
    assert not store.jobs.any_live("elsewhere")
    with store.tasks.fenced(lease):
        claimed = store.notices.claim(one, "local", tries=3, pause=2)
    store.notices.sent("ops", claimed)
    assert not store.jobs.any_live("local")


def test_notebooks_look_for_themselves(store: Store, lease: Lease, clock: Clock) -> None:
    put(store, "notebook", "notebook", on="completed")
    before = store.notices.last()
    job = end(store, lease, clock)
    store.notices.tell_notebooks("test", {"detail": "hello"})
    assert [n.event for n in store.notices.after(before)] == ["completed", "test"]
    assert store.notices.after(before)[0].facts["job"] == job
    assert store.notices.due("local") == []
    assert not store.jobs.any_live("local")


def test_the_configuration_comes_and_goes(store: Store) -> None:
    put(store, "mine")
    two = [channel.channel(URL, name=name) for name in ("a", "b")]
    store.notices.configure(two, "local")
    store.notices.configure(two[:1], "elsewhere", forget=False)
    assert [s.channel.name for s in store.notices.states()] == ["a", "b", "mine"]
    store.notices.configure(two[1:], "local")
    store.notices.configure([], "local", forget=False)
    assert {s.channel.name: s.configured for s in store.notices.states()} == {"a": True, "b": True, "mine": False}
    store.notices.configure([], "elsewhere")
    store.notices.configure([], "local")
    assert [s.channel.name for s in store.notices.states()] == ["mine"]


def test_without_a_channel_an_event_costs_no_look_at_its_job(store: Store) -> None:
    (sql,) = store.database.rows("SELECT sql FROM sqlite_master WHERE name = 'outbox_of_jobs'")[0]
    assert "FROM channels AS c CROSS JOIN jobs" in sql
    assert json.dumps(told(store)) == "[]"
