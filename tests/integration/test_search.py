"""Searches as jobs: one table whatever the workers and whatever was killed, and what there is when they end early."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import service_kit as kit
from service_kit import alive, until

import jobnb
from jobnb import JobManager, Status
from jobnb.errors import JobCancelled, UsageProblem
from jobnb.research.sample import goog

SPACE = {"x": jobnb.uniform(-5, 5), "n": range(1, 200)}
TRIALS = 50


class Cross(jobnb.Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars: Any) -> Any:
        return bars.sma(self.fast) > bars.sma(self.slow)


def score(data: Any, x: float, n: int, marks: str = "", gate: str = "", after: int = 0) -> dict[str, float]:
    """Leave a mark for each run; those after the first ``after`` wait for the gate."""
    if marks:
        with open(os.path.join(marks, f"{x!r}-{n}"), "a") as file:
            file.write("run\n")
        if len(os.listdir(marks)) > after:
            kit.wait_for(gate)
    return {"score": -((x - 1) ** 2) - abs(n - 50) / 10, "size": abs(x)}


def slow(data: Any, x: float, n: int) -> dict[str, float]:
    time.sleep(0.02)
    return score(data, x, n)


def runs(marks: Path) -> dict[str, int]:
    return {path.name: len(path.read_text().split()) for path in marks.iterdir()}


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    made = tmp_path / "marks"
    made.mkdir()
    return made


def test_one_worker_and_two_give_the_same_table(
    shared: JobManager, fresh: Callable[[], JobManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_JOBNB__WORKERS", "1")
    alone = fresh()
    for method in ("tpe", "random"):
        tables = []
        for manager in (shared, alone):
            job = manager.optimize(slow, goog(), SPACE, objective="score", method=method, n_trials=TRIALS, seed=7)
            result = job.result(timeout=120)
            assert len(result) == job.record.done == TRIALS
            assert (result.method, result.seed, job.snapshot["seed"]) == (method, 7, 7)
            tables.append(result.trials)
        pd.testing.assert_frame_equal(*tables)
        workers = {a.worker for a in job.attempts}
        assert len(workers) == 1


def test_tpe_goes_on_after_its_service_was_killed_and_runs_nothing_twice(
    shared: JobManager, fresh: Callable[[], JobManager], tmp_path: Path, marks: Path
) -> None:
    manager, gate = fresh(), tmp_path / "gate"
    told = {"marks": str(marks), "gate": str(gate), "after": 20}
    search: dict[str, Any] = {"objective": "score", "method": "tpe", "n_trials": TRIALS, "seed": 7}
    job = manager.optimize(score, goog(), SPACE, **search, **told)
    # The first generation is done, the second one under way.
    until(lambda: job.record.done >= 16 and len(runs(marks)) > 20, 60)
    lease = manager.daemon.lease()
    assert lease is not None
    finished = set(_tried(job.result(partial=True)))
    os.kill(lease.pid, signal.SIGKILL)
    until(lambda: not alive(lease.pid))
    gate.touch()
    result = job.result(timeout=120)
    assert {name: count for name, count in runs(marks).items() if name in finished} == dict.fromkeys(finished, 1)
    expected = shared.optimize(score, goog(), SPACE, **search).result(timeout=120).trials
    pd.testing.assert_frame_equal(result.trials[expected.columns], expected)


def _tried(result: Any) -> list[str]:
    return [f"{row.x!r}-{row.n}" for row in result.trials.itertuples()]


def test_a_cancelled_search_keeps_what_it_has_and_a_retry_does_the_rest(
    fresh: Callable[[], JobManager], tmp_path: Path, marks: Path
) -> None:
    manager, gate = fresh(), tmp_path / "gate"
    told = {"marks": str(marks), "gate": str(gate), "after": 36}
    job = manager.optimize(score, goog(), SPACE, objective="score", method="tpe", n_trials=TRIALS, seed=7, **told)
    until(lambda: job.record.done >= 32 and len(runs(marks)) > 36, 60)
    assert job.cancel()
    until(job.done)
    with pytest.raises(JobCancelled, match=r"of 50 items are kept: result\(partial=True\)"):
        job.result()
    partial = job.result(partial=True)
    assert len(partial) == job.record.done < TRIALS
    assert partial.best_value == partial.trials["score"].max()
    gate.touch()
    again = job.retry()
    result = again.result(timeout=120)
    assert len(result) == again.record.done == TRIALS
    finished = _tried(partial)
    assert [runs(marks)[name] for name in finished] == [1] * len(finished)


@pytest.mark.parametrize("how", ["finish", "max_time"])
def test_a_search_ends_early_with_the_best_so_far(shared: JobManager, how: str) -> None:
    most = {"max_time": "1.5s"} if how == "max_time" else {}
    job = shared.optimize(slow, goog(), SPACE, objective="score", method="random", n_trials=5000, **most)
    if how == "finish":
        until(lambda: job.record.done > 0, 60)
        assert job.finish()
    result = job.result(timeout=60)
    record = job.record
    assert record.status is Status.COMPLETED
    assert 0 < len(result) == record.done < 5000
    assert (result.planned, record.progress.total) == (5000, 5000)
    assert result.best_value == result.trials["score"].max()
    assert record.summary is not None
    assert record.summary["stopped"] == how
    assert record.summary["best"]["value"] == result.best_value
    assert f"{len(result)} of 5,000 runs" in result.title
    assert not job.finish()
    on = job.retry()
    until(lambda: on.record.done > record.done, 60)
    assert "stopped" not in (on.record.summary or {})
    assert on.cancel()
    until(on.done, 60)
    assert set(_tried(result)) < set(_tried(on.result(partial=True)))


def test_runs_that_do_not_come_back_are_ended_when_the_time_is_over(
    shared: JobManager, tmp_path: Path, marks: Path
) -> None:
    told = {"marks": str(marks), "gate": str(tmp_path / "never")}
    job = shared.optimize(score, goog(), SPACE, objective="score", method="random", max_time=1, **told)
    result = job.result(timeout=60)
    assert (len(result), result.planned, job.status) == (0, 100, Status.COMPLETED)
    with pytest.raises(UsageProblem, match="none of the 0 runs has a finite score"):
        result.best_params  # noqa: B018
    assert "0 of 100 runs" in repr(result)
    assert result.trials.empty
    # The places are free again.
    assert shared.submit(kit.add, (1,)).result(timeout=60) == 1


def test_only_a_search_that_runs_can_be_finished(shared: JobManager) -> None:
    job = shared.submit(kit.add, (1,))
    with pytest.raises(UsageProblem, match="is no search"):
        job.finish()
    later = jobnb.option.Options().merge(run_at="1h")
    waits = shared.optimize(Cross, goog(), {"fast": [3, 4]}, later)
    with pytest.raises(UsageProblem, match="has not begun"):
        waits.finish()
    assert waits.cancel()


def test_other_jobs_get_their_turn_while_a_generation_is_waited_for(
    shared: JobManager, tmp_path: Path, marks: Path
) -> None:
    told = {"marks": str(marks), "gate": str(tmp_path / "gate"), "after": 15}
    job = shared.optimize(score, goog(), SPACE, objective="score", method="tpe", n_trials=TRIALS, **told)
    # One run of the first generation holds a worker; the next generation has to wait, the other worker is free.
    until(lambda: len(runs(marks)) == 16, 60)
    assert shared.submit(kit.add, (1,)).result(timeout=60) == 1
    assert job.record.done < 16
    (tmp_path / "gate").touch()
    assert len(job.result(timeout=120)) == TRIALS


def test_the_best_run_again_and_any_other(shared: JobManager) -> None:
    space = {"fast": jobnb.integers(3, 60), "slow": jobnb.integers(10, 200, log=True)}
    job = shared.optimize(
        Cross, goog(), space, method="tpe", n_trials=40, seed=2, commission=0.001,
        objective=["sharpe_ratio", "max_drawdown"], constraint=lambda p: p.fast < p.slow,
    )  # fmt: skip
    result = job.result(timeout=120)
    best = result.rerun_best(timeout=60)
    assert best.sharpe_ratio == result.best_value
    assert best.params == result.best_params
    row = int(result.pareto.index[-1])
    other = result.rerun(row)
    assert other.result(timeout=60).max_drawdown == result.trials.loc[row, "max_drawdown"]
    assert other.kind == "backtest"
    assert dict(other.params["params"]) == result.params(row)
    assert job.rerun(verify=True).result(timeout=120).trials.equals(result.trials)
