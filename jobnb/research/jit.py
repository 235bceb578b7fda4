"""How the numeric loops of this room are compiled: cached on disk, the GIL released, exact arithmetic.

Imported only by the modules that hold such loops, because it imports numba. It must never switch on
``parallel`` (children are forked) or ``fastmath`` (a sweep row must equal the single run).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def compiled(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile ``fn`` with numba at its first call, or load it from numba's disk cache."""
    return _compiled(fn, {"error_model": "numpy", "nogil": True})


def lean(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile ``fn``, which makes no arrays, so that it does not count the references to those that it gets.

    Counting costs more than a short stretch of bars: an atomic instruction at each call and each view. The option is
    numba's own, for its tests; nothing but the speed depends on it.
    """
    return _compiled(fn, {"error_model": "numpy", "nogil": True, "_nrt": False})


def inlined(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile ``fn``, which makes no arrays, into its callers: handing over arrays costs more than a small function."""
    return _compiled(fn, {"error_model": "numpy", "nogil": True, "forceinline": True, "_nrt": False})


def _compiled(fn: Callable[P, R], options: dict[str, object]) -> Callable[P, R]:
    try:
        made = numba.njit(cache=True, **options)(fn)
    except RuntimeError as error:
        # Neither the package folder nor the user's cache folder nor NUMBA_CACHE_DIR can be written: numba
        # refuses to cache. Compiling in each process costs a second; failing would cost everything.
        logger.warning("numba cannot cache %s (%s); set NUMBA_CACHE_DIR", fn.__qualname__, error)
        made = numba.njit(**options)(fn)
    return cast(Callable[P, R], made)
