"""The Jupyter Server extension: a notebook that is saved or opened shows how its jobs ended.

Run in the Jupyter Server's process, which sees only the store. It never runs or unpickles anything.
"""

from __future__ import annotations

from typing import Any


def _load_jupyter_server_extension(server: Any) -> None:
    from jobnb.server.opened import mend_on_open
    from jobnb.server.saved import FinalCards

    cards = FinalCards()
    server.contents_manager.register_pre_save_hook(cards)
    mend_on_open(server.contents_manager, cards)
    server.log.info("jobnb: notebooks are saved and opened with the final state of their jobs")
