"""Packs a job's work for another process: cloudpickle, with large arrays put aside as blobs by content.

Front doors pack; children unpack. A data frame that is used by a hundred jobs is stored once, and children map
it into memory instead of copying it. Nothing here decides where a job runs.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import pickle
import platform
import secrets
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cloudpickle

from jobnb.errors import Unpicklable
from jobnb.job import Job
from jobnb.revision import revision
from jobnb.sources import code_of

#: Arrays from this size on become blobs.
ARRAY_BYTES = 1_000_000
#: More than this, beside arrays, is refused: it would be stored again with every job.
PAYLOAD_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A pickled work and the blobs it needs, by hash."""

    payload: bytes
    blobs: tuple[str, ...]


def pack(work: object, keep: Callable[[bytes], str], *, by_value: Iterable[ModuleType] = ()) -> Packed:
    """Pickle a work.

    Parameters
    ----------
    work : object
        What the child is going to unpickle.
    keep : callable
        Stores bytes as a blob and returns their SHA-256.
    by_value : iterable of modules
        Modules whose code travels along instead of being imported where the job runs.

    Raises
    ------
    Unpicklable
        Something in it cannot be sent; the message names it.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, keep)
    registered = []
    try:
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
        pickler.dump(work)
    except Unpicklable:
        raise
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Unpicklable(
            f"the job cannot be sent to another process ({type(error).__name__}: {error}). Open files, connections, "
            "locks and generators inside the function instead of passing or referring to them."
        ) from error
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
    payload = buffer.getvalue()
    if len(payload) > PAYLOAD_BYTES:
        raise Unpicklable(
            f"the job is {len(payload) / 1e6:,.0f} MB when packed, without its arrays; "
            f"{PAYLOAD_BYTES / 1e6:,.0f} MB are allowed. Does the function refer to a large global object?"
        )
    return Packed(payload=payload, blobs=tuple(dict.fromkeys(pickler.kept)))


class _Pickler(cloudpickle.Pickler):
    """Cloudpickle that puts large arrays aside; the columns of a data frame are arrays as well."""

    def __init__(self, file: io.BytesIO, keep: Callable[[bytes], str]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._keep = keep
        self.kept: list[str] = []

    def reducer_override(self, obj: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(obj) is numpy.ndarray and obj.nbytes >= ARRAY_BYTES and not obj.dtype.hasobject:
            buffer = io.BytesIO()
            numpy.save(buffer, obj, allow_pickle=False)
            sha = self._keep(buffer.getvalue())
            self.kept.append(sha)
            return stored_array, (sha,)
        if isinstance(obj, Job):
            raise Unpicklable(
                f"the function refers to job {obj.id}. A job gets the result of another one as an argument: "
                "submit(f, job), where f takes the value."
            )
        if type(obj) is CodeType:
            # From 3.1.3 on cloudpickle forgets the file, without which a traceback shows no lines. The join makes a new
            # text each time, so that the payload does not depend on what Python happens to share.
            kind, args = self.dispatch_table[CodeType](obj)
            return code_of, (kind, args, "".join(obj.co_filename))
        return super().reducer_override(obj)


def stored_array(sha: str) -> Any:
    """Return the array of a blob, mapped into memory; what a job writes into it stays its own."""
    import numpy as np

    from jobnb.worker import blobs

    # A plain array over the mapping: pandas and users' isinstance checks need not know of np.memmap.
    return np.asarray(np.load(blobs.path(sha), mmap_mode="c", allow_pickle=False))


@cache
def _roots() -> tuple[str, ...]:
    paths = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages(), sys.base_prefix}
    return tuple(str(Path(p).resolve()) for p in paths if p)


def is_local(module: ModuleType | None) -> bool:
    """Tell whether a module is the user's own file, neither installed nor of the standard library."""
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__ == "__main__":
        return False
    here = str(Path(file).resolve())
    return not any(here.startswith(root + os.sep) for root in _roots()) and not module.__name__.startswith("jobnb")


def extra_sys_path() -> list[str]:
    """Return what this process has added to Python's own module path, as absolute folders."""
    roots = _roots()
    found = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    local = [p for p in found if os.path.isdir(p) and not any((p + os.sep).startswith(r + os.sep) for r in roots)]
    return list(dict.fromkeys(local))


@cache
def versions() -> dict[str, str]:
    """Return the versions that matter for a result."""
    found = {"python": platform.python_version()}
    for package in ("jobnb", "cloudpickle", "numpy", "pandas", "numba", "distributed"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def snapshot(seed: int | None, source: Callable[..., Any] | type | None) -> dict[str, Any]:
    """Return what is needed to run a job again: surroundings, versions, seed, source, git commit."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = str(Path.home())
    return {
        "cwd": cwd,
        "sys_path": extra_sys_path(),
        "versions": versions(),
        "seed": secrets.randbelow(2**32) if seed is None else seed,
        "source": _source(source),
        "git": revision(cwd),
    }


def _source(what: Callable[..., Any] | type | None) -> str:
    if what is None:
        return ""
    import inspect

    try:
        return inspect.getsource(what)[:20_000]
    except (OSError, TypeError):
        return ""
