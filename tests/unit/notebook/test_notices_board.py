"""Notices in a notebook: under the cell that asked, and at the next cell for who was not looking."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from jobnb.channel import Notice
from jobnb.notebook import cards, notices
from jobnb.notebook.notices import Board

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Handle:
    def __init__(self, data):
        self.shown = [data]

    def update(self, data, **_):
        self.shown.append(data)

    @property
    def text(self):
        return self.shown[-1]["text/plain"]


class World:
    def __init__(self, monkeypatch, *, notebook=True):
        self.told = []
        self.handles = []
        store = SimpleNamespace(
            after=lambda n: [each for each in self.told if each.id > n], last=lambda: len(self.told)
        )
        self.manager = SimpleNamespace(store=SimpleNamespace(notices=store))
        self.board = Board(self.manager, store.last())
        monkeypatch.setattr(cards, "in_notebook", lambda: notebook)
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, data, **_):
        self.handles.append(Handle(data))
        return self.handles[-1]

    def tell(self, name, event="completed"):
        facts = {"name": name, "job": "1a2b3c4d", "kind": "job", "seconds": 1}
        self.told.append(Notice(id=len(self.told) + 1, at=AT, event=event, facts=facts))
        assert not self.board.tick(0, True, "")


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_it_comes_under_the_cell_that_asked(world):
    world.board.show_here()
    (handle,) = world.handles
    assert handle.shown == [{"text/html": "", "text/plain": ""}]
    world.tell("a")
    assert "a completed" in handle.text
    world.board.cell_ends()
    # It was seen: the next cell does not say it again.
    world.board.cell_begins()
    assert world.handles == [handle]


def test_what_comes_while_no_cell_runs_is_said_again_at_the_next(world):
    world.board.show_here()
    world.board.cell_ends()
    world.tell("a")
    world.tell("b", "failed")
    assert "a completed" in world.handles[0].text
    world.board.cell_begins()
    _, second = world.handles
    assert [line.split(" · ")[0][6:] for line in second.text.splitlines()] == ["a completed", "b failed"]
    world.board.cell_ends()
    world.board.cell_begins()
    assert len(world.handles) == 2
    # From now on it is the newest display that moves.
    world.tell("c")
    assert "c completed" in second.text
    assert "c completed" not in world.handles[0].text


def test_a_terminal_says_it_before_the_next_line(monkeypatch, capsys):
    world = World(monkeypatch, notebook=False)
    world.board.show_here()
    world.tell("a")
    assert capsys.readouterr().out == ""
    world.board.cell_begins()
    assert capsys.readouterr().out == "[jobnb] a completed · job 1a2b3c4d · job · after 1 s\n"
    assert world.handles == []


def test_only_the_newest_are_shown(world):
    world.board.show_here()
    for i in range(20):
        world.tell(f"n{i}")
    assert [line.split()[1] for line in world.handles[0].text.splitlines()] == [f"n{i}" for i in range(15, 20)]


def test_names_are_escaped(world):
    world.board.show_here()
    world.tell("<script>alert(1)</script>")
    assert "<script>" not in world.handles[0].shown[-1]["text/html"]


def test_an_unchanged_store_is_not_read(world):
    world.board.show_here()
    world.manager.store.notices.after = lambda n: pytest.fail("read")
    assert not world.board.tick(0, False, "")


def test_it_is_made_once_and_taken_away(shell, thread, monkeypatch):
    world = World(monkeypatch, notebook=False)
    notices.look_on(world.manager, here=True)
    notices.look_on(world.manager, here=True)
    assert thread.live == 1
    world.told.append(Notice(id=1, at=AT, event="failed", facts={"name": "x"}))
    notices.leave()
    assert thread.live == 0
    assert not [c for c in shell.events.callbacks["pre_run_cell"] if "Board" in repr(c)]
