"""Notices with real senders and a real service: each is told once, whatever is slow, away or killed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from receiver_kit import Receiver, receiving
from service_kit import add, alive, boom, until, wait_for

import jobnb
from jobnb import JobManager, Status, cli, sender
from jobnb.doctor import examine, report
from jobnb.errors import MissingPackage, NotSent, UnknownName, UsageProblem

pytest.importorskip("apprise")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def manager(fresh: Callable[[], JobManager]) -> JobManager:
    return fresh()


def options(**said: object) -> jobnb.option.Options:
    return jobnb.option.Options().merge(**said)


# The addresses, without a service


def test_a_webhook_gets_json_and_needs_no_package(manager: JobManager, receiver: Receiver) -> None:
    channel = manager.notify(f"http://ann:p%40ss@{receiver.place}/hook/s3cr3t", name="hook")
    channel.test()
    (got,) = receiver.got
    assert receiver.headers[0]["Authorization"] == "Basic YW5uOnBAc3M="
    assert (got["title"], got["type"]) == ("jobnb: jobnb can reach you here", "info")
    assert got["notices"][0]["event"] == "test"
    assert receiver.paths == ["/hook/s3cr3t"]
    assert channel.sent_at is not None
    for shown in (repr(channel), repr(manager.notices()), manager.notices()._repr_html_()):
        assert "s3cr3t" not in shown
        assert f"http://{receiver.place}/…" in shown


def test_apprise_sends_to_what_it_knows(manager: JobManager, receiver: Receiver) -> None:
    manager.notify(f"json://ann:hunter2@{receiver.place}/s3cr3t", name="a").test()
    (got,) = receiver.got
    assert got["title"] == "jobnb: jobnb can reach you here"
    assert "test of the channel 'a'" in got["message"]


@pytest.mark.parametrize("kind", ["json", "http"])
def test_what_goes_wrong_is_said_without_secrets(
    manager: JobManager, receiver: Receiver, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    channel = manager.notify(f"{kind}://ann:hunter2@{receiver.place}/s3cr3t", name="a")
    receiver.status = 500
    with caplog.at_level(logging.DEBUG), pytest.raises(NotSent, match="500") as caught:
        channel.test()
    receiver.shutdown()
    receiver.server_close()
    with caplog.at_level(logging.DEBUG), pytest.raises(NotSent, match=r"127\.0\.0\.1") as caught_again:
        channel.test()
    manager.store.notices.failed("a", "local", str(caught.value), tries=9, pause=9)
    said_of_it = [repr(manager.stats()), json.dumps(manager.stats()), report(list(examine(manager)))]
    assert all("a" in said and "500" in said for said in said_of_it)
    assert caught.value.code == "NOT_SENT"
    for said in (str(caught.value), str(caught_again.value), caplog.text, *said_of_it):
        assert "s3cr3t" not in said
        assert "hunter2" not in said


def test_bad_addresses_are_refused_at_the_door(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageProblem, match="Did you mean 'slack'"):
        manager.notify("slakc://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    with pytest.raises(UsageProblem, match="slack://… is not complete") as caught:
        manager.notify("slack://s3cr3t")
    assert "s3cr3t" not in str(caught.value)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingPackage, match="libnotify"):
        manager.notify("desktop")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'jobnb\[notify\]'"):
        manager.notify("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    assert list(manager.notices()) == []
    with pytest.raises(UnknownName, match="unknown channel 'osp'"):
        manager.submit(add, (1,), options=options(notify="osp"))
    assert manager.jobs() == []


def test_a_desktop_is_told_by_its_own_program(
    manager: JobManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, said = tmp_path / "notify-send", tmp_path / "said"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    channel = manager.notify("desktop")
    channel.test()
    assert said.read_text() == (
        "--app-name=jobnb|--|jobnb: jobnb can reach you here|This is a test of the channel 'desktop'.|"
    )
    program.write_text("#!/bin/sh\necho 'no session bus' >&2\nexit 1\n")
    with pytest.raises(NotSent, match="no session bus"):
        channel.test()


def test_the_command_line(manager: JobManager, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(manager.store.home)]
    assert cli.main([*home, "notices"]) == 0
    assert "no channels" in capsys.readouterr().out
    url = f"http://{receiver.place}/s3cr3t"
    assert cli.main([*home, "notices", "add", url, "--name", "ops", "--on", "failed,dead", "--longer-than", "10m"]) == 0
    assert cli.main([*home, "notices"]) == 0
    said = capsys.readouterr().out
    assert "failed, dead" in said
    assert "over 10 min 0 s" in said
    assert "s3cr3t" not in said
    assert cli.main([*home, "notices", "test", "ops"]) == 0
    assert len(receiver.got) == 1
    assert cli.main([*home, "notices", "remove", "ops"]) == 0
    assert cli.main([*home, "notices", "test", "ops"]) == 2
    assert "unknown channel 'ops'" in capsys.readouterr().err


# With a service


def test_the_service_tells_what_happens(manager: JobManager, receiver: Receiver) -> None:
    manager.notify(f"json://{receiver.place}", name="all", on="completed,failed")
    good = manager.submit(add, (1, 2), options=options(name="good"))
    until(lambda: len(receiver.got) == 1, 60)
    bad = manager.submit(boom, options=options(name="bad", retry=0))
    until(lambda: len(receiver.got) == 2)
    assert (good.status, bad.status) == (Status.COMPLETED, Status.FAILED)
    assert [got["title"] for got in receiver.got] == ["jobnb: good completed", "jobnb: bad failed"]
    assert f"job {good.id}" in receiver.got[0]["message"]
    assert "USER_ERROR: ValueError: no" in receiver.got[1]["message"]
    until(lambda: manager.find_channel("all").state.waiting == 0)


def test_a_job_says_whom_to_tell(manager: JobManager, receiver: Receiver) -> None:
    url = f"http://{receiver.place}/s3cr3t"
    job = manager.submit(add, (1,), options=options(notify=url, name="mine"))
    manager.submit(add, (1,))
    until(lambda: receiver.got, 60)
    (channel,) = manager.notices()
    assert channel.on == ()
    assert job.record.options["notify"] == [channel.name]
    assert "s3cr3t" not in repr(job.record)
    again = manager.rerun(job.id)
    until(lambda: len(receiver.got) == 2)
    channel.remove()
    assert manager.rerun(again.id).result(timeout=60) == 1
    assert [got["title"] for got in receiver.got] == ["jobnb: mine completed"] * 2


def test_a_slow_address_holds_up_no_job(manager: JobManager, receiver: Receiver) -> None:
    manager.notify(f"http://{receiver.place}/", name="slow", on="all")
    receiver.open.clear()
    manager.submit(add, (1,)).result(timeout=60)
    assert receiver.asked.wait(20)
    # It waits for its answer all the while.
    for i in range(20):
        assert manager.submit(add, (i,)).result(timeout=60) == i
    assert receiver.got == []
    receiver.open.set()
    until(lambda: len(receiver.notices()) == 21)
    assert len(receiver.got) == 2


def test_the_configuration_is_told(manager: JobManager, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_JOBNB__NOTIFY", repr({"ops": {"url": f"http://{receiver.place}/", "on": "completed"}}))
    import dask.config

    with dask.config.set({"jobnb.notify": {"ops": {"url": f"http://{receiver.place}/", "on": "completed"}}}):
        manager.submit(add, (1,)).result(timeout=60)
        until(lambda: receiver.got)
        (channel,) = manager.notices()
    assert (channel.name, channel.on, channel.state.configured) == ("ops", ("completed",), True)


def test_nothing_is_lost_or_told_twice_while_services_are_killed(
    fresh: Callable[[], JobManager], receiver: Receiver, tmp_path: Path
) -> None:
    manager, viewer = fresh(), fresh()
    manager.notify(f"http://{receiver.place}/", name="ops", on="completed,cancelled")
    gate = tmp_path / "gate"
    jobs = [manager.submit(wait_for, (str(gate),))]
    for _ in range(3):
        some = [manager.submit(add, (i,)) for i in range(10)]
        jobs += some
        until(lambda some=some: sum(job.done() for job in some) >= 3, 60)
        lease = until(manager.daemon.lease, 60)
        os.kill(lease.pid, signal.SIGKILL)
        until(lambda pid=lease.pid: not alive(pid))
        # Told although no service runs, by the next one.
        waiting = viewer.submit(add, (1,), options=options(run_at="1d"))
        assert waiting.cancel()
        jobs.append(waiting)
        viewer.ensure_service()
    gate.touch()
    manager.wait([job.id for job in jobs], 60)
    until(lambda: {n["job"] for n in receiver.notices()} == {job.id for job in jobs}, 60)
    until(lambda: manager.find_channel("ops").state.waiting == 0)
    counts = Counter(n["job"] for n in receiver.notices())
    # Twice only what one message held that was sent when a service was killed before it could mark it.
    assert max(counts.values()) <= 2
    messages = [frozenset(n["job"] for n in message["notices"]) for message in receiver.got]
    assert sum(any(counts[job] > 1 for job in held) for held in messages) <= 2 * 3
    assert manager.find_channel("ops").state.sent == len(jobs)


def test_the_senders_check_and_send_alike(receiver: Receiver) -> None:
    sender.check("notebook")
    sender.check(f"http://{receiver.place}/")
    sender.check(f"json://{receiver.place}/")
    assert receiver.got == []
