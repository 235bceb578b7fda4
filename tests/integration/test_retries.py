"""Retries, dead letters, unique keys, deadlines, hooks and listeners, through a real service."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest
import service_kit as kit

from jobnb import GiveUp, Hooks, JobFailed, JobManager, Retry, RetryLater, Status
from jobnb.errors import NotReproduced
from jobnb.job import Event, Job
from jobnb.option import Options
from jobnb.work import Failed

SOON = Retry(delay=0.05, jitter=False)


def fail_first(marks: str, times: int, kind: type[Exception] = ConnectionError) -> int:
    """Fail that often, then say which attempt it is."""
    path = Path(marks)
    with path.open("a") as file:
        file.write("x")
    tried = len(path.read_text())
    if tried <= times:
        raise kind(f"attempt {tried}")
    return tried


def fail_item(item: tuple[int, str]) -> int:
    number, marks = item
    if number == 3:
        fail_first(marks, 2)
    return number


def says_later(marks: str) -> int:
    try:
        return fail_first(marks, 1, ValueError)
    except ValueError as error:
        raise RetryLater("not yet", after=0.05) from error


def gives_up() -> None:
    raise GiveUp("no use")


def note(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("hook\n")


def options(**said: object) -> Options:
    return Options().merge(**said)


def test_a_passing_failure_is_tried_again_and_every_attempt_is_kept(shared: JobManager, tmp_path: Path) -> None:
    job = shared.submit(fail_first, (str(tmp_path / "marks"), 2), options=options(retry=SOON))
    assert job.result(30) == 3
    assert [(a.attempt, a.state) for a in job.attempts] == [(1, "failed"), (2, "failed"), (3, "completed")]
    assert job.attempts[0].error is not None
    assert job.attempts[0].error.code == "NETWORK_ERROR"
    assert [e.event for e in job.events if e.event == "retrying"] == ["retrying"] * 2
    assert job.error is None


def test_the_wait_is_stored_and_shown(shared: JobManager, tmp_path: Path) -> None:
    job = shared.submit(fail_first, (str(tmp_path / "marks"), 1), options=options(retry=Retry(delay="1h")))
    kit.until(lambda: job.status is Status.RETRYING)
    record = job.record
    assert record.run_at is not None
    assert record.finished_at is None
    assert record.options["max_attempts"] == 4
    assert job.retry() == job
    assert job.result(30) == 2


def test_what_fails_for_good_becomes_a_dead_letter_at_once(shared: JobManager, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    job = shared.submit(fail_first, (str(marks), 1, ValueError))
    with pytest.raises(JobFailed, match="attempt 1"):
        job.result(30)
    assert marks.read_text() == "x"
    assert job in shared.dead_letters()
    again = job.retry()
    assert again.result(30) == 2
    assert again.record.rerun_of == job.id
    assert job not in shared.dead_letters()


def test_an_exception_may_decide_itself(shared: JobManager, tmp_path: Path) -> None:
    assert shared.submit(says_later, (str(tmp_path / "marks"),)).result(30) == 2
    job = shared.submit(gives_up, options=options(retry=Retry(delay=0.01, on=Exception)))
    with pytest.raises(JobFailed, match="no use"):
        job.result(30)
    assert len(job.attempts) == 1


def test_an_item_of_a_map_is_retried_alone(shared: JobManager, tmp_path: Path) -> None:
    items = [(i, str(tmp_path / "marks")) for i in range(8)]
    job = shared.map(fail_item, items, options(retry=SOON))
    assert job.result(30) == list(range(8))


def test_a_map_that_failed_goes_on_where_it_was(shared: JobManager, tmp_path: Path) -> None:
    items = [(i, str(tmp_path / "marks")) for i in range(8)]
    job = shared.map(fail_item, items, options(retry=False))
    with pytest.raises(JobFailed):
        job.result(30)
    done = job.record.done
    again = job.retry()
    assert again.record.done == done
    kit.until(again.done)
    assert len(again.result(partial=True)) >= done


def test_failed_items_can_be_recorded_instead(shared: JobManager) -> None:
    values = shared.map(kit.boom, ["a", "b"], options(on_error="record")).result(30)
    assert [type(v) for v in values] == [Failed, Failed]
    assert [v.error for v in values] == ["a", "b"]


def test_a_unique_key_is_one_job_while_it_lives(shared: JobManager, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    first = shared.submit(kit.wait_for, (gate,), options=options(unique="nightly"))
    second = shared.submit(kit.wait_for, (gate,), options=options(unique="nightly"))
    assert second == first
    assert (first.duplicate, second.duplicate) == (False, True)
    Path(gate).touch()
    first.wait(30)
    assert shared.submit(kit.wait_for, (gate,), options=options(unique="nightly")) != first


def test_a_deadline_ends_a_job_that_runs_and_one_that_waits(shared: JobManager, tmp_path: Path) -> None:
    running = shared.submit(kit.mark_and_sleep, (str(tmp_path / "a"),), options=options(deadline=0.5))
    waiting = shared.submit(kit.add, (1,), options=options(deadline=0.5, run_at="1h"))
    for job in (running, waiting):
        with pytest.raises(JobFailed, match="deadline"):
            job.result(30)
        assert job.error is not None
        assert job.error.code == "TIMEOUT_ERROR"


def test_a_job_that_is_too_late_never_starts(shared: JobManager) -> None:
    job = shared.submit(kit.add, (1,), options=options(expires_at=0.2, run_at="1h"))
    with pytest.raises(JobFailed, match="EXPIRED"):
        job.result(30)
    assert job.started_at is None


def test_more_time_for_each_retry_of_a_job_that_ran_out_of_it(shared: JobManager) -> None:
    policy = Retry(delay=0.01, jitter=False, timeout_factor=20)
    job = shared.submit(kit.seconds_of, (0.6,), options=options(timeout=0.2, retry=policy))
    assert job.result(30) == 0.6
    assert [a.error.code for a in job.attempts if a.error] == ["TIMEOUT_ERROR"]


def test_hooks_run_in_the_job_and_never_change_its_outcome(shared: JobManager, tmp_path: Path) -> None:
    path = str(tmp_path / "hooks")
    hooks = Hooks(before=lambda context: note(path), after=lambda context: kit.boom("from a hook"))
    job = shared.submit(kit.add, (1, 2), options=options(hooks=hooks))
    assert job.result(30) == 3
    assert Path(path).read_text() == "hook\n"
    assert "hook after failed" in job.logs()


def test_listeners_hear_what_happens(shared: JobManager) -> None:
    heard: queue.Queue[tuple[str, str]] = queue.Queue()

    def listen(job: Job, event: Event) -> None:
        heard.put((job.id, event.event))
        raise RuntimeError("a listener that fails")

    off = shared.on(["job.completed", "job.dead"], listen)
    good, bad = shared.submit(kit.add, (1,)), shared.submit(kit.boom)
    kit.until(lambda: good.done() and bad.done())
    assert {heard.get(timeout=20), heard.get(timeout=20)} == {(good.id, "completed"), (bad.id, "failed")}
    off()


def draw() -> list[float]:
    import random

    import numpy as np

    return [random.random(), float(np.random.normal())]


def now() -> int:
    import time

    return time.time_ns()


def test_a_rerun_can_prove_that_a_result_is_reproducible(shared: JobManager) -> None:
    job = shared.submit(draw)
    first = job.result(30)
    assert job.rerun(verify=True).result() == first
    assert shared.submit(draw).result(30) != first
    other = shared.submit(now)
    other.wait(30)
    with pytest.raises(NotReproduced, match="another result"):
        other.rerun(verify=True)


def test_the_snapshot_names_the_commit(shared: JobManager) -> None:
    snapshot = shared.submit(kit.add, (1,)).snapshot
    assert set(snapshot) >= {"cwd", "sys_path", "versions", "seed", "source", "git"}
    assert "def add" in snapshot["source"]
