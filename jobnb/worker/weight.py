"""Whether a job can do without the heavy libraries: then its child is forked from a server that has not loaded them.

Runs in the supervisor, which must never unpickle what a user made: it only reads the names in the pickle. Forking a
process with pandas and numba loaded and ending it again costs 8 ms, one without them 1 ms; a wrong "light" costs the
import of them (half a second, once per worker and name), a wrong "heavy" those 7 ms.
"""

from __future__ import annotations

import pickletools
import sys
import threading
from collections import deque

#: Longer works are not read through.
_LARGEST_BYTES = 16_384
_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_RECALLS = frozenset({"BINGET", "LONG_BINGET"})
#: How a pickle of more than a few bytes begins: protocol 5, a frame.
_PICKLE = b"\x80\x05\x95"
#: Of older protocols than the one that front doors write.
_OLD = frozenset({"GLOBAL", "INST", "PUT", "BINPUT", "LONG_BINPUT"})
#: Stands for cloudpickle's own function in what was read last; no text of a user's has such a character.
_IMPORT = "\0subimport"
#: What every child has, and the rooms of ours that bring the heavy libraries.
_OURS = frozenset({"cloudpickle", "jobnb", "__main__"})
_OUR_HEAVY = ("jobnb.research", "jobnb.data")
#: A function that names one of these is going to import it, or something that needs it.
HEAVY = frozenset(
    {
        "catboost",
        "cudf",
        "cupy",
        "dask",
        "empyrical",
        "jax",
        "keras",
        "lightgbm",
        "matplotlib",
        "numba",
        "numpy",
        "optuna",
        "pandas",
        "plotly",
        "polars",
        "pyarrow",
        "quantstats",
        "scipy",
        "seaborn",
        "skimage",
        "sklearn",
        "statsmodels",
        "sympy",
        "talib",
        "tensorflow",
        "torch",
        "vectorbt",
        "xarray",
        "xgboost",
    }
)
#: What a child says was imported after all.
TELLTALE = ("numpy", "pandas", "numba")
_NAMES_KEPT = 1_000


def reads_light(payload: bytes) -> bool:
    """Say whether a pickled work refers to nothing but the standard library, as far as its names tell.

    Parameters
    ----------
    payload : bytes
        A pickle; it is not run.

    Examples
    --------
    >>> import cloudpickle
    >>> from jobnb.work import CallWork
    >>> reads_light(cloudpickle.dumps(CallWork(fn=len, args=("abc",))))
    True
    """
    if not payload or len(payload) > _LARGEST_BYTES:
        return False
    memo: dict[int, str | None] = {}
    last: deque[str | None] = deque((None, None), maxlen=2)
    importing = False
    try:
        for code, value, _ in pickletools.genops(payload):
            name = code.name
            if isinstance(value, bytes) and value.startswith(_PICKLE) and not reads_light(value):
                return False  # A work within a work.
            if name == "MEMOIZE":
                memo[len(memo)] = last[-1]
                continue
            if name in _STRINGS:
                last.append(str(value))
            elif name in _RECALLS:
                last.append(memo.get(value) if isinstance(value, int) else None)
            elif name == "STACK_GLOBAL":
                if not _harmless(last[0]):
                    return False
                last.append(_IMPORT if last[1] == "subimport" else None)
            elif name in _OLD:
                return False
            else:
                last.append(None)
                continue
            text = last[-1]
            if text is not None and (text.partition(".")[0] in HEAVY or text.startswith(_OUR_HEAVY)):
                return False
            # How cloudpickle writes a module that a function refers to: a call of its `subimport` with the name.
            if importing and not _harmless(text):
                return False
            importing = text == _IMPORT
    except ValueError:
        return False
    return True


def _harmless(module: str | None) -> bool:
    if module is None:
        return False
    root = module.partition(".")[0]
    return root in _OURS or root in sys.stdlib_module_names


class Weights:
    """Which works are light, by their names in the pickle and by what was seen of jobs of that name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heavy: dict[str, None] = {}

    def light(self, name: str, payload: bytes) -> bool:
        """Say whether a task of a job of that name may have a light child."""
        with self._lock:
            if name in self._heavy:
                return False
        return reads_light(payload)

    def was_heavy(self, name: str) -> None:
        """Remember that a job of that name has imported the heavy libraries."""
        with self._lock:
            self._heavy[name] = None
            while len(self._heavy) > _NAMES_KEPT:
                del self._heavy[next(iter(self._heavy))]
