"""Backtests, searches, extractions and notebooks as runs of schedules, with prices that each run fetches for itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from service_kit import until

import jobnb
from jobnb import JobManager, Status
from jobnb.timetable import Schedule

deferred = jobnb.deferred


class Cross(jobnb.Strategy):
    fast: int = 3
    slow: int = 9

    def positions(self, bars: jobnb.Bars) -> Any:
        return bars.sma(self.fast) > bars.sma(self.slow)


def prices(seed: int = 1, days: int = 300) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, days)))
    index = pd.date_range("2023-01-02", periods=days, freq="B")
    return pd.DataFrame({"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}, index=index)


class Latest:
    """Prices that differ each time they are fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, moment: Any) -> pd.DataFrame:
        assert moment.tzinfo is not None
        number = len(list(self.folder.iterdir()))
        (self.folder / str(number)).touch()
        return prices(seed=number)


def two() -> dict[str, pd.DataFrame]:
    return {"A": prices(1), "B": prices(2)}


def run(schedule: Schedule) -> jobnb.Job:
    job = schedule.run()
    job.wait(90)
    assert job.status is Status.COMPLETED, job.error
    return job


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Latest:
    return Latest(tmp_path_factory.mktemp("fetched"))


def test_a_search_on_prices_that_each_run_fetches(shared: JobManager, fetched: Latest, tmp_path: Path) -> None:
    recipe = deferred.optimize(
        Cross,
        fetched,
        {"fast": range(2, 6), "slow": range(6, 12)},
        report=tmp_path / "sheets" / "{name}-{fire_at:%Y}.html",
    )
    schedule = shared.schedule("search", recipe, "0 18 * * 1-5", tz="America/New_York", priority="high", seed=3)
    first = run(schedule)
    assert first.record.kind == "optimize"
    assert first.record.priority.value == "high"
    found = first.result()
    assert len(found.trials) == 24
    # Whoever does it again, and whoever asks more of it, gets the same prices.
    again = first.rerun()
    assert again.result(60).trials.equals(found.trials)
    assert found.rerun_best(60).metrics[found.objective] == pytest.approx(found.best_value, rel=1e-12)
    # The next run has others.
    assert not run(schedule).result().trials.equals(found.trials)
    (fetch,) = first.parents
    assert fetch.record.kind == "data"
    assert fetch.result().name == first.record.params["data"]["name"] == "Latest"
    (sheet,) = [child for child in first.children if child.name.endswith("report")]
    written = Path(sheet.result(60))
    assert written.name.startswith("search-2")
    text = written.read_text()
    assert "search" in text
    assert "Equity" in text, "the best run has its pages"
    assert sheet.artifacts[written.name] == written.read_bytes()
    schedule.remove()


def test_a_backtest_with_its_tear_sheet(shared: JobManager, tmp_path: Path) -> None:
    recipe = deferred.backtest(Cross, prices, fast=4, commission=0.001, report=tmp_path / "one.html")
    schedule = shared.schedule("nightly", recipe, "1d")
    job = run(schedule)
    expected = Cross(fast=4).load_data(prices()).backtest(commission=0.001)
    assert job.result().metrics.equals(expected.metrics)
    until((tmp_path / "one.html").exists, 60)
    assert "prices" in repr(job.record.params)
    # A frame as it is needs no job that fetches it.
    kept = shared.schedule("nightly", deferred.backtest(Cross, prices(), fast=4, commission=0.001), "1d")
    assert run(kept).result().metrics.equals(expected.metrics)
    assert kept.record.beside == {}
    kept.remove()


SPACE = {"fast": [2, 3]}


@pytest.mark.parametrize(
    ("recipe", "kind", "size"),
    [
        (deferred.optimize(Cross, prices, SPACE, method="walk-forward", train=100, test=50), "walk_forward", 4),
        (deferred.optimize(Cross, {"A": prices, "B": prices(2)}, SPACE, across="worst"), "optimize", 2),
        (deferred.backtest(Cross, two), "backtest", 2),
        (deferred.backtest(Cross, two, portfolio=True), "backtest", 300),
    ],
)  # fmt: skip
def test_what_is_cut_by_its_prices(shared: JobManager, recipe: Any, kind: str, size: int) -> None:
    schedule = shared.schedule("cut", recipe, "1d")
    job = run(schedule)
    assert job.record.kind == kind
    found = job.result()
    table = getattr(found, "folds", None)
    table = getattr(found, "trials", None) if table is None else table
    table = found.metrics if table is None and kind == "backtest" and size == 2 else table
    assert len(found.equity_curve if table is None else table) == size
    schedule.remove()


def broken() -> pd.DataFrame:
    raise ValueError("no prices today")


def test_without_prices_there_is_no_run_and_it_counts_as_a_failure(shared: JobManager) -> None:
    schedule = shared.schedule("broken", deferred.backtest(Cross, broken, report="x.html"), "1d", pause_after=1)
    job = schedule.run()
    job.wait(60)
    assert job.status is Status.CANCELLED
    assert job.error is not None
    assert job.error.code == "PARENT_FAILED"
    assert not schedule.enabled
    assert schedule.note == "paused after 1 failures in a row"
    schedule.remove()


def daily(symbol: str, start: Any, end: Any, interval: str) -> pd.DataFrame:
    index = pd.date_range(start, end, freq="D", inclusive="left").tz_localize(None)
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0), index=index)


def test_an_extraction_up_to_the_moment_of_the_run(shared: JobManager, tmp_path: Path) -> None:
    schedule = shared.schedule(
        "extract", deferred.extract(["A", "B"], start="30d", source=daily, to=tmp_path / "kept"), "1d"
    )
    job = run(schedule)
    assert job.record.kind == "data"
    assert 50 <= job.result().records_processed <= 62
    assert sorted(path.suffix for path in (tmp_path / "kept").iterdir()) == [".parquet", ".parquet"]
    schedule.remove()


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Report", "id": "a"},
        {
            "cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]},
            "source": "symbol = 'MSFT'\nfire_at = None",
            "execution_count": None, "outputs": [],
        },
        {
            "cell_type": "code", "id": "c", "metadata": {}, "source": "print(symbol, fire_at is not None, __name__)",
            "execution_count": None, "outputs": [],
        },
        {
            "cell_type": "code", "id": "d", "metadata": {}, "source": "if symbol == 'bad': 1 / 0\nsymbol * 2",
            "execution_count": None, "outputs": [],
        },
    ],
    "metadata": {"kernelspec": {"name": "not-here", "display_name": "x", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "report.ipynb"
    path.write_text(json.dumps(NOTEBOOK))
    return path


def outputs(text: bytes | str) -> list[Any]:
    return [cell.get("outputs") for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def test_a_notebook(shared: JobManager, notebook: Path, tmp_path: Path) -> None:
    to = tmp_path / "out" / "{name}-{fire_at:%Y-%m-%d}.ipynb"
    schedule = shared.schedule("paper", deferred.run_notebook(notebook, {"symbol": "AAPL"}, to=to), "1d")
    job = run(schedule)
    assert job.record.kind == "notebook"
    found = job.result()
    assert found.cells == 4
    assert found.path is not None
    assert Path(found.path).name == f"paper-{job.record.fire_at:%Y-%m-%d}.ipynb"
    text = Path(found.path).read_bytes()
    assert job.artifacts == {found.artifact: text}
    said = outputs(text)
    assert said[2][0]["text"] == ["AAPL True __main__\n"]
    assert said[3][0]["data"]["text/plain"] == ["'AAPLAAPL'"]
    assert job.progress.current == job.progress.total == 4
    schedule.remove()


def test_a_notebook_whose_cell_fails_is_kept(shared: JobManager, notebook: Path) -> None:
    from jobnb import paper

    job = paper.run_notebook(shared, notebook, {"symbol": "bad"})
    job.wait(60)
    assert job.error is not None
    assert "cell 4 of 4 (if symbol == 'bad': 1 / 0) raised ZeroDivisionError" in job.error.message
    assert outputs(job.artifacts["report.ipynb"])[3][0]["ename"] == "ZeroDivisionError"
    assert "ZeroDivisionError" in job.logs()


def test_a_cancelled_notebook_takes_its_kernel_along(fresh: Callable[[], JobManager], tmp_path: Path) -> None:
    import os

    from service_kit import alive

    from jobnb import paper

    mark = tmp_path / "pid"
    book = json.loads(json.dumps(NOTEBOOK))
    book["cells"] = [book["cells"][3]]
    book["cells"][0]["source"] = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1e6)"
    path = tmp_path / "long.ipynb"
    path.write_text(json.dumps(book))
    job = paper.run_notebook(fresh(), path)
    until(lambda: mark.exists() and mark.read_text(), 60)
    kernel = int(mark.read_text())
    assert kernel != os.getpid()
    job.cancel()
    job.wait(30)
    assert job.status is Status.CANCELLED
    until(lambda: not alive(kernel))
