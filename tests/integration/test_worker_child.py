"""One task in one real child, without Dask: outcomes, output, crashes, limits, cancel; forked and spawned."""

# ruff: noqa: T201 - what jobs print is under test

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
from worker_kit import Running, alive, ask, eventually, read_pid, run, texts

from jobnb.errors import DataError
from jobnb.research.bars import Bars
from jobnb.research.space import ParameterSpace
from jobnb.research.sweep import SweepWork
from jobnb.work import CallWork, Hooked, MapWork
from jobnb.worker import supervisor, surroundings
from jobnb.worker.failure import versions
from jobnb.worker.host import host, over
from jobnb.worker.relay import OUTCOME_BYTES
from jobnb.worker.request import TaskOutcome
from jobnb.worker.supervisor import run_task


@pytest.fixture(scope="module", params=["fork", "spawn"], autouse=True)
def launcher(request):
    """All tests of this module, once with each way to start a child."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JOBNB_LAUNCHER", request.param)
    yield request.param
    host().detach("")
    patch.undo()


@pytest.fixture
def forked(launcher):
    if launcher != "fork":
        pytest.skip("the same with either launcher")


def value(outcome: TaskOutcome):
    assert outcome.state == "completed", outcome.error
    return pickle.loads(outcome.result)


def code(outcome: TaskOutcome) -> str:
    assert outcome.state == "failed"
    return outcome.error["code"]


def test_a_value_comes_back():
    def add(a, b):
        return a + b

    outcome = run(add, 2, 3)
    assert value(outcome) == 5
    assert outcome.error is None
    assert outcome.pid
    assert outcome.pid != os.getpid()
    assert 0 < outcome.started_at < outcome.finished_at
    assert outcome.max_rss > 10 << 20


def test_an_async_function_runs():
    async def main():
        import asyncio

        await asyncio.sleep(0)
        return "async"

    assert value(run(main)) == "async"


def test_tasks_of_a_job_share_a_child_and_jobs_do_not():
    def mark(name):
        import builtins

        seen = getattr(builtins, "marks", [])
        builtins.marks = [*seen, name]
        return os.getpid(), builtins.marks

    first, marks = value(run(mark, "a", job="one"))
    assert marks == ["a"]
    assert value(run(mark, "b", job="one")) == (first, ["a", "b"])
    other, marks = value(run(mark, "c", job="two"))
    assert other != first
    assert marks == ["c"]


def test_a_warm_child_unpickles_its_work_once():
    class Counting:
        def __setstate__(self, state):
            import builtins

            builtins.loads = getattr(builtins, "loads", 0) + 1

        def __getstate__(self):
            return {"x": 1}

        def __call__(self):
            import builtins

            return builtins.loads

    work = Counting()
    assert [value(run(work, job="loads")) for _ in range(3)] == [1, 1, 1]


def test_a_span_reports_its_progress():
    outcome = run(None, work=MapWork(fn=lambda x: x * 10, items=list(range(8))), start=2, stop=6)
    assert value(outcome) == [20, 30, 40, 50]
    assert outcome.stop == 6


def test_it_stops_between_items_when_the_budget_is_used():
    import time as clock

    def slow(x):
        end = clock.monotonic() + 0.05
        while clock.monotonic() < end:
            pass
        return x

    outcome = run(None, work=MapWork(fn=slow, items=list(range(50))), stop=50, budget=0.1)
    assert outcome.state == "completed"
    assert 1 <= outcome.stop <= 4


def test_it_ends_before_its_next_item_when_that_is_enough(tmp_path):
    def item(mark):
        if mark is not None:
            open(mark, "w").close()
        time.sleep(0.001)

    work = MapWork(fn=item, items=[None, str(tmp_path / "mark"), *[None] * 10**6])
    running = Running(None, work=work, job="enough", stop=10**6, budget=600.0)
    eventually((tmp_path / "mark").exists)
    running.enough()
    outcome = running.outcome()
    assert outcome.state == "completed"
    assert 1 < outcome.stop < 10**6
    # It was said of that task, and not of the next one in the same process.
    again = run(None, work=work, job="enough", stop=50, budget=600.0)
    assert (again.state, again.stop) == ("completed", 50)


def test_all_of_what_has_no_budget_is_wanted(tmp_path):
    def item(gate):
        while gate is not None and not os.path.exists(gate):
            time.sleep(0.003)

    gate = tmp_path / "gate"
    running = Running(None, work=MapWork(fn=item, items=[None, str(gate), None, None]), stop=4)
    eventually(lambda: host()._watching)
    running.enough()
    gate.touch()
    assert running.outcome().stop == 4


def sweep(score):
    class Held:
        def __init__(self, bars):
            self.bars, self.meta = bars, bars.meta

        def load(self):
            return self.bars

    days = pd.date_range("2024-01-01", periods=30, freq="D")
    prices = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 100.0), index=days)
    space = ParameterSpace.parse(score, {"n": range(10_000)})
    return SweepWork.build(score, space, Held(Bars.from_frame(prices, "x")), objective="score")


def test_it_leaves_its_last_items_to_others_and_says_so(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(supervisor, "_sender", lambda worker, topic: said.append)
    mark = str(tmp_path / "mark")

    def score(data, n):
        open(mark, "w").close()
        time.sleep(0.002)
        return {"score": float(n)}

    running = Running(None, work=sweep(score), stop=10_000, budget=600.0)
    eventually((tmp_path / "mark").exists)
    running.enough(300)
    # At once, while it goes on.
    told = eventually(lambda: [each for each in said if each["most"]])
    assert (told[0]["most"], told[0]["state"]) == (300, "running")
    assert told[0]["done"] < 300
    running.enough(250)
    eventually(lambda: [each for each in said if each["most"] == 250])
    outcome = running.outcome(30)
    assert (outcome.state, outcome.stop) == ("completed", 250)
    assert said[-1]["kind"] == "ended"


def test_it_ends_at_once_where_it_has_done_as_many(tmp_path):
    mark = str(tmp_path / "mark")

    def score(data, n):
        if n == 50:
            open(mark, "w").close()
        time.sleep(0.002)
        return {"score": float(n)}

    running = Running(None, work=sweep(score), stop=10_000, budget=600.0)
    eventually((tmp_path / "mark").exists)
    running.enough(20)
    outcome = running.outcome()
    assert outcome.state == "completed"
    assert 50 < outcome.stop < 10_000


@pytest.mark.usefixtures("forked")
class TestErrors:
    def test_user_error(self):
        def outer():
            inner()

        def inner():
            raise ValueError("no such price")

        outcome = run(outer)
        assert code(outcome) == "USER_ERROR"
        assert outcome.error["type"] == "ValueError"
        assert outcome.error["message"] == "no such price"
        assert outcome.error["where"].endswith("in inner")
        assert "jobnb/work" not in outcome.error["traceback"]
        assert 'raise ValueError("no such price")' in outcome.error["traceback"]

    def test_data_error(self):
        def bad():
            raise DataError("no column 'close'")

        assert code(run(bad)) == "DATA_ERROR"

    def test_own_error_code(self):
        def bad():
            error = RuntimeError("429")
            error.error_code = "RATE_LIMIT"
            raise error

        assert code(run(bad)) == "RATE_LIMIT"

    @pytest.mark.parametrize(
        ("raised", "expected"), [(MemoryError(), "MEMORY_ERROR"), (ConnectionResetError(), "NETWORK_ERROR")]
    )
    def test_known_errors(self, raised, expected):
        def bad():
            raise raised

        assert code(run(bad)) == expected

    def test_sys_exit_is_an_error_of_the_job(self):
        outcome = run(lambda: __import__("sys").exit(3))
        assert (code(outcome), outcome.error["type"]) == ("USER_ERROR", "SystemExit")

    def test_keyboard_interrupt_of_its_own(self):
        def bad():
            raise KeyboardInterrupt

        outcome = run(bad)
        assert (code(outcome), outcome.error["type"]) == ("USER_ERROR", "KeyboardInterrupt")

    def test_missing_module_gets_a_hint(self):
        def bad():
            import my_own_prices  # noqa: F401

        outcome = run(bad)
        assert code(outcome) == "USER_ERROR"
        assert "folder" in outcome.error["hint"]

    def test_unpicklable_result(self):
        outcome = run(lambda: (x for x in "ab"))
        assert code(outcome) == "UNPICKLABLE"
        assert "generator" in outcome.error["message"]

    def test_unpicklable_exception_is_no_problem(self):
        def bad():
            class Odd(Exception):
                def __reduce__(self):
                    raise TypeError("never")

            raise Odd("odd")

        outcome = run(bad)
        assert code(outcome) == "USER_ERROR"
        assert outcome.error["message"] == "odd"

    def test_own_type_error_is_not_taken_for_a_pickling_error(self):
        def bad():
            return len(3)

        assert code(run(bad)) == "USER_ERROR"

    def test_payload_that_cannot_be_unpickled(self):
        request, _ = ask(len, versions={"python": _python(), "cloudpickle": "0.1"})
        outcome = TaskOutcome.unpack(run_task(request.pack(), b"not a pickle"))
        assert code(outcome) == "UNPICKLABLE"
        assert "cloudpickle 0.1 there" in outcome.error["hint"]

    def test_another_python(self):
        outcome = run(lambda: 1, versions={"python": "3.2.1"})
        assert code(outcome) == "VERSION_MISMATCH"
        assert "3.2.1" in outcome.error["message"]
        assert _python() in outcome.error["message"]

    def test_a_job_may_fail_after_changing_everything(self):
        def vandal():
            import signal
            import sys

            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.stdout.close()
            sys.stderr = None
            os.chdir("/")
            raise ValueError("still here")

        outcome = run(vandal)
        assert outcome.error["message"] == "still here"


@pytest.mark.usefixtures("forked")
class TestSecondChances:
    def test_an_error_says_what_the_service_decides_by(self):
        from jobnb.retry import GiveUp, RetryLater

        def job(raised, cause):
            raise raised from cause

        later = run(job, RetryLater("busy", after=30), None).error
        assert (later["code"], later["bases"], later["retry"]) == ("USER_ERROR", "RetryLater", "30")
        never = run(job, GiveUp("gone"), ConnectionResetError()).error
        assert (never["code"], never["message"], never["retry"]) == ("NETWORK_ERROR", "gone", "never")
        assert run(job, ConnectionResetError(), None).error["bases"] == "ConnectionResetError ConnectionError OSError"
        assert run(lambda: os._exit(1)).error["bases"] == ""

    def test_a_failing_item_is_the_first_of_a_failed_task(self):
        work = MapWork(fn=lambda x: 6 // x, items=[3, 2, 0, 1])
        first = run(None, work=work, stop=4)
        assert (first.stop, value(first)) == (2, [2, 3])
        second = run(None, work=work, start=2, stop=4)
        assert (code(second), second.error["type"], second.stop) == ("USER_ERROR", "ZeroDivisionError", 2)

    def test_failing_items_are_recorded(self):
        outcome = run(None, work=MapWork(fn=lambda x: 6 // x, items=[3, 0, 1], on_error="record"), stop=3)
        found = value(outcome)
        assert (outcome.stop, outcome.failed) == (3, 1)
        assert (found[0], found[1].type, found[2]) == (2, "ZeroDivisionError", 6)

    def test_an_unpicklable_value_of_a_map_names_its_type(self):
        outcome = run(None, work=MapWork(fn=lambda x: (i for i in "ab"), items=[0]))
        assert code(outcome) == "UNPICKLABLE"
        assert "generator" in outcome.error["message"]

    def test_hooks(self):
        def before(context):
            print("before", context.task)

        def broken(context):
            raise RuntimeError("no disk")

        def on_error(context, error):
            print("error", error)

        outcome = run(None, work=Hooked(CallWork(fn=int), before=before, after=broken))
        assert value(outcome) == 0
        assert texts(outcome, "stdout") == ["before 0"]
        assert texts(outcome, "log")[0] == "hook after failed: RuntimeError: no disk"
        failed = run(None, work=Hooked(CallWork(fn=int, args=("x",)), before=broken, on_error=on_error))
        assert (code(failed), failed.error["type"]) == ("USER_ERROR", "ValueError")
        assert texts(failed, "stdout")[0].startswith("error invalid literal")
        assert "in broken" in " ".join(texts(failed, "log"))


def _python() -> str:
    import platform

    return platform.python_version()


class TestCrashes:
    def test_segmentation_fault(self):
        def crash():
            import ctypes

            ctypes.string_at(0)

        outcome = run(crash)
        assert code(outcome) == "CHILD_CRASHED"
        assert "SIGSEGV" in outcome.error["message"]
        assert outcome.error["where"].endswith("in crash")
        assert "jobnb/worker" not in outcome.error["traceback"]
        assert "Extension modules" not in " ".join(texts(outcome))

    @pytest.mark.parametrize("status", [0, 3])
    def test_exit(self, status):
        def leave():
            print("bye", flush=True)
            os._exit(status)

        outcome = run(leave)
        assert code(outcome) == "CHILD_CRASHED"
        assert f"exit status {status}" in outcome.error["message"]
        assert texts(outcome) == ["bye"]

    @pytest.mark.parametrize("name", ["SIGABRT", "SIGKILL", "SIGTERM"])
    def test_signals(self, name):
        import signal

        number = int(signal.Signals[name])
        outcome = run(lambda: os.kill(os.getpid(), number))
        assert code(outcome) == "CHILD_CRASHED"
        assert name in outcome.error["message"]

    def test_a_crash_leaves_no_grandchildren(self, tmp_path):
        note = tmp_path / "pid"

        def crash():
            import subprocess

            note.write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
            os._exit(1)

        run(crash)
        pid = read_pid(note)
        eventually(lambda: not alive(pid))

    @pytest.mark.usefixtures("forked")
    def test_a_crash_leaves_no_daemons(self, tmp_path):
        notes = [tmp_path / name for name in ("forked", "executed", "twice")]

        def crash():
            import subprocess

            subprocess.Popen(["sh", "-c", f"echo $$ > {notes[1]}; exec sleep 1000"], start_new_session=True)
            for note, times in ((notes[0], 1), (notes[2], 2)):
                if os.fork() == 0:
                    os.setsid()
                    if times == 2 and os.fork():
                        os._exit(0)
                    note.write_text(str(os.getpid()))
                    time.sleep(1000)
            while not all(note.exists() and note.read_text().strip() for note in notes):
                time.sleep(0.005)
            os._exit(1)

        beside = Running(lambda: time.sleep(1000))
        eventually(lambda: beside.request.job in {child.job for child in host().pool._busy if child.ready})
        assert code(run(crash)) == "CHILD_CRASHED"
        eventually(lambda: not any(alive(read_pid(note)) for note in notes))
        beside.tell("cancel")
        assert beside.outcome().state == "cancelled"

    def test_closing_every_descriptor(self):
        def close_all():
            os.closerange(0, 256)
            while True:
                pass

        assert code(run(close_all)) == "CHILD_CRASHED"


class TestCancel:
    @staticmethod
    def stubborn():
        def loop():
            while True:
                pass

        def nap():
            time.sleep(1000)

        def hold_the_gil():
            import ctypes

            ctypes.PyDLL(None).sleep(1000)

        def sum_for_ever():
            import itertools

            sum(itertools.repeat(0))  # in C, with the GIL, without a look at signals

        def swallow():
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(1000)

        def ignore():
            import signal

            signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(1000)

        def finalizer():
            try:
                time.sleep(1000)
            finally:
                time.sleep(1000)

        return {f.__name__: f for f in (loop, nap, hold_the_gil, sum_for_ever, swallow, ignore, finalizer)}

    @pytest.mark.parametrize("name", ["loop", "nap", "hold_the_gil", "sum_for_ever", "swallow", "ignore", "finalizer"])
    def test_whatever_it_does_it_ends_within_a_second(self, name, tmp_path):
        note, fn = tmp_path / "pid", self.stubborn()[name]

        def job():
            note.write_text(str(os.getpid()))
            fn()

        task = Running(job)
        pid = read_pid(note)
        asked = time.monotonic()
        task.tell("cancel")
        outcome = task.outcome()
        assert outcome.state == "cancelled"
        assert outcome.error["code"] == "CANCELLED"
        assert not alive(pid)
        assert task.ended_at - asked < 1

    def test_a_finally_block_has_the_grace_to_clean_up(self, tmp_path):
        note, cleaned = tmp_path / "pid", tmp_path / "cleaned"

        def job():
            try:
                note.write_text(str(os.getpid()))
                time.sleep(1000)
            finally:
                cleaned.write_text("yes")

        # Long enough for a busy machine; as soon as it has cleaned up, it is over.
        task = Running(job, cancel_grace=30.0)
        read_pid(note)
        task.tell("cancel")
        assert task.outcome().state == "cancelled"
        assert cleaned.exists()

    def test_grandchildren_go_too(self, tmp_path):
        notes = [tmp_path / "child", tmp_path / "own-session"]

        def job():
            import subprocess

            for note, own in zip(notes, (False, True), strict=True):
                process = subprocess.Popen(["sleep", "1000"], start_new_session=own)
                note.write_text(str(process.pid))
            time.sleep(1000)

        task = Running(job)
        pids = [read_pid(note) for note in notes]
        task.tell("cancel")
        assert task.outcome().state == "cancelled"
        eventually(lambda: not any(alive(pid) for pid in pids))

    def test_a_lost_worker(self, tmp_path):
        note = tmp_path / "pid"

        def job():
            note.write_text(str(os.getpid()))
            time.sleep(1000)

        task = Running(job)
        pid = read_pid(note)
        task.tell("lost")
        outcome = task.outcome()
        assert (outcome.state, outcome.error["code"]) == ("lost", "WORKER_LOST")
        eventually(lambda: not alive(pid))

    def test_before_the_child_is_there(self):
        task = Running(lambda: time.sleep(1000))
        eventually(lambda: ("", task.request.key) in host()._watching)
        task.tell("cancel")
        assert task.outcome().state == "cancelled"


class TestLimits:
    def test_timeout(self):
        def endless():
            while True:
                pass

        asked = time.monotonic()
        outcome = run(endless, timeout=0.2)
        assert code(outcome) == "TIMEOUT_ERROR"
        assert outcome.error["where"].endswith("in endless")
        assert time.monotonic() - asked < 5

    def test_memory(self):
        def grow():
            held = []
            while True:
                held.append(bytearray(8 << 20))
                time.sleep(0.005)

        outcome = run(grow, memory_limit=150 << 20)
        assert code(outcome) == "MEMORY_ERROR"
        assert "150 MiB" in outcome.error["message"]

    def test_memory_of_a_grandchild_counts(self):
        def grow():
            import subprocess
            import sys

            script = (
                "x = bytearray(200 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nimport time; time.sleep(1000)"
            )
            subprocess.run([sys.executable, "-c", script])

        assert code(run(grow, memory_limit=150 << 20)) == "MEMORY_ERROR"

    def test_what_the_child_was_born_with_does_not_count(self):
        outcome = run(lambda: time.sleep(0.5), memory_limit=20 << 20)
        assert outcome.state == "completed"


@pytest.mark.usefixtures("forked")
class TestOutput:
    def test_all_ways_to_print(self):
        def talk():
            import ctypes
            import logging
            import subprocess
            import sys
            import warnings

            print("printed")
            print("to stderr", file=sys.stderr)
            logging.getLogger("prices").info("logged")
            warnings.warn("warned", stacklevel=1)
            os.write(1, b"raw\n")
            subprocess.run(["echo", "from a subprocess"], check=True)
            ctypes.CDLL(None).puts(b"from C")
            print("without an end", end="")

        outcome = run(talk)
        out, err = texts(outcome, "stdout"), texts(outcome, "stderr")
        assert out == ["printed", "raw", "from a subprocess", "from C", "without an end"]
        assert "to stderr" in err
        assert "INFO prices: logged" in err
        assert any("warned" in line for line in err)
        assert [line[0] for line in outcome.log] == list(range(1, len(outcome.log) + 1))
        assert outcome.log_dropped == 0

    def test_own_logging_configuration_still_works(self):
        def talk():
            import logging

            logging.basicConfig(format="mine: %(message)s")
            logging.warning("hello")

        assert texts(run(talk)) == ["mine: hello"]

    def test_flood(self):
        def flood():
            line = "x" * 99
            for _ in range(1_000_000):
                print(line)
            print("last")

        asked = time.monotonic()
        outcome = run(flood)
        took = time.monotonic() - asked
        assert outcome.state == "completed"
        assert texts(outcome)[-1] == "last"
        assert len(outcome.log) <= 500
        assert outcome.log_dropped + len(outcome.log) == 1_000_001
        assert took < 20

    def test_long_and_undecodable_lines(self):
        def talk():
            print("y" * 100_000)
            os.write(1, b"caf\xe9\n")

        first, second = texts(run(talk))
        assert len(first) == 2000
        assert second == "caf�"

    def test_tqdm(self):
        def bar():
            import sys

            from tqdm import tqdm

            for _ in tqdm(range(300), desc="load", mininterval=0):
                pass
            sys.stderr.flush()

        outcome = run(bar)
        assert outcome.progress == (300, 300, "load")
        assert len(outcome.log) == 1
        assert "300/300" in outcome.log[0][3]

    def test_nested_tqdm(self):
        def bars():
            from tqdm import tqdm

            for _ in tqdm(range(4), desc="outer", mininterval=0):
                for _ in tqdm(range(50), desc="inner", mininterval=0, leave=False):
                    pass

        outcome = run(bars)
        assert len([t for t in texts(outcome) if "outer" in t]) == 1
        assert len(outcome.log) < 10

    def test_tqdm_for_notebooks_and_for_anything(self):
        def bars():
            from tqdm.auto import tqdm as anything
            from tqdm.notebook import tqdm, trange

            list(anything(range(5), desc="auto"))
            list(tqdm(range(20), desc="widget", display=True, ncols="100%"))
            return len(list(trange(3, disable=True)))

        outcome = run(bars)
        assert value(outcome) == 3
        assert outcome.progress == (20, 20, "widget")

    def test_own_progress_wins_over_a_bar(self):
        def both():
            from tqdm import tqdm

            from jobnb.worker import context

            context.progress(1, 2, "mine")
            list(tqdm(range(5), mininterval=0))

        assert run(both).progress == (1, 2, "mine")

    def test_log_and_artifacts(self, tmp_path):
        source = tmp_path / "x.bin"
        source.write_bytes(b"from a file")

        def job():
            from jobnb.worker import context

            me = context.current()
            me.log("one\ntwo")
            me.save("a.txt", "text")
            me.save("b.bin", b"\x00")
            me.save("c.bin", source)
            me.save("a.txt", "newer")
            return me.id, me.name, me.task, me.attempt, me.seed

        outcome = run(job, job="id", name="n", task=4, attempt=2, seed=5)
        assert value(outcome) == ("id", "n", 4, 2, 5)
        assert texts(outcome, "log") == ["one", "two"]
        assert dict(outcome.artifacts) == {"a.txt": b"newer", "b.bin": b"\x00", "c.bin": b"from a file"}

    def test_a_million_progress_calls_are_cheap(self):
        def job():
            from jobnb.worker import context

            begin = time.perf_counter()
            for i in range(1_000_000):
                context.progress(i, 2_000_000)
            return time.perf_counter() - begin

        outcome = run(job)
        assert value(outcome) < 10
        assert outcome.progress == (999_999, 2_000_000, "")

    def test_progress_in_numpy_numbers(self):
        def job():
            import numpy as np

            from jobnb.worker import context

            context.progress(np.int64(3), np.float32(4))

        assert run(job).progress == (3, 4, "")

    def test_output_before_a_failure_is_kept(self):
        def job():
            print("so far so good")
            raise ValueError

        assert texts(run(job)) == ["so far so good"]

    def test_a_forked_copy_does_not_disturb(self):
        def job():
            from jobnb.worker import context

            pid = os.fork()
            if pid == 0:
                context.progress(9, 9)
                os._exit(0)
            os.waitpid(pid, 0)
            return "fine"

        outcome = run(job)
        assert value(outcome) == "fine"
        assert outcome.progress is None

    def test_a_pool_of_processes_in_a_job(self):
        def job():
            import multiprocessing

            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, -2])

        assert value(run(job)) == [1, 2]


class TestSurroundings:
    def test_folder_and_local_modules(self, tmp_path):
        (tmp_path / "local_prices.py").write_text("VALUE = 42")

        def job():
            import local_prices

            return os.getcwd(), local_prices.VALUE

        assert value(run(job, cwd=str(tmp_path))) == (str(tmp_path), 42)

    def test_an_edited_module_is_fresh_in_the_next_job(self, tmp_path):
        module = tmp_path / "edited_module.py"

        def job():
            import edited_module

            return edited_module.VALUE

        found = []
        for number in (1, 2):  # the same size, within a second
            module.write_text(f"VALUE = {number}")
            found.append(value(run(job, sys_path=(str(tmp_path),))))
        assert found == [1, 2]

    def test_missing_folder_is_said_and_no_error(self, tmp_path):
        outcome = run(lambda: 1, cwd=str(tmp_path / "gone"))
        assert value(outcome) == 1
        assert "gone" in texts(outcome)[0]

    def test_random_numbers(self):
        def draw():
            import random

            import numpy as np

            return random.random(), float(np.random.rand())

        assert value(run(draw, seed=7)) == value(run(draw, seed=7))
        assert value(run(draw)) != value(run(draw))

    def test_main_is_empty(self):
        assert value(run(lambda: [n for n in dir(__import__("__main__")) if not n.startswith("__")])) == []

    def test_matmul_and_numba_after_the_fork(self):
        def job():
            import numba
            import numpy as np

            @numba.njit
            def total(x):
                s = 0.0
                for v in x:
                    s += v
                return s

            a = np.ones((300, 300))
            return float((a @ a).sum()), float(total(np.arange(10.0)))

        assert value(run(job)) == (300.0 * 300 * 300, 45.0)

    def test_the_backtest_kernel(self):
        def job():
            from jobnb.research.sample import gbm
            from jobnb.research.strategy import Strategy

            class Cross(Strategy):
                fast: int = 5
                slow: int = 20

                def positions(self, bars):
                    return bars.sma(self.fast) > bars.sma(self.slow)

            return Cross().load_data(gbm(300)).backtest().metrics["trades"]

        assert value(run(job)) > 0

    def test_reading_stdin_is_the_end_of_file(self):
        outcome = run(lambda: input())
        assert outcome.error["type"] == "EOFError"


@pytest.mark.usefixtures("forked")
class TestData:
    def test_sent_along(self):
        content = os.urandom(1000)
        sha = hashlib.sha256(content).hexdigest()

        def job():
            from jobnb.worker import blobs

            return blobs.path(sha).read_bytes()

        request, payload = ask(job, blobs=(sha,))
        for data in ([content], []):  # the second time it is in the host's cache
            assert value(TaskOutcome.unpack(run_task(request.pack(), payload, *data))) == content
        host().cache.find(sha).unlink()

    def test_missing(self):
        outcome = run(lambda: 1, blobs=("0" * 64,))
        assert code(outcome) == "BLOB_MISSING"

    def test_shared_disk(self, tmp_path):
        (tmp_path / "token").write_text("secret")
        (tmp_path / "blobs").mkdir()
        sha = hashlib.sha256(b"prices").hexdigest()
        (tmp_path / "blobs" / sha).write_bytes(b"prices")
        receipt = tmp_path / "receipts" / "r"

        def job():
            from jobnb.worker import blobs

            return str(blobs.path(sha)), os.urandom(8)

        request, payload = ask(
            job,
            blobs=(sha,),
            blob_dir=str(tmp_path / "blobs"),
            share_token=(str(tmp_path / "token"), "secret"),
            receipt_path=str(receipt),
        )
        first = run_task(request.pack(), payload)
        assert value(TaskOutcome.unpack(first))[0] == str(tmp_path / "blobs" / sha)
        assert receipt.read_bytes() == first
        assert [p.name for p in receipt.parent.iterdir()] == ["r"]
        # Dask runs a finished task again when its worker died: the outcome stays the same.
        assert run_task(request.pack(), payload) == first

    def test_a_large_outcome_lies_in_the_receipt_alone(self, tmp_path):
        (tmp_path / "token").write_text("secret")
        receipt = tmp_path / "r"
        shared = {"share_token": (str(tmp_path / "token"), "secret"), "receipt_path": str(receipt)}
        request, payload = ask(lambda: "x" * 2 * OUTCOME_BYTES, **shared)
        assert run_task(request.pack(), payload) == b""
        assert value(TaskOutcome.unpack(receipt.read_bytes())) == "x" * 2 * OUTCOME_BYTES
        assert run_task(request.pack(), payload) == b""
        (tmp_path / "file").touch()
        shared["receipt_path"] = str(tmp_path / "file" / "r")
        assert value(run(lambda: "x" * 2 * OUTCOME_BYTES, **shared)) == "x" * 2 * OUTCOME_BYTES

    def test_an_attempt_that_began_elsewhere_does_not_run_again(self, tmp_path):
        (tmp_path / "token").write_text("secret")
        receipt = tmp_path / "r"
        (tmp_path / "r.claim").touch()
        outcome = run(lambda: 1, share_token=(str(tmp_path / "token"), "secret"), receipt_path=str(receipt))
        assert (outcome.state, outcome.error["code"]) == ("lost", "WORKER_LOST")

    def test_no_room_for_the_receipt_is_no_failure(self, tmp_path):
        (tmp_path / "token").write_text("secret")
        (tmp_path / "file").touch()
        receipt = tmp_path / "file" / "r"
        outcome = run(lambda: 1, share_token=(str(tmp_path / "token"), "secret"), receipt_path=str(receipt))
        assert value(outcome) == 1

    def test_wrong_token_means_no_shared_disk(self, tmp_path):
        (tmp_path / "token").write_text("other")
        receipt = Path(tmp_path / "r")
        outcome = run(lambda: 1, share_token=(str(tmp_path / "token"), "secret"), receipt_path=str(receipt))
        assert value(outcome) == 1
        assert not receipt.exists()


@pytest.mark.usefixtures("forked")
def test_an_idle_child_leaves_by_itself_and_runs_its_exit_functions(tmp_path, monkeypatch):
    from jobnb.worker import pool

    note = tmp_path / "left"

    def job():
        import atexit

        atexit.register(lambda: note.write_text("left"))
        return os.getpid()

    monkeypatch.setattr(host().pool, "_idle_seconds", 0.05)
    pid = value(run(job))
    eventually(lambda: not alive(pid), pool._LEAVE_SECONDS + 5)
    assert note.exists()


def test_a_child_leaves_when_its_job_is_over():
    ended, other = (Running(os.getpid, job=name) for name in ("over", "not over"))
    pids = [value(each.outcome()) for each in (ended, other)]
    over("over")
    eventually(lambda: not alive(pids[0]))
    assert alive(pids[1])
    assert value(run(os.getpid, job="not over")) == pids[1]
    over("never was")


def _heavy_modules():
    def loaded():
        import sys

        # In pieces, so that the work does not name them.
        return [name for name in map("".join, (["n", "umpy"], ["p", "andas"])) if name in sys.modules]

    # By value: of what is in a module of its own nobody knows what that imports.
    return loaded


def _light_server():
    value(run(_heavy_modules()))
    return eventually(lambda: host().pool._light if host().pool._light and host().pool._light.ready() else None)


@pytest.mark.usefixtures("forked")
class TestLightChildren:
    def test_a_work_of_plain_python_gets_one(self):
        _light_server()
        assert value(run(_heavy_modules(), name="plain")) == []

    def test_nothing_is_imported_for_a_plain_call(self):
        # An import costs each such call more than all the rest of it.
        def loaded():
            import sys

            return sorted(sys.modules)

        _light_server()
        found = value(run(loaded, name="plain", versions=dict(versions())))
        script = (
            "import json, sys; from jobnb.worker import forkserver, preload; preload.load(preload.LIGHT); "
            "print(*sys.modules)"
        )
        server = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
        assert set(found) - set(server.stdout.split()) == set()

    def test_nothing_of_ours_is_imported_for_research_or_for_a_module_that_submits(self):
        script = (
            "import sys; from jobnb.worker import forkserver, preload; preload.load(); before = set(sys.modules); "
            "import jobnb.manager, jobnb.research.fold_work, jobnb.research.instrument_sweep, jobnb.research.single, "
            "jobnb.research.portfolio_work; print(*sorted(set(sys.modules) - before))"
        )
        server = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
        assert server.stdout.split() == []

    def test_a_job_stands_back_for_others(self):
        def niceness():
            import os

            own = os.path.exists("/proc/self/autogroup")
            return os.nice(0), open("/proc/self/autogroup").read().split()[-1] if own else None

        here = os.nice(0)
        for work in (niceness, lambda: (__import__("numpy"), niceness())[1]):
            nice, group = value(run(work, name="nice"))
            assert nice == min(19, here + surroundings.NICE)
            # A user may lower that of a session only so often; it stays at 0 then.
            assert group in (None, "0", str(surroundings.NICE))

    def test_the_streams_are_pipes_whatever_the_worker_writes_to(self):
        def streams():
            import sys

            print("seen")
            sys.stderr.write("said")
            return [each.seekable() for each in (sys.stdout, sys.stderr)], sys.stdin.read()

        _light_server()
        outcome = run(streams, name="plain")
        assert value(outcome) == ([False, False], "")
        assert sorted(texts(outcome)) == ["said", "seen"]

    def test_a_work_that_names_numpy_does_not(self):
        def numbers():
            import numpy

            return numpy.__name__

        server = _light_server()
        before = set(server._by_pid)
        outcome = run(numbers, name="numbers")
        assert value(outcome) == "numpy"
        assert outcome.pid not in before | set(server._by_pid)

    def test_one_that_imports_it_after_all_is_remembered(self):
        def sly():
            import importlib

            return importlib.import_module("".join(["n", "umpy"])).__name__

        _light_server()
        assert host().weights.light("sly", cloudpickle.dumps(CallWork(fn=sly)))
        assert value(run(sly, name="sly")) == "numpy"
        assert not host().weights.light("sly", cloudpickle.dumps(CallWork(fn=sly)))

    def test_numpy_is_seeded_whenever_it_comes(self):
        def drawn(name):
            import importlib

            return float(importlib.import_module("".join(name)).random.random())

        _light_server()
        late = value(run(drawn, ["n", "umpy"], seed=7, name="late"))
        host().weights.was_heavy("early")
        assert value(run(drawn, ["numpy"], seed=7, name="early")) == late

    def test_a_dead_server_is_replaced(self):
        server = _light_server()
        os.kill(server.server_pid, signal.SIGKILL)
        eventually(lambda: not server.alive())
        assert value(run(_heavy_modules(), name="meanwhile")) is not None
        assert _light_server() is not server


@pytest.mark.usefixtures("forked")
def test_a_spare_child_waits_for_the_next_task():
    server = _light_server()
    value(run(_heavy_modules()))
    spare = eventually(lambda: server._spare if server._spare and server._spare.pid else None)
    assert run(_heavy_modules()).pid == spare.pid


@pytest.mark.usefixtures("forked")
def test_a_spare_that_was_killed_is_not_used():
    server = _light_server()
    value(run(_heavy_modules()))
    spare = eventually(lambda: server._spare if server._spare and server._spare.pid else None)
    os.kill(spare.pid, signal.SIGKILL)
    eventually(spare.dead.is_set)
    outcome = run(_heavy_modules())
    assert value(outcome) == []
    assert outcome.pid != spare.pid


@pytest.mark.usefixtures("forked")
def test_a_dead_fork_server_is_replaced():
    import signal

    pid = value(run(os.getpid))
    os.kill(host().pool._launcher.server_pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
    eventually(lambda: not host().pool._launcher.alive())
    assert value(run(lambda: 1)) == 1


def test_a_fork_in_the_middle_of_a_burst_of_progress(forked):
    def burst_and_fork():
        import threading

        from jobnb.worker.context import current, progress

        here = current()
        for i in range(1000):
            progress(i)
        pid = os.fork()
        if pid == 0:
            here.progress(5000, 5000)  # of nobody's job
            os._exit(7)
        status = os.waitpid(pid, 0)[1]
        return threading.active_count(), os.waitstatus_to_exitcode(status)

    outcome = run(burst_and_fork)
    assert value(outcome) == (1, 7)
    assert outcome.progress[0] == 999
