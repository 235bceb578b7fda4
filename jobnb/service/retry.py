"""Decides whether a failed attempt is repeated, and when. Pure: a policy and a failure in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobnb.retry import Retry

#: Codes of what may pass by itself.
PASSING_CODES = frozenset({"NETWORK_ERROR", "API_ERROR", "SOURCE_BUSY", "BREAKER_OPEN", "NO_ANSWER"})
#: Exceptions of what may pass; by name, because the service never sees the exception.
PASSING_NAMES = frozenset({"OSError", "ConnectionError", "TimeoutError"})
#: OS errors that will be the same next time.
LASTING_NAMES = frozenset(
    {
        "FileNotFoundError",
        "FileExistsError",
        "IsADirectoryError",
        "NotADirectoryError",
        "PermissionError",
        # A server answered, and not that it is overloaded (API_ERROR); requests and urllib call it an OSError.
        "HTTPError",
    }
)
#: The bases of exceptions are told up to these, which have nearly all of them below.
EVERYBODYS_NAMES = frozenset({"Exception", "BaseException"})
#: Exceptions that are not below ``Exception``.
BASE_NAMES = frozenset({"SystemExit", "KeyboardInterrupt", "GeneratorExit"})


@dataclass(frozen=True, kw_only=True)
class Again:
    """Try again after so many seconds; with this timeout, if the job has one."""

    seconds: float
    timeout: float | None = None


def decide(
    policy: Retry, error: Mapping[str, Any], *, failures: int, drawn: float, timeout: float | None = None
) -> Again | None:
    """Decide on a failed attempt.

    Parameters
    ----------
    policy : Retry
    error : mapping
        What the supervisor says of the failure: ``code``, ``bases`` (the exception's class and its bases, by name),
        ``retry`` (``"never"``, ``"later"``, or seconds as text, where the exception spoke of it itself).
    failures : int
        How often it has failed, this time included.
    drawn : float
        A random number from 0 to 1.
    timeout : float, optional
        The timeout of the failed attempt.

    Returns
    -------
    Again or None
        None: it fails for good.
    """
    if failures > policy.max_retries:
        return None
    said = str(error.get("retry") or "")
    if said == "never" or not (said or _passes(policy, error, failures)):
        return None
    pause = policy.pause(failures, drawn)
    if said and said != "later":
        pause = min(float(said), policy.max_delay)
    longer = timeout if timeout is None else timeout * policy.timeout_factor
    return Again(seconds=pause, timeout=longer if error.get("code") == "TIMEOUT_ERROR" else timeout)


def _passes(policy: Retry, error: Mapping[str, Any], failures: int) -> bool:
    code = str(error.get("code", ""))
    bases = str(error.get("bases") or "").split()
    names = {code, *bases}
    if bases:
        names |= EVERYBODYS_NAMES if names.isdisjoint(BASE_NAMES) else {"BaseException"}
    if names & set(policy.never):
        return False
    if code == "TIMEOUT_ERROR" and policy.timeout_factor > 1:
        return True
    if policy.on:
        return bool(names & set(policy.on))
    if code == "MEMORY_ERROR":
        # Perhaps a neighbour took it; twice is no accident.
        return failures == 1
    if code in PASSING_CODES:
        return True
    return bool(names & PASSING_NAMES) and names.isdisjoint(LASTING_NAMES)
