"""The handle of a circuit breaker: ``with jobnb.breaker("yahoo"):``, ``.call(f, …)``, and as a decorator.

It keeps a name and asks for everything else (`jobnb.desk`), so that all jobs, workers and notebooks share one state.
What is decided is in `jobnb.circuit`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import pickle
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, cast

from jobnb import desk
from jobnb.circuit import Rule, checked, counts
from jobnb.durations import seconds
from jobnb.errors import BreakerOpen, UsageProblem
from jobnb.kind import bases_of, code_of
from jobnb.retry import GiveUp

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.store.limits import BreakerRecord

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
#: Larger values are not kept for the time when the service fails.
VALUE_BYTES = 16 << 20
LAST = "last"


class StaleValue(UserWarning):
    """An outside service failed, and the last value that it gave was used instead."""


class Nothing:
    """No fallback was given; None is one."""

    def __repr__(self) -> str:
        return "none"

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()


@dataclass(frozen=True, kw_only=True)
class Reply(Generic[R]):
    """What a guarded call gave.

    Attributes
    ----------
    value
        Of the call, or of the fallback.
    stale : bool
        The call failed, or was not made, and this is the fallback.
    as_of : datetime or None
        When the service gave the value, in UTC; None for a fallback that it never gave.
    error : Exception or None
        Why it is stale.
    """

    value: R
    stale: bool = False
    as_of: datetime | None = None
    error: Exception | None = None


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    """Somebody was let through."""

    holder: str
    since: int
    rule: Rule


#: The blocks that this thread or coroutine is in, the innermost last. One for all handles: a context never forgets a
#: variable that was once set in it.
_blocks: ContextVar[tuple[tuple[object, _Ticket], ...]] = ContextVar("jobnb_blocks", default=())


class Breaker(desk.Asker):
    """A circuit breaker, shared by everybody who names it; made by `jobnb.breaker`, found by `jobnb.breakers`.

    Use it as a context manager, also with ``async with``; as a decorator; or by `call` and `reply`.

    Attributes
    ----------
    name : str
    last : Reply or None
        What the last `call` or `reply` of this handle gave.
    """

    def __init__(
        self,
        name: str,
        said: Mapping[str, Any] | None = None,
        fallback: Any = NOTHING,
        manager: JobManager | None = None,
    ) -> None:
        super().__init__(name, manager)
        self._said = checked(said or {})
        self._fallback = fallback
        self.last: Reply[Any] | None = None
        if self._said and desk.here() is None:
            # In a job it goes along with the first question.
            self._tell("rule", rule=self._plain)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "said": self._said, "fallback": self._fallback}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__(state["name"], None)
        self._said, self._fallback, self.last = state["said"], state["fallback"], None

    @property
    def _keeps(self) -> bool:
        # Not a mere comparison, which an array as a fallback would answer with an array.
        return isinstance(self._fallback, str) and self._fallback == LAST

    @property
    def _plain(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self._said.items()}

    # How it stands

    @property
    def record(self) -> BreakerRecord:
        """Everything the store has of it, as of now; not inside a job."""
        return self._managed.store.limits.breaker(self.name)

    @property
    def state(self) -> str:
        """``closed``, ``open``, or ``half-open``: one call may go, or has gone, to see whether the service is back."""
        return str(self._ask("show")["phase"])

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return int(self._ask("show")["failures"])

    @property
    def opens_until(self) -> datetime | None:
        """When it lets a probe through, in UTC; None while it is closed."""
        until = self._ask("show")["until"]
        return None if until is None else _moment(until)

    @property
    def stale(self) -> bool:
        """Whether the last `call` of this handle gave a fallback."""
        return self.last is not None and self.last.stale

    @property
    def as_of(self) -> datetime | None:
        """When the service gave what the last `call` of this handle returned."""
        return None if self.last is None else self.last.as_of

    def trip(self, length: float | str | timedelta | None = None) -> None:
        """Open it by hand, for so long, or for as long as it opens by itself."""
        from jobnb.submission import who

        self._ask("trip", rule=self._plain, who=who(), seconds=None if length is None else seconds(length, "trip"))

    def reset(self) -> None:
        """Close it by hand; what waits for it goes on."""
        self._ask("reset", rule=self._plain)

    def remove(self) -> None:
        """Forget it, its rule, and what its calls gave last."""
        self._managed.store.limits.remove_breaker(self.name)

    # Going through it

    def _begin(self) -> _Ticket:
        said = self._ask("ask", rule=self._plain, holder=desk.number())
        rule = Rule(on=tuple(said["on"]))
        if not said["ok"]:
            after = max(0.0, (said["again"] - said["now"]) / 1e6)
            raise BreakerOpen(
                f"{self.name} {said['cause']} and is left alone; again in {after:,.0f} s.", name=self.name, after=after
            )
        return _Ticket(holder=said["holder"], since=said["since"], rule=rule)

    def _end(self, ticket: _Ticket, error: BaseException | None, **more: Any) -> Exception | None:
        """Say how it went; return the error if it is the service's failure."""
        where = {"holder": ticket.holder, "since": ticket.since}
        if error is None:
            self._tell("succeeded", **where, **more)
            return None
        # What interrupts a call, and what its author gives up, is not the service's fault.
        theirs = isinstance(error, Exception) and not isinstance(error, GiveUp)
        if theirs and counts(ticket.rule, code=code_of(error), bases=bases_of(error)):
            self._tell("failed", **where, error=f"{type(error).__name__}: {error}"[:300])
            return cast("Exception", error)
        self._tell("released", **where)
        return None

    def __enter__(self) -> Self:
        self._no_fallback()
        self._entered(self._begin())
        return self

    def _entered(self, ticket: _Ticket) -> None:
        _blocks.set((*_blocks.get(), (self, ticket)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocks = list(_blocks.get())
        mine = [at for at, (handle, _) in enumerate(blocks) if handle is self]
        if mine:
            _, ticket = blocks.pop(mine[-1])
            _blocks.set(tuple(blocks))
            self._end(ticket, error)

    async def __aenter__(self) -> Self:
        self._no_fallback()
        self._entered(await asyncio.to_thread(self._begin))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _no_fallback(self) -> None:
        if self._fallback is not NOTHING:
            raise UsageProblem(
                "a with block has no value that a fallback could stand for: "
                f"write jobnb.breaker({self.name!r}, fallback=…).call(f, …), or use it as a decorator."
            )

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Guard a function, plain or ``async``."""
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def guarded_later(*args: P.args, **kwargs: P.kwargs) -> Any:
                return (await self._reply_later(fn, args, kwargs)).value

            return cast("Callable[P, R]", guarded_later)

        @functools.wraps(fn)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            return self.call(fn, *args, **kwargs)

        return guarded

    def call(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call ``fn(*args, **kwargs)``, or return the fallback; see `jobnb.breaker`.

        Of an ``async`` function: to be awaited.

        Raises
        ------
        BreakerOpen
            It is open, and there is no fallback.
        """
        if inspect.iscoroutinefunction(fn):
            return cast("R", self._value_later(fn, args, kwargs))
        return self.reply(fn, *args, **kwargs).value

    def reply(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Reply[R]:
        """Call ``fn(*args, **kwargs)`` and return a `Reply`, which says whether its value is stale, and of when."""
        try:
            ticket = self._begin()
        except BreakerOpen as refused:
            return self._fall_back(refused, fn, args, kwargs)
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            failure = self._end(ticket, error)
            if failure is None:
                raise
            return self._fall_back(failure, fn, args, kwargs)
        return self._fine(ticket, value, fn, args, kwargs)

    async def _value_later(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return (await self._reply_later(fn, args, kwargs)).value

    async def _reply_later(
        self, fn: Callable[..., Awaitable[Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Reply[Any]:
        try:
            ticket = await asyncio.to_thread(self._begin)
        except BreakerOpen as refused:
            return self._fall_back(refused, fn, args, kwargs)
        try:
            value = await fn(*args, **kwargs)
        except BaseException as error:
            failure = self._end(ticket, error)
            if failure is None:
                raise
            return self._fall_back(failure, fn, args, kwargs)
        return self._fine(ticket, value, fn, args, kwargs)

    def _fine(
        self, ticket: _Ticket, value: R, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Reply[R]:
        now = time.time_ns() // 1000
        kept: dict[str, Any] = {}
        if self._keeps:
            packed = _packed(value)
            if packed is not None:
                kept = {"value": packed, "call": call_key(fn, args, kwargs), "at": now}
        self._end(ticket, None, **kept)
        self.last = Reply(value=value, as_of=_moment(now))
        return self.last

    def _fall_back(
        self, error: Exception, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Reply[Any]:
        if self._fallback is NOTHING:
            raise error
        if self._keeps:
            found = self._ask("last", call=call_key(fn, args, kwargs))
            if found.get("value") is None:
                raise error
            # Trusted as every result in the store is: jobs of this user wrote it.
            made = Reply(
                value=_marked(pickle.loads(found["value"]), found["at"]),
                stale=True,
                as_of=_moment(found["at"]),
                error=error,
            )
            warnings.warn(
                f"{self.name}: {str(error).rstrip('.')}; the value of {made.as_of:%Y-%m-%d %H:%M:%S} UTC is used.",
                StaleValue,
                stacklevel=4,
            )
        else:
            value = self._fallback(*args, **kwargs) if callable(self._fallback) else self._fallback
            made = Reply(value=value, stale=True, error=error)
        self.last = made
        return made

    def __repr__(self) -> str:
        try:
            shown = self._ask("show")
        except Exception:  # noqa: BLE001 - a repr never raises
            return f"<Breaker {self.name}>"
        text = f"<Breaker {self.name}: {shown['phase']}, {shown['text']}"
        return f"{text}; it {shown['cause']}>" if shown["cause"] else f"{text}>"


def call_key(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return what stands for a call, by function and arguments: equal in every process."""
    bound: list[Any] = []
    while isinstance(fn, functools.partial):
        bound.append((fn.args, sorted(fn.keywords.items())))
        fn = fn.func
    name = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
    code = getattr(fn, "__code__", None)
    if "<lambda>" in name and code is not None:
        name += f":{code.co_code.hex()}:{code.co_consts!r}:{code.co_names!r}"
    said = (name, bound, list(args), sorted(kwargs.items()))
    try:
        import joblib

        return str(joblib.hash(said))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        shown = f"{name}({', '.join(map(repr, args))})"
        raise UsageProblem(f'fallback="last" needs arguments that can be pickled, in {shown}: {error}') from error


def _packed(value: object) -> bytes | None:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - pickling runs user code; the value itself is fine
        log.warning("a value of type %s cannot be kept for later: it cannot be pickled", type(value).__name__)
        return None
    if len(packed) > VALUE_BYTES:
        log.warning("a value of %d MiB is not kept for later: more than %d", len(packed) >> 20, VALUE_BYTES >> 20)
        return None
    return packed


def _marked(value: Any, at: int) -> Any:
    """Mark a data frame or series as stale, which it carries along."""
    if type(value).__module__.partition(".")[0] == "pandas" and isinstance(getattr(value, "attrs", None), dict):
        value.attrs.update(stale=True, as_of=_moment(at).isoformat())
    return value


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
