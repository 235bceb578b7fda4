"""What a child sets up around the user's code: descriptors, folder, module path, logging, random numbers.

Runs in the child only, before and between tasks. It must not import a user's module.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import io
import logging
import os
import random
import resource
import signal
import sys
import types
from collections.abc import Sequence

from jobnb.worker import late_seed, plain_bars, signals
from jobnb.worker.prctl import LIBC

log = logging.getLogger(__name__)

#: How far a job stands back: a process that wants the same processor has three times as much of it.
NICE = 5
#: ``_IOLBF`` of <stdio.h>: buffered by line.
_IOLBF = 1


def own_descriptors(out_fd: int, err_fd: int) -> None:
    """Make the two pipes this process' stdout and stderr, for Python, for C and for whatever it starts."""
    for fd, number in ((out_fd, 1), (err_fd, 2)):
        if fd != number:
            os.dup2(fd, number, inheritable=True)
            os.close(fd)


def open_streams() -> None:
    """Make Python's own streams anew over the descriptors 0, 1 and 2, whatever those are going to be."""
    before = [os.dup(1), os.dup(2)]
    # Over pipes, as a child's are: a stream that is made over a file believes for ever that it can seek.
    ends = os.pipe()
    try:
        os.dup2(ends[1], 1)
        os.dup2(ends[1], 2)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, "rb", closefd=False), encoding="utf-8")
        sys.stdout = _text(1)
        sys.stderr = _text(2)
    finally:
        os.dup2(before[0], 1)
        os.dup2(before[1], 2)
        for fd in (*before, *ends):
            os.close(fd)
    # The originals point at the same descriptors, but hold buffers of the parent's.
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))


def _text(fd: int) -> io.TextIOWrapper:
    # Buffered in bytes, flushed per line: a print is one write even when it is given several values.
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(fd, "wb", closefd=False), 1 << 16),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def own_group() -> None:
    """Lead a session and a process group, so that whatever the job starts can be ended with it."""
    if os.getpgrp() != os.getpid():
        os.setsid()


def reset_signals() -> None:
    """Forget the parent's handlers: SIGINT is a KeyboardInterrupt, SIGTERM ends the process."""
    signals.set_handler(signals.INTERRUPT, signal.default_int_handler)
    signals.set_handler(signals.TERMINATE, signals.DEFAULT)
    signals.set_handler(signals.CHILD, signals.DEFAULT)


def be_expendable() -> None:
    """When memory runs out this process goes, not the worker."""
    if sys.platform == "linux":
        try:
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            try:
                os.write(fd, b"500")
            finally:
                os.close(fd)
        except OSError:
            log.debug("no say in whom the out-of-memory killer takes", exc_info=True)


def give_way() -> None:
    """Let the worker, the service and whoever uses this machine go first: they need little, and others wait for it."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    if sys.platform == "linux" and os.getsid(0) == os.getpid():
        # Where each session has a share of its own, niceness counts only within it: this is that of the session.
        with contextlib.suppress(OSError):
            fd = os.open("/proc/self/autogroup", os.O_WRONLY)
            try:
                os.write(fd, str(NICE).encode())
            finally:
                os.close(fd)


def prepare() -> None:
    """Do once, before children are forked, what is the same for all of them.

    What a child does itself copies, page by page, the memory that it shares with the process it was forked from. In a
    child that was started afresh this comes right before the rest.
    """
    # A crash is reported and does not fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signals.set_mask(signals.REPLACE, ())
    open_streams()
    c_stdio_by_line()
    faulthandler.enable(2, all_threads=False)
    fresh_main()
    leave_no_bytecode()
    draw_on_paper()
    plain_bars.install()
    late_seed.install()
    show_logging()
    forget_folders()


def forget_folders() -> None:
    """Have folders read again by whoever imports from them: a module may have been written a moment ago."""
    sys.path_importer_cache.clear()


def c_stdio_by_line() -> None:
    """Have C code that prints to stdout be seen line by line, although stdout is no terminal."""
    if LIBC is not None:
        stdout = ctypes.c_void_p.in_dll(LIBC, "stdout")
        LIBC.setvbuf(stdout, None, _IOLBF, 0)


def flush_c_stdio() -> None:
    """Write out what C code has printed and stdio still holds."""
    if LIBC is not None:
        LIBC.fflush(None)


def fresh_main() -> None:
    """Give the job an empty ``__main__``: this process' own is none of its business."""
    sys.modules["__main__"] = types.ModuleType("__main__")


def draw_on_paper() -> None:
    """Have matplotlib draw into files: a worker has no notebook and must not open windows."""
    os.environ["MPLBACKEND"] = "Agg"


def leave_no_bytecode() -> None:
    """Do not write ``.pyc`` files: they tell an edit of the same second and size from its forerunner by neither."""
    sys.dont_write_bytecode = True


def show_logging() -> None:
    """Show log records from INFO on, without a handler that would keep a job's own ``basicConfig`` from working."""
    last = logging.lastResort
    if last is not None:
        last.setLevel(logging.NOTSET)
        last.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger().setLevel(logging.INFO)


def enter_folder(cwd: str | None) -> str | None:
    """Go to the submitter's folder; return what to say when it is not there."""
    if cwd is None or cwd == _here():
        return None
    try:
        os.chdir(cwd)
    except OSError as error:
        return f"jobnb: the folder {cwd} of the notebook is not on this worker ({error.strerror}); running in {_here()}"
    return None


def _here() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def extend_path(additions: Sequence[str], *, fresh: bool = False) -> None:
    """Put the submitter's additions in front of the module path, and the working folder where it is not yet.

    A ``fresh`` child has read no folder yet (`forget_folders`).
    """
    front = [entry for entry in dict.fromkeys(additions) if entry not in sys.path]
    sys.path[:0] = front
    if "" not in sys.path and _here() not in sys.path:
        sys.path.append("")
    if not fresh:
        importlib.invalidate_caches()


def task_seed(seed: int | None) -> int:
    """Return the seed of a task; fresh entropy when none was given.

    Children are copies of one process, so without a seed of its own each would draw the same numbers.
    """
    return int.from_bytes(os.urandom(8)) if seed is None else seed


def seed_random(seed: int) -> None:
    """Seed the global generators of Python and, when it is loaded, numpy."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
