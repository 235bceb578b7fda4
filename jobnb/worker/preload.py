"""What is loaded before a child is asked for anything: the heavy libraries, and the compiled backtest kernel.

Runs in the fork server and in spawned children. It must never import a user's module, and a library that is missing
or broken must not keep other jobs from running.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
from collections.abc import Iterator, Sequence

from jobnb.worker.blobs import private_folder
from jobnb.worker.failure import versions

log = logging.getLogger(__name__)

#: What every job needs. Never a user's module.
LIGHT = ("cloudpickle", "jobnb.work", "jobnb.sources")
#: What most research needs; the last one because modules of functions often import what they are submitted by.
LIBRARIES = (
    *LIGHT,
    "numpy",
    "pandas",
    "jobnb.research.kernel",
    "jobnb.research.single",
    "jobnb.research.sweep",
    "jobnb.research.instrument_sweep",
    "jobnb.research.fold_work",
    "jobnb.research.portfolio_work",
    "jobnb.manager",
)

_warm = False


def load(libraries: Sequence[str] = LIBRARIES) -> None:
    """Import what jobs need; a package that is not installed here is left out."""
    for name in libraries:
        try:
            importlib.import_module(name)
        except ImportError:
            log.debug("not preloaded: %s", name, exc_info=True)
    versions()  # read from many small files, and asked for by every task


def warm_kernel() -> None:
    """Load the compiled kernel, unless this process or the one it was forked from has it.

    On a fresh machine this compiles for several seconds; whoever comes second waits for the first one's result in
    numba's cache instead of compiling as well.
    """
    global _warm
    if _warm:
        return
    try:
        kernel = importlib.import_module("jobnb.research.kernel")
        with _one_at_a_time():
            kernel.warm()
    except ImportError:
        log.debug("the backtest kernel is not here", exc_info=True)
    except Exception:  # a broken compiler cache must not keep every other kind of job from running
        log.exception("the backtest kernel could not be warmed")
    _warm = True


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    fd = os.open(private_folder() / "warm.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
