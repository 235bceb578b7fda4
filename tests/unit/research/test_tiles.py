"""The packed values of a card's heat map."""

import math
from array import array

import pytest

from jobnb.research import tiles

EMPTY = math.nan


def text(*values: float) -> str:
    return tiles.packed(array("f", values).tobytes())


def heat(values: object, cols: object = (1, 2)) -> dict[str, object]:
    return {"rows": [1, 2], "cols": cols, "values": values}


def test_cells_are_the_places_with_a_run() -> None:
    assert tiles.cells(heat(text(1.5, EMPTY, EMPTY, -2.0))) == [(0, 0, 1.5), (1, 1, -2.0)]


@pytest.mark.parametrize(("maximize", "better"), [(True, 2.0), (False, 1.0)])
def test_the_better_one_stays_and_an_empty_place_takes_any(maximize: bool, better: float) -> None:
    ours, theirs = text(1.0, EMPTY, 3.0, EMPTY), text(2.0, 4.0, EMPTY, EMPTY)
    found = tiles.cells(heat(tiles.folded(ours, theirs, maximize=maximize)))
    assert found == [(0, 0, better), (0, 1, 4.0), (1, 0, 3.0)]


@pytest.mark.parametrize("values", [None, 3, "<b>", "AAA", "AAAA", ["x"]])
def test_what_is_no_heat_map_has_no_cells(values: object) -> None:
    assert tiles.cells(heat(values)) == []
    assert tiles.cells({"cols": None, "values": text(1.0)}) == []
    assert tiles.cells(heat(text(1.0), cols=())) == []
    assert tiles.cells({}) == []
