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
