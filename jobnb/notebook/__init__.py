"""What a notebook sees of jobnb: the ``%job`` magic, live cards, completion.

Runs in the kernel only. It must never import ``jobnb.service`` or ``jobnb.worker``, and nothing heavy when loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load(ipython: InteractiveShell) -> None:
    """Register ``%job``, ``%%job`` and their completion; doing it twice does no harm."""
    from jobnb.notebook.completion import register as register_completion
    from jobnb.notebook.magic import register as register_magic
    from jobnb.notebook.ui import catch_up

    register_magic(ipython)
    register_completion(ipython)
    if catch_up not in ipython.events.callbacks["post_run_cell"]:
        ipython.events.register("post_run_cell", catch_up)


def unload(ipython: InteractiveShell) -> None:
    """Take the magic and its completion away and stop the thread that draws cards."""
    from jobnb.notebook.completion import unregister as unregister_completion
    from jobnb.notebook.magic import unregister as unregister_magic
    from jobnb.notebook.ui import catch_up, stop

    if catch_up in ipython.events.callbacks["post_run_cell"]:
        ipython.events.unregister("post_run_cell", catch_up)
    unregister_completion(ipython)
    unregister_magic(ipython)
    stop()
