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

from jobnb.errors import JobnbError
from jobnb.job import Job, JobView
from jobnb.notebook import card_html, card_text, ui, words
from jobnb.notebook.eta import Eta
from jobnb.notebook.style import STYLE

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

log = logging.getLogger(__name__)

#: Seconds between two updates of one card; the end of a job is shown at once.
UPDATE_SECONDS = 0.25
#: Log lines at the foot of a live card.
LOG_LINES = 8
#: Widgets of ended cards that are kept for a page that is loaded again; older ones are closed.
KEEP_ENDED = 50
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


class Handle(Protocol):
    """What IPython's ``DisplayHandle`` can do for a card."""

    def update(self, obj: Any, **kwargs: Any) -> None:
        """Replace what is shown."""
        ...


class Budget:
    """How much may be sent to the page: the Jupyter Server drops what exceeds 1 MB/s over three seconds.

    Parameters
    ----------
    rate, burst : float
        Bytes per second, and bytes that may go out at once.
    """

    def __init__(self, rate: float = 400_000, burst: float = 1_000_000) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = -math.inf
        self._lock = threading.Lock()

    def take(self, size: int, now: float, *, force: bool = False) -> bool:
        """Spend ``size`` bytes if they are there; with ``force`` in any case. What is larger than all may go alone."""
        with self._lock:
            if now > self._at:
                self._left = min(self._burst, self._left + (now - self._at) * self._rate)
                self._at = now
            if not force and self._left < min(size, self._burst):
                return False
            self._left -= size
            return True


_budget = Budget()


def metadata(job_id: str) -> dict[str, dict[str, str]]:
    """Return the metadata of a card's output, by which the Jupyter Server knows it when a notebook is saved."""
    return {"jobnb": {"job": job_id}}


def bundle(view: JobView, *, live: bool) -> dict[str, Any]:
    """Return a card as a mime bundle without widgets: what a saved notebook shows."""
    return {"text/html": card_html.render(view, live=live), "text/plain": card_text.render(view)}


class Face:
    """The widgets of one card: a style that never changes, one HTML, and the Cancel button.

    Created where the job is shown, touched only by the UI thread afterwards.
    """

    def __init__(self, on_cancel: Any) -> None:
        import ipywidgets

        self._sheet = ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none"))
        self._html = ipywidgets.HTML("")
        self._cancel = ipywidgets.Button(description="Cancel", tooltip="stop this job")
        self._buttons = ipywidgets.HBox([self._cancel])
        self._buttons.add_class("jobnb-buttons")
        # Out of sight until the job has run for a moment, so that nothing flashes for one that ends at once.
        self._box = ipywidgets.VBox([self._sheet, self._html, self._buttons], layout=ipywidgets.Layout(display="none"))
        self._box.add_class("jobnb-card")
        self._cancel.on_click(on_cancel)
        for widget in (self._box, self._buttons, self._cancel):
            _answer_anywhere(widget)

    @property
    def model_id(self) -> str:
        """What the page knows the card by."""
        return str(self._box.model_id)

    def reveal(self) -> None:
        """Show the card."""
        self._box.layout.display = None

    def draw(self, html: str) -> None:
        """Show this HTML."""
        self._html.value = html

    def press(self) -> None:
        """Show that Cancel was heard."""
        if not self._cancel.disabled:
            self._cancel.disabled = True
            self._cancel.description = "Cancelling…"

    def release(self) -> None:
        """Offer Cancel again."""
        self._cancel.description = "Cancel"
        self._cancel.disabled = False

    def settle(self, html: str) -> None:
        """Show the final HTML and take the buttons away; a page that is loaded again still finds it."""
        self._html.value = html
        self._box.layout.display = None
        self._box.children = (self._sheet, self._html)
        _close(self._buttons)

    def close(self) -> None:
        """Take everything away."""
        _close(self._box)


def _answer_anywhere(widget: Any) -> None:
    # ipykernel 7.4 answers a widget's message only on the shell that last sent on its comm, which is the busy main
    # one while a cell runs; told to return its default, it answers on the comms' own subshell, as 7.3 did.
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        with contextlib.suppress(AttributeError):
            comm._reply_subshell_for = lambda data, default: default


def _close(widget: Any) -> None:
    """Close a widget, what is in it, and their layouts and styles, which ``close()`` alone would leak."""
    for child in getattr(widget, "children", ()):
        _close(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if part is not None and hasattr(part, "close"):
            part.close()
    widget.close()


_ended: collections.deque[Face] = collections.deque()
_ended_lock = threading.Lock()


def _keep(face: Face) -> None:
    with _ended_lock:
        _ended.append(face)
        old = [_ended.popleft() for _ in range(len(_ended) - KEEP_ENDED)]
    for one in old:
        one.close()


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
    """

    def __init__(self, manager: Source, job_id: str, *, after: float, handle: Handle | None, face: Face | None) -> None:
        self._manager = manager
        self._job_id = job_id
        self._after = after
        self._handle = handle
        self._face = face
        self._shown = False
        self._wish = threading.Event()
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
        self._wish.set()
        ui.get().wake()

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        wished = self._wish.is_set()
        if wished:
            self._wish.clear()
            if self._face is not None:
                self._face.press()
            self._manager.cancel(self._job_id)
        if not (wished or moved or now >= self._look_at or trouble != self._trouble):
            return False
        view = self._manager.view(self._job_id, log_lines=LOG_LINES)
        if view.job.status.final:
            return self._finish(view, now)
        self._trouble = trouble
        elapsed = view.job.elapsed(view.now)
        # The clock on the card ticks once a second even when nothing else moves.
        self._look_at = now + 1.0 - elapsed % 1.0
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

    def _draw(self, view: JobView, now: float) -> None:
        self._pace = words.pace(view, self._pace)
        key = card_html.render(view, live=True, style=False, pace=self._pace, trouble=self._trouble)
        if key == self._key:
            return
        share = words.running(view, self._pace).share
        html = card_html.render(
            view,
            live=True,
            style=self._face is None,
            buttons=1 if self._face is not None else 0,
            pace=self._pace,
            grow_from=self._share,
            trouble=self._trouble,
        ).replace(card_html.PHASE, f"--jn-phase:-{now % _PULSE:.2f}s", 1)
        if not _budget.take(len(html), now):
            self._look_at = now
            return
        if self._face is not None:
            if view.job.cancel_requested:
                self._face.press()
            self._face.draw(html)
        else:
            self._update({"text/html": html, "text/plain": card_text.render(view)})
        self._key, self._share, self._sent_at = key, share, now

    def _finish(self, view: JobView, now: float) -> bool:
        extra = notes.get(self._job_id, "")
        final = card_html.render(view, live=False, style=False, trouble=extra)
        if not _budget.take(2 * len(final) + len(STYLE), now):
            # A hundred jobs that end together are drawn over some seconds rather than dropped by the server.
            self._look_at = now
            return False
        # Both: a page that was loaded again loses the display's update, a notebook opened again the widget.
        if self._face is not None:
            self._face.settle(final)
            _keep(self._face)
        data = {"text/html": STYLE + final, "text/plain": card_text.render(view, trouble=extra)}
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


#: What else the card of an ended job must say, by job: results that did not come home.
notes: dict[str, str] = {}


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
        sys.stdout.write(text(view) + "\n")
        return
    _show_live(job)


def text(view: JobView) -> str:
    """Return the text card for this process's output, in colour on a terminal."""
    return card_text.render(view, colour=sys.stdout.isatty(), width=terminal_width())


def terminal_width() -> int:
    """Return how many characters fit on a line."""
    return max(40, shutil.get_terminal_size().columns - 3)


def _show_live(job: Job) -> None:
    from IPython.display import display

    manager = job._manager
    view = manager.view(job.id, log_lines=LOG_LINES)
    if view.job.status.final:
        display(bundle(view, live=False), raw=True, metadata=metadata(job.id))
        return
    card = Card(manager, job.id, after=progress_after(), handle=None, face=None)
    try:
        face: Face | None = Face(card.on_cancel)
    except ImportError:
        # A kernel without ipywidgets: the display itself is updated, and there is no button.
        face = None
    data = bundle(view, live=True)
    if face is not None:
        data[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": face.model_id}
    elif view.job.elapsed(view.now) < progress_after():
        data = {"text/html": "", "text/plain": data["text/plain"]}
    _budget.take(len(data["text/html"]) + len(STYLE), time.monotonic(), force=True)
    handle = display(data, raw=True, display_id=True, metadata=metadata(job.id))
    card.attach(handle, face)
    ui.get().add(card)


class Delivery:
    """The results of a ``%%job`` cell on their way into the namespace.

    Assigned by the UI thread when the job has ended, or by whoever waits for it in the main thread, whichever comes
    first; once.
    """

    def __init__(self, job: Job, names: tuple[str, ...], namespace: dict[str, Any]) -> None:
        self._job = job
        self._names = names
        self._namespace = namespace
        self._lock = threading.Lock()
        self._done = False
        #: Why the results did not come, once that is known.
        self.error = ""

    @property
    def manager(self) -> Source:
        """Whose job it is."""
        return self._job._manager

    @property
    def job_id(self) -> str:
        """Which job."""
        return self._job.id

    def tick(self, now: float, moved: bool, trouble: str) -> bool:
        """See `ui.Watcher.tick`."""
        return self._done or (moved and self.settle())

    def settle(self) -> bool:
        """Assign the results if the job has ended; return True once there is nothing more to do."""
        with self._lock:
            if self._done:
                return True
            record = self._job.record
            if not record.status.final:
                return False
            self._done = True
            if record.status.value == "completed":
                # The lock is held: a cell that has waited for the job must find the values.
                try:
                    values = self._job.result(timeout=10)
                except Exception as error:
                    self.broken(error)
                    raise
                self._namespace.update({name: values[name] for name in self._names if name in values})
            return True

    def broken(self, error: Exception) -> bool:
        """See `ui.Watcher.broken`: the card of the job says why the results did not come."""
        self.error = f"{', '.join(self._names)} could not be brought back: {type(error).__name__}: {error}"
        notes[self._job.id] = self.error
        return True


_deliveries: list[Delivery] = []


def deliver(job: Job, names: tuple[str, ...], namespace: dict[str, Any]) -> None:
    """Assign a cell job's results to ``names`` in ``namespace`` when it has ended."""
    delivery = Delivery(job, names, namespace)
    _deliveries[:] = [d for d in _deliveries if not d._done]
    _deliveries.append(delivery)
    ui.get().add(delivery)


def settle(job_id: str) -> None:
    """Assign what an ended job brings back now, in this thread.

    Raises
    ------
    JobnbError
        The results cannot be brought back.
    """
    for delivery in [d for d in _deliveries if d.job_id == job_id]:
        delivery.settle()
        if delivery.error:
            raise JobnbError(delivery.error)
