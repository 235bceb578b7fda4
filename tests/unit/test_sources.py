from __future__ import annotations

import linecache
import pickle
import traceback
from typing import Any

import pytest

from jobnb.packing import pack
from jobnb.sources import WithSources, gather

CELL = "<cell 3>"
HELPERS = "<cell 2>"


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A namespace of two cells, as IPython leaves them."""
    space: dict[str, Any] = {"__name__": "__main__"}
    cells = {
        HELPERS: "def inner(x):\n    return 1 / x\n",
        CELL: "def outer(x):\n    return inner(x)\n\n"
        "class Rule:\n    def positions(self, bars):\n        return inner(0)\n",
    }
    for name, text in cells.items():
        exec(compile(text, name, "exec"), space)
        monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name))
    return space


@pytest.mark.parametrize("name", ["outer", "Rule"])
def test_the_cells_of_what_is_called_come_along(notebook: dict[str, Any], name: str) -> None:
    assert set(gather(notebook[name])) == {CELL, HELPERS}


def test_files_are_left_to_the_child() -> None:
    assert gather(test_files_are_left_to_the_child) == {}
    assert gather(len) == {}
    assert gather(None) == {}


def test_a_traceback_shows_the_lines(notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(WithSources(work=notebook["outer"], sources=gather(notebook["outer"])), lambda _: "").payload
    monkeypatch.setattr(linecache, "cache", {})
    outer = pickle.loads(packed)
    with pytest.raises(ZeroDivisionError) as caught:
        outer(0)
    shown = "".join(traceback.format_exception(caught.value))
    assert "return 1 / x" in shown
    assert "return inner(x)" in shown


def test_what_is_packed_twice_is_the_same(notebook: dict[str, Any]) -> None:
    assert pack(notebook["outer"], lambda _: "") == pack(notebook["outer"], lambda _: "")
