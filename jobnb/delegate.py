"""The calls of a `joblib.Parallel` on their way through a job: what a child does with one, how its exception returns.

A front door builds a `Delegate`, a child calls it, one call after the other. It imports joblib only where joblib's
calls are made, and must never start processes or threads of its own: the other places of the cluster work as well.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from jobnb.job import ErrorRecord

#: The artifact in which the exception that ended a job comes home.
EXCEPTION = "exception.pickle"

#: ``(function, args, kwargs)``, as ``joblib.delayed`` makes it.
Call = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Delegate:
    """Does one of joblib's calls in a child.

    Attributes
    ----------
    nesting_level : int
        Joblib's depth of the call; a `Parallel` inside it is one deeper, and runs one call after the other.
    """

    nesting_level: int = 1

    def __call__(self, call: Call) -> Any:
        """Make the call; keep the exception with the job if it raises one."""
        from joblib import parallel_config
        from joblib.parallel import SequentialBackend

        fn, args, kwargs = call
        try:
            with parallel_config(backend=SequentialBackend(nesting_level=self.nesting_level)):
                return fn(*args, **kwargs)
        except Exception as error:
            _keep(error)
            raise


def _keep(error: Exception) -> None:
    from jobnb.worker.context import current

    context = current()
    if context is None:
        return
    # Many exceptions take other arguments than they keep: those cannot be made by calling their class.
    for made in (error, _Remade(error)):
        try:
            data = cloudpickle.dumps(made)
            # What cannot be read here cannot be read there either.
            pickle.loads(data)
        except Exception as broken:  # noqa: BLE001 - pickling runs code of the exception's class
            why = f"{type(broken).__name__}: {broken}"
            continue
        context.save(EXCEPTION, data)
        return
    context.log(f"the exception itself does not travel ({why}); its text does")


class _Remade:
    """Pickles an exception as its class, arguments and attributes, to be put together without its ``__init__``."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _remake, (type(self._error), self._error.args, self._error.__dict__)


def _remake(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    made = kind.__new__(kind, *args)
    made.__dict__.update(state)
    return made


def returned(kept: bytes | None, record: ErrorRecord) -> Exception | None:
    """Return the exception that a call raised, or None where it did not travel.

    Parameters
    ----------
    kept : bytes or None
        The artifact `EXCEPTION` of the job.
    record : ErrorRecord
        How the job failed; the exception counts only if it is the one that is told there.
    """
    if kept is None:
        return None
    try:
        error = pickle.loads(kept)
    except Exception:  # noqa: BLE001 - a class that is only there, and whatever else unpickling runs into
        return None
    name = type(error).__qualname__
    return error if isinstance(error, Exception) and record.type.split(".")[-1] == name.split(".")[-1] else None
