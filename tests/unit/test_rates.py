"""How often something may be done: what people write, and what holds of the decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UsageProblem
from jobnb.limit import RateLimit, admit, free


@pytest.mark.parametrize(
    ("said", "calls", "per", "shown"),
    [
        ("100/min", 100, 60.0, "100/min"),
        ("5/s", 5, 1.0, "5/s"),
        (" 1000 per hour ", 1000, 3600.0, "1000/h"),
        ("20/90s", 20, 90.0, "20/90s"),
        ("2 / 500ms", 2, 0.5, "2/0.5s"),
        ("7/day", 7, 86400.0, "7/day"),
        ("3/M", 3, 60.0, "3/min"),
        (RateLimit(3, "2s"), 3, 2.0, "3/2s"),
    ],
)
def test_what_people_write(said: str | RateLimit, calls: int, per: float, shown: str) -> None:
    rate = RateLimit.of(said)
    assert (rate.calls, rate.per, str(rate)) == (calls, per, shown)
    assert RateLimit.of(str(rate)) == rate


@pytest.mark.parametrize("said", ["100", "fast", "0/s", "-1/s", "5/fortnight", "1.5/s", "", 5])
def test_what_is_no_rate(said: object) -> None:
    with pytest.raises(UsageProblem):
        RateLimit.of(said)  # type: ignore[arg-type]


@given(st.integers(1, 20), st.floats(0.1, 100.0), st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(1, 20))))
def test_in_no_period_more_than_there_may_be(calls: int, per: float, moves: list[tuple[float, int]]) -> None:
    """However it is asked, in any span of time there are at most a full burst and what came free meanwhile."""
    limit = RateLimit(calls, per)
    due, now, made = 0.0, 1000.0, list[tuple[float, int]]()
    for pause, count in moves:
        now += pause
        free_before = free(due, now, limit)
        count = min(count, calls)
        due, wait = admit(due, now, limit, count)
        if count <= free_before:
            assert wait == pytest.approx(0.0, abs=1e-4)
        made.append((now + wait, count))
    for i, (begin, _) in enumerate(made):
        taken = 0
        for end, count in made[i:]:
            taken += count
            assert taken <= calls + (end - begin) * calls / per + 1e-3 or end >= begin + 90 * per


@given(st.integers(1, 9), st.floats(0.1, 100.0), st.integers(0, 9))
def test_what_is_free_can_be_taken(calls: int, per: float, before: int) -> None:
    limit, due = RateLimit(calls, per), 0.0
    for _ in range(before):
        due, _ = admit(due, 5.0, limit)
    left = free(due, 5.0, limit)
    assert left == max(0, calls - before)
    if left:
        assert admit(due, 5.0, limit, left)[1] == pytest.approx(0.0, abs=1e-6)
        assert admit(due, 5.0, limit, left + 1)[1] > 0
