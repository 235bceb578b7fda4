"""``%job schedule`` and its kin, on a real store without a service."""

import pytest
from IPython.core.error import UsageError

from jobnb import JobManager
from jobnb.job import Job
from jobnb.timetable import Schedule


@pytest.fixture
def manager(tmp_path, monkeypatch):
    import jobnb.manager

    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(made, "ensure_service", lambda: None)
    monkeypatch.setattr(made.daemon, "ensure", lambda: None)
    monkeypatch.setattr(jobnb.manager, "get_job_manager", lambda: made)
    yield made
    made.store.close()


@pytest.fixture
def magic(shell, manager):
    shell.run_cell("def f(x, y=1): return x * y\n")
    return lambda line: shell.run_line_magic("job", line)


def test_a_schedule(magic, manager):
    made = magic(
        'schedule nightly "0 8 * * 1-5" --tz America/New_York --overlap queue --max-runs 3 '
        "--priority high --timeout 60 -- f(2, y=3)"
    )
    assert isinstance(made, Schedule)
    assert made.when == "0 8 * * 1-5 America/New_York"
    record = made.record
    assert record.policy["overlap"] == "queue"
    assert record.policy["max_runs"] == 3
    assert record.job["priority"] == "high"
    assert record.job["options"]["timeout"] == 60


def test_on_trading_days(magic):
    made = magic('schedule eod "30 16 * * *" --tz America/New_York --market XNYS --only weekdays -- f(1)')
    assert made.when == "30 16 * * * America/New_York, only weekdays (America/New_York), only XNYS trading days"


def test_its_life(magic, manager):
    magic("schedule beat 15m -- f(1)")
    assert "every 15m" in repr(magic("schedules"))
    assert not magic("pause beat").enabled
    assert magic("resume beat").enabled
    job = magic("run beat")
    assert isinstance(job, Job)
    assert job.record.schedule == "beat"
    assert "removed" in repr(magic("unschedule beat"))
    assert repr(magic("schedules")) == "no schedules"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("schedule beat 15m", "after -- say what is to run"),
        ("schedule beat 15m --", "after -- say what is to run"),
        ("schedule beat -- f(1)", "a name and a time"),
        ("schedule beat soon -- f(1)", "'soon' is no time"),
        ('schedule beat "0 8 * * 1-5" --tz America/New_Yrk -- f(1)', "America/New_York"),
        ("schedule beat 15m --overlap que -- f(1)", "queue"),
        ("schedule beat 15m --max-runs many -- f(1)", "--max-runs"),
        ("schedule beat 15m -- g(1)", "g"),
        ("pause", "a name"),
        ("pause baet", "baet"),
    ],
)
def test_what_is_said_wrongly(magic, manager, line, words):
    with pytest.raises(UsageError, match=words) as caught:
        magic(line)
    assert "\n" not in str(caught.value)
    assert len(manager.schedules()) == 0


CELL = """
import numpy as np, pandas as pd, jobnb
class Cross(jobnb.Strategy):
    fast: int = 3
    def positions(self, bars): return bars.close > bars.sma(self.fast)
index = pd.date_range("2024-01-01", periods=50)
prices = pd.DataFrame({k: np.linspace(1, 2, 50) for k in ("open", "high", "low", "close")}, index=index)
def latest(): raise AssertionError("not now")
def quiet(moment): return moment.hour < 6
def daily(symbol, start, end, interval): raise AssertionError("not now")
class Source:
    pass
"""


@pytest.mark.parametrize(
    ("what", "kind", "name", "before"),
    [
        ("backtest Cross --data prices fast=4", "backtest", "nightly", 0),
        ("backtest Cross --data latest fast=4 --priority high", "backtest", "nightly", 1),
        ("optimize Cross --data prices fast=2:5", "optimize", "nightly", 0),
        ("optimize Cross --data latest fast=2:5 --method random --n-trials 2", "optimize", "nightly", 1),
        ("optimize Cross --data latest fast=2,3 --method purged-kfold --n-splits 3", "cross_validation", "nightly", 1),
        ("extract A --start 30d --source daily", "data", "nightly", 0),
        ("notebook {book} symbol=AAPL", "notebook", "nightly", 0),
        ("submit f(2, y=3) --priority high", "job", "nightly", 0),
    ],
)  # fmt: skip
def test_every_command_that_makes_a_job_can_be_scheduled(shell, magic, manager, tmp_path, what, kind, name, before):
    shell.run_cell(CELL)
    (tmp_path / "book.ipynb").write_text('{"cells": [{"cell_type": "code", "source": "1"}]}')
    what = what.format(book=tmp_path / "book.ipynb")
    made = magic(f'schedule nightly "0 8 * * 1-5" --market XNYS --only @quiet --timeout 60 -- {what}')
    assert isinstance(made, Schedule)
    assert made.when == "0 8 * * 1-5 UTC, only XNYS trading days, only quiet"
    assert manager.jobs() == []
    job = made.run()
    assert (job.kind, job.name, len(job.parents)) == (kind, name, before)
    assert job.record.options["timeout"] == 60
    assert job.record.priority.value == ("high" if "high" in what else "normal")


def test_each_run_leaves_a_tear_sheet(shell, magic):
    shell.run_cell(CELL)
    made = magic("schedule nightly 1d --report 'sheets/{fire_at:%Y-%m-%d}.html' -- backtest Cross --data latest")
    (sheet,) = made.run().children
    assert sheet.record.params == {"report": "sheets/{fire_at:%Y-%m-%d}.html"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-- backtest Cros --data prices", "Did you mean 'Cross'"),
        ("-- backtest Cross --data prices fats=3", "Did you mean 'fast'"),
        ("-- backtest Cross --data prics", "Did you mean 'prices'"),
        ("-- backtest Cross --data prices -o bt", "schedule.last_run"),
        ("-- backtest Cross --data prices --run-at 5m", "run_at is not for a schedule"),
        ("-- list", "makes no job"),
        ("--name x -- f(1)", "--name is not for a schedule"),
        ("-- submit f(1) --name x", "--name is not for a schedule"),
        ("--only @quite -- f(1)", "Did you mean 'quiet'"),
        ("--report a.html -- f(1)", "--report is of backtest and optimize"),
        ("--report a.html -- submit f(1)", "no report of a job"),
        ("-- notebook nowhere.ipynb", "there is no notebook"),
        ("-- notebook", "needs a file"),
    ],
)
def test_what_is_said_wrongly_after_the_dashes(shell, magic, manager, line, words):
    shell.run_cell(CELL)
    with pytest.raises(UsageError, match=words) as caught:
        magic(f"schedule nightly 1d {line}")
    assert "\n" not in str(caught.value)
    assert len(manager.schedules()) == 0
    # The magic makes jobs again afterwards.
    assert isinstance(magic("submit f(1)"), Job)
