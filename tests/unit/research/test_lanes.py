"""The vector loops give what loops over single numbers give, to the last bit, at any length and place."""

import numpy as np
import pytest

from jobnb.research.jit import compiled
from jobnb.research.kernel import TURNS_ROOM, turns_of
from jobnb.research.lanes import LANES, extremes, held, padded, summed


@compiled
def _ends(x, start, stop):
    return extremes(padded(x), start, stop)


@compiled
def _held(x, start, stop, cash, units, last, returns, place):
    return held(padded(x), start, stop, cash, units, last, returns, place)


@compiled
def _summed(rows, count, sums):
    summed(rows, count, sums)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 30])
def test_a_stretch_of_any_length_at_any_place(size):
    x = np.random.default_rng(size).lognormal(0.0, 0.1, 40)
    for start in range(40 - size + 1):
        part = x[start : start + size]
        assert _ends(x, start, start + size) == (part.min(), part.max())
        returns = np.full(3 + size + LANES, 7.0)
        assert _held(x, start, start + size, 5.0, -0.3, 4.0, returns, 3) == (part.min(), part.max())
        worth = np.append(4.0, 5.0 + -0.3 * part)
        np.testing.assert_array_equal(returns[3 : 3 + size], worth[1:] / worth[:-1] - 1.0)
        assert (returns[:3] == 7.0).all()


@pytest.mark.parametrize("count", [0, 1, 8, 13, 100])
def test_sums_are_taken_in_order(count):
    rows = np.zeros((LANES, 112))
    rows[:, :count] = np.random.default_rng(count).normal(0.0, 1.0, (LANES, count))
    # A sum in another order would not keep these.
    rows[3, : count // 2] *= 1e16
    sums = np.empty((3, LANES))
    _summed(rows, count, sums)
    for m, row in enumerate(rows):
        expected = [0.0, 0.0, 0.0]
        for r in row.tolist():
            for i, term in enumerate((r, r * r, min(r, 0.0) ** 2)):
                expected[i] += term
        assert sums[:, m].tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.float64])
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 66, 128, 129, 130, 500])
def test_turns_wherever_they_are(size, dtype):
    rng = np.random.default_rng(size)
    for share in (0.0, 0.02, 0.2, 1.0):
        steps = np.where(rng.random(size) < share, rng.integers(0, 3, size), 0)
        row = (np.cumsum(steps) % 3 - 1).astype(dtype)
        turns = np.empty(size + TURNS_ROOM, dtype=np.int64)
        count = turns_of(row, 0, size, turns)
        every = np.flatnonzero(np.diff(row, prepend=0))
        assert turns[: count + 1].tolist() == [*every, size]
        for start, stop in rng.integers(0, size + 1, (20, 2)).tolist():
            if start <= stop:
                count = turns_of(row, start, stop, turns)
                assert turns[: count + 1].tolist() == [*every[(every >= start) & (every < stop)], stop]
