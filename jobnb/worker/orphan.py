"""Processes that a job has left behind with a session of their own: whose they are, and which ones are to go.

The child marks itself (`mark`), and what it starts inherits the mark; the fork server, which inherits what a dead
child has started, reads it. Linux only: elsewhere nobody inherits orphans but the first process of the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from jobnb.worker.prctl import name_process

#: A process that is forked inherits the name, one that is executed inherits the environment.
_VARIABLE = "JOBNB_CHILD"
_NAME = re.compile(r"^jobnb (\d+)$")
_ENTRY = re.compile(rb"(?:^|\0)" + _VARIABLE.encode() + rb"=(\d+)\0")


def mark() -> None:
    """Mark this process and whatever it starts as the work of one child."""
    os.environ[_VARIABLE] = str(os.getpid())
    name_process(f"jobnb {os.getpid()}")


def owner(pid: int) -> int | None:
    """Return the child whose work a process is; None when it does not say, or is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        named = _NAME.match((folder / "comm").read_text(errors="replace").strip())
        if named:
            return int(named[1])
        found = _ENTRY.search((folder / "environ").read_bytes())
    except OSError:
        return None
    return int(found[1]) if found else None


def adopted(own: Collection[int]) -> list[int]:
    """Return the children of this process other than its ``own``; it has one thread."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    except OSError:
        return []
    return [int(pid) for pid in listed if int(pid) not in own]


def unwanted(own: Collection[int]) -> list[int]:
    """Return the adopted processes whose child is dead; those of unknown origin when no child is left."""
    found = []
    for pid in adopted(own):
        whose = owner(pid)
        if (whose is None and not own) or (whose is not None and whose not in own):
            found.append(pid)
    return found
