"""Puts the final state of jobs into notebooks as they are saved.

A live card is a widget, which a notebook reopened without its kernel cannot show. The kernel replaces it by
plain HTML when the job ends, but that update does not reach a page that was reloaded meanwhile
(https://github.com/ipython/ipython/issues/12215). So the same is done here, for outputs that carry jobnb's mark.
Run by the Jupyter Server at each save; it reads the store and changes nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobnb.errors import JobnbError, UnknownName
from jobnb.manager import JobManager

logger = logging.getLogger(__name__)

WIDGET = "application/vnd.jupyter.widget-view+json"


class FinalCards:
    """A pre-save hook of Jupyter's contents manager.

    Parameters
    ----------
    manager : JobManager, optional
        Reads the store of the server's own home; never one that a notebook names.
    """

    def __init__(self, manager: JobManager | None = None) -> None:
        self._manager = manager or JobManager()

    def __call__(self, model: dict[str, Any], path: str, contents_manager: object = None, **more: object) -> None:
        """Replace the live cards of jobs that have ended; a notebook without any is left as it is."""
        if model.get("type") != "notebook" or not isinstance(model.get("content"), Mapping):
            return
        for output, job_id in _cards(model["content"]):
            try:
                self._settle(output, job_id)
            except UnknownName:
                continue
            except JobnbError as error:
                # A notebook must be saved whatever the store's state.
                logger.warning("%s: the card of job %s stays as it is: %s", path, job_id, error)

    def _settle(self, output: dict[str, Any], job_id: str) -> None:
        from jobnb.notebook import card_html, card_text

        view = self._manager.view(job_id)
        data: dict[str, Any] = output["data"]
        if view.job.status.final:
            data.pop(WIDGET, None)
        data["text/html"] = card_html.render(view, live=False)
        data["text/plain"] = card_text.render(view)


def _cards(notebook: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the outputs that are live cards, with the ids of their jobs."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            mark = output.get("metadata", {}).get("jobnb")
            data = output.get("data")
            job_id = mark.get("job") if isinstance(mark, Mapping) else None
            if isinstance(data, dict) and WIDGET in data and re.fullmatch(r"[0-9a-f]{8}", str(job_id)):
                yield output, str(job_id)
