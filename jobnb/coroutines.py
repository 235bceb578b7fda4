"""The coroutine API that the seed systems have in common, on top of `JobManager`'s own methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from jobnb.job import Job, Status, utcnow
from jobnb.option import Options
from jobnb.shown import shown
from jobnb.waiter import POLL_SECONDS, Waiter
from jobnb.work import ExecutorCall

if TYPE_CHECKING:
    from jobnb.manager import JobManager


class Coroutines:
    """``create_job``, ``get_job``, ``get_all_jobs``, ``cancel_job``, ``clear_completed``; mixed into `JobManager`."""

    @property
    def _manager(self) -> JobManager:
        return cast("JobManager", self)

    async def create_job(
        self,
        job_type: str,
        params: Mapping[str, Any],
        executor: Callable[..., Any],
        run_sync: bool = True,
    ) -> str:
        """Create a job and return its id.

        Parameters
        ----------
        job_type : JobType or str
        params : mapping
            Handed to the executor.
        executor : callable
            ``executor(params, progress_callback)``; ``progress_callback(current, total, message)`` moves the card.
        run_sync : bool, default True
            False where the executor is a coroutine function.
        """
        call = ExecutorCall(executor=executor, run_sync=run_sync)
        kind = str(getattr(job_type, "value", job_type))
        options = Options(name=str(getattr(executor, "__name__", "job")))
        job = await asyncio.to_thread(
            self._manager.submit, call, (dict(params),), None, options, kind=kind, params=shown((), params)
        )
        return job.id

    def get_job(self, job_id: str) -> Job | None:
        """Return the job of that id, or None."""
        return Job(job_id, self._manager) if self._manager.store.jobs.get(job_id) else None

    def get_all_jobs(self, job_type: str | None = None) -> list[Job]:
        """Return all jobs, or those of one type, newest first."""
        kind = None if job_type is None else str(getattr(job_type, "value", job_type))
        return self._manager.jobs(kind=kind, limit=-1)

    async def cancel_job(self, job_id: str) -> bool:
        """Cancel a job and wait until it is dead; False if it had ended already."""
        if not self._manager.cancel(job_id):
            return False
        waiter = Waiter(self._manager, [job_id], 30.0)
        while not waiter.over():
            await asyncio.sleep(POLL_SECONDS)
        return self._manager.record(job_id).status is Status.CANCELLED

    def clear_completed(self, older_than_hours: float = 24) -> int:
        """Remove completed and cancelled jobs that ended that long ago; return how many."""
        before = utcnow() - timedelta(hours=older_than_hours)
        return self._manager.store.jobs.forget(before=before, status=[Status.COMPLETED, Status.CANCELLED])
