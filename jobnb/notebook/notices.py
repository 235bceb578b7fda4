"""What notebooks are told: a line under the cell that asked for it, and where the next cell begins if that is missed.

The UI thread watches the store and only updates displays that exist; new ones are made in the main thread, at the
beginning of a cell, as a shell says at its prompt what has ended meanwhile. It must never print from a thread.
"""

from __future__ import annotations

import html
import sys
import threading
from typing import TYPE_CHECKING, Any

from jobnb.channel import Notice
from jobnb.notebook import cards, ui
from jobnb.notebook.style import ACCENTS

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Lines that one display shows: the newest.
LINES = 5
_COLOURS = {"success": "good", "failure": "bad", "warning": "warn", "info": "accent"}


class Board:
    """The notices of one manager, as this kernel shows them.

    Parameters
    ----------
    manager : JobManager
    after : int
        The number of the last notice that is not news.
    """

    #: It merely looks on: see `ui.Watcher.needs_service`.
    needs_service = False

    def __init__(self, manager: JobManager, after: int) -> None:
        self._manager = manager
        self._after = after
        self._lock = threading.Lock()
        self._handle: cards.Handle | None = None
        self._lines: list[Notice] = []
        self._missed: list[Notice] = []
        #: Whether the cell that has the display still runs: then whoever looks at it sees what is drawn.
        self._here = False

    @property
    def manager(self) -> ui.Watched:
        """Whose store it watches."""
        return self._manager

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        if not moved:
            return False
        news = self._manager.store.notices.after(self._after)
        if news:
            with self._lock:
                self._after = news[-1].id
                self._lines = [*self._lines, *news][-LINES:]
                if not (self._here and self._handle is not None):
                    self._missed = [*self._missed, *news][-LINES:]
                if self._handle is not None:
                    self._handle.update(bundle(self._lines), raw=True)
        return False

    def broken(self, error: Exception) -> bool:
        """See `ui.Watcher.broken`: the cards say what is wrong with the store."""
        return False

    def show_here(self) -> None:
        """Show what comes from now on under the cell that runs; call in the main thread."""
        with self._lock:
            if not self._here:
                self._place([])

    def cell_begins(self, *_event: object) -> None:
        """Say at the beginning of a cell what came while none ran."""
        with self._lock:
            self._here = False
            missed, self._missed = self._missed, []
            if missed:
                self._place(missed)

    def cell_ends(self, *_event: object) -> None:
        """Note that nobody need be looking at the last display any more."""
        with self._lock:
            self._here = False

    def _place(self, lines: list[Notice]) -> None:
        self._lines = lines
        if not cards.in_notebook():
            if lines:
                sys.stdout.write("".join(f"[jobnb] {notice.line}\n" for notice in lines))
            return
        from IPython.display import display

        self._handle = display(bundle(lines), raw=True, display_id=True)
        self._here = True


def bundle(notices: list[Notice]) -> dict[str, Any]:
    """Return notices as a mime bundle; of none, one that shows nothing."""
    text = "\n".join(f"{notice.at.astimezone():%H:%M} {notice.line}" for notice in notices)
    return {"text/html": "".join(map(_html, notices)), "text/plain": text}


def _html(notice: Notice) -> str:
    colour = ACCENTS[_COLOURS[notice.level]][0]
    rest = " · ".join(notice.body.splitlines())
    return (
        f'<div class="jobnb-notice" role="status" style="font-size:12px;line-height:1.6;border-left:3px solid {colour};'
        'padding:0 8px;margin:1px 0;max-width:820px;overflow-wrap:anywhere;color:var(--jp-ui-font-color2,#65656b)">'
        f'<b style="color:var(--jp-ui-font-color1,#1d1d1f);font-weight:600">{html.escape(notice.title)}</b> '
        f"{html.escape(rest)} · {notice.at.astimezone():%H:%M}</div>"
    )


_board: Board | None = None


def look_on(manager: JobManager, *, here: bool) -> None:
    """Show what notebooks are told from now on; once per store and kernel.

    Parameters
    ----------
    manager : JobManager
    here : bool
        Under the cell that runs, because somebody asks for it there.
    """
    global _board
    shell = cards.shell()
    if shell is None:
        return
    if _board is None or _board.manager is not manager or not ui.get().follows(_board):
        leave()
        _board = Board(manager, manager.store.notices.last())
        shell.events.register("pre_run_cell", _board.cell_begins)
        shell.events.register("post_run_cell", _board.cell_ends)
        ui.get().add(_board)
    # A display made in another thread would land anywhere.
    if here and threading.current_thread() is threading.main_thread():
        _board.show_here()


def leave() -> None:
    """Show no more."""
    global _board
    shell, board, _board = cards.shell(), _board, None
    if shell is None or board is None:
        return
    for event, callback in (("pre_run_cell", board.cell_begins), ("post_run_cell", board.cell_ends)):
        if callback in shell.events.callbacks[event]:
            shell.events.unregister(event, callback)
    ui.get().remove(board)
