"""The Jupyter Server extension: what is saved of a notebook shows how its jobs ended.

Run in the Jupyter Server's process, which sees only the store. It never runs or unpickles anything.
"""

from __future__ import annotations

from typing import Any


def _load_jupyter_server_extension(server: Any) -> None:
    from jobnb.server.saved import FinalCards

    server.contents_manager.register_pre_save_hook(FinalCards())
    server.log.info("jobnb: saved notebooks keep the final state of their jobs")
