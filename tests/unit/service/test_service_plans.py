"""The arithmetic of a service: spans, cuts, paces, choices."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobnb.service import plans
from jobnb.service.choice import Candidate, choose
from jobnb.service.spans import count, even, missing, put_back, take

spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda t: (min(t), max(t))), max_size=8)


def members(of: list[tuple[int, int]]) -> set[int]:
    return {i for start, stop in of for i in range(start, stop)}


@given(st.integers(0, 60), spans)
def test_missing_is_what_is_not_done(items: int, done: list[tuple[int, int]]) -> None:
    left = missing(items, done)
    assert members(left) == set(range(items)) - members(done)
    assert count(left) == len(members(left))


@given(spans, st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_putting_back_adds_and_keeps_order(some: list[tuple[int, int]], one: tuple[int, int]) -> None:
    tidy = missing(60, missing(60, some))
    joined = put_back(tidy, one)
    assert members(joined) == members(tidy) | members([one])
    assert all(a[1] < b[0] for a, b in pairwise(joined))


@given(spans.filter(lambda s: bool(members(s))), st.integers(-1, 60))
def test_taking_takes_from_the_front(some: list[tuple[int, int]], size: int) -> None:
    tidy = missing(60, missing(60, some))
    taken, left = take(tidy, size)
    assert members([taken]) | members(left) == members(tidy)
    assert not members([taken]) & members(left)
    assert 1 <= taken[1] - taken[0] <= max(1, size)
    assert taken[0] == tidy[0][0]


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_even_pieces_are_about_the_size_asked_for(length: int, size: int) -> None:
    piece = even(length, size)
    assert 1 <= piece <= length
    assert piece == length or piece <= 1.5 * size + 1


def test_a_single_call_has_no_budget() -> None:
    assert plans.cut({"type": "single"}, left=1, slots=8, pace=None) == plans.Cut(items=1, budget=None)


@given(left=st.integers(1, 10**6), slots=st.integers(-1, 64), pace=st.none() | st.floats(0, 1e4))
def test_a_cut_is_at_least_one_item_and_has_a_budget(left: int, slots: int, pace: float | None) -> None:
    cut = plans.cut({"type": "map"}, left=left, slots=slots, pace=pace)
    assert 1 <= cut.items <= left
    assert cut.budget is not None
    assert cut.budget > 0


def test_little_work_goes_out_whole_and_much_in_pieces() -> None:
    assert plans.cut({"type": "grid"}, left=500, slots=2, pace=0.0001).items == 500
    assert plans.cut({"type": "grid"}, left=10_000, slots=2, pace=0.001).items == 1000
    assert plans.cut({"type": "grid"}, left=10, slots=2, pace=100.0).items == 1


def test_the_end_of_a_job_is_shared_by_the_places() -> None:
    left, sizes = 1000, []
    while left:
        sizes.append(plans.cut({"type": "grid"}, left=left, slots=2, pace=0.001).items)
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[:2] == [500, 250]
    # What would be too short for a task of its own goes with the one before.
    assert sizes[-1] * 0.001 <= plans.WHOLE_SECONDS + plans.LEAST_SECONDS


def test_all_places_are_to_be_done_at_the_same_time() -> None:
    sweep = {"type": "grid"}
    # The other place has 200 items before it and this one none: (500 + 200) / 2.
    assert plans.cut(sweep, left=500, slots=2, pace=0.001, undone=200).items == 350
    assert plans.cut(sweep, left=500, slots=2, pace=0.001, undone=900).items == 500
    # Nor is a rest left that is too short to be worth a task.
    assert plans.cut(sweep, left=500, slots=2, pace=0.001, undone=470).items == 500


def test_a_long_row_is_cut_evenly_and_never_beyond_its_end() -> None:
    sweep = {"type": "grid"}
    assert plans.cut(sweep, left=50_000, slots=2, pace=0.001, row=2_300).items == 1_150
    assert plans.cut(sweep, left=50_000, slots=2, pace=0.001, row=300).items == 300
    assert plans.cut(sweep, left=50_000, slots=2, pace=None, row=300).items == 300


def test_the_pace_follows_recent_tasks() -> None:
    assert plans.blend(None, 1.0, 10) == 0.1
    assert plans.blend(0.3, 1.0, 10) == 0.2
    assert plans.blend(0.3, 1.0, 0) == 0.3


def part(index: int, value: float) -> dict[str, object]:
    return {
        "kind": "sweep", "runs": 1, "failed": 0, "errors": [], "heat": None, "objective": "x", "maximize": True,
        "best": {"index": index, "value": value, "params": {}}, "space": [],
        "top": [{"index": index, "value": value, "params": {}, "metrics": {}}],
    }  # fmt: skip


def test_the_trail_of_a_sweep_is_bounded_and_ends_with_the_best() -> None:
    total: dict[str, object] | None = None
    for i in range(500):
        total = plans.fold_summary({"type": "grid"}, total, part(i, float(i)))
    assert total is not None
    trail = total["trail"]
    assert isinstance(trail, list)
    assert len(trail) <= plans.TRAIL_POINTS
    assert trail[-1] == 499.0
    assert total["runs"] == 500
    assert plans.fold_summary({"type": "grid"}, total, None) == total


def test_a_search_may_be_told_to_finish_before_anything_of_it_is_there() -> None:
    for kind in ("grid", "random", "tpe", "walk_forward", "cross_validation"):
        first = part(0, 1.0)
        alone = plans.fold_summary({"type": kind}, None, first)
        assert alone is not None
        assert plans.fold_summary({"type": kind}, {"stopped": "finish"}, first) == {**alone, "stopped": "finish"}
    total = plans.fold_summary({"type": "grid"}, {"stopped": "finish"}, part(0, 1.0))
    total = plans.fold_summary({"type": "grid"}, total, part(1, 2.0))
    assert total is not None
    assert (total["stopped"], total["trail"]) == ("finish", [1.0, 2.0])


@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 200))
def test_a_generation_ends_where_the_next_begins(size: int, first: int, items: int) -> None:
    end = plans.horizon({"generation": size}, first, items)
    assert end <= items
    assert end == items or (end % size == 0 and first < end <= first + size)
    assert plans.horizon({}, first, items) == items


def test_why_a_search_was_ended_stays_with_its_summary() -> None:
    total = {**plans.fold_sweep(None, part(3, 1.0)), "stopped": "max_time"}
    folded = plans.fold_summary({"type": "tpe"}, total, part(5, 2.0))
    assert folded is not None
    assert (folded["stopped"], folded["runs"], folded["trail"]) == ("max_time", 2, [1.0, 2.0])


def test_other_plans_keep_the_newest_summary() -> None:
    assert plans.fold_summary({"type": "single"}, {"a": 1}, {"b": 2}) == {"b": 2}
    assert plans.fold_summary({"type": "single"}, None, None) is None


def candidate(job: str, rank: int = 1, out: int = 0, order: int = 0) -> Candidate:
    return Candidate(job=job, rank=rank, out=out, order=order)


def test_priority_then_fewest_out_then_age() -> None:
    assert choose([]) is None
    assert choose([candidate("a", rank=1), candidate("b", rank=3, out=9, order=9)]) == "b"
    assert choose([candidate("a", out=5), candidate("b", out=1, order=9)]) == "b"
    assert choose([candidate("a", order=2), candidate("b", order=1)]) == "b"
