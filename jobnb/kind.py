"""What kind of failure an exception is: its error code, the classes it belongs to, and whether it asks to be retried.

Pure, used wherever user code runs: in the child, and where a breaker guards a block. The service decides by these words
alone, because it never sees the exception; attributes of a user's exception are user code, so nothing here may raise
for what they do.
"""

from __future__ import annotations

import errno
import math
import os
import socket

from jobnb.errors import JobnbError
from jobnb.retry import GiveUp, RetryLater

_NETWORK_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EHOSTDOWN")
    if hasattr(errno, name)
)
#: Libraries whose transport errors do not derive from ConnectionError or TimeoutError, by class name.
_NETWORK_PACKAGES = frozenset({"aiohttp", "httpcore", "httpx", "requests", "urllib3"})
_NETWORK_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ConnectionError",
        "HTTPError",
        "NetworkError",
        "Timeout",
        "TimeoutError",
        "TransportError",
    }
)
#: Answers of a server that may be another one soon: "too many requests", and what is its own fault.
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = range(500, 600)
#: What runs when a missing environment variable is looked up.
_ENVIRONMENT_LOOKUP = getattr(type(os.environ).__getitem__, "__code__", None)
#: Bases that every exception has: naming them would say nothing.
_EVERYBODYS = frozenset({Exception, BaseException, object})
#: A chain of causes may be a ring.
_MAX_CAUSES = 10


def code_of(error: BaseException) -> str:
    """Return the error code of an exception; its own ``error_code`` wins.

    Examples
    --------
    >>> code_of(ConnectionResetError()), code_of(ValueError())
    ('NETWORK_ERROR', 'USER_ERROR')
    """
    for _ in range(_MAX_CAUSES):
        own = _said(error, "error_code")
        if isinstance(own, str) and own and not isinstance(error, JobnbError):
            return own
        if not isinstance(error, GiveUp) or error.__cause__ is None:
            break
        # It says what to do about the cause, not what went wrong.
        error = error.__cause__
    if isinstance(error, JobnbError):
        return error.code
    if isinstance(error, MemoryError):
        return "MEMORY_ERROR"
    if _is_configuration(error):
        return "CONFIGURATION_ERROR"
    status = _http_status(error)
    if status == _TOO_MANY_REQUESTS or status in _SERVER_ERRORS:
        return "API_ERROR"
    return "NETWORK_ERROR" if _is_network(error) else "USER_ERROR"


def missing_variable(error: BaseException) -> str | None:
    """Return the name of the environment variable that was looked up in vain, or None for any other error."""
    if not isinstance(error, KeyError) or error.__traceback__ is None:
        return None
    innermost = error.__traceback__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost.tb_frame.f_code is not _ENVIRONMENT_LOOKUP:
        return None
    name = error.args[0] if error.args else ""
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def bases_of(error: BaseException) -> str:
    """Return the names of the exception's class and of its bases below ``Exception``, blank-separated.

    Examples
    --------
    >>> bases_of(ConnectionResetError())
    'ConnectionResetError ConnectionError OSError'
    """
    kind = type(error)
    bases = [base.__name__ for base in kind.__mro__[1:] if base not in _EVERYBODYS]
    # A class that was made by type() may have any name.
    return " ".join("_".join(name.split()) for name in (kind.__name__, *bases))


def retry_of(error: BaseException) -> str:
    """Return what the exception itself says of another attempt: nothing, "never", "later", or seconds as text.

    Examples
    --------
    >>> from jobnb.retry import GiveUp, RetryLater
    >>> [retry_of(e) for e in (GiveUp(), RetryLater(), RetryLater(after=90), ValueError())]
    ['never', 'later', '90', '']
    """
    if isinstance(error, GiveUp):
        return "never"
    if isinstance(error, RetryLater):
        return _seconds(_said(error, "retry_after"))
    retryable = _said(error, "retryable")
    if retryable is False:
        return "never"
    return _seconds(_said(error, "retry_after")) if retryable is True else ""


def _seconds(after: object) -> str:
    usable = isinstance(after, int | float) and not isinstance(after, bool) and math.isfinite(after) and after >= 0
    return f"{after:.12g}" if usable else "later"


def _said(error: object, name: str) -> object:
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a property of the user's exception is user code
        return None


def _is_configuration(error: BaseException) -> bool:
    # By name: a job that read no such file has not imported the module.
    return missing_variable(error) is not None or any(
        base.__module__ == "configparser" and base.__name__ == "Error" for base in type(error).__mro__
    )


def _http_status(error: BaseException) -> int | None:
    """Return the status of the answer that an exception of an HTTP library carries; None if it carries none."""
    if not isinstance(error, Exception):
        return None  # SystemExit has a code, too.
    response = _said(error, "response")
    for holder, name in ((response, "status_code"), (response, "status"), (error, "status"), (error, "code")):
        status = None if holder is None else _said(holder, name)
        if isinstance(status, int) and not isinstance(status, bool):
            return int(status)
    return None


def _is_network(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return True
    if isinstance(error, OSError) and error.errno in _NETWORK_ERRNOS:
        return True
    reason = _said(error, "reason")  # urllib.error.URLError
    if isinstance(error, OSError) and isinstance(reason, OSError):
        return reason is not error and _is_network(reason)
    return (
        any(
            base.__name__ in _NETWORK_NAMES and base.__module__.partition(".")[0] in _NETWORK_PACKAGES
            for base in type(error).__mro__
            # requests.HTTPError and httpx.HTTPStatusError carry the answer of a server that was reached.
        )
        and _said(error, "response") is None
    )
