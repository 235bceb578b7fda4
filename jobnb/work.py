"""What a child process is given, a ``Work``, and what it gives back, a ``Part`` for each span of items.

Front doors build a Work and pickle it; only the child runs it. A job of n items is cut into spans
``[start, stop)`` by the service, which never unpickles a Work. This module imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cloudpickle

#: ``report(items_done_in_this_span)``: called by a Work now and then; throttled and relayed by the child.
Report = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The outcome of a span: items ``[start, stop)`` are done, ``result`` holds them.

    ``stop`` may be smaller than asked for: a Work ends early, between items, once ``budget`` seconds are
    used, so that a task stays short whatever an item costs. ``summary`` is small, JSON-able and made for
    cards; the service folds the summaries of a job's parts without unpickling anything.
    """

    stop: int
    result: bytes
    summary: Mapping[str, Any] | None = None
    failed: int = 0


class Work(Protocol):
    """Anything that can do the items ``[start, stop)`` of a job."""

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Do the items from ``start`` on, until ``stop`` or until ``budget`` seconds are used."""
        ...


def call(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a plain or an async function and return its value."""
    value = fn(*args, **kwargs)
    if inspect.iscoroutine(value):
        return asyncio.run(value)
    return value


@dataclass(frozen=True, kw_only=True)
class CallWork:
    """One call of one function: a job of one item."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Call the function; its value is the whole result."""
        value = call(self.fn, self.args, self.kwargs)
        return Part(stop=stop, result=cloudpickle.dumps(value))


@dataclass(frozen=True, kw_only=True)
class MapWork:
    """One function over many items; each value is pickled by itself, in order."""

    fn: Callable[..., Any]
    items: Sequence[Any]

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Call the function on each item of the span."""
        ends = None if budget is None else time.monotonic() + budget
        values: list[Any] = []
        for i in range(start, stop):
            if values and ends is not None and time.monotonic() >= ends:
                break
            values.append(call(self.fn, (self.items[i],), {}))
            report(i + 1 - start)
        return Part(stop=start + len(values), result=cloudpickle.dumps(values))


def load_call(parts: Sequence[bytes]) -> Any:
    """Return the value of a finished `CallWork`."""
    return pickle.loads(parts[0])


def load_map(parts: Sequence[bytes]) -> list[Any]:
    """Return the values of the finished spans of a `MapWork`, in order."""
    return [value for part in parts for value in pickle.loads(part)]


@dataclass(frozen=True, kw_only=True)
class ExecutorCall:
    """``executor(params, progress_callback)`` of the seed systems as a function of ``params``."""

    executor: Callable[..., Any]
    run_sync: bool = True

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """Call the executor with the job's own progress; a coroutine is awaited by whoever calls."""
        from jobnb.worker.context import progress

        return self.executor(params, progress)
