"""Follows a job of joblib's calls to its end, and gives the results to joblib as the tasks come back.

A thread of the process that called `joblib.Parallel`: joblib's callbacks are made for that. It reads the store and
must never keep joblib waiting: whatever goes wrong, the caller is told.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobnb import delegate
from jobnb.errors import JobFailed
from jobnb.job import Job, Status
from jobnb.waiter import Waiter

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Pause between two looks for results.
POLL_SECONDS = 0.02


@dataclass(kw_only=True)
class Batch:
    """What joblib gave in one piece: the calls ``[start, stop)`` of the job, and whom to tell."""

    start: int
    stop: int
    tell: Callable[[Any], None]
    future: Future[Any]
    left: int


@dataclass(frozen=True)
class Raised:
    """Stands for an outcome that is an exception on its way to joblib."""

    error: BaseException


class Follower(threading.Thread):
    """Gives the results of one job to joblib as its tasks come back.

    Parameters
    ----------
    manager : JobManager
    job : Job
    batches : list of Batch
        In order, without gaps.
    """

    def __init__(self, manager: JobManager, job: Job, batches: list[Batch]) -> None:
        super().__init__(name=f"jobnb-joblib-{job.id}", daemon=True)
        self.job = job
        self._manager = manager
        self._batches = batches
        self._of = [batch for batch in batches for _ in range(batch.start, batch.stop)]
        self._values: list[Any] = [None] * len(self._of)
        self._known: set[int] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask it to leave; nobody hears of further results."""
        self._stopped.set()

    def run(self) -> None:
        """Follow the job to its end."""
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whatever keeps the results from coming, the caller must hear of it
            self._fail(error)
        finally:
            self._manager.store.close()

    def _follow(self) -> None:
        waiter = Waiter(self._manager, [self.job.id], None)
        seen: object = None
        while not self._stopped.is_set():
            over = waiter.over()
            version = self._manager.version()
            if version != seen:
                seen = version
                self._take_in()
            if over or not any(batch.left for batch in self._batches):
                break
            self._stopped.wait(POLL_SECONDS)
        if any(batch.left for batch in self._batches):
            self._fail(self._why())

    def _take_in(self) -> None:
        for task, start, result in self._manager.store.tasks.finished(self.job.id, self._known):
            self._known.add(task)
            for i, value in enumerate(pickle.loads(result), start):
                self._values[i] = value
                batch = self._of[i]
                batch.left -= 1
                if not batch.left:
                    values = self._values[batch.start : batch.stop]
                    self._values[batch.start : batch.stop] = [None] * len(values)
                    self._tell(batch, values)

    def _why(self) -> Exception:
        """Return what the caller is told of a job without a result: the call's own exception, if it travelled."""
        try:
            self.job.result(0)
        except JobFailed as failed:
            record = self.job.error
            kept = self._manager.artifacts(self.job.id).get(delegate.EXCEPTION)
            error = delegate.returned(kept, record) if record is not None else None
            # Of how it was found out, nobody wants to read.
            failed.__traceback__ = None
            if failed.traceback:
                failed.add_note(failed.traceback)
            if error is not None:
                error.__cause__ = failed
            return error or failed
        except Exception as error:  # noqa: BLE001 - cancelled, or its results cannot be read
            return error
        return JobFailed(f"job {self.job.id} is {Status(self.job.status)}, and not all of its results came back.")

    def _fail(self, error: Exception) -> None:
        waiting = next((batch for batch in self._batches if batch.left), None)
        if waiting is not None and not self._stopped.is_set():
            self._tell(waiting, Raised(error))

    def _tell(self, batch: Batch, out: Any) -> None:
        if self._stopped.is_set():
            return
        batch.future.set_result(out)
        batch.tell(out)
