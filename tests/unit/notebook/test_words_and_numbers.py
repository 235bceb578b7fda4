import doctest
import importlib
from itertools import pairwise

import examples
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.notebook import eta, look, words


@pytest.mark.parametrize("name", ["look", "eta", "svg", "grammar", "cell", "card_text", "words"])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"jobnb.notebook.{name}"))
    assert found.failed == 0


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_are_short_and_have_a_real_minus(value):
    text = look.number(value)
    assert "-" not in text
    assert "E" not in text
    digits = text.partition("e")[0].replace(",", "").replace(".", "").lstrip(f"{look.MINUS}0")
    if abs(value) < 9999:
        assert len(digits) <= 4


@given(st.floats(min_value=0, max_value=1e7))
def test_a_clock_never_shows_sixty(seconds):
    assert ":60" not in look.clock(seconds)


def test_metrics_read_in_their_unit():
    assert look.metric("max_drawdown", -0.142) == "−14.2 %"
    assert look.metric("total_return", 0.0) == "0.0 %"
    assert look.metric("win_rate", float("nan")) == look.DASH
    assert look.metric("final_equity", 16140.4) == "16,140"
    assert look.metric("profit_factor", float("inf")) == "∞"
    assert look.metric("max_drawdown_duration", 120.0) == "120 d"
    assert look.metric("my own", "text") == "text"
    assert look.metric("sharpe_ratio", None) == look.DASH


def run(speeds, total, dt=0.25, started=0.0):
    """Follow a job that does ``speeds[i] * dt`` in step i; return what was shown as left."""
    at, done, known, shown = started, 0.0, None, []
    for speed in speeds:
        at += dt
        done = min(total, done + speed * dt)
        known = eta.step(known, at=at, done=done, total=total, started=started)
        shown.append(known.left(at))
    return shown


def test_nothing_is_said_before_it_is_believable():
    shown = run([10] * 100, total=1000)
    assert shown[:3] == [None] * 3
    assert shown[10] is not None
    # A second of watching is not enough where hardly anything is done.
    assert run([1] * 20, total=10_000) == [None] * 20


def test_a_steady_job_counts_down_like_a_clock():
    shown = [s for s in run([10] * 400, total=1000) if s is not None]
    assert all(later <= earlier for earlier, later in pairwise(shown))
    assert shown[-1] <= 2


def test_a_job_that_swings_does_not_make_it_jump():
    speeds = [15, 5] * 200
    shown = [s for s in run(speeds, total=1000) if s is not None]
    assert sum(later > earlier for earlier, later in pairwise(shown)) <= 1


def test_a_real_slowdown_is_told():
    shown = run([10] * 40 + [1] * 400, total=1000)
    assert max(s for s in shown[100:] if s is not None) > 300


def test_a_new_attempt_starts_over():
    known = None
    for i in range(1, 20):
        known = eta.step(known, at=float(i), done=i * 10.0, total=400, started=0.0)
    assert known.ends is not None
    again = eta.step(known, at=20.0, done=0.0, total=400, started=0.0)
    assert again.ends is None
    assert again.rate == 0


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=60), st.floats(min_value=1, max_value=1e9))
def test_whatever_a_job_does_the_words_are_sane(speeds, total):
    for left in run(speeds, total):
        assert left is None or left >= 1.0


def test_a_search_that_was_ended_early_says_so():
    summary = {"runs": 120, "failed": 0, "stopped": "max_time", "space": [["x", None, 0.1, 0.9], ["n", 3, 1, 3]]}
    params = {"method": "tpe", "seed": 7, "objective": "sharpe_ratio, net"}
    job = examples.record(kind="optimize", plan={"type": "tpe", "items": 2000}, summary=summary, params=params)
    assert ("120 of 2,000", "runs, ended by max_time", "") in words.tiles(job)
    foot = words.foot(job)
    assert foot[:2] == ["x 0.1…0.9", "n 1…3 (3)"]
    assert "tpe search (seed 7)" in foot
    assert "objectives sharpe_ratio, net" in foot
    whole = examples.record(kind="optimize", plan={"type": "tpe", "items": 120}, summary=summary, params=params)
    assert ("120", "runs", "") in words.tiles(whole)
