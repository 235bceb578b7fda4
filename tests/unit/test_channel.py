"""Channels: what is understood, what is never shown, and the words of notices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dask.config
import pytest

from jobnb import channel, config
from jobnb.channel import Notice
from jobnb.errors import UnknownName, UsageProblem
from jobnb.option import Options

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXr"


def notice(event: str, **facts: object) -> Notice:
    said = {"job": "1a2b3c4d", "name": "nightly", "kind": "backtest", "seconds": 75.0, "attempt": 1}
    return Notice(id=1, at=AT, event=event, facts={**said, **facts})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("notebook", "notebook"),
        (SLACK, "slack://…"),
        ("mailto://ann:pass word@example.org?to=bob@example.org", "mailto://example.org/…"),
        ("https://example.org:8443/hook/s3cr3t?key=abcd", "https://example.org:8443/…"),
        ("json://user:pw@[::1]:99999/x", "json://…"),
        ("xoxb-123456-abcdef", "…"),
        ("slack:/T1JJ3T3L2/x", "…"),
    ],
)
def test_an_address_is_shown_masked(url: str, shown: str) -> None:
    assert channel.masked(url) == shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (SLACK, "no route: TIiajkdnlazkcOXr of A1BRTD4JD"),
        ("https://ann:hunter2@example.org/hook/s3cr3t?key=abcd%2Fef", "GET /hook/s3cr3t?key=abcd%2Fef abcd/ef hunter2"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "POST /4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js failed"),
    ],
)
def test_no_piece_of_an_address_is_left_in_an_error(url: str, said: str) -> None:
    left = channel.scrubbed(said, url)
    for secret in (
        "TIiajkdnlazkcOXr",
        "A1BRTD4JD",
        "s3cr3t",
        "abcd",
        "hunter2",
        "4174216298",
        "JHMHI8qBe7bk2ZwO5U711o3d",
    ):
        assert secret not in left


def test_reprs_hold_no_address() -> None:
    one = channel.channel(SLACK, name="ops")
    assert "TIiaj" not in repr(one)
    assert "TIiaj" not in repr(Options().merge(notify=SLACK))
    with dask.config.set({"jobnb.notify": {"ops": SLACK}}):
        assert "TIiaj" not in repr(config.load("/nowhere"))
    assert channel.default_name(SLACK) == channel.default_name(SLACK)
    assert channel.default_name(SLACK).startswith("slack-")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"url": "T1JJ3T3L2/TIiajkdnlazkcOXr"}, "no address for notices"),
        ({"url": "slack:/T1JJ3T3L2"}, "no address for notices"),
        ({"url": "notebook", "events": "compleeted"}, "Did you mean 'completed'"),
        ({"url": "notebook", "longer_than": "soon"}, "longer_than 'soon' is not a duration"),
        (
            {"url": "https://example.org", "name": "notebook"},
            "give this channel another name|give this channel another",
        ),
        ({"url": "https://example.org", "name": "https://example.org/s3cr3t"}, "that is no address"),
    ],
)
def test_what_is_not_understood_is_said_without_the_address(said: dict[str, str], words: str) -> None:
    with pytest.raises(UsageProblem, match=words) as caught:
        channel.channel(**said)  # type: ignore[arg-type]
    assert "T1JJ" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_events() -> None:
    assert channel.channel("notebook").words == ("failed", "stuck", "failing", "paused")
    assert channel.wanted(["completed", "completed", "dead"]) == ("completed", "dead")
    assert set(channel.wanted("all")) == set(channel.EVENTS.values()) - {"dead"}


def test_the_configuration_names_channels() -> None:
    # A YAML file reads a bare "on" as True.
    said = {
        "ops": SLACK,
        "page": {"url": "json://localhost", True: ["dead", "stuck"], "longer-than": "10m", "kinds": "backtest"},
    }
    with dask.config.set({"jobnb.notify": said}):
        ops, page = config.load("/nowhere").notify
    assert (ops.name, ops.url) == ("ops", SLACK)
    assert (page.words, page.longer_than, page.kinds) == (("dead", "stuck"), 600.0, ("backtest",))
    for wrong in ({"ops": {"on": "failed"}}, {"ops": {"url": SLACK, "only": "x"}}, [SLACK], {"ops": 3}):
        with dask.config.set({"jobnb.notify": wrong}), pytest.raises(UsageProblem, match=r"jobnb\.notify") as caught:
            config.load("/nowhere")
        assert "TIiaj" not in str(caught.value)


def test_what_a_job_says_of_it() -> None:
    assert Options().merge(notify=True).notify == ("notebook",)
    assert Options().merge(notify=False).notify == ()
    assert Options().merge(notify=None).notify == ()
    assert Options().merge(notify=["ops", "desktop"]).notify == ("ops", "desktop")


@pytest.mark.parametrize(
    ("told", "title", "body"),
    [
        (notice("completed"), "nightly completed", "job 1a2b3c4d · backtest · after 1 min 15 s"),
        (
            notice("failed", code="NETWORK_ERROR", type="ConnectionError", message="no route", attempt=4, schedule="n"),
            "nightly failed",
            "NETWORK_ERROR: ConnectionError: no route\n"
            "job 1a2b3c4d · backtest · schedule n · after 1 min 15 s · attempt 4",
        ),
        (notice("failed"), "nightly failed", "failed\njob 1a2b3c4d · backtest · after 1 min 15 s"),
        (notice("stuck", detail="no sign of life for 3,600 s"), "nightly is stuck",
         "no sign of life for 3,600 s\njob 1a2b3c4d · backtest"),
        (notice("cancelled", by="ann"), "nightly cancelled", "by ann\njob 1a2b3c4d · backtest · after 1 min 15 s"),
        (notice("cancelled", detail="its parent failed"), "nightly cancelled",
         "its parent failed\njob 1a2b3c4d · backtest · after 1 min 15 s"),
        (notice("failure rate", detail="6 of 10"), "many jobs fail", "6 of 10"),
        (notice("schedule paused", detail="paused after 3 failures in a row"), "schedule nightly is paused",
         "paused after 3 failures in a row"),
    ],
)  # fmt: skip
def test_words(told: Notice, title: str, body: str) -> None:
    assert (told.title, told.body) == (title, body)
    assert "\n" not in told.line


def test_several_are_one_message() -> None:
    one = channel.message([notice("completed")], AT)
    assert (one.title, one.level) == ("jobnb: nightly completed", "success")
    many = channel.message([*[notice("completed")] * 12, notice("failed"), notice("stuck")], AT)
    assert many.title == "jobnb: 14 notices: 12 completed, 1 failed, 1 stuck"
    assert many.level == "failure"
    assert many.body.splitlines()[-1] == "… and 4 more"
    assert len(many.notices) == 14
    late = channel.message([notice("completed")], AT + timedelta(hours=3))
    assert late.body == "job 1a2b3c4d · backtest · after 1 min 15 s · at 2026-11-28 12:00 UTC"


def test_an_unknown_setting_of_a_channel_is_named() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'jobnb.notify.ops.kinds'"):
        channel.described("ops", {"url": SLACK, "kind": "backtest"})
