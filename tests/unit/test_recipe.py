"""What is wrong with a recipe is said when the schedule is made; nothing is fetched and nothing kept then."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import jobnb
from jobnb import JobManager, paper
from jobnb.dated import DatedPath
from jobnb.errors import UsageProblem
from jobnb.research.given import since, takes_moment

deferred = jobnb.deferred


class Cross(jobnb.Strategy):
    fast: int = 3

    def positions(self, bars: jobnb.Bars) -> Any:
        return bars.close > bars.sma(self.fast)


def never() -> pd.DataFrame:
    raise AssertionError("nothing is fetched at the front door")


def needy(a: int, b: int) -> pd.DataFrame:
    return never()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobManager:
    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(made, "ensure_service", lambda: None)
    return made


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (deferred.backtest(Cross, never, fats=3), "Did you mean 'fast'"),
        (deferred.backtest(Cross, never, commission="x"), "commission"),
        (deferred.backtest(Cross, needy), r"needy\(a, b\) needs arguments"),
        (deferred.optimize(Cross, never, {"fats": [1]}), "Did you mean 'fast'"),
        (deferred.optimize(Cross, never, {"fast": [1]}, objective="sharp_ratio"), "sharpe_ratio"),
        (deferred.optimize(Cross, never, {"fast": [1]}, method="walk-forward", train=100), "test"),
        (deferred.backtest(Cross, never, report="x.pdf"), r"has to end in \.html"),
        (deferred.backtest(Cross, never, report="{when}.html"), "known are"),
        (deferred.extract("A", start="soon", source=never), "start must be a date"),
        (deferred.run_notebook("nowhere.ipynb"), "there is no notebook"),
        (deferred.map(len, []), "nothing to map over"),
    ],
)
def test_what_is_wrong_is_said_at_once(manager: JobManager, recipe: Any, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        manager.schedule("x", recipe, "1d")
    assert len(manager.schedules()) == 0


def test_a_recipe_has_its_arguments(manager: JobManager) -> None:
    with pytest.raises(UsageProblem, match="has its arguments already"):
        manager.schedule("x", deferred.submit(len, "abc"), "1d", args=(1,))
    assert repr(deferred.submit(len, "abc")) == "Recipe(kind='job', report=None)"


def test_the_jobs_of_a_run_hang_together(manager: JobManager) -> None:
    recipe = deferred.backtest(Cross, functools.partial(needy, 1), fast=4, report="a.html")
    schedule = manager.schedule("x", recipe, "1d", priority="high", timeout=60)
    job = schedule.run()
    assert job.record.params["data"] == {"name": "needy"}
    assert job.record.params["params"] == {"fast": 4}
    assert job.record.options["timeout"] == 60
    (fetch,), (sheet,) = job.parents, job.children
    assert [fetch.name, job.name, sheet.name] == ["x: prices", "x", "x: report"]
    assert {each.record.priority.value for each in (fetch, job, sheet)} == {"high"}
    assert {each.record.fire_at for each in (fetch, job, sheet)} == {job.record.fire_at}
    assert schedule.runs == 1
    assert [tick.job for tick in schedule.ticks()] == [job.id]
    assert [each.id for each in schedule.jobs()] == [job.id]
    # Nothing of it is taken for rubbish.
    manager.vacuum()
    assert all(manager.store.payloads.get(each["payload"]) for each in schedule.record.beside["jobs"])


def test_a_filter_is_asked_before_prices_are_fetched(manager: JobManager) -> None:
    from jobnb.filters import Filtered
    from jobnb.work import unwrapped

    schedule = manager.schedule("x", deferred.backtest(Cross, never), "1d", only=lambda moment: False)
    import pickle

    job = schedule.run()
    (fetch,) = job.parents
    assert isinstance(pickle.loads(manager.store.payloads.get(fetch.record.payload)), Filtered)
    assert type(unwrapped(pickle.loads(manager.store.payloads.get(job.record.payload)))).__name__ == "WholeWork"


def test_where_prices_begin() -> None:
    until = datetime(2026, 3, 31, 20, tzinfo=UTC)
    assert since("2020-01-02", until) == "2020-01-02"
    assert since(date(2020, 1, 2), until) == date(2020, 1, 2)
    assert since("1M", until) == datetime(2026, 2, 28, 20, tzinfo=UTC)
    assert since("90d", until) == datetime(2025, 12, 31, 20, tzinfo=UTC)


def test_what_prices_are_asked_with() -> None:
    assert takes_moment(lambda moment: None)
    assert not takes_moment(never)
    assert not takes_moment(lambda moment=None: None)
    made = deferred.prices("AAPL", start="3y", source=never)
    assert (made.__name__, takes_moment(made)) == ("AAPL", False)
    known = {"source": never}
    for said in (
        {"start": "soon", **known},
        {"start": "3y", "interval": "1x", **known},
        {"start": "3y", "source": "nowhere"},
    ):
        with pytest.raises(UsageProblem):
            deferred.prices("AAPL", **said)  # type: ignore[arg-type]


def test_dated_paths_are_in_the_zone_of_the_schedule() -> None:
    path = DatedPath.parse("~/x/{fire_at:%Y-%m-%d}.html", ".html", name="n", tz="Asia/Tokyo")
    assert path.at(datetime(2026, 11, 23, 20, tzinfo=UTC)) == Path("~/x/2026-11-24.html").expanduser()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1.5, "p = 1.5"),
        (float("nan"), "p = float('nan')"),
        ("a'b", 'p = "a\'b"'),
        ([1, (2,), {"a": None}], "p = [1, (2,), {'a': None}]"),
        (date(2024, 1, 2), "p = datetime.date(2024, 1, 2)"),
        (datetime(2024, 1, 2, tzinfo=UTC), "p = datetime.datetime.fromisoformat('2024-01-02T00:00:00+00:00')"),
    ],
)
def test_parameters_of_a_notebook(value: object, code: str) -> None:
    assert paper.code_of("p", value) == code


def test_what_a_notebook_cannot_be_given(manager: JobManager, tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text("{}")
    with pytest.raises(UsageProblem, match="no notebook that can be read"):
        paper.run_notebook(manager, path)
    path.write_text('{"cells": [{"cell_type": "code", "source": "1"}]}')
    for said, words in (({"p": object()}, "p is a object"), ({"a b": 1}, "'a b' cannot be the name")):
        with pytest.raises(UsageProblem, match=words):
            paper.run_notebook(manager, path, said)
    assert manager.jobs() == []


def test_without_the_packages_it_says_what_to_install(
    manager: JobManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(jobnb.JobnbError, match=r"pip install 'jobnb\[notebooks\]'") as caught:
        paper.run_notebook(manager, tmp_path / "x.ipynb")
    assert caught.value.code == "MISSING_PACKAGE"
