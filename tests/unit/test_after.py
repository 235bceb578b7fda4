"""What a job waits for, as people say it: marks in its work, links to its parents, and what is refused at the door."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobnb
from jobnb import JobManager, handover, work
from jobnb.chaining import Step
from jobnb.errors import UnknownName, Unpicklable, UsageProblem
from jobnb.handover import Mark
from jobnb.job import Job, Status
from jobnb.option import Options
from jobnb.store.chains import Given, verdict
from jobnb.work import CallWork, Conditional, Failed, MapWork


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobManager]:
    """A manager without a service."""
    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(made.daemon, "ensure", lambda: None)
    yield made
    made.store.close()


def said(**what: Any) -> Options:
    return Options().merge(**what)


def links(manager: JobManager, job: Job) -> list[tuple[str, str, bool]]:
    return [(each.id, each.wanted, each.given) for each in manager.store.chains.parents(job.id)]


def one(x: object = None) -> object:
    return x


def prices(symbol: str, start: object, end: object, interval: str) -> object:
    raise AssertionError("nothing is fetched at the front door")


def add(x: int, y: int) -> int:
    return x + y


def nothing() -> None:
    pass


def even(x: int) -> bool:
    return x % 2 == 0


# Marks and values


def test_marks_stand_where_jobs_stood(manager: JobManager) -> None:
    a, b = manager.submit(nothing), manager.submit(nothing)
    places: list[Job] = []

    def place(job: Job) -> int:
        places.append(job)
        return len(places) - 1

    plain = {"k": [1, (2, {3})]}
    made = handover.parted(CallWork(fn=one, args=(a, plain, [1, {"x": (b,)}]), kwargs={"y": 4}), place)
    assert places == [a, b]
    assert isinstance(made.args[0], Mark)
    assert made.args[1] is plain
    assert made.args[2][1]["x"][0].place == 1
    same = CallWork(fn=one, args=(plain, 5), kwargs={"z": "a"})
    assert handover.parted(same, place) is same
    assert [getattr(e, "place", e) for e in handover.parted(MapWork(fn=one, items=[1, a]), place).items] == [1, 2]


def test_a_job_that_lies_deep_is_refused_and_not_lost(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    job = manager.submit(nothing)
    monkeypatch.setattr(handover, "LOOKED_AT", 10)
    with pytest.raises(Unpicklable, match=job.id):
        manager.submit(one, (list(range(20)), job))
    with pytest.raises(Unpicklable, match=f"refers to job {job.id}"):
        manager.submit(lambda: job)


def test_values_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobnb.worker import blobs

    whole = CallWork(fn=add, args=(1, 2)).run(0, 1, None, print).result
    items = MapWork(fn=abs, items=[-1, -2, -3])
    parts = [items.run(0, 2, None, lambda n: None).result, items.run(2, 3, None, lambda n: None).result]
    (tmp_path / "part").write_bytes(parts[1])
    blobs.use({"e" * 64: str(tmp_path / "part")})
    failed = {"error": "broken", "type": "ValueError", "traceback": "lines"}
    given = [
        Given(place=0, plan={"type": "single"}, parts=[whole]),
        Given(place=2, plan={"type": "map"}, parts=[parts[0], "e" * 64]),
        Given(place=3, plan={}, failed=failed),
    ]
    packed = handover.pack(given)
    handover.use(packed)
    assert handover.value(0) == 3
    assert handover.value(2) == [1, 2, 3]
    assert handover.value(2) is handover.value(2)
    assert handover.value(3) == Failed(**failed)
    with pytest.raises(jobnb.JobnbError, match="not sent along"):
        handover.value(1)
    assert list(handover.pickles(packed)) == [whole, parts[0]]
    (tmp_path / "all").write_bytes(packed)
    blobs.use({"f" * 64: str(tmp_path / "all")})
    handover.use(handover.blob("f" * 64))
    assert handover.value(2) == [1, 2, 3]
    assert list(handover.pickles(handover.blob("f" * 64))) == []
    handover.use(b"")


def test_a_condition_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "value", lambda place: [4, 7][place])
    asked: list[Any] = []

    def keep(*values: int) -> int:
        asked.append(values)
        return 1

    asking = Conditional(CallWork(fn=nothing), condition=keep, places=(0, 1))
    assert asking.run(0, 1, None, print).refused == ""
    asking.run(0, 1, None, print)
    assert asked == [(4, 7)]
    refused = Conditional(CallWork(fn=nothing), condition=even, places=(1,)).run(3, 9, None, print)
    assert (refused.stop, refused.refused) == (3, "its condition even said no")
    assert work.unwrapped(work.Hooked(asking)) == CallWork(fn=nothing)


@pytest.mark.parametrize("ended", ["completed", "failed", "cancelled", "skipped"])
def test_success_and_failure_never_both_run(ended: Any) -> None:
    assert verdict("any", ended) == "run"
    ran = [verdict(wanted, ended) == "run" for wanted in ("success", "failure")]
    assert sum(ran) == (0 if ended == "skipped" else 1)


# What can be said


def test_parents_in_the_order_in_which_they_are_said(manager: JobManager) -> None:
    a, b, c = (manager.submit(nothing, options=said(name=name)) for name in "abc")
    job = manager.submit(one, (c, a), options=said(after=[b, "a"], after_on="any"))
    assert links(manager, job) == [(b.id, "any", False), (a.id, "any", True), (c.id, "any", True)]
    assert job.parents == [b, a, c]
    assert a.children == [job]
    each = manager.submit(one, options=said(after={a: "failure", b.id[:7]: "success", "last": "any"}, after_on="any"))
    assert links(manager, each) == [(a.id, "failure", False), (b.id, "success", False), (job.id, "any", False)]
    tolerant = manager.submit(one, (a,), options=said(after={b: "failure"}, on_parent_failure="run"))
    assert links(manager, tolerant) == [(b.id, "failure", False), (a.id, "any", True)]
    asked = manager.submit(one, options=said(after=[a, b], condition=even))
    assert links(manager, asked) == [(a.id, "success", True), (b.id, "success", True)]


def test_hooks_are_in_nobodys_way(manager: JobManager) -> None:
    first = manager.submit(nothing)
    job = manager.submit(one, (first,), options=said(hooks=jobnb.Hooks(before=print), condition=even))
    assert links(manager, job) == [(first.id, "success", True)]
    handover.use(handover.pack([Given(place=0, plan={"type": "single"}, parts=[pickle.dumps(4)])]))
    made = pickle.loads(manager.store.payloads.get(job.record.payload))
    handover.use(b"")
    assert isinstance(made, Conditional)
    assert isinstance(made.work, work.Hooked)
    assert made.work.work == CallWork(fn=one, args=(4,))


def test_every_kind_of_job_can_wait(manager: JobManager) -> None:
    first = manager.submit(nothing)
    waits = [
        manager.map(one, [1, first], said(after=first)),
        manager.extract("A", said(after=first), start="2020-01-01", source=prices),
    ]
    manager.register_handler("h", one)
    waits += [manager.enqueue("h", {"x": first}), manager.enqueue("h", {"x": 1}, after=first)]
    assert [job.status for job in waits] == [Status.SCHEDULED] * 4
    assert all(job.parents == [first] for job in waits)


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ({"after": 3}, UsageProblem, "after takes jobs, or their ids or names, not 3"),
        ({"after": [None]}, UsageProblem, "not None"),
        ({"after": {"x": "sucess"}}, UnknownName, "Did you mean 'success'"),
        ({"after": "nobody"}, UnknownName, "unknown job 'nobody'"),
        ({"after_on": "failed"}, UnknownName, "'failed'"),
        ({"after_on": "any"}, UsageProblem, "goes with after"),
        ({"condition": even}, UsageProblem, "say after"),
        ({"condition": 3}, UsageProblem, "must be a function"),
        ({"on_parent_failure": "go"}, UnknownName, "unknown on_parent_failure 'go'"),
    ],
)
def test_what_makes_no_sense_enqueues_nothing(manager: JobManager, what: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        manager.submit(one, options=said(**what))
    assert manager.jobs() == []


def test_handlers_and_schedules_take_no_parents(manager: JobManager) -> None:
    first = manager.submit(nothing)
    with pytest.raises(UsageProblem, match="is said when it is enqueued"):
        manager.register_handler("h", one, after=first)
    with pytest.raises(UsageProblem, match="after is not for a schedule"):
        manager.schedule("s", one, "1h", after=first)
    job = manager.submit(one, (first,))
    for target, args in ((one, (first,)), (job, ())):
        with pytest.raises(UsageProblem, match="Give them the value"):
            manager.schedule("s", target, "1h", args=args)
    assert not manager.schedules()


def test_prices_are_no_job(manager: JobManager) -> None:
    class Hold(jobnb.Strategy):
        def positions(self, bars: Any) -> Any:
            return bars.close > 0

    job: Any = manager.submit(nothing)
    with pytest.raises(jobnb.JobnbError, match=r"not Job. Take its result: job.result\(\)"):
        manager.backtest(Hold, job)


# Chains


def test_a_chain_is_one_line(manager: JobManager) -> None:
    own = jobnb.options(timeout=5, name="mine").step(add, y=1)
    common = said(name="night", priority="high", tags="t")
    last = manager.chain([(one, (1,)), functools.partial(add, 2), own, (add, [3]), (add, {"y": 4})], common)
    line = [last]
    while line[0].parents:
        line = [*line[0].parents, *line]
    names = [job.name for job in line]
    assert names == ["night: one", "night: add", "mine", "night: add", "night: add"]
    assert [job.record.options["timeout"] for job in line] == [None, None, 5.0, None, None]
    assert {job.priority for job in line} == {"high"}
    assert [job.status for job in line] == [Status.QUEUED, *[Status.SCHEDULED] * 4]
    payloads = {job.record.payload for job in line}
    assert len(payloads) == 5


def test_a_chain_may_wait_for_others(manager: JobManager) -> None:
    a, b = manager.submit(nothing), manager.submit(nothing)
    last = manager.chain([one, jobnb.options(after=b, condition=even).step(one)], said(after=a, after_on="any"))
    (first, other) = last.parents
    assert other == b
    assert links(manager, first) == [(a.id, "any", False)]
    assert links(manager, last) == [(first.id, "success", True), (b.id, "success", True)]


@pytest.mark.parametrize(
    ("steps", "options", "text"),
    [
        ([], {}, "a chain needs steps"),
        ([one, 3], {}, "3 is no step of a chain"),
        ([one, (add, 3)], {}, "is no step of a chain"),
        ([one, (add, (1,), {}, 4)], {}, "is no step of a chain"),
        ([one, nothing], {}, r"nothing\(\).* cannot be this step: what one returns comes first"),
        ([one, add], {}, "missing a required argument: 'y'"),
        ([add], {}, "missing a required argument: 'x'"),
        ([one, one], {"unique": "k"}, "unique is for one job"),
        ([one, one], {"condition": even}, "condition is for one job"),
        ([one, Step(fn=one, options=Options().merge(after="nobody"))], {}, "unknown job"),
        ([*[Step(fn=one, options=Options().merge(unique="k"))] * 2], {}, "a circle"),
    ],
)
def test_a_chain_that_makes_no_sense_enqueues_nothing(manager: JobManager, steps: Any, options: Any, text: str) -> None:
    with pytest.raises(UsageProblem, match=text):
        manager.chain(steps, said(**options))
    assert manager.jobs() == []


# Again


def end(manager: JobManager, job: Job, status: Status) -> None:
    """End a job as a service would."""
    store = manager.store
    lease = store.leases.take("local", "me", 60, {"host": "elsewhere", "pid": 1})
    assert lease is not None
    with store.tasks.fenced(lease):
        store.tasks.finish(job.id, status, error={"code": "X", "message": "m"} if status is Status.FAILED else None)
    store.leases.release(lease)


def test_rerun_and_retry_follow_the_parents(manager: JobManager) -> None:
    first = manager.submit(nothing)
    job = manager.submit(one, (first,))
    waiting = job.rerun()
    assert links(manager, waiting) == [(first.id, "success", True)]
    assert waiting.record.options["given"]
    end(manager, first, Status.FAILED)
    for wish in (job.retry, job.rerun):
        with pytest.raises(UsageProblem, match=f"its parent {first.id} .nothing. failed: X. Retry that one first"):
            wish()
    assert job.retry(on_parent_failure="run").status is Status.QUEUED
    newer = first.retry()
    assert job.status is Status.CANCELLED
    again = job.retry()
    assert links(manager, again) == [(newer.id, "success", True)]
    end(manager, newer, Status.COMPLETED)
    assert again.status is Status.QUEUED
    other = manager.submit(nothing)
    more = again.rerun(after=other)
    assert links(manager, more) == [(newer.id, "success", True), (other.id, "success", False)]
    with pytest.raises(UsageProblem, match="condition is part of the work"):
        again.rerun(condition=even)


def test_a_result_that_was_removed_is_missed_at_the_door(manager: JobManager) -> None:
    first, plain = manager.submit(nothing), manager.submit(nothing)
    job, after = manager.submit(one, (first,)), manager.submit(one, options=said(after=plain))
    for each in (first, plain, job, after):
        end(manager, each, Status.COMPLETED)
    store = manager.store
    store.database.rows("DELETE FROM jobs WHERE id IN (?, ?)", (first.id, plain.id))
    with pytest.raises(UsageProblem, match=f"needs the result of its parent {first.id}, which was removed"):
        job.rerun()
    assert after.rerun().status is Status.QUEUED
