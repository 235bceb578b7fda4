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

    register_magic(ipython)
    register_completion(ipython)


def unload(ipython: InteractiveShell) -> None:
    """Take the magic and its completion away and stop the thread that draws cards."""
    from jobnb.notebook.completion import unregister as unregister_completion
    from jobnb.notebook.magic import unregister as unregister_magic
    from jobnb.notebook.ui import stop

    unregister_completion(ipython)
    unregister_magic(ipython)
    stop()
