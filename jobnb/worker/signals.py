"""What `signal` does, without its enumerations: in a child just forked, each page that a call touches is copied.

Used in children, around every message, and in fork servers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import Any

#: The functions of C that `signal` wraps; its own do as well.
set_handler: Callable[[int, Any], Any] = getattr(signal.signal, "__wrapped__", signal.signal)
set_mask: Callable[[int, Iterable[int]], Iterable[int]] = getattr(
    signal.pthread_sigmask, "__wrapped__", signal.pthread_sigmask
)

BLOCK = int(signal.SIG_BLOCK)
REPLACE = int(signal.SIG_SETMASK)
DEFAULT = int(signal.SIG_DFL)
INTERRUPT = int(signal.SIGINT)
TERMINATE = int(signal.SIGTERM)
CHILD = int(signal.SIGCHLD)
