"""What can be said about a job besides the work itself: name, priority, timeout, tags and so on.

Front doors build an `Options` (``jobnb.options(…)`` makes one, hence the singular name here);
everything is checked here, at the door, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from jobnb import after as parentage
from jobnb.after import After
from jobnb.channel import NOTEBOOK
from jobnb.desk import needed
from jobnb.durations import moment, seconds, size_bytes
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Priority
from jobnb.retry import Retry
from jobnb.store.chains import Wanted


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions that the job's process calls around each task; one that fails never changes an outcome.

    Attributes
    ----------
    before : callable or None
        ``before(context)``, before the first item; ``context`` is what ``jobnb.current()`` gives.
    after : callable or None
        ``after(context)``, when the task has done its work.
    on_error : callable or None
        ``on_error(context, exception)``, when it raised.
    """

    before: Callable[..., object] | None = None
    after: Callable[..., object] | None = None
    on_error: Callable[..., object] | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a job is run.

    Attributes
    ----------
    name : str
        Shown on the card; the function's or strategy's name by default.
    priority : Priority, default ``normal``
    timeout : float or None
        Seconds that one attempt may run; None for no limit.
    memory_limit : int or None
        Bytes that the job's process group may use on one worker.
    cancel_grace : float, default 0.3
        Seconds between the polite interrupt and the kill.
    queue : str, default ``default``
        See `jobnb.queue`: its defaults hold where nothing else is said. One that nobody has defined has no limits.
    tags : tuple of str
    run_at : datetime or None
        Not before this moment.
    seed : int or None
        Seed of ``random`` and numpy in the job; drawn and recorded where it is not given.
    retry : Retry or None
        What happens when an attempt fails; the configured default where it is not given.
    deadline : float or None
        Seconds from now by which the job has to have ended, waiting and retries included.
    expires_at : datetime or None
        A job that has not begun by then never does.
    unique : str or None
        While a job of this key is live, another submit returns that one.
    unique_for : float or None
        Seconds for which a finished job of the key still counts.
    on_error : {"fail", "record"}, default ``fail``
        Whether an item of a map that raises fails the job, or is recorded in its place.
    hooks : Hooks or None
        Functions to call in the job's process before and after each task.
    after : tuple of After
        Jobs that it waits for.
    after_on : {"success", "failure", "any"} or None
        Which end of them lets it run; ``success`` where it is not given.
    condition : callable or None
        Asked in the job's process, with the results of its parents, whether it is to be done.
    on_parent_failure : {"cancel", "run"}
        What becomes of it when a parent that was to succeed does not.
    notify : tuple of str
        Channels to tell of the job's end, and if it is stuck: names, addresses, ``notebook``; True is the notebook.
    needs : tuple of str
        Breakers of outside services that the job needs: while one is open the job is put off.
    """

    name: str = ""
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    memory_limit: int | None = None
    cancel_grace: float = 0.3
    queue: str = "default"
    tags: tuple[str, ...] = ()
    run_at: datetime | None = None
    seed: int | None = None
    retry: Retry | None = None
    deadline: float | None = None
    expires_at: datetime | None = None
    unique: str | None = None
    unique_for: float | None = None
    on_error: Literal["fail", "record"] = "fail"
    hooks: Hooks | None = None
    after: tuple[After, ...] = ()
    after_on: Wanted | None = None
    condition: Callable[..., object] | None = None
    on_parent_failure: Literal["cancel", "run"] = "cancel"
    notify: tuple[str, ...] = field(default=(), repr=False)
    needs: tuple[str, ...] = ()
    #: Names of the options that somebody has said: the defaults of the job's queue stand in for the others.
    said: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def merge(self, **changes: Any) -> Options:
        """Return a copy with ``changes`` checked and applied.

        Raises
        ------
        UnknownName
            There is no option of that name.
        UsageProblem
            A value is not usable.
        """
        checked = {name: _check(name, value) for name, value in changes.items()}
        said = (self.said | changes.keys()) - {name for name, value in changes.items() if value is None}
        return replace(self, **checked, said=said)


OPTION_NAMES = tuple(f.name for f in fields(Options) if f.name != "said")


def _check(name: str, value: Any) -> Any:
    if name not in OPTION_NAMES:
        raise unknown("option", name, OPTION_NAMES)
    if value is None:
        return Options.__dataclass_fields__[name].default
    match name:
        case "timeout" | "cancel_grace" | "deadline" | "unique_for":
            return seconds(value, name)
        case "memory_limit":
            return size_bytes(value)
        case "priority":
            try:
                return Priority(str(value).lower())
            except ValueError:
                raise unknown("priority", str(value), [p.value for p in Priority]) from None
        case "tags":
            tags: Iterable[str] = [value] if isinstance(value, str) else value
            return tuple(str(t) for t in tags)
        case "needs":
            return needed(value)
        case "run_at" | "expires_at":
            return moment(value, datetime.now(UTC))
        case "retry":
            return Retry.of(int(value) if isinstance(value, str) and value.isdigit() else value)
        case "on_error":
            if value not in ("fail", "record"):
                raise unknown("on_error", str(value), ["fail", "record"])
            return value
        case "notify":
            if isinstance(value, bool):
                return (NOTEBOOK,) if value else ()
            told: Iterable[str] = [value] if isinstance(value, str) else value
            return tuple(str(each) for each in told)
        case "hooks":
            if not isinstance(value, Hooks):
                raise UsageProblem(f"hooks must be jobnb.Hooks(before=…, after=…, on_error=…), not {value!r}.")
            return value
        case "after":
            return parentage.parse(value)
        case "after_on":
            return parentage.end(value, name)
        case "on_parent_failure":
            if value not in ("cancel", "run"):
                raise unknown("on_parent_failure", str(value), ["cancel", "run"])
            return value
        case "condition":
            if not callable(value):
                raise UsageProblem(f"condition must be a function of the results of the job's parents, not {value!r}.")
            return value
        case "seed":
            return int(value)
        case _:
            text = str(value)
            if len(text) > 200:
                raise UsageProblem(f"{name} is {len(text)} characters long; 200 are allowed.")
            return text
