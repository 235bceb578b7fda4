"""What cannot be run is refused at the door: a code, what to do, and nothing left behind."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pandas as pd
import pytest
import service_kit as kit
from service_kit import processes_of

from jobnb import JobFailed, JobManager, Strategy
from jobnb.errors import HomeNotWritable, JobnbError, StoreTooNew, UnknownName, UsageProblem
from jobnb.option import Options
from jobnb.research.sample import goog


class Cross(Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars: Any) -> Any:
        return bars.sma(self.fast) > bars.sma(self.slow)


def frame(**columns: Any) -> pd.DataFrame:
    n = 50
    made = {name: np.linspace(10, 20, n) for name in ("open", "high", "low", "close")}
    return pd.DataFrame({**made, **columns}, index=pd.date_range("2024-01-01", periods=n))


def holed() -> pd.DataFrame:
    made = frame()
    made.iloc[7, 3] = np.nan
    return made


SPACE = {"fast": [5], "slow": [20]}
REFUSED: list[tuple[str, str, Callable[[JobManager], object]]] = [
    ("USAGE_ERROR", "is not a function", lambda m: m.submit(42)),  # type: ignore[arg-type]
    ("USAGE_ERROR", "is not a function", lambda m: m.map("f", [1])),  # type: ignore[arg-type]
    ("USAGE_ERROR", "empty", lambda m: m.map(kit.square, [])),
    ("UNPICKLABLE", "lock", lambda m: m.submit(kit.add, (threading.Lock(),))),
    ("UNPICKLABLE", "generator", lambda m: m.submit(kit.add, ((i for i in "abc"),))),
    ("UNKNOWN_NAME", "prioritty.*priority", lambda m: m.submit(kit.add, (1,), options=Options().merge(prioritty=1))),
    ("UNKNOWN_NAME", "hihg.*high", lambda m: m.submit(kit.add, (1,), options=Options().merge(priority="hihg"))),
    ("USAGE_ERROR", "timeout", lambda m: m.submit(kit.add, (1,), options=Options().merge(timeout="soon"))),
    ("USAGE_ERROR", "memory_limit", lambda m: m.submit(kit.add, (1,), options=Options().merge(memory_limit="big"))),
    ("UNKNOWN_NAME", "fst.*fast", lambda m: m.backtest(Cross, goog(), {"fst": 1})),
    ("UNKNOWN_NAME", "fst.*fast", lambda m: m.optimize(Cross, goog(), {"fst": [1]})),
    ("UNKNOWN_NAME", "sharp_ratio.*sharpe_ratio", lambda m: m.optimize(Cross, goog(), SPACE, objective="sharp_ratio")),
    ("U", "gird.*grid", lambda m: m.optimize(Cross, goog(), SPACE, method="gird")),
    ("U", "", lambda m: m.optimize(Cross, goog(), {})),
    ("DATA_ERROR", "close", lambda m: m.backtest(Cross, goog().drop(columns=["Close"], errors="ignore").filter(["x"]))),
    ("DATA_ERROR", "2024-01-08", lambda m: m.backtest(Cross, holed())),
    ("DATA_ERROR", "", lambda m: m.backtest(Cross, frame().reset_index(drop=True))),
    ("DATA_ERROR", "", lambda m: m.backtest(Cross, frame().iloc[::-1])),
    ("DATA_ERROR", "", lambda m: m.backtest(Cross, frame(low=np.full(50, -1.0)))),
    ("UNKNOWN_NAME", "unknown job", lambda m: m.get("no-such-job")),
    ("USAGE_ERROR", "unknown status 'runing'.*running", lambda m: m.jobs(status="runing")),
]


@pytest.mark.parametrize(("code", "says", "ask"), REFUSED)
def test_it_is_refused_and_nothing_is_enqueued(
    fresh: Callable[[], JobManager], code: str, says: str, ask: Callable[[JobManager], object]
) -> None:
    manager = fresh()
    with pytest.raises(JobnbError, match=f"(?s){says}") as caught:
        ask(manager)
    assert caught.value.code.startswith(code)
    assert "\n" not in caught.value.message
    assert manager.store.database.rows("SELECT count(*) FROM jobs") == [(0,)]
    assert manager.store.database.rows("SELECT count(*) FROM events") == [(0,)]
    assert manager.daemon.lease() is None
    assert not processes_of(manager.store.home)


def test_a_result_that_cannot_be_pickled_fails_its_job_only(shared: JobManager) -> None:
    job = shared.submit(kit.unpicklable_result)
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=20)
    assert caught.value.error_code
    assert "generator" in caught.value.message
    assert job.error is not None
    assert job.error.hint
    assert shared.submit(kit.add, (1,)).result(timeout=20) == 1


def test_a_payload_that_cannot_be_read_fails_its_job_only(shared: JobManager) -> None:
    from dataclasses import replace

    from jobnb.store.jobs import NewJob

    new = NewJob(name="x", kind="job", cluster="local", payload=shared.store.blobs.put(b"no pickle"))
    broken = shared.get(shared.store.jobs.add(new))
    gone = shared.get(shared.store.jobs.add(replace(new, payload="0" * 64)))
    for job in (broken, gone):
        with pytest.raises(JobFailed):
            job.result(timeout=20)
    assert gone.error is not None
    assert gone.error.code == "BLOB_MISSING"
    assert shared.submit(kit.add, (1,)).result(timeout=20) == 1


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with apsw.Connection(str(home / "jobs.db")) as made:
        made.execute("PRAGMA user_version = 1000")
        made.execute("CREATE TABLE t (x)")
    made.close()
    before = (home / "jobs.db").read_bytes()
    with pytest.raises(StoreTooNew, match="Upgrade"):
        JobManager(home=home).submit(kit.add, (1,))
    assert (home / "jobs.db").read_bytes() == before
    assert not processes_of(home)


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeNotWritable, match="JOBNB_HOME"):
        JobManager(home=tmp_path / "file" / "home").submit(kit.add, (1,))


def test_ids_that_fit_several_jobs_are_listed(shared: JobManager) -> None:
    jobs = [shared.submit(kit.add, (i,)) for i in range(17)]
    starts = [job.id[0] for job in jobs]
    twice = next(s for s in starts if starts.count(s) > 1)
    with pytest.raises(UnknownName, match="fits"):
        shared.get(twice)
    for job in jobs:
        job.wait(timeout=20)
    with pytest.raises(UsageProblem, match="rerun"):
        jobs[0].retry()
