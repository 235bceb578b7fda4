"""What user code calls, inside and outside a job, and the surroundings of a child that are pure."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time

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


@pytest.fixture
def waiting(sent, monkeypatch):
    """Hands out messages as they come; the timer waits a little only."""
    came: queue.SimpleQueue[dict] = queue.SimpleQueue()
    monkeypatch.setattr(context, "_LATE_SECONDS", 0.02)
    meter = context.Meter(came.put)
    yield meter, came
    meter.close()


def drain(came) -> list[float]:
    found = []
    while not came.empty():
        found.append(came.get()["p"][0])
    return found


def test_what_a_burst_ends_with_is_sent_late(waiting):
    meter, came = waiting
    for i in range(1000):
        meter.set(i, None, "")
    timer = meter._late
    assert timer is not None
    assert timer.daemon
    timer.join(10)
    assert drain(came)[-1] == 999
    assert meter._late is None
    meter.set(1000, None, "")
    assert meter._late is None or came.empty()


def test_at_most_one_timer_waits(waiting, monkeypatch):
    meter, _ = waiting
    monkeypatch.setattr(context, "_LATE_SECONDS", 60.0)
    started = []
    start = threading.Timer.start
    monkeypatch.setattr(threading.Timer, "start", lambda self: (started.append(self), start(self)))
    for i in range(10_000):
        meter.set(i, None, "")
    assert started == [meter._late]


def test_no_timer_where_nothing_is_held_back(waiting):
    meter, came = waiting
    for i in range(10):
        meter.set(i, 9, "")
    assert drain(came) == list(range(10))
    assert meter._late is None


def test_nothing_is_sent_after_the_end(waiting, monkeypatch):
    meter, came = waiting
    monkeypatch.setattr(context, "_LATE_SECONDS", 60.0)
    for i in range(100):
        meter.set(i, None, "")
    timer = meter._late
    meter.close()
    timer.join(10)
    drain(came)
    meter.set(100, 100, "")
    meter.flush()
    assert came.empty()
    assert meter._late is None


def test_a_fork_finds_no_thread_of_ours_and_loses_nothing(waiting, monkeypatch):
    meter, came = waiting
    monkeypatch.setattr(context, "_LATE_SECONDS", 60.0)
    for i in range(100):
        meter.set(i, None, "")
    timer = meter._late
    meter.quiet()
    assert not timer.is_alive()
    assert drain(came)[-1] == 99


def test_a_forked_copy_is_silent_whoever_held_the_lock(waiting):
    meter, came = waiting
    held, over = threading.Event(), threading.Event()

    def hold():
        with meter._lock:
            held.set()
            over.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    meter.abandon()
    meter.set(1, 1, "")
    over.set()
    thread.join(10)
    assert came.empty()


def test_no_more_threads_for_this_process(waiting, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    meter, came = waiting
    for i in range(100):
        meter.set(i, None, "")
    meter.quiet()
    assert drain(came)[-1] == 99


def test_a_million_calls_cost_next_to_nothing(waiting):
    meter, came = waiting
    began = time.process_time()
    for i in range(1_000_000):
        meter.set(i, None, "")
    # Measured: 0.4 s. A wide margin, because it shows a lock or a thread per call, not a slow machine.
    assert time.process_time() - began < 5
    assert len(drain(came)) < 500


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
