"""What a notebook shows when something is wrong: one line for bad input, the job's own traceback for a failed job."""

import re

import pytest

pytestmark = pytest.mark.kernel

NAMES = """
import jobnb, threading
from jobnb.research.sample import goog
prices = goog()
lock = threading.Lock()

class SmaCross(jobnb.Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)

def my_function(a, b=2):
    return a + b
"""

#: A line, and what its message must say: what was wrong and the nearest right name.
WRONG = [
    ("%job backtset SmaCross --data prices", ["'backtset'", "'backtest'"]),
    ("%job backtest SmaCros --data prices", ["'SmaCros'", "'SmaCross'"]),
    ("%job backtest SmaCross --data price", ["'price'", "'prices'"]),
    ("%job backtest SmaCross --data prices fats=3", ["'fats'", "'fast'"]),
    ("%job backtest SmaCross --data prices --prioritiy high", ["--prioritiy", "--priority"]),
    ("%job backtest SmaCross --data prices --priority hihg", ["'hihg'", "'high'"]),
    ("%job backtest SmaCross --data prices fast=5:50", ["fast=5:50", "optimize"]),
    ("%job backtest SmaCross", ["--data"]),
    ("%job optimize SmaCross --data prices fast=5:9 --objective sharp_ratio", ["'sharp_ratio'", "'sharpe_ratio'"]),
    ("%job optimize SmaCross --data prices", ["fast=5:50"]),
    ("%job submit my_funtion(1)", ["'my_funtion'", "'my_function'"]),
    ("%job submit my_function(1, 2", ["my_function(1, 2"]),
    ("%job submit my_function(lock)", ["cannot be sent", "lock"]),
    ("%job submit my_function(1) --timeout soon", ["soon"]),
    ("%job submit my_function(1) -o 2x", ["2x"]),
    ("%job show nosuch", ["'nosuch'"]),
    ("%job cancel nosuch", ["'nosuch'"]),
    ("%job list --status runing", ["'runing'", "'running'"]),
    ("%%job -o y\nx = 1", ["y"]),
    ("%%job\nx = = 1", ["x = = 1"]),
]


def test_bad_input_is_one_line_and_enqueues_nothing(kernel):
    assert kernel.run(NAMES).ok
    wrong = []
    for line, parts in WRONG:
        ran = kernel.run(line)
        said = ran.stdout
        kinds = {m["msg_type"] for m in ran.messages}
        if ran.ok or "error" in kinds or not re.fullmatch(r"UsageError: [^\n]+\n", said):
            wrong.append((line, "not one line of UsageError", ran.error))
        elif missing := [p for p in parts if p not in said]:
            wrong.append((line, f"does not say {missing}", said))
        elif ran.displays:
            wrong.append((line, "shows something", said))
    assert not wrong
    assert kernel.run("len(jobnb.jobs())").displays[0]["data"]["text/plain"] == "0"


def test_a_failed_job_shows_its_own_traceback(kernel):
    kernel.run("def deep(x):\n    return 1 / x\n\ndef broken(x):\n    return deep(x)")
    assert kernel.run("%job submit broken(0) -o j").ok
    ran = kernel.run("j.result()")
    assert ran.reply["content"]["ename"] == "JobFailed"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", ran.error).splitlines()
    text = "\n".join(lines)
    assert "in deep" in text
    assert "ZeroDivisionError: division by zero" in text
    assert lines[-1].startswith("JobFailed: ")
    # The frames are the job's own, not those of asking for the result.
    assert "manager.py" not in text
    assert kernel.run("%job result j").reply["content"]["ename"] == "JobFailed"
    kernel.until(lambda: "ZeroDivisionError" in kernel.card_html(), what="the failure on the card")
    (final,) = kernel.updated_displays()
    assert "USER_ERROR" in final["data"]["text/html"]


def test_a_result_that_cannot_be_sent_back_is_a_failed_job_that_says_so(kernel):
    kernel.run("def gives():\n    import threading\n    return threading.Lock()")
    assert kernel.run("%job submit gives() -o j").ok
    ran = kernel.run("j.result()")
    assert ran.reply["content"]["ename"] == "JobFailed"
    assert "lock" in ran.error


def test_a_timeout_while_waiting_is_one_line_and_the_job_goes_on(kernel, store):
    kernel.run("def stuck():\n    while True:\n        pass")
    kernel.run("%job submit stuck() -o j")
    ran = kernel.run("%job wait j --timeout 0.2")
    assert re.fullmatch(r"UsageError: still not done after 0\.2 s: [^\n]+\n", ran.stdout)
    job_id = kernel.value("j.id").strip("'")
    assert not store.record(job_id).status.final
    store.cancel(job_id)
    kernel.until(lambda: store.record(job_id).status.final, what="the job to end")
