from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.data.limit import SharedLimiter, pause_after
from jobnb.errors import UsageProblem
from jobnb.limit import RateLimit, admit


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, pause: float) -> None:
        self.slept.append(pause)
        self.now += pause


@given(st.integers(1, 6), st.floats(0.1, 5.0), st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60))
def test_never_more_calls_in_a_period_than_twice_the_burst_and_never_faster_on_average(
    calls: int, per: float, waits: list[float]
) -> None:
    limit = RateLimit(calls, per)
    due, now, made = 0.0, 100.0, []
    for wait in waits:
        now += wait
        due, pause = admit(due, now, limit)
        now += pause
        made.append(now)
    for i in range(calls, len(made)):
        # After the burst each call comes at its own place: n calls later is a period later.
        taken = made[i] - made[i - calls]
        assert taken >= 0
    assert made[-1] - made[0] >= (len(made) - calls) * per / calls - per - 1e-6


def test_a_burst_and_then_one_by_one(tmp_path: Path) -> None:
    clock = Clock()
    limiter = SharedLimiter(path=tmp_path / "x" / "rate", limit=RateLimit(3, "3s"), clock=clock, sleep=clock.sleep)
    times = []
    for _ in range(6):
        limiter.acquire()
        times.append(clock.now - 1000.0)
    assert times == pytest.approx([0, 0, 0, 1, 2, 3])


def test_two_limiters_of_one_file_share_it(tmp_path: Path) -> None:
    clock = Clock()
    pair = [
        SharedLimiter(path=tmp_path / "rate", limit=RateLimit(1, 10.0), clock=clock, sleep=clock.sleep)
        for _ in range(2)
    ]
    pair[0].acquire()
    pair[1].acquire()
    assert clock.slept == [pytest.approx(10.0)]


def test_a_spoiled_file_or_a_clock_set_back_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "rate"
    path.write_text("no number")
    clock = Clock()
    SharedLimiter(path=path, limit=RateLimit(1, 1.0), clock=clock, sleep=clock.sleep).acquire()
    assert clock.slept == []
    path.write_text("1e18")
    SharedLimiter(path=path, limit=RateLimit(1, 1.0), clock=clock, sleep=clock.sleep).acquire()
    assert clock.slept[-1] <= 100


@pytest.mark.parametrize("calls", [0, -1, 1.5])
def test_a_limit_that_is_none(calls: float) -> None:
    with pytest.raises(UsageProblem, match="whole number"):
        RateLimit(calls)  # type: ignore[arg-type]


def test_pauses() -> None:
    base = {"tries": 1, "most": 4, "passing": True, "asked": None, "drawn": 0.0, "patience": 60.0}
    assert pause_after(**base) == 0.5
    assert pause_after(**{**base, "tries": 4}) is None
    assert pause_after(**{**base, "passing": False}) is None
    assert pause_after(**{**base, "asked": 30.0}) == 30.0
    assert pause_after(**{**base, "asked": 61.0}) is None
