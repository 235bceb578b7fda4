"""What a child process is given, a ``Work``, and what it gives back, a ``Part`` for each span of items.

Front doors build a Work and pickle it; only the child runs it. A job of n items is cut into spans
``[start, stop)`` by the service, which never unpickles a Work. This module imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import cloudpickle

from jobnb.allowance import Allowance
from jobnb.retry import RetryLater

if TYPE_CHECKING:
    from jobnb.worker.context import JobContext

logger = logging.getLogger(__name__)

#: ``report(items_done_in_this_span)``: called by a Work now and then; throttled and relayed by the child.
Report = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The outcome of a span: items ``[start, stop)`` are done, ``result`` holds them.

    ``stop`` may be smaller than asked for: a Work ends early, between items, once ``budget`` seconds are
    used or its place is wanted (`jobnb.allowance`), so that a task stays short whatever an item costs. ``summary``
    is small, JSON-able and made for cards; the service folds the summaries of a job's parts without unpickling
    anything. ``carry`` is what the job's later tasks have to know of this one: they get it from
    `jobnb.worker.context.carried`, if the job's plan has generations. ``refused`` says why the job
    is not to be done at all: then it ends cancelled.
    """

    stop: int
    result: bytes
    summary: Mapping[str, Any] | None = None
    failed: int = 0
    carry: bytes | None = None
    refused: str = ""


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
        return Part(stop=stop, result=cloudpickle.dumps(value), summary=_counted(value))


def _counted(value: Any) -> dict[str, int] | None:
    """Return how many records a function says that it has processed, in the words of the seed systems."""
    if not isinstance(value, Mapping):
        return None
    for name in ("records_processed", "records_collected"):
        count = value.get(name)
        if isinstance(count, int) and not isinstance(count, bool):
            return {"records": count}
    return None


#: What a handler is called with, while `Handled` runs its code.
_given: ContextVar[dict[str, Any] | None] = ContextVar("jobnb_given", default=None)


@dataclass(frozen=True, kw_only=True)
class HandlerCall:
    """A handler's function: called with the arguments that its `Handled` was given.

    One parameter of the name ``args`` gets all of them as a dict; else each goes to the parameter of its name.
    """

    fn: Callable[..., Any]

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Call the function; its value is the whole result."""
        given = dict(_given.get() or {})
        whole = list(inspect.signature(self.fn).parameters) == ["args"]
        value = call(self.fn, (given,), {}) if whole else call(self.fn, (), given)
        return Part(stop=stop, result=cloudpickle.dumps(value), summary=_counted(value))


@dataclass(frozen=True, kw_only=True)
class Handled:
    """One call of a stored handler.

    Attributes
    ----------
    code : bytes
        The pickled work around a `HandlerCall`, as it was registered.
    args : mapping
    """

    code: bytes
    args: Mapping[str, Any]

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run the handler with these arguments."""
        token = _given.set(dict(self.args))
        try:
            work: Work = pickle.loads(self.code)
            return work.run(start, stop, budget, report)
        finally:
            _given.reset(token)


def item_seeder() -> Callable[[int], None]:
    """Return a function that seeds the global random generators for an item of the running job, by its number.

    So an item draws the same numbers whichever task it is in: how a job is cut depends on how fast it was.
    """
    from jobnb.worker.context import current
    from jobnb.worker.surroundings import seed_random

    here = current()
    if here is None or here.seed is None:
        return lambda number: None
    first = here.seed - here.start
    return lambda number: seed_random((first + number) % 2**32)


#: A part keeps the tracebacks of its first failed items: of ten thousand failures few are read.
TRACEBACKS_KEPT = 20


@dataclass(frozen=True, kw_only=True)
class Failed:
    """What stands in the place of an item of a map that could not be done.

    Attributes
    ----------
    error : str
        The exception's message.
    type : str
        The name of its class.
    traceback : str
        Where it happened; empty for most when very many items fail.
    """

    error: str
    type: str
    traceback: str = field(default="", repr=False)

    @classmethod
    def of(cls, error: BaseException, *, traceback: bool = True) -> Failed:
        """Describe an exception, in the child."""
        from jobnb.worker.failure import describe

        said = describe(error)
        return cls(error=said.message, type=said.type, traceback=said.traceback if traceback else "")


@dataclass(frozen=True, kw_only=True)
class MapWork:
    """One function over many items.

    Attributes
    ----------
    fn, items
        What to call, and on what.
    on_error
        ``"fail"``: a task ends before an item that raises, and fails when that is its first one, so that a failure
        costs no finished item and is always that of the failed task's first item. ``"record"``: a `Failed` takes the
        item's place and the map goes on; a `RetryLater` is not recorded, but ends the task as with ``"fail"``. A value
        that cannot be pickled is an error like any other.
    """

    fn: Callable[..., Any]
    items: Sequence[Any]
    on_error: Literal["fail", "record"] = "fail"

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Call the function on each item of the span."""
        allowance = Allowance(budget)
        values: list[Any] = []
        failed = 0
        seed = item_seeder()
        for i in range(start, stop):
            if values and allowance.used():
                break
            seed(i)
            try:
                value = call(self.fn, (self.items[i],), {})
            except Exception as error:
                if self.on_error == "record" and not isinstance(error, RetryLater):
                    value = Failed.of(error, traceback=failed < TRACEBACKS_KEPT)
                    failed += 1
                elif values:
                    break  # It begins the next task, and raises there.
                else:
                    raise
            values.append(value)
            report(i + 1 - start)
        try:
            result = cloudpickle.dumps(values)
        except Exception:  # noqa: BLE001 - pickling runs user code; which value it was is asked below, one by one
            result = b""
        return (
            Part(stop=start + len(values), result=result, failed=failed)
            if result
            else self._piecemeal(start, values, failed)
        )

    def _piecemeal(self, start: int, values: list[Any], failed: int) -> Part:
        """Pickle the values of which at least one cannot be pickled."""
        good: list[Any] = []
        for value in values:
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                if self.on_error == "record":
                    good.append(Failed.of(error, traceback=failed < TRACEBACKS_KEPT))
                    failed += 1
                    continue
                if good:
                    break
                raise
            good.append(value)
        return Part(stop=start + len(good), result=cloudpickle.dumps(good), failed=failed)


@dataclass(frozen=True)
class Hooked:
    """A work with functions around each of its tasks; one that raises never changes the outcome, only the log.

    Attributes
    ----------
    work : Work
    before : callable, optional
        ``before(context)``, before the first item.
    after : callable, optional
        ``after(context)``, when the task has done its work.
    on_error : callable, optional
        ``on_error(context, exception)``, when it raised; also for the interrupt of a cancel, within its grace.
    """

    work: Work
    before: Callable[..., object] | None = field(default=None, kw_only=True)
    after: Callable[..., object] | None = field(default=None, kw_only=True)
    on_error: Callable[..., object] | None = field(default=None, kw_only=True)

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Do the items, with the hooks around them."""
        from jobnb.worker.context import current

        context = current()
        _hook("before", self.before, context)
        try:
            part = self.work.run(start, stop, budget, report)
        except BaseException as error:
            _hook("on_error", self.on_error, context, error)
            raise
        _hook("after", self.after, context)
        return part


def _hook(name: str, fn: Callable[..., object] | None, context: JobContext | None, *more: object) -> None:
    if fn is None:
        return
    try:
        call(fn, (context, *more), {})
    except KeyboardInterrupt:
        raise  # The job is being stopped.
    except BaseException as error:  # noqa: BLE001 - a hook that calls sys.exit() must not end the job either
        from jobnb.worker.failure import describe

        said = describe(error)
        text = f"hook {name} failed: {said.type}: {said.message}\n{said.traceback}".rstrip()
        if context is None:
            logger.warning("%s", text)
        else:
            context.log(text)


@dataclass(frozen=True)
class Conditional:
    """A work that is done only if a function of the results of the job's parents says so.

    Attributes
    ----------
    work : Work
    condition : callable
        ``condition(*results)``, plain or async; asked once in each process.
    places : tuple of int
        Where among the job's links its parents are.
    """

    work: Work
    condition: Callable[..., object] = field(kw_only=True)
    places: tuple[int, ...] = field(kw_only=True)
    _answer: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Ask, and do the items if the answer is yes."""
        if not self._answer:
            from jobnb import handover

            self._answer.append(bool(call(self.condition, [handover.value(place) for place in self.places], {})))
        if not self._answer[0]:
            name = getattr(self.condition, "__name__", type(self.condition).__name__)
            return Part(stop=start, result=b"", refused=f"its condition {name} said no")
        return self.work.run(start, stop, budget, report)


def unwrapped(work: Any) -> Any:
    """Return what a work does, without the hooks, the condition and the filters around it."""
    while _wraps(work):
        work = work.work
    return work


def _wraps(work: object) -> bool:
    # A process that has not loaded it has no work of its kind, and a child of a simple call must not load it.
    filters = sys.modules.get("jobnb.filters")
    return isinstance(work, Hooked | Conditional) or (filters is not None and isinstance(work, filters.Filtered))


def load_call(parts: Sequence[bytes]) -> Any:
    """Return the value of a finished `CallWork`."""
    return pickle.loads(parts[0])


def load_map(parts: Sequence[bytes]) -> list[Any]:
    """Return the values of the finished spans of a `MapWork`, in order, with `Failed` in the places of failed items."""
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
