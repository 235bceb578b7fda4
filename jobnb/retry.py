"""`Retry`: what is to happen when an attempt fails. A plain record; the decision is made by the service.

Front doors check it and store it as JSON with the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Self

from jobnb.durations import seconds
from jobnb.errors import UsageProblem, did_you_mean

Kinds = Iterable[type[BaseException] | str] | type[BaseException] | str


class RetryLater(Exception):
    """The job asks to be tried again later.

    Parameters
    ----------
    message : str
        Why, for the card.
    after : float, str or timedelta, optional
        How long to wait; the policy's delay by default. The number of attempts is the policy's all the same.
    """

    def __init__(self, message: str = "", *, after: float | str | timedelta | None = None) -> None:
        super().__init__(message or "the job asks to be tried again later.")
        self.retry_after = None if after is None else seconds(after, "after")


class GiveUp(Exception):
    """The job says that another attempt is useless.

    Parameters
    ----------
    message : str
        Why, for the card; that of the exception it was raised from by default.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(*[message] if message else [])

    def __str__(self) -> str:
        return super().__str__() or "the job gave up: another attempt would be useless."


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often and when a failed attempt is repeated.

    Parameters
    ----------
    max_retries : int, default 3
        Attempts after the first; 0 for none.
    delay : float, str or timedelta, default ``"2m"``
        Before the first retry.
    factor : float, default 2
        Each further delay is this many times the one before.
    max_delay : float, str or timedelta, default ``"1h"``
    jitter : bool, default True
        Draw each delay from the half of it up to the whole, so that many jobs do not come back at once.
    on : exceptions or their names, or error codes
        Retry these. Without it: what may pass (connections, calls that time out, other OS errors, a killed
        process that used too much memory, once).
    never : exceptions or their names, or error codes
        Do not retry these, whatever ``on`` says.
    timeout_factor : float, default 1
        Each retry of a job that ran out of time gets this many times the timeout; more than 1 also makes such a job be
        retried.
    max_lost : int, default 3
        How often workers may be lost over the same items, which uses up no retry; once more, and the job fails: perhaps
        the items kill them. On machines that are taken away at any time it may be large.

    Examples
    --------
    >>> [Retry(jitter=False).pause(n, 1.0) for n in (1, 2, 3, 9)]
    [120.0, 240.0, 480.0, 3600.0]
    """

    max_retries: int = 3
    delay: float = 120.0
    factor: float = 2.0
    max_delay: float = 3600.0
    jitter: bool = True
    on: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    timeout_factor: float = 1.0
    max_lost: int = 3

    def __init__(
        self,
        max_retries: int = 3,
        delay: float | str | timedelta = 120.0,
        factor: float = 2.0,
        max_delay: float | str | timedelta = 3600.0,
        jitter: bool = True,
        on: Kinds = (),
        never: Kinds = (),
        timeout_factor: float = 1.0,
        max_lost: int = 3,
    ) -> None:
        for name, number in (("max_retries", max_retries), ("max_lost", max_lost)):
            if number < 0 or number != int(number):
                raise UsageProblem(f"{name} must be a whole number from 0, not {number!r}.")
        if not 1.0 <= factor <= 100.0 or not 1.0 <= timeout_factor <= 100.0:
            raise UsageProblem(
                f"factor and timeout_factor must be from 1 to 100, not {factor!r} and {timeout_factor!r}."
            )
        # Frozen, so that the checked values can only be set this way.
        checked: dict[str, Any] = {
            "max_retries": int(max_retries),
            "delay": 0.0 if delay == 0 else seconds(delay, "delay"),
            "factor": float(factor),
            "max_delay": seconds(max_delay, "max_delay"),
            "jitter": bool(jitter),
            "on": names_of(on),
            "never": names_of(never),
            "timeout_factor": float(timeout_factor),
            "max_lost": int(max_lost),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def pause(self, failures: int, drawn: float) -> float:
        """Return how many seconds to wait after the ``failures``-th failure.

        Parameters
        ----------
        failures : int
            How often it has failed, from 1.
        drawn : float
            A random number from 0 to 1; it matters only with ``jitter``.
        """
        # Capped before the power, which could be beyond any float.
        steps = min(failures - 1, 1000)
        whole = self.delay
        for _ in range(steps):
            if whole >= self.max_delay:
                break
            whole *= self.factor
        whole = min(whole, self.max_delay)
        return whole * (0.5 + 0.5 * drawn) if self.jitter else whole

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)}

    @classmethod
    def of(cls, value: Self | Mapping[str, Any] | int | bool | None) -> Self | None:
        """Build a policy from what people write: a `Retry`, a number of retries, False, or its JSON.

        Raises
        ------
        UsageProblem
            A name that is no field, or a value that does not fit.
        """
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, bool):
            return cls(max_retries=3 if value else 0)
        if isinstance(value, int):
            return cls(max_retries=value)
        if isinstance(value, Mapping):
            known = [f.name for f in fields(cls)]
            for name in value:
                if name not in known:
                    raise UsageProblem(f"unknown retry setting {name!r}.{did_you_mean(str(name), known)}")
            return cls(**value)
        raise UsageProblem(f"retry must be a Retry or a number of retries, not {value!r}.")


def names_of(kinds: Kinds) -> tuple[str, ...]:
    """Return exceptions, their names and error codes as names."""
    listed = [kinds] if isinstance(kinds, str | type) else list(kinds)
    found = []
    for kind in listed:
        if isinstance(kind, type) and issubclass(kind, BaseException):
            found.append(kind.__name__)
        elif isinstance(kind, str) and kind:
            found.append(kind)
        else:
            raise UsageProblem(f"{kind!r} is neither an exception class nor the name of one, nor an error code.")
    return tuple(found)
