"""The few Linux calls that tie the life of a process to the life of its parent.

Used by the fork server and the child. On other systems they do nothing, and say so by their return value.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def _load() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


#: The C library, on Linux. Loaded once: dlopen in a freshly forked child would cost more than the call itself.
LIBC = _load()


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> bool:
    """Ask the kernel to signal this process when the thread that started it ends.

    Parameters
    ----------
    parent
        The process id of the parent: when it is gone already, this process leaves at once.
    signum
        The signal to get.

    Returns
    -------
    bool
        Whether the kernel will do so.
    """
    if LIBC is None:
        return False
    done = bool(LIBC.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) == 0)
    if os.getppid() != parent:
        os._exit(1)
    return done


def adopt_orphans() -> bool:
    """Become the parent of what descendants of this process leave behind; say whether the kernel does so."""
    return LIBC is not None and bool(LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def name_process(name: str) -> bool:
    """Give the calling thread, and what it forks, a name of at most 15 bytes; say whether the kernel did so."""
    return LIBC is not None and bool(LIBC.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0) == 0)
