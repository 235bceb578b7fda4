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
#: Entries of jobs that are over which a list may have before it is replaced.
_MOST_OVER = 20


class Chooser:
    """A list of jobs and the button for the chosen one.

    The page says which entry was chosen by its place alone, and may say so late: a busy kernel reads it after its
    cell. So a place in the list never comes to mean another job: further ones are added at the end, and those that are
    over stay until both widgets are replaced by new ones, which hear nothing of what was meant for the old.

    Parameters
    ----------
    word, tooltip : str
        What the button says, and what it does.
    on_press : callable
        Called with the id of the chosen job, on any thread.
    """

    def __init__(self, word: str, tooltip: str, on_press: Callable[[str], None]) -> None:
        self._word = word
        self._tooltip = tooltip
        self._on_press = on_press
        self._labels: dict[str, str] = {}
        self._over: set[str] = set()
        self._make()

    def _make(self) -> None:
        import ipywidgets

        hidden = [ipywidgets.Layout(display="none") for _ in range(2)]
        chooser = self._list = ipywidgets.Dropdown(options=[], layout=hidden[0])
        self._button = ipywidgets.Button(description=self._word, tooltip=self._tooltip, layout=hidden[1])

        def pressed(_button: object) -> None:
            chosen = chooser.value
            if chosen is not None:
                self._on_press(str(chosen))

        self._button.on_click(pressed)
        self._labels, self._over = {}, set()
        for widget in self.widgets:
            answer_anywhere(widget)

    @property
    def widgets(self) -> tuple[Any, Any]:
        """The list and the button."""
        return self._list, self._button

    def offer(self, choices: Choices) -> Sequence[Any]:
        """Offer these jobs; return the widgets that were replaced, for the caller to close.

        What was chosen stays chosen; the next in the list never slips under a finger that is about to press.
        """
        wanted = {job_id: label for label, job_id in choices}
        old: Sequence[Any] = ()
        over = {job_id for job_id in self._labels if job_id not in wanted}
        chosen = self._list.value
        if over and (not wanted or len(over) > _MOST_OVER):
            old = self.widgets
            self._make()
            over, chosen = set(), chosen if chosen in wanted else None
        first = not self._labels and not old
        # Newest first is how they come; what is added goes to the end.
        new = {job_id: label for job_id, label in wanted.items() if job_id not in self._labels}
        if not new and over == self._over and not old:
            return old
        self._labels |= new
        self._over = over
        if first:
            chosen = next(iter(wanted), None)
        with self._list.hold_sync():
            self._list.options = tuple(
                (f"{label} (over)" if job_id in over else label, job_id) for job_id, label in self._labels.items()
            )
            self._list.value = chosen
        for widget in self.widgets:
            widget.layout.display = None if wanted else "none"
        return old


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
        self._controls = ipywidgets.HBox(self._parts())
        self._controls.add_class("jobnb-controls")
        self._box = ipywidgets.VBox([self._sheet, self._html, self._controls])
        self._box.add_class("jobnb-card")
        self._box.add_class("jobnb-panel")
        for widget in (self._box, self._controls):
            answer_anywhere(widget)

    def _parts(self) -> tuple[Any, ...]:
        return (*self._cancel.widgets, *self._retry.widgets)

    @property
    def model_id(self) -> str:
        """What the page knows the panel by."""
        return str(self._box.model_id)

    def draw(self, html: str) -> None:
        """Show this HTML."""
        self._html.value = html

    def offer(self, live: Choices, failed: Choices) -> None:
        """Offer the jobs that can be cancelled, and those that can be tried again."""
        old = (*self._cancel.offer(live), *self._retry.offer(failed))
        if old:
            self._controls.children = self._parts()
            for widget in old:
                close_all(widget)

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
