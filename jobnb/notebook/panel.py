"""The panel: a live table of the recent jobs, with the state of the service, and what can be done to a job.

Runs in the kernel, moved by the UI thread like the cards; where there is no notebook the table is printed once. Its
buttons only leave wishes. A panel looks on: it must never start a service or keep an idle one alive.
"""

from __future__ import annotations

import collections
import math
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jobnb.errors import JobnbError, UsageProblem
from jobnb.job import Job, JobRecord, utcnow
from jobnb.notebook import cards, look, panel_face, panel_view, ui
from jobnb.notebook.style import STYLE

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Seconds between two updates of one panel.
UPDATE_SECONDS = 0.5
#: Seconds for which a panel says what became of a button.
SAID_SECONDS = 10.0
#: Jobs that a panel shows.
LIMIT = 20
#: Panels that move; a further one takes the place of the oldest.
_MOST = 10
#: The mark of a panel's output, as `cards.metadata` is that of a card's.
_METADATA = {"jobnb": {"panel": True}}


class Source(ui.Watched, panel_view.Source, Protocol):
    """What a panel needs of a manager."""

    def record(self, job_id: str) -> JobRecord:
        """Return a job's row."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Ask for a job to be stopped."""
        ...

    def retry(self, job_id: str) -> Job:
        """Try a failed job again, or make the next attempt of one due now."""
        ...


class Panel:
    """A live table of the recent jobs; `jobnb.panel` makes and shows one.

    Parameters
    ----------
    manager : Source
        Whose jobs.
    limit : int
        How many of the newest jobs are shown; live ones are shown besides.
    clock : callable, optional
        The present moment.
    """

    def __init__(self, manager: Source, limit: int = LIMIT, clock: Callable[[], datetime] = utcnow) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UsageProblem(f"limit must be a whole number of at least 1, not {limit!r}.")
        self._manager = manager
        self._limit = limit
        self._clock = clock
        self._face: panel_face.PanelFace | None = None
        self._handles: list[cards.Handle] = []
        self._wishes: collections.deque[tuple[Literal["cancel", "retry"], str]] = collections.deque()
        self._view: panel_view.PanelView | None = None
        self._key = ""
        self._said = ""
        self._said_at = -math.inf
        self._trouble = ""
        self._looked_at = -math.inf
        self._look_at = -math.inf
        self._drawn_in: int | None = None
        self._closing = threading.Event()
        self._closed = False

    @property
    def manager(self) -> Source:
        """Whose jobs."""
        return self._manager

    @property
    def needs_service(self) -> bool:
        """See `ui.Watcher.needs_service`: only where a job is to end."""
        return self._view is not None and self._view.moves

    def close(self) -> None:
        """Stop following; the table stays as it is, without its buttons."""
        self._closing.set()
        if not self._handles:
            self._closed = True  # printed, or never shown: nobody follows it
        ui.get().wake()
        ui.catch_up()

    def on_cancel(self, job_id: str) -> None:
        """Note that Cancel was pressed; the callback may run on any thread, so no more than that."""
        self._wishes.append(("cancel", job_id))
        ui.get().wake()

    def on_retry(self, job_id: str) -> None:
        """Note that Retry was pressed."""
        self._wishes.append(("retry", job_id))
        ui.get().wake()

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        if self._closed:
            return True
        self._carry_out(now)
        if self._closing.is_set():
            self._finish()
            return True
        if moved or trouble != self._trouble:
            self._look_at = now
        if now < self._look_at:
            return False
        if now - self._looked_at < UPDATE_SECONDS - 1e-3:
            self._look_at = self._looked_at + UPDATE_SECONDS
            return False
        self._trouble, self._looked_at = trouble, now
        view = self._read()
        if now - self._said_at >= SAID_SECONDS:
            self._said = ""
        # Clocks tick where something runs; otherwise only what changes in the store is of interest.
        self._look_at = now + 1.0 if view.moves else self._said_at + SAID_SECONDS if self._said else math.inf
        if self._face is not None:
            self._face.offer(_choices(view.live), _choices(view.failed))
        html = panel_view.render(view, style=False, trouble=look.DOT.join(t for t in (self._said, trouble) if t))
        if html == self._key:
            return False
        if not cards._budget.take(len(html), now):
            self._look_at = now
            return False
        self._key = html
        if self._face is None:
            self._update({"text/html": STYLE + html, "text/plain": panel_view.text(view)})
        else:
            self._face.draw(html)
        return False

    def _read(self) -> panel_view.PanelView:
        self._view = panel_view.read(self._manager, self._limit, self._clock())
        return self._view

    def _carry_out(self, now: float) -> None:
        while self._wishes:
            what, job_id = self._wishes.popleft()
            self._said_at = now
            # Drawn again even if the store's version does not tell.
            self._look_at = -math.inf
            short = look.short_id(job_id)
            try:
                if what == "retry":
                    self._said = self._retry(job_id)
                else:
                    asked = self._manager.cancel(job_id)
                    self._said = f"{short}: cancel was asked for" if asked else f"{short} had ended already"
            except JobnbError as error:
                self._said = f"{error.code}: {error.message}"

    def _retry(self, job_id: str) -> str:
        short, record = look.short_id(job_id), self._manager.record(job_id)
        if not panel_view.can_be_retried(record):
            # A second press must not make a second job.
            return self._said if self._said.startswith(short) else f"{short} is no dead letter any more"
        again = self._manager.retry(job_id).id
        if again == job_id:
            return f"{short}: the next attempt is due now"
        return f"{short} is tried again as {look.short_id(again)}"

    def _finish(self) -> None:
        self._closed = True
        view = self._read()
        data = {"text/html": panel_view.render(view), "text/plain": panel_view.text(view)}
        self._update(data)
        if self._face is not None:
            self._face.close()

    def _update(self, data: dict[str, Any]) -> None:
        for handle in self._handles:
            handle.update(data, raw=True, metadata=_METADATA)

    def broken(self, error: Exception) -> bool:
        """See `ui.Watcher.broken`: the panel says so, and goes on trying."""
        text = f"{type(error).__name__}: {error}"
        html = panel_view.render_trouble(text)
        if html != self._key and not self._closed:
            self._key = html
            if self._face is not None:
                self._face.draw(html)
            else:
                self._update({"text/html": STYLE + html, "text/plain": text})
        return self._closed

    def show(self) -> None:
        """Show the panel here: once in a cell, and once more in each further one."""
        count = getattr(cards.shell(), "execution_count", None)
        if count is not None and self._drawn_in == count:
            return
        self._drawn_in = count
        view = self._read()
        if not cards.in_notebook():
            sys.stdout.write(panel_view.text(view, colour=sys.stdout.isatty()) + "\n")
            return
        from IPython.display import display

        html = panel_view.render(view, style=False)
        data: dict[str, Any] = {"text/html": STYLE + html, "text/plain": panel_view.text(view)}
        if self._closed:
            display(data, raw=True, metadata=_METADATA)
            return
        first = not self._handles
        if first:
            self._key = html
            self._face = panel_face.make(self.on_cancel, self.on_retry)
            if self._face is not None:
                self._face.draw(html)
                self._face.offer(_choices(view.live), _choices(view.failed))
        if self._face is not None:
            data[cards.WIDGET_VIEW] = panel_face.view_of(self._face)
        cards._budget.take(2 * len(html), time.monotonic(), force=True)
        self._handles.append(display(data, raw=True, display_id=True, metadata=_METADATA))
        if first:
            _replace(self)
            ui.get().add(self)

    def _ipython_display_(self) -> None:
        self.show()

    def __repr__(self) -> str:
        return f"<Panel of the last {self._limit} jobs{', closed' if self._closed else ''}>"


def _choices(records: tuple[JobRecord, ...]) -> panel_face.Choices:
    return [(panel_view.choice(record), record.id) for record in records]


#: The panels that move, oldest first, with the cells they were made in.
_moving: collections.deque[tuple[str | None, Panel]] = collections.deque()


def _replace(panel: Panel) -> None:
    """Let go of the panel that a former run of this cell has made, and of the oldest of too many."""
    cell = _cell()
    for entry in list(_moving):
        other_cell, other = entry
        if other._closed or (cell is not None and other_cell == cell) or len(_moving) >= _MOST:
            _moving.remove(entry)
            # The UI thread takes its widgets away; nobody waits for it.
            other._closing.set()
    _moving.append((cell, panel))


def _cell() -> str | None:
    """Return what the page calls the running cell, or None where it does not say."""
    kernel = getattr(cards.shell(), "kernel", None)
    parent: object = getattr(kernel, "get_parent", dict)()
    found = parent.get("metadata", {}).get("cellId") if isinstance(parent, dict) else None
    return str(found) if found else None


def panel(manager: JobManager, limit: int = LIMIT) -> Panel:
    """Show the recent jobs of a manager and return the panel; see `jobnb.panel`."""
    made = Panel(manager, limit)
    made.show()
    return made
