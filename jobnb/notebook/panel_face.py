"""The widgets of a panel: one HTML, and two lists with a button each.

Made where a panel is shown, touched only by the UI thread afterwards. It must never import ipywidgets before a panel is
made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jobnb.notebook.face import answer_anywhere, close_all
from jobnb.notebook.style import STYLE

#: What can be chosen: what is shown, and the job's id.
Choices = Sequence[tuple[str, str]]


class Chooser:
    """A list of jobs and the button for the chosen one.

    Parameters
    ----------
    word, tooltip : str
        What the button says, and what it does.
    on_press : callable
        Called with the id of the chosen job, on any thread.
    """

    def __init__(self, word: str, tooltip: str, on_press: Callable[[str], None]) -> None:
        import ipywidgets

        self._list = ipywidgets.Dropdown(options=[], layout=ipywidgets.Layout(display="none"))
        self._button = ipywidgets.Button(description=word, tooltip=tooltip, layout=ipywidgets.Layout(display="none"))
        self._begun = False

        def pressed(_button: object) -> None:
            chosen = self._list.value
            if chosen is not None:
                on_press(str(chosen))

        self._button.on_click(pressed)
        self.widgets = (self._list, self._button)

    def offer(self, choices: Choices) -> None:
        """Offer these jobs; what was chosen stays chosen, and nothing is where that is gone."""
        wanted = tuple(choices)
        if tuple(self._list.options) == wanted:
            return
        ids = [job_id for _, job_id in wanted]
        chosen = self._list.value
        if chosen not in ids:
            # The next in the list must not slip under a finger that is about to press; only the first list of all
            # comes with its first entry chosen.
            chosen = ids[0] if ids and not self._begun else None
        self._begun = self._begun or bool(ids)
        with self._list.hold_sync():
            self._list.options = wanted
            self._list.value = chosen
        for widget in self.widgets:
            widget.layout.display = None if wanted else "none"


class PanelFace:
    """The widgets of one panel: a style that never changes, one HTML, and what can be done to a job.

    Parameters
    ----------
    on_cancel, on_retry : callable
        Called with a job's id, on any thread.
    """

    def __init__(self, on_cancel: Callable[[str], None], on_retry: Callable[[str], None]) -> None:
        import ipywidgets

        self._sheet = ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none"))
        self._html = ipywidgets.HTML("")
        self._cancel = Chooser("Cancel", "stop the chosen job", on_cancel)
        self._retry = Chooser("Retry", "try the chosen job again, or now", on_retry)
        parts = (*self._cancel.widgets, *self._retry.widgets)
        self._controls = ipywidgets.HBox(parts)
        self._controls.add_class("jobnb-controls")
        self._box = ipywidgets.VBox([self._sheet, self._html, self._controls])
        self._box.add_class("jobnb-card")
        self._box.add_class("jobnb-panel")
        for widget in (self._box, self._controls, *parts):
            answer_anywhere(widget)

    @property
    def model_id(self) -> str:
        """What the page knows the panel by."""
        return str(self._box.model_id)

    def draw(self, html: str) -> None:
        """Show this HTML."""
        self._html.value = html

    def offer(self, live: Choices, failed: Choices) -> None:
        """Offer the jobs that can be cancelled, and those that can be tried again."""
        self._cancel.offer(live)
        self._retry.offer(failed)

    def close(self) -> None:
        """Take everything away."""
        close_all(self._box)


def make(on_cancel: Callable[[str], None], on_retry: Callable[[str], None]) -> PanelFace | None:
    """Return the widgets of a panel, or None where ipywidgets is not installed."""
    try:
        return PanelFace(on_cancel, on_retry)
    except ImportError:
        return None


def view_of(face: PanelFace) -> dict[str, Any]:
    """Return what a mime bundle says of a widget."""
    return {"version_major": 2, "version_minor": 0, "model_id": face.model_id}
