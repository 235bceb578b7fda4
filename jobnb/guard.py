"""``jobnb.breaker``, ``jobnb.rate_limit``, and tables of all there are; the handles are in `breaking` and `limiting`.

(Not ``breaker.py``: a submodule of that name would hide ``jobnb.breaker(…)``.)
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from jobnb import desk
from jobnb.breaking import NOTHING, Breaker
from jobnb.errors import UsageProblem
from jobnb.limit import RateLimit
from jobnb.limiting import Limit
from jobnb.retry import Kinds

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.store import Store
    from jobnb.store.limits import BreakerRecord, LimitRecord


class _Table(list[Any]):
    """Several of them; a notebook shows them as a table."""

    HEAD: tuple[str, ...] = ()
    EMPTY = ""

    def rows(self) -> list[tuple[str, ...]]:
        """Return what the table shows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        if not self:
            return self.EMPTY
        rows = [self.HEAD, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{self.EMPTY}</p>"
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Breakers(_Table):
    """All breakers of a store."""

    HEAD = ("name", "state", "failures", "opens until", "waiting", "calls", "failed", "refused", "last failure")
    EMPTY = "no breakers"

    def rows(self) -> list[tuple[str, ...]]:
        """Return what the table shows."""
        made: list[tuple[str, ...]] = []
        for each in self:
            r: BreakerRecord = each.record
            until = f"{r.opens_until.astimezone():%H:%M:%S}" if r.opens_until else "–"
            counted = f"{len(r.circuit.failures)} of {r.rule.failures}"
            numbers = [f"{n:,}" for n in (r.waiting, r.succeeded + r.failed, r.failed, r.refused)]
            made.append((r.name, r.phase.value, counted, until, *numbers, r.error))
        return made


class Limits(_Table):
    """All rate limits of a store."""

    HEAD = ("name", "rate", "free now", "calls")
    EMPTY = "no rate limits"

    def rows(self) -> list[tuple[str, ...]]:
        """Return what the table shows."""
        records: list[LimitRecord] = [each.record for each in self]
        return [(r.name, str(r.rate), f"{r.free:,}", f"{r.taken:,}") for r in records]


class Guards:
    """``breaker``, ``rate_limit``, ``breakers``, ``rate_limits``; mixed into `JobManager`."""

    @property
    def _home_manager(self) -> JobManager:
        return cast("JobManager", self)

    def breaker(
        self,
        name: str,
        *,
        failures: int | None = None,
        within: float | str | timedelta | None = None,
        open_for: float | str | timedelta | None = None,
        on: Kinds | None = None,
        fallback: Any = NOTHING,
    ) -> Breaker:
        """Return the circuit breaker of an outside service; see `jobnb.breaker`."""
        said = {"failures": failures, "within": within, "open_for": open_for, "on": on}
        return Breaker(name, said, fallback, self._home_manager)

    def rate_limit(self, name: str, rate: RateLimit | str | None = None) -> Limit:
        """Return the rate limit of an outside service; see `jobnb.rate_limit`."""
        return Limit(name, rate, self._home_manager)

    def breakers(self) -> Breakers:
        """Return all breakers of the store, by name."""
        manager = self._home_manager
        return Breakers(Breaker(record.name, manager=manager) for record in manager.store.limits.breakers())

    def rate_limits(self) -> Limits:
        """Return all rate limits of the store, by name."""
        manager = self._home_manager
        return Limits(Limit(record.name, manager=manager) for record in manager.store.limits.rate_limits())

    def limit_stats(self) -> dict[str, Any]:
        """Return how breakers and rate limits stand, as plain values."""
        limits = self._home_manager.store.limits
        return {
            "breakers": {
                r.name: {
                    "state": r.phase.value,
                    "failures": len(r.circuit.failures),
                    "opens_until": r.opens_until.isoformat() if r.opens_until else None,
                    "waiting": r.waiting,
                    "succeeded": r.succeeded,
                    "failed": r.failed,
                    "refused": r.refused,
                }
                for r in limits.breakers()
            },
            "rate_limits": {
                r.name: {"rate": str(r.rate), "free": r.free, "taken": r.taken} for r in limits.rate_limits()
            },
        }


def breaker(
    name: str,
    *,
    failures: int | None = None,
    within: float | str | timedelta | None = None,
    open_for: float | str | timedelta | None = None,
    on: Kinds | None = None,
    fallback: Any = NOTHING,
) -> Breaker:
    """Return the circuit breaker of an outside service: after so many failures it is left alone for a while.

    One state per name for all jobs, workers and notebooks of a store, also after restarts. When it has been open for
    long enough one call is let through, to see whether the service is back; its success closes the breaker, its failure
    opens it again.

    Parameters
    ----------
    name : str
    failures : int, default 5
        So many failures in a row, without a success between them, …
    within : float or str, default ``"1m"``
        … in this time open it.
    open_for : float or str, default ``"30s"``
        How long it lets nobody through.
    on : exceptions or their names, or error codes
        What counts as a failure; any exception but `jobnb.GiveUp` by default. Others count neither way.
    fallback : optional
        What `Breaker.call`, or the function it decorates, returns when the call fails in this way or is not made:
        ``"last"`` for the last value that the same function gave for the same arguments, in whatever job or notebook;
        a function, called with the same arguments; or any other value. ``"last"`` warns with `StaleValue`, the handle
        says `Breaker.stale` and `Breaker.as_of`, a data frame has them in its ``attrs``, and `Breaker.reply` returns
        them with the value. Where there is no last value the error is raised.

    Returns
    -------
    Breaker
        A context manager, also for ``async with``, and a decorator. What is said here is kept for all who name it.

    Raises
    ------
    BreakerOpen
        By the block or call, at once, while it is open. A job that fails by it is retried when the breaker lets a probe
        through; one with ``jobnb.options(needs=[name])`` is put off instead and uses no retry.

    Notes
    -----
    Inside a job the service is asked, which takes some milliseconds. A job that declares its need and never asks the
    breaker counts by its outcome: completed, or failed by an error of the network, an API or time.

    Examples
    --------
    ::

        with jobnb.breaker("yahoo"):
            prices = yf.download("AAPL")

        jobnb.breaker("yahoo", failures=3, within="5m", open_for="1m", on=ConnectionError)
        quote = jobnb.breaker("yahoo", fallback="last").call(fetch, "AAPL")
    """
    said = {"failures": failures, "within": within, "open_for": open_for, "on": on}
    return Breaker(name, said, fallback)


def rate_limit(name: str, rate: RateLimit | str | None = None) -> Limit:
    """Return the rate limit of an outside service, which all jobs, workers and notebooks of a store keep together.

    Parameters
    ----------
    name : str
    rate : str, optional
        ``"100/min"``, ``"5/s"``, ``"20/90s"``: so many calls at once after a quiet time, then evenly. It is kept for
        all who name it.

    Returns
    -------
    Limit
        ``with jobnb.rate_limit("yahoo"): …`` waits until the call may be made, and so do ``.wait()`` and a function
        that it decorates.

    Examples
    --------
    ::

        jobnb.rate_limit("yahoo", "100/min")

        @jobnb.rate_limit("yahoo")
        def fetch(symbol): …
    """
    return Limit(name, rate)


def breakers() -> Breakers:
    """Return all breakers, by name: their state, failures, until when they are open; each can `trip` and `reset`."""
    return desk.manager_here().breakers()


def rate_limits() -> Limits:
    """Return all rate limits, by name, and how many calls could be made at once now."""
    return desk.manager_here().rate_limits()


def check_needs(names: Sequence[str], store: Store) -> None:
    """Raise `UsageProblem` where ``needs=`` names a rate limit: it takes breakers only."""
    if not names:
        return
    breakers, rates = store.limits.known()
    for name in names:
        if name in rates and name not in breakers:
            raise UsageProblem(
                f"needs takes breakers, and {name!r} is a rate limit: a job begins whatever its limits are. "
                f"Write `with jobnb.rate_limit({name!r}):` in the job. Nothing was enqueued."
            )
