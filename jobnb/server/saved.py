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

from jobnb.errors import UnknownName
from jobnb.manager import JobManager

logger = logging.getLogger(__name__)

WIDGET = "application/vnd.jupyter.widget-view+json"
_ID = re.compile("[0-9a-f]{8}")


class FinalCards:
    """A pre-save hook of Jupyter's contents manager, and what mends a notebook that is opened.

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
                # A notebook from elsewhere, or a job that was purged.
                continue
            except Exception as error:  # noqa: BLE001  (a notebook must be saved whatever the store's state)
                logger.warning("%s: the card of job %s stays as it is: %s", path, job_id, error)

    def _settle(self, output: dict[str, Any], job_id: str) -> None:
        from jobnb.notebook import card_html, card_text

        view = self._manager.view(job_id)
        shown = {"text/html": card_html.render(view, live=False), "text/plain": card_text.render(view)}
        data: dict[str, Any] = output["data"]
        if view.job.status.final:
            data.pop(WIDGET, None)
        data.update(shown)


def _cards(notebook: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the outputs that are live cards, with the ids of their jobs; what has another shape is not ours."""
    for cell in _dicts(notebook.get("cells")):
        for output in _dicts(cell.get("outputs")):
            metadata, data = output.get("metadata"), output.get("data")
            mark = metadata.get("jobnb") if isinstance(metadata, Mapping) else None
            job_id = mark.get("job") if isinstance(mark, Mapping) else None
            if isinstance(data, dict) and WIDGET in data and isinstance(job_id, str) and _ID.fullmatch(job_id):
                yield output, job_id


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    yield from (v for v in value if isinstance(v, dict)) if isinstance(value, list) else ()
