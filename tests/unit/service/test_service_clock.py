"""A clock that is set back is noticed once, by how much; what drifts or goes forward is not."""

import pytest

from jobnb.service.clock import STEP_SECONDS, WallClock

SECOND = 1_000_000
HOUR = 3_600 * SECOND


def looks(*at: tuple[float, float]) -> list[int]:
    """Look at each pair of wall and monotonic seconds."""
    clock = WallClock()
    return [clock.went_back(wall=int(wall * SECOND), monotonic=monotonic) for wall, monotonic in at]


def test_it_is_said_once() -> None:
    assert looks((9_000, 1), (9_001, 2), (5_402, 3), (5_403, 4)) == [0, 0, HOUR, 0]


def test_time_that_passes_between_two_looks_is_no_step() -> None:
    assert looks((9_000, 1), (9_900, 901), (5_500, 1_001)) == [0, 0, 4_500 * SECOND]


@pytest.mark.parametrize("step", [-STEP_SECONDS, -0.1, 0.0, 0.1, 3_600.0])
def test_small_steps_and_those_forward_are_let_be(step: float) -> None:
    assert looks((9_000, 1), (9_001 + step, 2), (9_002 + step, 3)) == [0, 0, 0]


def test_a_step_that_nothing_could_be_done_about_is_said_again() -> None:
    clock = WallClock()
    clock.went_back(wall=9_000 * SECOND, monotonic=1)
    step = clock.went_back(wall=8_000 * SECOND, monotonic=1)
    clock.forget(step)
    assert clock.went_back(wall=8_001 * SECOND, monotonic=2) == step == 1_000 * SECOND
    assert clock.went_back(wall=8_002 * SECOND, monotonic=3) == 0
