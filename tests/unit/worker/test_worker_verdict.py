"""How an attempt is said to have ended."""

from __future__ import annotations

import pytest

from jobnb.worker.request import TaskRequest
from jobnb.worker.verdict import Facts, judge

REQUEST = TaskRequest(
    job="j", task=0, attempt=1, start=0, stop=1, payload_hash="h", timeout=1.5, memory_limit=100 << 20
)
FAILED = {"state": "failed", "error": {"code": "USER_ERROR", "message": "m", "where": "x.py:1 in f", "traceback": "t"}}


def words() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("facts", "state", "code"),
    [
        (Facts(stopped=None, end={"state": "completed"}), "completed", None),
        (Facts(stopped=None, end=FAILED), "failed", "USER_ERROR"),
        (Facts(stopped="cancel", end=FAILED), "cancelled", "CANCELLED"),
        (Facts(stopped="cancel", end=None, dead=True, status=9), "cancelled", "CANCELLED"),
        (Facts(stopped="lost", end=None), "lost", "WORKER_LOST"),
        (Facts(stopped="timeout", end=FAILED), "failed", "TIMEOUT_ERROR"),
        (Facts(stopped="memory", end=None, held=200 << 20), "failed", "MEMORY_ERROR"),
        (Facts(stopped=None, end=None, dead=True), "lost", "WORKER_LOST"),
        (Facts(stopped=None, end=None, dead=True, status=11), "failed", "CHILD_CRASHED"),
        (Facts(stopped=None, end=None, dead=True, status=9, held=90 << 20), "failed", "MEMORY_ERROR"),
        (Facts(stopped=None, end=None, dead=True, status=9, held=10 << 20), "failed", "CHILD_CRASHED"),
    ],
)
def test_states_and_codes(facts, state, code):
    found, error = judge(REQUEST, facts, words)
    assert (found, None if error is None else error.code) == (state, code)


@pytest.mark.parametrize("stopped", ["cancel", "timeout", "memory"])
def test_where_the_interrupt_found_it_is_kept(stopped):
    _, error = judge(REQUEST, Facts(stopped=stopped, end=FAILED), words)
    assert (error.where, error.traceback) == ("x.py:1 in f", "t")
    # Whether to try again is not for the interrupted code to say.
    assert (error.bases, error.retry) == ("", "")


def test_only_a_death_asks_for_the_last_words():
    def never() -> list[str]:
        raise AssertionError

    judge(REQUEST, Facts(stopped=None, end=FAILED, dead=True, status=11), never)
