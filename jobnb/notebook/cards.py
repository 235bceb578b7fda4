"""Live cards: one job drawn in a cell's output, moved by the UI thread, and left as plain HTML at the end.

Runs in the kernel; where there is no notebook it prints the text card. Buttons only leave a wish that the UI thread
carries out, because their callbacks may run on any thread. It must never import ipywidgets before a card is shown.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from jobnb.errors import UsageProblem
from jobnb.job import Job, JobView, Status
from jobnb.notebook import card_html, card_text, delivery, ui, words
from jobnb.notebook.budget import Budget
from jobnb.notebook.eta import Eta
from jobnb.notebook.face import Face, keep
from jobnb.notebook.style import STYLE

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

log = logging.getLogger(__name__)

#: Seconds between two updates of one card; the end of a job is shown at once.
UPDATE_SECONDS = 0.25
#: Log lines at the foot of a live card.
LOG_LINES = 8
#: Seconds of the pulse of a running card's dot.
_PULSE = 1.4

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Source(ui.Watched, Protocol):
    """What a card needs of a manager."""

    def view(self, job_id: str, log_lines: int = ...) -> JobView:
        """Return everything that a card shows of a job."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Ask for a job to be stopped."""
        ...

    def retry(self, job_id: str) -> Job:
        """Make the next attempt of a job due now."""
        ...


class Handle(Protocol):
    """What IPython's ``DisplayHandle`` can do for a card."""

    def update(self, obj: Any, **kwargs: Any) -> None:
        """Replace what is shown."""
        ...


_budget = Budget()


def metadata(job_id: str) -> dict[str, dict[str, str]]:
    """Return the metadata of a card's output, by which the Jupyter Server knows it when a notebook is saved."""
    return {"jobnb": {"job": job_id}}


def bundle(view: JobView, *, live: bool, notice: str = "") -> dict[str, Any]:
    """Return a card as a mime bundle without widgets: what a saved notebook shows."""
    html = card_html.render(view, live=live, notice=notice)
    return {"text/html": html, "text/plain": card_text.render(view, notice=notice)}


#: Set while a cell runs; and the final cards that were sent while none did. Who executes a notebook without a page
#: (nbclient, papermill) hears only what belongs to a running cell, so those are sent again with the next one.
_cell_runs = threading.Event()
_unseen: collections.deque[tuple[Card, dict[str, Any]]] = collections.deque(maxlen=50)


def cell_begins(*_event: object) -> None:
    """Send again what ended between two cells; registered for the start of each cell."""
    _cell_runs.set()
    while _unseen:
        card, data = _unseen.popleft()
        if _budget.take(len(data["text/html"]), time.monotonic()):
            card.repeat(data)


def cell_ends(*_event: object) -> None:
    """Let the cards say what is so now; registered for the end of each cell."""
    ui.catch_up()
    _cell_runs.clear()


class Card:
    """One live card, as the UI thread sees it.

    Parameters
    ----------
    manager : Source
        Whose job it is.
    job_id : str
    after : float
        Seconds for which the card stays hidden unless the job ends.
    handle : Handle
        The display to leave the final HTML in.
    face : Face or None
        The widgets; without them (no ipywidgets) the display itself is updated.
    notice : str, default ""
        What this card says besides, as long as it is drawn.
    """

    #: A card is of a job that is to end: see `ui.Watcher.needs_service`.
    needs_service = True

    def __init__(
        self,
        manager: Source,
        job_id: str,
        *,
        after: float,
        handle: Handle | None,
        face: Face | None,
        notice: str = "",
    ) -> None:
        self._manager = manager
        self._job_id = job_id
        self._after = after
        self._handle = handle
        self._face = face
        self._notice = notice
        self._shown = False
        self._cancel_wish = threading.Event()
        self._retry_wish = threading.Event()
        self._key = ""
        self._share: float | None = None
        self._pace: Eta | None = None
        self._sent_at = -math.inf
        self._look_at = -math.inf
        self._trouble = ""

    @property
    def manager(self) -> Source:
        """Whose job it is."""
        return self._manager

    def attach(self, handle: Handle, face: Face | None) -> None:
        """Take the display and the widgets, which need the card to be made."""
        self._handle, self._face = handle, face

    def on_cancel(self, _button: object = None) -> None:
        """Note that Cancel was pressed; the callback may run on any thread, so no more than that."""
        self._cancel_wish.set()
        ui.get().wake()

    def on_retry(self, _button: object = None) -> None:
        """Note that Retry now was pressed."""
        self._retry_wish.set()
        ui.get().wake()

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        wished = self._carry_out()
        if not (wished or moved or now >= self._look_at or trouble != self._trouble):
            return False
        view = self._manager.view(self._job_id, log_lines=LOG_LINES)
        if view.job.status.final:
            return self._finish(view, now)
        self._trouble = trouble
        elapsed = view.job.elapsed(view.now)
        # The clocks on the card tick once a second even when nothing else moves.
        self._look_at = now + words.next_second(view)
        if not self._shown:
            if elapsed < self._after:
                self._look_at = now + self._after - elapsed
                return False
            self._shown = True
            if self._face is not None:
                self._face.reveal()
        if now - self._sent_at < UPDATE_SECONDS - 1e-3:
            self._look_at = min(self._look_at, self._sent_at + UPDATE_SECONDS)
            return False
        self._draw(view, now)
        return False

    def _carry_out(self) -> bool:
        """Do what the buttons were pressed for; return True if there was anything."""
        cancel, retry = self._cancel_wish.is_set(), self._retry_wish.is_set()
        if cancel:
            self._cancel_wish.clear()
            if self._face is not None:
                self._face.press()
            self._manager.cancel(self._job_id)
        if retry:
            self._retry_wish.clear()
            # The press may have come late: a job that has failed for good would be submitted anew.
            view = self._manager.view(self._job_id, log_lines=0)
            if not cancel and view.job.status is Status.RETRYING:
                with contextlib.suppress(UsageProblem):  # begun between these two lines
                    self._manager.retry(self._job_id)
        return cancel or retry

    def _draw(self, view: JobView, now: float) -> None:
        self._pace = words.pace(view, self._pace)
        retrying = view.job.status is Status.RETRYING and not view.job.cancel_requested
        key = card_html.render(
            view, live=True, style=False, pace=self._pace, notice=self._notice, trouble=self._trouble
        )
        if key == self._key:
            return
        share = words.running(view, self._pace).share
        html = card_html.render(
            view,
            live=True,
            style=self._face is None,
            buttons=0 if self._face is None else 2 if retrying else 1,
            pace=self._pace,
            grow_from=self._share,
            notice=self._notice,
            trouble=self._trouble,
        ).replace(card_html.PHASE, f"--jn-phase:-{now % _PULSE:.2f}s", 1)
        if not _budget.take(len(html), now):
            self._look_at = now
            return
        if self._face is not None:
            if view.job.cancel_requested:
                self._face.press()
            self._face.offer_retry(retrying)
            self._face.draw(html)
        else:
            self._update({"text/html": html, "text/plain": card_text.render(view, notice=self._notice)})
        self._key, self._share, self._sent_at = key, share, now

    def _finish(self, view: JobView, now: float) -> bool:
        extra = delivery.notes.get(self._job_id, "")
        final = card_html.render(view, live=False, style=False, notice=self._notice, trouble=extra)
        if not _budget.take(2 * len(final) + len(STYLE), now):
            # A hundred jobs that end together are drawn over some seconds rather than dropped by the server.
            self._look_at = now
            return False
        # Both: a page that was loaded again loses the display's update, a notebook opened again the widget.
        if self._face is not None:
            self._face.settle(final)
            keep(self._face)
        plain = card_text.render(view, notice=self._notice, trouble=extra)
        data = {"text/html": STYLE + final, "text/plain": plain}
        self._update(data)
        if not _cell_runs.is_set():
            _unseen.append((self, data))
        return True

    def repeat(self, data: dict[str, Any]) -> None:
        """Send the final card once more."""
        self._update(data)

    def _update(self, data: dict[str, Any]) -> None:
        if self._handle is not None:
            self._handle.update(data, raw=True, metadata=metadata(self._job_id))

    def broken(self, error: Exception) -> bool:
        """See `ui.Watcher.broken`: the card says so, and goes on trying."""
        html = card_html.render_trouble(self._job_id, f"{type(error).__name__}: {error}")
        if html != self._key:
            self._key = html
            if self._face is not None:
                self._face.reveal()
                self._face.release()
                self._face.draw(html)
            else:
                self._update({"text/html": html, "text/plain": f"{type(error).__name__}: {error}"})
        return False


def shell() -> InteractiveShell | None:
    """Return the running IPython, or None."""
    module = sys.modules.get("IPython")
    found: InteractiveShell | None = module.get_ipython() if module is not None else None
    return found


def in_notebook() -> bool:
    """Say whether outputs can be rich and live: a Jupyter kernel runs this."""
    return getattr(shell(), "kernel", None) is not None


def progress_after() -> float:
    """Return the configured seconds for which a new card stays hidden."""
    from jobnb import config

    return config.load().progress_after


def show(job: Job, *, again: bool = False) -> None:
    """Show a job: a live card in a notebook, its text elsewhere.

    Parameters
    ----------
    job : Job
    again : bool, default False
        Draw it even where this cell has drawn it already; otherwise a second time shows nothing in a notebook and
        one line in a terminal.
    """
    ip = shell()
    count = getattr(ip, "execution_count", None)
    drawn = count is not None and job._drawn_in == count
    if drawn and not again:
        if not in_notebook():
            sys.stdout.write(f"{job!r}\n")
        return
    job._drawn_in = count
    if not in_notebook():
        view = job._manager.view(job.id, log_lines=LOG_LINES)
        sys.stdout.write(text(view, _notice(job, view)) + "\n")
        return
    _show_live(job)


def _notice(job: Job, view: JobView) -> str:
    return words.taken_line(view.job) if job.duplicate and view.job.unique else ""


def text(view: JobView, notice: str = "") -> str:
    """Return the text card for this process's output, in colour on a terminal."""
    return card_text.render(view, colour=sys.stdout.isatty(), width=terminal_width(), notice=notice)


def terminal_width() -> int:
    """Return how many characters fit on a line."""
    return max(40, shutil.get_terminal_size().columns - 3)


def _show_live(job: Job) -> None:
    from IPython.display import display

    manager = job._manager
    view = manager.view(job.id, log_lines=LOG_LINES)
    notice = _notice(job, view)
    if view.job.status.final:
        display(bundle(view, live=False, notice=notice), raw=True, metadata=metadata(job.id))
        return
    card = Card(manager, job.id, after=progress_after(), handle=None, face=None, notice=notice)
    try:
        face: Face | None = Face(card.on_cancel, card.on_retry)
    except ImportError:
        # A kernel without ipywidgets: the display itself is updated, and there is no button.
        face = None
    data = bundle(view, live=True, notice=notice)
    if face is not None:
        data[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": face.model_id}
    elif view.job.elapsed(view.now) < progress_after():
        data = {"text/html": "", "text/plain": data["text/plain"]}
    _budget.take(len(data["text/html"]) + len(STYLE), time.monotonic(), force=True)
    handle = display(data, raw=True, display_id=True, metadata=metadata(job.id))
    card.attach(handle, face)
    ui.get().add(card)
