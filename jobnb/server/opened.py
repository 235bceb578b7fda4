"""Shows the final state of jobs in notebooks as they are opened, if they ended after the last save.

Who closes the notebook, and its kernel, before the job ends has a live card in the file, which no page can draw any
more. Jupyter has no hook for reading, so the contents manager's ``get`` is wrapped; what it gives is mended by the same
rules as what is saved, and the file stays as it is. Run by the Jupyter Server.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Model = dict[str, Any]
#: Mends a model in place: `jobnb.server.saved.FinalCards`.
Mend = Callable[[Model, str], None]


class Contents(Protocol):
    """What is needed of a contents manager, plain or ``async``."""

    get: Callable[..., Model | Awaitable[Model]]


def mend_on_open(contents: Contents, mend: Mend) -> None:
    """Let notebooks go through ``mend`` on their way from ``contents`` to the page."""
    read = contents.get

    @functools.wraps(read)
    def get(path: str, *args: Any, **kwargs: Any) -> Model | Awaitable[Model]:
        model = read(path, *args, **kwargs)
        if inspect.isawaitable(model):
            return later(model, path)
        mend(model, path)
        return model

    async def later(model: Awaitable[Model], path: str) -> Model:
        found = await model
        mend(found, path)
        return found

    contents.get = get
