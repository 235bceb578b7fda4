"""``job.result``: called it waits for the value, and it carries the words that the seed systems read from it.

Used by whoever holds a `Job`. It keeps nothing: whatever it says is asked of the manager each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobnb.manager import JobManager


class Answer:
    """Call it: ``job.result()`` waits for the job and returns its value.

    Of a job that has ended, ``job.result.success``, ``job.result.data`` and ``job.result.error`` say at once how.

    Attributes
    ----------
    success : bool
        Whether the job has completed.
    data : object
        Its value; None unless it has completed.
    error : str or None
        Why it failed, in one line, or that it was cancelled; None otherwise.
    """

    def __init__(self, manager: JobManager, job_id: str) -> None:
        self._manager = manager
        self._id = job_id

    def __call__(self, timeout: float | None = None, *, partial: bool = False) -> Any:
        """Wait for the job and return its value.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        partial : bool, default False
            Return what the finished tasks gave, at once, also of a running, failed or cancelled job.

        Raises
        ------
        JobFailed
            The job failed (code ``JOB_FAILED``; ``error_code`` has the reason's).
        JobCancelled
            The job was cancelled (code ``CANCELLED``).
        TimeoutError
            After ``timeout`` seconds. The job goes on.
        """
        return self._manager.result(self._id, timeout=timeout, partial=partial)

    @property
    def success(self) -> bool:
        """Whether the job has completed."""
        outcome = self._manager.outcome(self._id)
        return outcome is not None and outcome.success

    @property
    def data(self) -> Any:
        """The job's value; None unless it has completed."""
        outcome = self._manager.outcome(self._id)
        return None if outcome is None else outcome.data

    @property
    def error(self) -> str | None:
        """Why the job failed, or that it was cancelled; None otherwise."""
        outcome = self._manager.outcome(self._id)
        return None if outcome is None else outcome.error

    def __repr__(self) -> str:
        return f"<the result of job {self._id}: call it, job.result()>"
