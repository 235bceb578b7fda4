"""What a notebook sees of jobnb: the ``%job`` magic, live cards, completion.

Runs in the kernel only. It must never import ``jobnb.service`` or ``jobnb.worker``, and nothing heavy when loaded.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load(ipython: InteractiveShell) -> None:
    """Register ``%job``, ``%%job`` and their completion; doing it twice does no harm."""
    from jobnb.notebook.completion import register as register_completion
    from jobnb.notebook.magic import register as register_magic

    register_magic(ipython)
    register_completion(ipython)
    for event, callback in (("pre_run_cell", _cell_begins), ("post_run_cell", _cell_ends)):
        if callback not in ipython.events.callbacks[event]:
            ipython.events.register(event, callback)


def unload(ipython: InteractiveShell) -> None:
    """Take the magic and its completion away and stop the thread that draws cards."""
    from jobnb.notebook.completion import unregister as unregister_completion
    from jobnb.notebook.magic import unregister as unregister_magic
    from jobnb.notebook.ui import stop

    if "jobnb.notebook.notices" in sys.modules:
        from jobnb.notebook.notices import leave

        leave()
    for event, callback in (("pre_run_cell", _cell_begins), ("post_run_cell", _cell_ends)):
        if callback in ipython.events.callbacks[event]:
            ipython.events.unregister(event, callback)
    unregister_completion(ipython)
    unregister_magic(ipython)
    stop()


def _cell_begins(_info: object) -> None:
    if "jobnb.notebook.cards" in sys.modules:
        from jobnb.notebook.cards import cell_begins

        cell_begins()


def _cell_ends(_result: object) -> None:
    if "jobnb.notebook.cards" in sys.modules:
        from jobnb.notebook.cards import cell_ends

        cell_ends()
