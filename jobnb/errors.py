"""The errors of jobnb: one base class, a stable ``code`` on each, and the docstring is the default message.

Every process uses this module. A message says what was wrong, with the value, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class JobnbError(Exception):
    """Something went wrong in jobnb."""

    #: Stable, documented name of this kind of error: programs may compare it, people may search for it.
    code = "JOBNB_ERROR"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The text without the code."""
        return str(self.args[0])


class UsageProblem(JobnbError, ValueError):
    """The request cannot be understood. Nothing was enqueued."""

    code = "USAGE_ERROR"


class UnknownName(UsageProblem):
    """There is nothing of that name. Nothing was enqueued."""

    code = "UNKNOWN_NAME"


class QueueDraining(UsageProblem):
    """The queue is being drained and takes no new jobs. Nothing was enqueued."""

    code = "QUEUE_DRAINING"


class DataError(UsageProblem):
    """The data frame does not hold usable prices: it needs open, high, low and close over a DatetimeIndex."""

    code = "DATA_ERROR"


class SourceError(JobnbError):
    """The source of prices refused the request."""

    code = "SOURCE_ERROR"


class SourceBusy(SourceError):
    """The source of prices cannot answer now: ask again later.

    Parameters
    ----------
    message : str, optional
    after : float, optional
        Seconds that the source asks to wait.
    """

    code = "SOURCE_BUSY"
    retryable = True

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        super().__init__(message or "the source of prices cannot answer now: ask again later.")
        self.retry_after = after


class BreakerOpen(JobnbError):
    """The outside service has failed too often and is left alone for a while.

    Parameters
    ----------
    message : str, optional
    name : str
        The breaker's.
    after : float
        Seconds after which it is worth to ask again.
    """

    code = "BREAKER_OPEN"
    retryable = True

    def __init__(self, message: str | None = None, *, name: str = "", after: float = 0.0) -> None:
        super().__init__(message or "the outside service has failed too often and is left alone for a while.")
        self.name = name
        self.retry_after = after


class NoAnswer(JobnbError):
    """The service did not answer the job's question in time: it may be starting again."""

    code = "NO_ANSWER"
    retryable = True


class MissingPackage(JobnbError, ImportError):
    """An optional package is not installed. Install it with `pip install 'jobnb[…]'`."""

    code = "MISSING_PACKAGE"


class Unpicklable(UsageProblem):
    """The function or one of its arguments cannot be sent to another process."""

    code = "UNPICKLABLE"


class ServiceUnavailable(JobnbError):
    """The jobnb service did not start. Run `jobnb doctor` to see why."""

    code = "SERVICE_UNAVAILABLE"


class ClusterUnreachable(JobnbError):
    """The Dask cluster does not answer. Check its address and that its scheduler is up."""

    code = "CLUSTER_UNREACHABLE"


class VersionMismatch(JobnbError):
    """The workers run other versions than this process. Install the same versions on both sides."""

    code = "VERSION_MISMATCH"


class HomeNotWritable(JobnbError):
    """The jobnb home folder cannot be written. Set JOBNB_HOME to a folder of yours on a local disk."""

    code = "HOME_NOT_WRITABLE"


class StoreError(JobnbError):
    """The job store cannot be used."""

    code = "STORE_ERROR"


class StoreTooNew(StoreError):
    """The store was made by a newer jobnb. Upgrade jobnb, or set JOBNB_HOME to another folder."""

    code = "STORE_TOO_NEW"


class LeaseLost(JobnbError):
    """Another service has taken over this store and cluster."""

    code = "LEASE_LOST"


class BlobMissing(StoreError):
    """A stored result or data set is missing or damaged."""

    code = "BLOB_MISSING"


class JobCancelled(JobnbError):
    """The job was cancelled."""

    code = "CANCELLED"


class JobFailed(JobnbError):
    """The job failed.

    Attributes
    ----------
    job_id : str
    error_code : str
        The code of the failed attempt, for example ``USER_ERROR`` or ``TIMEOUT_ERROR``.
    traceback : str
        The traceback of the process that ran the job; empty where there was none.
    """

    code = "JOB_FAILED"

    def __init__(
        self, message: str | None = None, *, job_id: str = "", error_code: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error_code = error_code
        self.traceback = traceback

    def _render_traceback_(self) -> list[str]:
        """Show the job's own traceback in IPython instead of the frames of ``result()``."""
        lines = self.traceback.rstrip().splitlines()
        return [*lines, f"JobFailed: {self.message}"] if lines else [f"JobFailed: {self.message}"]


class NotSent(JobnbError):
    """A notice could not be sent."""

    code = "NOT_SENT"


class NotReproduced(JobnbError):
    """The same work with the same seed gave another result."""

    code = "NOT_REPRODUCED"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    Examples
    --------
    >>> did_you_mean("SmaCros", ["SmaCross", "Breakout"])
    " Did you mean 'SmaCross'?"
    """
    known = list(known)
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not found:
        lowered = {k.lower(): k for k in known}
        found = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)]
    return f" Did you mean {found[0]!r}?" if found else ""


def unknown(what: str, name: str, known: Iterable[str], **where: Any) -> UnknownName:
    """Build the `UnknownName` for ``name``, with the nearest right name or the list of right ones."""
    known = sorted(known)
    hint = did_you_mean(name, known)
    if not hint and known:
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        hint = f" Known: {shown}."
    place = "".join(f" {k} {v}" for k, v in where.items())
    return UnknownName(f"unknown {what} {name!r}{place}.{hint}")
