from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobnb import cli
from jobnb.doctor import Finding, Verdict, report
from jobnb.manager import JobManager
from jobnb.store import Store
from jobnb.store.jobs import NewJob


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JOBNB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def job(home: Path) -> str:
    store = Store(home)
    new = NewJob(name="night run", kind="job", cluster="local", payload="0" * 64, plan={"type": "single", "items": 1})
    return store.jobs.add(new)


def test_list_and_show(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert "night run" in capsys.readouterr().out
    assert cli.main(["show", job[:5]]) == 0
    assert "queued" in capsys.readouterr().out
    assert cli.main(["list", "--status", "failed"]) == 0
    assert "night run" not in capsys.readouterr().out


def test_cancel_of_a_waiting_job(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cancel", "night run"]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert cli.main(["cancel", job]) == 1
    assert "had ended already" in capsys.readouterr().out


def test_status_says_that_no_service_runs(job: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    text = capsys.readouterr().out
    assert "service not running" in text
    assert "1 pending (1 normal)" in text
    assert cli.main(["status", "--json", "--days", "30"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["queue"]["pending"]["normal"] == 1
    assert said["runs"]["days"] == 30
    assert said["jobs"]["queued"] == 1
    assert said["service"] == {"running": False, "cluster": "local", "home": str(home)}
    assert cli.main(["stop"]) == 0
    assert "no service was running" in capsys.readouterr().out


def test_an_error_is_one_line_with_its_code(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "nihgt run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("UNKNOWN_NAME: ")
    assert "Did you mean 'night run'?" in said
    assert said.count("\n") == 1
    assert cli.main(["list", "--status", "runing"]) == 2
    assert "Did you mean 'running'?" in capsys.readouterr().err


def test_doctor_is_content_with_a_fresh_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "sqlite" in said
    assert str(home) in said
    assert "not running; it starts with the next job" in said


def test_doctor_says_what_to_do_about_a_home_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["--home", str(tmp_path / "file" / "home"), "doctor"]) == 1
    assert "Set JOBNB_HOME" in capsys.readouterr().out


def test_doctor_notices_a_damaged_store(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir(mode=0o700)
    (home / "jobs.db").write_bytes(b"this is no database, but it is long enough to be read as one" * 100)
    assert cli.main(["doctor"]) == 1
    assert "STORE_ERROR" in capsys.readouterr().out


def test_a_report_ends_with_what_to_do() -> None:
    found = [
        Finding(what="python", verdict=Verdict.OK, found="3.11"),
        Finding(what="home", verdict=Verdict.BAD, found="mode 755", mend="chmod 700 it"),
    ]
    assert report(found).splitlines()[-1] == "home: chmod 700 it"
    assert report(found[:1]).splitlines()[-1] == "All is well."


def test_dead_letters(home: Path, job: str, capsys: pytest.CaptureFixture[str]) -> None:
    from jobnb.job import Status

    assert cli.main(["dlq"]) == 0
    assert "no dead letters" in capsys.readouterr().out
    store = Store(home)
    lease = store.leases.take("local", "me", 60, {"host": "elsewhere", "pid": 1})
    assert lease is not None
    with store.tasks.fenced(lease):
        store.tasks.start_job(job)
        store.tasks.finish(job, Status.FAILED, error={"code": "NETWORK_ERROR", "message": "no route"})
    assert cli.main(["dlq"]) == 0
    said = capsys.readouterr().out
    assert "NETWORK_ERROR" in said
    assert "night run" in said
    assert cli.main(["dlq", "retry", "night run"]) == 0
    assert "is tried again as" in capsys.readouterr().out
    assert cli.main(["dlq", "purge"]) == 0
    assert "purged 0 jobs" in capsys.readouterr().out
    assert cli.main(["vacuum"]) == 0
    assert "removed 0 files" in capsys.readouterr().out


def test_schedules(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(JobManager, "ensure_service", lambda self: None)
    manager = JobManager(home=home)
    manager.schedule("beat", len, "15m", args=("abc",))
    for line, words in (
        (["schedules"], "every 15m"),
        (["schedule", "pause", "beat"], "paused"),
        (["schedule", "resume", "beat"], "next"),
        (["schedule", "run", "beat"], "of beat"),
        (["schedule", "ticks", "beat"], "run by hand"),
        (["schedule", "remove", "beat"], "removed"),
        (["schedules"], "no schedules"),
    ):
        assert cli.main(line) == 0
        assert words in capsys.readouterr().out
    assert cli.main(["schedule", "pause", "beat"]) == 2
    assert "unknown schedule 'beat'" in capsys.readouterr().err
    manager.store.close()


def test_queues(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["queue", "c", "--max-concurrent", "2", "--timeout", "1h"]) == 0
    assert "<Queue c: 2 at once · timeout 1h · 0 waiting, 0 running>" in capsys.readouterr().out
    assert cli.main(["queue", "c", "--timeout", "none"]) == 0
    assert "timeout" not in capsys.readouterr().out
    assert cli.main(["queue", "default", "pause"]) == 0
    assert "1 waiting, 0 running · paused by" in capsys.readouterr().out
    assert cli.main(["queues"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["queue", "c", "default"]
    assert cli.main(["queue", "c", "drain", "--wait"]) == 0
    assert "drained by" in capsys.readouterr().out
    assert cli.main(["queue", "c", "remove"]) == 0
    assert "removed" in capsys.readouterr().out
    assert cli.main(["queue", "colection"]) == 2
    assert "unknown queue 'colection'" in capsys.readouterr().err
    assert cli.main(["queue", "default", "--wait"]) == 2
    assert "--wait goes with drain" in capsys.readouterr().err
