import math

import numpy as np
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.space import ParameterSpace, Point, satisfies


def test_the_last_name_changes_fastest(sma_cross):
    space = ParameterSpace.parse(sma_cross, {"fast": range(5, 8), "slow": [10, 20]})
    assert space.count == 6
    assert [space.params(i) for i in range(6)] == list(space) == list(space.each(range(6)))
    assert list(space)[:3] == [{"fast": 5, "slow": 10}, {"fast": 5, "slow": 20}, {"fast": 6, "slow": 10}]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (range(5, 9, 2), [5, 7]),
        ((3, 4), [3, 4]),
        (np.arange(3, 5), [3, 4]),
        (np.int64(4), [4]),
        (7, [7]),
        ({"type": "int", "min": 5, "max": 20, "step": 5}, [5, 10, 15, 20]),
        ({"min": 1, "max": 3}, [1, 2, 3]),
        ({"type": "categorical", "values": [9, 2]}, [9, 2]),
        (iter([1, 2]), [1, 2]),
    ],
)
def test_ways_to_give_values(sma_cross, given, values):
    space = ParameterSpace.parse(sma_cross, {"fast": given})
    assert list(space.values[0]) == values
    assert all(type(value) is int for value in space.values[0])


def test_floats_reach_their_maximum():
    space = ParameterSpace.parse(print, {"x": {"type": "float", "min": 0.1, "max": 0.3, "step": 0.1}})
    assert space.values == ((0.1, 0.2, 0.3),)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({}, "no parameter to vary"),
        ({"fast": []}, "fast has no values"),
        ({"fast": [1, 2, 1]}, "fast has the value 1 twice"),
        ({"fast": {1, 2}}, "a set, which has no order"),
        ({"fast": "abc"}, "must be a number like 10, not 'abc'"),
        ({"fast": {"type": "int", "min": 5}}, "no 'max'"),
        ({"fast": {"type": "int", "min": 5, "max": 1}}, "min <= max"),
        ({"fast": {"type": "log", "min": 5, "max": 9}}, "int or float"),
    ],
)
def test_bad_grids(sma_cross, grid, says):
    with pytest.raises(UsageProblem, match=says):
        ParameterSpace.parse(sma_cross, grid)


def test_an_unknown_parameter(sma_cross):
    with pytest.raises(UnknownName, match=r"Did you mean 'slow'"):
        ParameterSpace.parse(sma_cross, {"slwo": [1]})


def test_constraints(sma_cross):
    space = ParameterSpace.parse(sma_cross, {"fast": range(5, 50), "slow": range(10, 200, 2)})
    allowed = space.allowed(lambda p: p.fast < p["slow"])
    assert allowed.dtype == np.int64
    assert len(allowed) == sum(params["fast"] < params["slow"] for params in space)
    assert all(params["fast"] < params["slow"] for params in space.each(allowed))
    assert space.allowed(None).tolist() == list(range(space.count))


@pytest.mark.parametrize(
    "constraint",
    [
        lambda p: p.a < p.b,
        lambda p: (p.a < p["b"]) & (p.kind == "x"),
        lambda p: p.a**70 > 10 ** (3 * p.b),  # beyond 64 bits
        lambda p: p.window[0] < p.a,
        lambda p: p.a < p.b and p.kind == "x",
        lambda p: p.kind in ("x", None),
        lambda p: p.a * 0.1 + p.b * 0.2 != 0.3,  # as Python rounds
        lambda p: p.a if p.kind else p.b,
        lambda p: math.log(p.a + 1) < p.b,
        lambda p: str(p.a) < str(p.b),
        lambda p: p.kind is None,
        lambda p: np.maximum(p.a, p.b) > 3,
        lambda p: np.cumsum(p.a) % 2 == 0,  # sees its neighbours, where it is given many
        lambda p: p.b - p.a,
    ],
)
def test_a_constraint_that_is_asked_of_many_at_once_says_the_same(constraint):
    values = {"a": range(6), "b": range(7), "kind": ["x", "y", None], "window": [(1, 2), (3, 4)]}
    space = ParameterSpace.parse(print, values)
    expected = [i for i, params in enumerate(space) if satisfies(constraint, params)]
    assert space.allowed(constraint).tolist() == expected


def test_a_usual_constraint_is_asked_seldom(sma_cross):
    space = ParameterSpace.parse(sma_cross, {"fast": range(5, 405), "slow": range(10, 410)})
    asked = []
    found = space.allowed(lambda p: asked.append(1) or p.fast < p.slow)
    assert len(found) == sum(fast < slow for fast in range(5, 405) for slow in range(10, 410))
    assert len(asked) < 100


def test_a_failing_constraint_says_where(sma_cross):
    space = ParameterSpace.parse(sma_cross, {"fast": [1, 0], "slow": [2]})
    with pytest.raises(UsageProblem, match=r"constraint failed for fast=0, slow=2: ZeroDivisionError"):
        space.allowed(lambda p: p.slow / p.fast > 0)
    with pytest.raises(UsageProblem, match=r"unknown parameter 'fsat'. Did you mean 'fast'"):
        space.allowed(lambda p: p.fsat > 0)
    with pytest.raises(UsageProblem, match=r"leaves none of the 2 combinations"):
        space.allowed(lambda p: False)


def test_json_there_and_back():
    space = ParameterSpace.parse(print, {"a": range(3), "b": [0.5, "x", None], "c": [(1, 2), (3, 4)]})
    again = ParameterSpace.from_json(space.to_json())
    assert again.names == space.names
    assert again.values == (range(3), (0.5, "x", None), ("(1, 2)", "(3, 4)"))


def test_a_million_combinations_take_no_memory_of_their_own():
    space = ParameterSpace.parse(print, {"a": range(1000), "b": range(1000), "c": range(1000)})
    assert space.count == 10**9
    assert space.params(123_456_789) == {"a": 123, "b": 456, "c": 789}


def test_a_point_is_an_object_and_a_mapping():
    assert Point({"a": 1}).a == Point({"a": 1})["a"] == 1
