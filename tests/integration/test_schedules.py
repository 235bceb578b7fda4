"""Schedules and handlers with a real service: they fire without a notebook, and go on under its successor."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from service_kit import alive, until

import jobnb
from jobnb import JobManager, Status


def moment() -> datetime:
    here = jobnb.current()
    assert here is not None
    assert here.fire_at is not None
    return here.fire_at


def flaky(args: dict[str, str]) -> str:
    here = jobnb.current()
    assert here is not None
    if here.attempt == 1:
        raise ConnectionError("not yet")
    return args["user"].upper()


def test_it_fires_and_goes_on_under_the_next_service(fresh: Callable[[], JobManager]) -> None:
    manager, viewer = fresh(), fresh()
    schedule = manager.schedule("beat", moment, "1s", missed="all", overlap="cancel_previous")
    until(lambda: schedule.runs >= 2, 60)
    lease = manager.daemon.lease()
    assert lease is not None
    os.kill(lease.pid, signal.SIGKILL)
    until(lambda: not alive(lease.pid))
    before = schedule.runs
    viewer.ensure_service()
    until(lambda: schedule.runs >= before + 3, 60)
    schedule.pause()
    rows = schedule.ticks(1000)
    # No moment twice, none left out, each at most one job.
    assert len({row.fire_at for row in rows}) == len(rows)
    gaps = Counter((a.fire_at - b.fire_at).total_seconds() for a, b in itertools.pairwise(rows))
    assert set(gaps) == {1.0}
    assert all(row.job for row in rows if row.verdict == "fired")
    until(lambda: all(job.done() for job in schedule.jobs()))
    done = [job for job in schedule.jobs() if job.status is Status.COMPLETED]
    assert done
    assert all(job.result() == job.record.fire_at for job in done)


def test_a_handler_runs_by_name_and_is_tried_again(fresh: Callable[[], JobManager]) -> None:
    manager, other = fresh(), fresh()
    manager.register_handler("sync", flaky, retry=jobnb.Retry(max_retries=2, delay="1s", jitter=False))
    job = other.enqueue("sync", {"user": "ann"})
    assert job.result(timeout=60) == "ANN"
    assert [attempt.state for attempt in job.attempts] == ["failed", "completed"]
    # Without a second attempt it is a dead letter.
    lost = other.enqueue("sync", {"user": "bob"}, retry=0)
    until(lost.done, 30)
    assert lost.error is not None
    assert lost.error.code == "NETWORK_ERROR"


def even_second(moment: datetime) -> bool:
    return moment.second % 2 == 0


def test_a_filter_of_ones_own_is_asked_in_the_run(fresh: Callable[[], JobManager]) -> None:
    manager = fresh()
    schedule = manager.schedule("beat", moment, "1s", only=even_second, missed="all", overlap="queue")
    until(lambda: schedule.runs >= 2 and len(schedule.ticks()) >= 4, 60)
    schedule.pause()
    until(lambda: all(job.done() for job in schedule.jobs()))
    rows = schedule.ticks()
    for row in rows:
        assert row.verdict in ("waiting", "fired" if even_second(row.fire_at) else "skipped")
        if row.verdict == "skipped":
            assert row.why == "only=even_second said no"
            assert manager.get(row.job).status is Status.CANCELLED
    assert schedule.runs == sum(row.verdict == "fired" for row in rows)
    # Started by hand it is not asked.
    jobs = [schedule.run() for _ in range(2)]
    assert [job.result(60) == job.record.fire_at for job in jobs] == [True, True]
