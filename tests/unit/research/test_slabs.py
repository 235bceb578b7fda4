"""Arrays in large blocks: the same numbers, and no more memory than without."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest

from jobnb.research.bars import Bars
from jobnb.research.memo import Memo
from jobnb.research.sample import gbm
from jobnb.research.slabs import BLOCK_BYTES, LEAST_BYTES, MOST_BYTES, Slabs

SIZE = 100_000


def filled(value: float, size: int = SIZE) -> np.ndarray:
    return np.full(size, value)


def test_what_is_kept_is_the_same_and_nobody_elses():
    slabs = Slabs()
    given = [np.arange(SIZE) + float(i) for i in range(100)]
    kept = [slabs.keep(array) for array in given]
    for one, other in zip(given, kept, strict=True):
        assert np.array_equal(one, other)
        assert not np.shares_memory(one, other)
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(kept))


def test_they_lie_in_few_blocks():
    slabs = Slabs()
    kept = [slabs.keep(filled(float(i))) for i in range(2 * (BLOCK_BYTES // (8 * SIZE)))]
    blocks = {id(array.base) for array in kept}
    assert len(blocks) == 2
    assert all(array.base.nbytes <= BLOCK_BYTES for array in kept)


def test_what_is_written_where_it_is_kept_is_not_copied():
    slabs = Slabs()
    first, second = slabs.room(SIZE), slabs.room(SIZE)
    first[:], second[:] = 1.0, 2.0
    assert slabs.keep(first) is first
    assert first.base is second.base
    assert not np.shares_memory(first, second)
    assert first[-1] == 1.0
    few = slabs.room(LEAST_BYTES // 8 - 1)
    assert few.base is None
    assert slabs.keep(few) is few


def test_averages_are_written_where_they_are_kept():
    bars = Bars.from_frame(gbm(SIZE, "min"))
    made = [bars.sma(5), bars.ema(5), bars.sma(SIZE + 1)]
    assert len({id(array.base) for array in made}) == 1
    assert made[0].base is not None
    for array, expected in zip(made, (bars.close[:5].mean(), np.nan, np.nan), strict=True):
        np.testing.assert_allclose(array[4 if array is made[0] else 3], expected)
        assert not array.flags.writeable
    np.testing.assert_array_equal(np.isnan(made[2]), True)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(LEAST_BYTES // 8 - 1),
        np.zeros(MOST_BYTES // 8 + 1),
        np.zeros(SIZE, dtype=np.float32),
        np.zeros((2, SIZE)),
        np.zeros(SIZE).view(np.recarray),
    ],
    ids=["small", "large", "float32", "two-dimensional", "of another class"],
)
def test_others_are_left_as_they_are(array):
    slabs = Slabs()
    assert slabs.keep(array) is array
    assert not slabs.used


def test_the_memory_is_read_only_and_within_its_limit():
    memo = Memo(limit=10 * 8 * SIZE)
    for i in range(25):
        made = memo.one(i, filled, float(i))
        assert made[0] == made[-1] == i
        with pytest.raises(ValueError, match="read-only"):
            made[0] = 1.0
        assert memo.size <= memo.limit
    assert len(memo) == 10
    assert memo.one(24, filled, -1.0)[0] == 24
    assert memo.one(0, filled, -1.0)[0] == -1


def test_when_the_first_has_to_go_the_blocks_go():
    memo = Memo(limit=3 * 8 * SIZE)
    first = memo.one(0, filled, 0.0)
    block = weakref.ref(first.base)
    for i in range(1, 4):
        memo.one(i, filled, float(i))
    # Who still has an array of it may go on using it.
    assert first[-1] == 0
    assert block() is not None
    del first
    for i in range(4, 7):
        memo.one(i, filled, float(i))
    assert block() is None
    assert len(memo) == 3
