"""The widgets of a live card, and how they are taken away without a trace.

Made where a job is shown, touched only by the UI thread afterwards. It must never import ipywidgets before a card is
made.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from typing import Any

from jobnb.notebook.style import STYLE

#: Widgets of ended cards that are kept for a page that is loaded again; older ones are closed.
KEEP_ENDED = 50


class Face:
    """The widgets of one card: a style that never changes, one HTML, and the buttons Retry now and Cancel.

    Created where the job is shown, touched only by the UI thread afterwards.
    """

    def __init__(self, on_cancel: Any, on_retry: Any) -> None:
        import ipywidgets

        self._sheet = ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none"))
        self._html = ipywidgets.HTML("")
        self._cancel = ipywidgets.Button(description="Cancel", tooltip="stop this job")
        # Only of use, and only seen, while a job waits for its next attempt.
        self._retry = ipywidgets.Button(description="Retry now", tooltip="do not wait for the next attempt")
        self._retry.layout.display = "none"
        self._buttons = ipywidgets.HBox([self._retry, self._cancel])
        self._buttons.add_class("jobnb-buttons")
        # Out of sight until the job has run for a moment, so that nothing flashes for one that ends at once.
        self._box = ipywidgets.VBox([self._sheet, self._html, self._buttons], layout=ipywidgets.Layout(display="none"))
        self._box.add_class("jobnb-card")
        self._cancel.on_click(on_cancel)
        self._retry.on_click(on_retry)
        for widget in (self._box, self._buttons, self._cancel, self._retry):
            answer_anywhere(widget)

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

    def offer_retry(self, offered: bool) -> None:
        """Show Retry now, or take it out of sight."""
        self._retry.layout.display = None if offered else "none"

    def settle(self, html: str) -> None:
        """Show the final HTML and take the buttons away; a page that is loaded again still finds it."""
        self._html.value = html
        self._box.layout.display = None
        self._box.children = (self._sheet, self._html)
        close_all(self._buttons)

    def close(self) -> None:
        """Take everything away."""
        close_all(self._box)


def answer_anywhere(widget: Any) -> None:
    """Let a widget's messages be answered while a cell is busy."""
    # ipykernel 7.4 answers a widget's message only on the shell that last sent on its comm, which is the busy main
    # one while a cell runs; told to return its default, it answers on the comms' own subshell, as 7.3 did.
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        with contextlib.suppress(AttributeError):
            comm._reply_subshell_for = lambda data, default: default


def close_all(widget: Any) -> None:
    """Close a widget, what is in it, and their layouts and styles, which ``close()`` alone would leak."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if part is not None and hasattr(part, "close"):
            part.close()
    widget.close()


_ended: collections.deque[Face] = collections.deque()
_ended_lock = threading.Lock()


def keep(face: Face) -> None:
    """Keep the widgets of an ended card for a page that is loaded again; close those of older ones."""
    with _ended_lock:
        _ended.append(face)
        old = [_ended.popleft() for _ in range(len(_ended) - KEEP_ENDED)]
    for one in old:
        one.close()
