"""The source of notebook cells travels with a job, so that a traceback shows the lines and not only their numbers.

The front door gathers it, the child puts it where Python's traceback looks (`linecache`). Files are left alone: a child
reads those itself.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

#: Functions looked at, and characters taken along, at most.
FUNCTIONS = 200
CHARACTERS = 500_000


@dataclass(frozen=True, kw_only=True)
class WithSources:
    """A work that unpickles to itself and leaves the sources of its cells in the child's `linecache`."""

    work: object
    sources: Mapping[str, str]

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Mapping[str, str], object]]:
        return unpack, (self.sources, self.work)


def unpack(sources: Mapping[str, str], work: object) -> object:
    """Make the sources known to tracebacks, and return the work."""
    for name, text in sources.items():
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return work


def code_of(kind: Callable[..., CodeType], args: tuple[object, ...], file: str) -> CodeType:
    """Build a code object that says which file or cell it is from; called where a job is unpickled."""
    return kind(*args).replace(co_filename=file)


def gather(what: object) -> dict[str, str]:
    """Return the sources, by file name, of the cells that define a function or class and what it calls.

    Parameters
    ----------
    what : function or class
        Its methods, inner functions, and the functions and classes of the notebook that it names, are followed.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(code.co_filename for code in _codes(what)):
        entry = linecache.cache.get(name)
        if entry is None or len(entry) != 4 or os.path.exists(name):
            continue
        text = "".join(entry[2])
        if sum(map(len, found.values())) + len(text) <= CHARACTERS:
            found[name] = text
    return found


def _codes(what: object) -> Iterator[CodeType]:
    queue, seen = [what], set[int]()
    while queue and len(seen) < FUNCTIONS:
        one: Any = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, CodeType):
            yield one
            queue += [c for c in one.co_consts if isinstance(c, CodeType)]
        elif isinstance(one, FunctionType):
            queue.append(one.__code__)
            if one.__module__ == "__main__":
                named = [one.__globals__.get(n) for n in one.__code__.co_names]
                queue += [n for n in named if isinstance(n, FunctionType | type) and n.__module__ == "__main__"]
        elif isinstance(one, type) and one.__module__ == "__main__":
            queue += [*vars(one).values(), *one.__bases__]
        elif isinstance(one, staticmethod | classmethod):
            queue.append(one.__func__)
