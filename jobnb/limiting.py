"""The handle of a rate limit: ``with jobnb.rate_limit("yahoo"):``, ``.wait()``, and as a decorator.

It asks when the next call may be made (`jobnb.desk`), and waits here. What is decided is in `jobnb.limit`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from jobnb import desk
from jobnb.durations import seconds
from jobnb.errors import UsageProblem
from jobnb.limit import RateLimit

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.store.limits import LimitRecord

P = ParamSpec("P")
R = TypeVar("R")


class Limit(desk.Asker):
    """A rate limit, shared by everybody who names it; made by `jobnb.rate_limit`, found by `jobnb.rate_limits`.

    Use it as a context manager, also with ``async with``; as a decorator; or by `wait`.
    """

    def __init__(
        self,
        name: str,
        rate: RateLimit | str | None = None,
        manager: JobManager | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(name, manager)
        self._rate = None if rate is None else RateLimit.of(rate)
        self._sleep = sleep
        if self._rate is not None and desk.here() is None:
            self._take(0)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "rate": self._rate}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__(state["name"], None)
        self._rate, self._sleep = state["rate"], time.sleep

    @property
    def record(self) -> LimitRecord:
        """Everything the store has of it, as of now; not inside a job."""
        return self._managed.store.limits.rate_limit(self.name)

    def _take(self, count: int, timeout: float | None = None) -> float:
        rate = None if self._rate is None else [self._rate.calls, self._rate.per]
        said = self._ask("take", rate=rate, count=count, most=timeout)
        if said.get("refused"):
            raise TimeoutError(
                f"rate limit {self.name!r} allows the next call in {said['pause']:,.1f} s, not within {timeout:g} s."
            )
        return float(said["pause"])

    def wait(self, count: int = 1, timeout: float | str | None = None) -> float:
        """Block until a call, or ``count`` at once, may be made.

        An interrupt, or the job's cancel, ends it at once; its turn is lost then. A job's ``timeout`` runs on.

        Parameters
        ----------
        count : int, default 1
        timeout : float or str, optional
            Seconds to wait at most.

        Returns
        -------
        float
            Seconds that it took.

        Raises
        ------
        TimeoutError
            It would take longer than ``timeout``: nothing was waited for, and nothing taken.
        UnknownName
            Nobody has said how often: ``jobnb.rate_limit(name, "100/min")``.
        """
        pause = self._take(_count(count), None if timeout is None else seconds(timeout, "timeout"))
        if pause > 0:
            self._sleep(pause)
        return pause

    async def wait_async(self, count: int = 1) -> float:
        """Wait without blocking the event loop."""
        pause = await asyncio.to_thread(self._take, _count(count))
        await asyncio.sleep(pause)
        return pause

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *about: object) -> None:
        return None

    async def __aenter__(self) -> Self:
        await self.wait_async()
        return self

    async def __aexit__(self, *about: object) -> None:
        return None

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Have each call of a function, plain or ``async``, wait."""
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def limited_later(*args: P.args, **kwargs: P.kwargs) -> Any:
                await self.wait_async()
                return await fn(*args, **kwargs)

            return cast("Callable[P, R]", limited_later)

        @functools.wraps(fn)
        def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            self.wait()
            return fn(*args, **kwargs)

        return limited

    def remove(self) -> None:
        """Forget it."""
        self._managed.store.limits.remove_rate(self.name)

    def __repr__(self) -> str:
        return f"<rate limit {self.name}{'' if self._rate is None else f': {self._rate}'}>"


def _count(count: int) -> int:
    if isinstance(count, bool) or count != int(count) or count < 1:
        raise UsageProblem(f"a number of calls is a whole number from 1, not {count!r}.")
    return int(count)
