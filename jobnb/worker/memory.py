"""How much memory a process group holds of its own.

Used by the supervisor for `memory_limit`. Pages that a forked child shares with the fork server, and files that it
maps, are not its own: only what the job itself allocates counts.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable

import psutil

_LINUX = sys.platform == "linux"


def own_bytes(pid: int) -> int:
    """Return the bytes of anonymous and shared memory of one process; 0 when it is gone."""
    if _LINUX:
        try:
            with open(f"/proc/{pid}/status", "rb") as file:
                held = 0
                for line in file:
                    if line.startswith((b"RssAnon:", b"RssShmem:")):
                        held += int(line.split()[1]) * 1024
                return held
        except (OSError, ValueError):
            return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def descendants(pid: int) -> list[psutil.Process]:
    """Return the living descendants of a process, those with a session of their own too."""
    with contextlib.suppress(psutil.Error):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def group_bytes(pid: int, base: int = 0) -> int:
    """Return what a process and its descendants hold of their own, less what it was born with."""
    return max(0, own_bytes(pid) - base) + sum(own_bytes(p.pid) for p in descendants(pid))


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes that may be gone already; a number that was given to another process is left alone."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def near_exhaustion(max_rss: int) -> bool:
    """Say whether a process of this size may well have been the victim of the kernel's out-of-memory killer."""
    return max_rss > 0.5 * int(psutil.virtual_memory().total)
