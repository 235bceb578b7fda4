"""Chains on a real service: results passed on, failures passed down, conditions, and services that are killed."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service_kit import add, alive, boom, mark_and_wait, until, wait_for

import jobnb
from jobnb import JobCancelled, JobManager, Status
from jobnb.option import Options
from jobnb.work import Failed


def options(**said: Any) -> Options:
    return Options().merge(**said)


def step(fn: Callable[..., Any], *args: Any, said: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    return jobnb.options(**(said or {})).step(fn, *args, **kwargs)


def table(rows: int) -> Any:
    import numpy as np
    import pandas as pd

    return pd.DataFrame({"x": np.arange(rows, dtype=float)})


def total_of(frame: Any) -> float:
    return float(frame["x"].sum())


def text_of(what: object) -> str:
    return repr(what)


def big(value: float) -> bool:
    return value > 100


def small(value: float) -> bool:
    return value < 100


def who_asked(mark: str, value: object) -> bool:
    Path(mark).write_text(str(os.getpid()))
    return True


def own_pid(value: object) -> int:
    return os.getpid()


def ends_of(**said: Any) -> dict[str, str]:
    return {name: "failed" if isinstance(each, Failed) else str(each) for name, each in said.items()}


def rescue(value: Any) -> Any:
    return (value.type, value.error) if isinstance(value, Failed) else value


def test_a_chain_passes_results_on(shared: JobManager) -> None:
    last = shared.chain([(add, (1, 2)), functools.partial(add, 10), (add, (), {"b": 100}), step(text_of)])
    assert last.result(timeout=60) == "113"
    names, job = [], last
    while job.parents:
        (job,) = job.parents
        names.append(job.result())
    assert names == [113, 13, 3]
    assert job.children[0].children[0].children == [last]


@pytest.mark.parametrize("rows", [10, 20_000, 200_000], ids=["in the row", "in a blob", "large"])
def test_a_frame_is_passed_on_whatever_its_size(shared: JobManager, rows: int) -> None:
    loaded = shared.submit(table, (rows,))
    job = shared.submit(total_of, (loaded,))
    assert job.result(timeout=60) == sum(range(rows))


def test_jobs_stand_anywhere_among_the_arguments(shared: JobManager) -> None:
    one, many = shared.submit(add, (1,)), shared.map(abs, [-1, -2, -3])
    job = shared.submit(ends_of, (), {"a": one, "b": [one, {"c": many}], "d": 7})
    assert job.result(timeout=60) == {"a": "1", "b": "[1, {'c': [1, 2, 3]}]", "d": "7"}
    assert job.parents == [one, many]
    assert shared.map(add, [one, one, 5]).result(timeout=60) == [1, 1, 5]


def test_a_handler_is_given_results_by_name(shared: JobManager) -> None:
    shared.register_handler("adder", add)
    first = shared.submit(add, (1, 2))
    job = shared.enqueue("adder", {"a": first, "b": 10}, condition=small)
    assert job.result(timeout=60) == 13


def test_several_results_that_are_large_together(shared: JobManager) -> None:
    parts = [shared.submit(str.__mul__, (letter, 60_000)) for letter in "abcd"]
    assert shared.submit("".join, (parts,)).result(timeout=60) == "".join(c * 60_000 for c in "abcd")


def test_a_failure_goes_down_the_chain_with_its_reason(shared: JobManager) -> None:
    last = shared.chain([(boom, ("broken",)), text_of, text_of], options(name="night"))
    with pytest.raises(JobCancelled, match=r"was cancelled because its parent \w+ \(night: text_of\) was cancelled: "):
        last.result(timeout=60)
    (middle,) = last.parents
    (first,) = middle.parents
    assert middle.error is not None
    assert middle.error.code == "PARENT_FAILED"
    assert middle.error.message == f"cancelled because its parent {first.id} (night: boom) failed: USER_ERROR"
    assert last.error is not None
    assert last.error.message.endswith(f"was cancelled: {first.id} (night: boom) failed: USER_ERROR")
    assert not last.attempts


def test_who_wants_to_hear_of_a_failure(shared: JobManager) -> None:
    bad, good = shared.submit(boom, ("broken",)), shared.submit(add, (1,))
    alarm = shared.submit(rescue, (bad,), options=options(after_on="failure"))
    anyhow = shared.submit(ends_of, (), {"bad": bad, "good": good}, options(on_parent_failure="run"))
    needless = shared.submit(rescue, (good,), options=options(after_on="failure"))
    assert alarm.result(timeout=60) == ("ValueError", "broken")
    assert anyhow.result(timeout=60) == {"bad": "failed", "good": "1"}
    needless.wait(60)
    assert needless.error is not None
    assert needless.error.message.startswith(f"skipped because its parent {good.id} (add) completed")


def test_a_condition_decides_in_the_childs_own_process(shared: JobManager, tmp_path: Path) -> None:
    mark = tmp_path / "asked"
    first = shared.submit(add, (1, 2))
    asked = functools.partial(who_asked, str(mark))
    job = shared.submit(own_pid, (first,), options=options(condition=asked))
    assert job.result(timeout=60) == int(mark.read_text())
    runs = shared.submit(add, (first, 1), options=options(condition=small))
    assert runs.result(timeout=60) == 4
    refused = shared.submit(add, (first, 1), options=options(condition=big))
    after = shared.submit(text_of, (refused,))
    alarm = shared.submit(text_of, (refused,), options=options(after_on="failure"))
    anyhow = shared.submit(rescue, (refused,), options=options(after_on="any"))
    for each in (refused, after, alarm):
        each.wait(60)
        assert each.status is Status.CANCELLED
        assert each.error is not None
        assert each.error.code == "SKIPPED"
    assert refused.error is not None
    assert refused.error.message == "its condition big said no"
    assert [attempt.state for attempt in refused.attempts] == ["cancelled"]
    assert not after.attempts
    assert anyhow.result(timeout=60)[1] == "its condition big said no"


def test_a_condition_that_raises_fails_the_job(shared: JobManager) -> None:
    first = shared.submit(add, (1, 2))
    job = shared.submit(add, (first,), options=options(condition=total_of))
    job.wait(60)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.code == "USER_ERROR"


def test_a_retried_parent_leads_its_retried_child(shared: JobManager, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = shared.submit(fragile, (str(gate),))
    second = shared.submit(text_of, (first,))
    second.wait(60)
    assert second.status is Status.CANCELLED
    with pytest.raises(jobnb.JobnbError, match=f"its parent {first.id} .* failed: USER_ERROR. Retry that one first"):
        second.retry()
    gate.touch()
    again = first.retry()
    assert second.retry().result(timeout=60) == "'open'"
    assert second.children == []
    assert again.children


def fragile(gate: str) -> str:
    if not os.path.exists(gate):
        raise ValueError("closed")
    return "open"


def test_cancelling_what_runs_cancels_what_waits(shared: JobManager, tmp_path: Path) -> None:
    first = shared.submit(wait_for, (str(tmp_path / "never"),))
    second = shared.submit(text_of, (first,))
    assert second.record.note == f"waits for {first.id} (wait_for)"
    assert second.status is Status.SCHEDULED
    until(lambda: first.status is Status.RUNNING, 60)
    first.cancel()
    second.wait(60)
    assert second.error is not None
    assert f"its parent {first.id} (wait_for) was cancelled by " in second.error.message


def test_a_chain_outlives_its_service(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager = fresh()
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    last = manager.chain([(mark_and_wait, (str(mark), str(gate))), text_of, text_of])
    until(lambda: mark.exists(), 60)
    lease = manager.daemon.lease()
    assert lease is not None
    os.kill(lease.pid, signal.SIGKILL)
    until(lambda: not alive(lease.pid))
    assert last.status is Status.SCHEDULED
    gate.touch()
    assert last.result(timeout=60) == "\"'open'\""


def test_no_step_is_lost_or_doubled_while_services_are_killed(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    manager, counts = fresh(), tmp_path / "counts"
    counts.mkdir()
    lines = [[(counted, (0, str(counts), n)), *[(counted, (str(counts), n))] * 7] for n in range(4)]
    ends = [manager.chain(line) for line in lines]
    alarms = [manager.submit(rescue, (job,), options=options(after_on="failure")) for job in ends]
    for least in (4, 12, 20):
        until(lambda least=least: manager.ensure_service() or len(list(counts.iterdir())) >= least, 60)  # type: ignore[misc]
        lease = manager.daemon.lease()
        assert lease is not None
        os.kill(lease.pid, signal.SIGKILL)
        until(lambda pid=lease.pid: not alive(pid))  # type: ignore[misc]
    assert [job.result(timeout=120) for job in ends] == [8] * 4
    manager.wait([job.id for job in alarms], 60)
    assert {job.status for job in alarms} == {Status.CANCELLED}
    # Whichever attempt counted, each step was given the number of the one before it.
    assert len(list(counts.iterdir())) == 32
    records = manager.records(limit=100)
    assert not [record for record in records if not record.status.final]
    assert not manager.store.database.rows("SELECT job FROM parents WHERE ended IS NULL")


def counted(value: int, folder: str, line: int) -> int:
    Path(folder, f"{line}-{value}").touch()
    return value + 1


def test_results_stay_while_somebody_needs_them(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    shared = fresh()
    gate = tmp_path / "gate"
    slow = shared.submit(wait_for, (str(gate),))
    first = shared.submit(table, (200_000,))
    job = shared.submit(total_of, (first,), options=options(after=slow))
    first.wait(60)
    shared.clear_completed(0)
    shared.vacuum()
    assert first.status is Status.COMPLETED
    gate.touch()
    assert job.result(timeout=60) == sum(range(200_000))
    shared.clear_completed(0)
    with pytest.raises(jobnb.JobnbError):
        _ = first.status
