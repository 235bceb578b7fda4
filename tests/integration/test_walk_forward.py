"""A walk-forward through a real service: the same whatever the workers, whole after a cancel and a retry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from service_kit import end, until

import jobnb
from jobnb.errors import JobCancelled
from jobnb.job import Job
from jobnb.manager import JobManager
from jobnb.notebook import card_text
from jobnb.research.sample import gbm

FRAME = gbm(900, seed=4)
SPACE = {"fast": range(3, 12), "slow": range(10, 60, 3)}
WALK = {"method": "walk-forward", "train": 300, "test": 40, "commission": 0.001}


class Cross(jobnb.Strategy):
    fast: int = 3
    slow: int = 9

    def positions(self, bars: jobnb.Bars) -> object:
        return bars.sma(self.fast) > bars.sma(self.slow)


class Gated(Cross):
    """Waits in the third window until a file is there."""

    gate: str = ""

    def positions(self, bars: jobnb.Bars) -> object:
        import time

        while len(bars) == 380 and not Path(self.gate).exists():
            time.sleep(0.01)
        return super().positions(bars)


@pytest.fixture(scope="module", params=[1, 2])
def manager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobManager]:
    made = JobManager(max_workers=request.param, home=tmp_path_factory.mktemp("walk") / "home")
    yield made
    end(made)


_first: dict[str, list[pd.DataFrame]] = {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("walk-forward", WALK),
        ("tpe", {**WALK, "search": "tpe", "n_trials": 40, "seed": 2}),
        ("kfold", {"cv": jobnb.PurgedKFold(6, horizon=3, embargo=0.01), "method": "random", "n_trials": 30, "seed": 1}),
        ("cpcv", {"method": "cpcv", "n_groups": 6, "n_test_groups": 2, "horizon": 3, "embargo": 5}),
    ],
)
def test_one_and_two_workers_give_the_same(manager: JobManager, name: str, said: dict[str, object]) -> None:
    if name == "tpe":
        pytest.importorskip("optuna")
    job: Job = manager.optimize(Cross, FRAME, SPACE, **said)  # type: ignore[arg-type]
    result = job.result(60)
    curve = result.equity if isinstance(result.equity, pd.DataFrame) else result.equity.to_frame()
    found = [result.folds, curve, result.stability]
    for one, other in zip(_first.setdefault(name, found), found, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert job.record.done == job.record.items == len(result.folds)
    # The card's numbers came from the last fold's child, the result's from the stored positions.
    stitched = (job.record.summary or {})["stitched"]
    made = result.paths if hasattr(result, "paths") else result.metrics.to_frame().T
    assert stitched["paths"] == len(made)
    assert stitched["metrics"]["sharpe_ratio"] == pytest.approx(float(made["sharpe_ratio"].median()))
    assert "Out of sample: Median Sharpe" in card_text.render(manager.view(job.id))


def test_a_cancelled_one_keeps_its_folds_and_a_retry_does_the_rest(manager: JobManager, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    space = {**SPACE, "gate": [str(gate)]}
    job: Job = manager.optimize(Gated, FRAME, space, **WALK)  # type: ignore[arg-type]
    until(lambda: job.record.done >= 1)
    job.cancel()
    with pytest.raises(JobCancelled, match="are kept"):
        job.result(30)
    partial = job.result(partial=True)
    assert 1 <= len(partial.folds) < partial.planned == 15
    assert np.isfinite(partial.equity).all()
    gate.touch()
    again = job.retry()
    whole = again.result(60)
    names = [name for name in whole.folds if name != "gate"]
    plain = manager.optimize(Cross, FRAME, SPACE, **WALK).result(60)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(whole.folds[names], plain.folds)
    pd.testing.assert_series_equal(whole.equity, plain.equity)
    assert (again.record.summary or {})["stitched"]["metrics"] == pytest.approx(plain.metrics.to_dict())
