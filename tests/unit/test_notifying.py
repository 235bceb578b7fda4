"""Channels at the front door: what jobs, handlers and schedules say of them; handles and tables. Nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.config
import pytest

from jobnb import JobManager
from jobnb.channel import default_name
from jobnb.errors import UnknownName
from jobnb.notebook import grammar
from jobnb.option import Options
from jobnb.store.jobs import NewJob

URL = "http://localhost/s3cr3t"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = JobManager(home=tmp_path / "home")
    monkeypatch.setattr(type(made.daemon), "ensure", lambda self: None)
    yield made
    made.store.close()


def named(manager: JobManager, **said: Any) -> list[str]:
    found: list[str] = manager.submit(len, ("abc",), options=Options().merge(**said)).record.options.get("notify", [])
    return found


def test_jobs_name_channels_and_never_hold_an_address(manager: JobManager) -> None:
    manager.notify(URL, name="ops")
    assert named(manager) == []
    assert named(manager, notify="ops") == ["ops"]
    assert named(manager, notify=["notebook", URL, URL]) == ["notebook", default_name(URL)]
    assert named(manager, notify=True) == ["notebook"]
    # What a job makes is told of nothing else.
    assert {c.name: c.on for c in manager.notices()} == {
        "ops": ("failed", "stuck", "failing", "paused"), "notebook": (), default_name(URL): (),
    }  # fmt: skip
    with pytest.raises(UnknownName, match="Did you mean 'ops'"):
        named(manager, notify="opps")
    assert not manager.store.database.rows("SELECT 1 FROM jobs WHERE options LIKE '%s3cr3t%'")


def test_one_of_the_configuration_is_known_before_any_service_runs(manager: JobManager) -> None:
    with dask.config.set({"jobnb.notify": {"pager": URL}}):
        assert named(manager, notify="pager") == ["pager"]
        assert [c.name for c in manager.notices()] == ["pager"]
        assert manager.find_channel("pager").url == "http://localhost/…"


def test_handlers_schedules_and_reruns_go_on_naming_it(manager: JobManager) -> None:
    channel = manager.notify(URL, name="ops")
    manager.register_handler("h", len, notify="ops")
    schedule = manager.schedule("beat", len, "1h", args=("abc",), notify="ops")
    jobs = [manager.enqueue("h"), schedule.run()]
    jobs += [manager.rerun(job.id) for job in jobs]
    assert [job.record.options["notify"] for job in jobs] == [["ops"]] * 4
    channel.remove()
    # One that was removed holds nothing up.
    for job in (manager.rerun(jobs[0].id), manager.enqueue("h"), schedule.run()):
        assert job.record.options.get("notify") in (None, ["ops"])
        job.cancel()
    assert list(manager.notices()) == []


def test_the_handle_and_the_table(manager: JobManager) -> None:
    assert repr(manager.notices()).startswith("no channels")
    channel = manager.notify(
        URL, name="ops", on=["completed", "dead"], kinds="backtest", tags="risk", longer_than="10m"
    )
    assert repr(channel) == "<Channel ops: http://localhost/… on completed, dead · 0 sent>"
    (row,) = manager.notices().rows()
    assert row == (
        "ops", "http://localhost/…", "completed, dead", "backtest, tag risk, over 10 min 0 s", "–", "0", "0", "0", "",
    )  # fmt: skip
    manager.store.notices.failed("ops", "local", "<nobody> answers", tries=1, pause=60)
    manager.store.jobs.request_cancel(manager.store.jobs.add(_job(notify=["ops"])), "ann")
    assert "1 waiting · <nobody> answers; again at" in repr(channel)
    assert "&lt;nobody&gt; answers" in manager.notices()._repr_html_()
    assert channel.failures == 1
    assert [told.notice.event for told in channel.history()] == ["cancelled"]
    channel.remove()
    with pytest.raises(UnknownName, match="unknown channel 'ops'"):
        channel.test()


def _job(**options: object) -> NewJob:
    return NewJob(name="x", kind="job", cluster="local", payload="0" * 64, options=options)


def test_the_magic_takes_several() -> None:
    said = grammar.parse("submit f(x) --notify ops --notify desktop").job_options()
    assert Options().merge(**said).notify == ("ops", "desktop")
