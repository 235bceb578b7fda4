from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UsageProblem
from jobnb.retry import Retry, RetryLater


def test_the_default_waits_two_four_eight_minutes_and_never_more_than_an_hour() -> None:
    assert [Retry(jitter=False).pause(n, 0.0) / 60 for n in (1, 2, 3, 4, 5, 6, 7)] == [2, 4, 8, 16, 32, 60, 60]


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(1, 100), st.floats(0.001, 1e6))
def test_a_pause_is_never_longer_than_the_cap_nor_shorter_than_half(
    n: int, drawn: float, factor: float, delay: float
) -> None:
    policy = Retry(delay=delay, factor=factor, max_delay="1h")
    whole = Retry(delay=delay, factor=factor, max_delay="1h", jitter=False).pause(n, drawn)
    assert whole / 2 <= policy.pause(n, drawn) <= whole <= 3600.0


def test_what_people_write() -> None:
    assert Retry(delay="30s", max_delay="10m", on=(ConnectionError, "API_ERROR")).on == ("ConnectionError", "API_ERROR")
    assert Retry.of(5) == Retry(max_retries=5)
    assert Retry.of(False) == Retry(max_retries=0)
    assert Retry.of(None) is None
    policy = Retry(on=OSError, never=["ValueError"], timeout_factor=2)
    assert Retry.of(policy.to_json()) == policy
    assert RetryLater(after="5m").retry_after == 300.0


@pytest.mark.parametrize(
    "wrong",
    [{"max_retries": -1}, {"delay": "soon"}, {"factor": 0.5}, {"on": 3}, {"on": [int]}, {"timeout_factor": 0}],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((UsageProblem, TypeError)):
        Retry(**wrong)  # type: ignore[arg-type]


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UsageProblem, match="Did you mean 'max_retries'"):
        Retry.of({"max_retry": 3})
    with pytest.raises(UsageProblem, match="a Retry or a number"):
        Retry.of("often")  # type: ignore[arg-type]
