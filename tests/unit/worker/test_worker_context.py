"""What user code calls, inside and outside a job, and the surroundings of a child that are pure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobnb.errors import UsageProblem
from jobnb.worker import context, surroundings
from jobnb.worker.cancellation import is_unwanted


@pytest.fixture
def sent():
    messages: list[dict] = []
    about = {"job": "j", "name": "n", "task": 1, "attempt": 2, "seed": 3, "start": 0, "stop": 9}
    context.enter(context.JobContext(about, context.Meter(messages.append), messages.append))
    yield messages
    context.enter(None)


def test_outside_a_job_nothing_happens():
    assert context.current() is None
    context.progress(1, 2)
    assert list(context.track(range(3))) == [0, 1, 2]
    assert list(context.track(iter("ab"))) == ["a", "b"]


def test_inside(sent):
    assert list(context.track("abc", message="m")) == ["a", "b", "c"]
    assert sent[-1]["p"] == (3, 3, "m")
    me = context.current()
    assert me is not None
    assert (me.id, me.name, me.task, me.attempt, me.seed, me.start, me.stop) == ("j", "n", 1, 2, 3, 0, 9)


def test_the_first_and_the_last_are_always_sent(sent):
    for i in range(1, 100_001):
        context.progress(i, 100_000)
    assert sent[0]["p"][0] == 1
    assert sent[-1]["p"][0] == 100_000
    assert len(sent) < 200


def test_seldom_calls_are_all_sent(sent, monkeypatch):
    now = [context.time.monotonic()]
    monkeypatch.setattr(context.time, "monotonic", lambda: now[0])
    for i in range(100):
        now[0] += 0.1
        context.progress(i, None)
    assert len(sent) == 100


def test_an_unknown_length(sent):
    list(context.track(iter("ab")))
    assert sent[-1]["p"] == (2, None, "")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "a\0"])
def test_artifact_names(sent, name):
    with pytest.raises(UsageProblem, match="plain file name"):
        context.current().save(name, b"")


def test_importing_the_context_is_light():
    script = (
        "import sys, jobnb.worker.context, jobnb.worker.blobs\n"
        "print([m for m in ('numpy', 'pandas', 'distributed', 'numba') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_seeds():
    assert surroundings.task_seed(7) == 7
    assert surroundings.task_seed(None) != surroundings.task_seed(None)


@pytest.mark.parametrize("start", ["executing", "long-running"])
def test_unwanted(start):
    assert is_unwanted(start, "released")
    assert is_unwanted(start, "cancelled")
    assert not is_unwanted(start, "memory")
    assert not is_unwanted(start, "long-running")
    assert not is_unwanted("ready", "released")
