"""Jobs that need an outside service: put off while its breaker is open, and counted by how their tasks end.

The dispatcher's, in its thread. The decisions are the store's (`jobnb.store.limits`); a job that needs nothing costs
nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobnb.errors import BreakerOpen
from jobnb.job import JobRecord, Priority
from jobnb.store import Store
from jobnb.worker.request import TaskOutcome

#: What the history of a job says that goes back into the queue.
WHY = "an outside service that it needs has failed too often"


def of(job: JobRecord) -> Sequence[str]:
    """Return the breakers that a job needs."""
    return job.options.get("needs") or ()


def keeps_back(store: Store, job: JobRecord) -> bool:
    """Tell whether a waiting job has to wait for a breaker; then it and its like are put off. Call inside `fenced`."""
    needs = of(job)
    if not needs or job.priority is Priority.CRITICAL:
        return False
    closed = store.limits.may_start(job, needs)
    if closed is None:
        return False
    store.limits.put_off(job.cluster, closed)
    return True


def unasked(job: JobRecord, error: Mapping[str, Any]) -> bool:
    """Tell whether a task only found that an outside service is left alone, which the job has said that it needs."""
    return error.get("code") == BreakerOpen.code and bool(of(job))


def holds(store: Store, job: JobRecord, error: Mapping[str, Any]) -> bool:
    """Tell whether a failed task is to wait for a breaker instead of using up a retry; call inside `fenced`."""
    return unasked(job, error) and any(store.limits.shut(name) for name in of(job))


def settled(store: Store, job: JobRecord, state: str, *, since: int, outcome: TaskOutcome | None) -> bool:
    """Count how a task has ended, and keep what its guarded calls gave; True if the job has to wait for a breaker now.

    Call it inside `fenced`.

    Parameters
    ----------
    since : int
        µs on the store's clock; when the task was handed out.
    outcome : TaskOutcome or None
        None for a task that was lost.
    """
    if outcome is not None and outcome.kept:
        store.limits.keep(outcome.kept)
    needs = of(job)
    if not needs:
        return False
    error = None if outcome is None else outcome.error
    store.limits.task_over(job.id, needs, state=state, since=since, error=error)
    return job.priority is not Priority.CRITICAL and any(store.limits.shut(name) for name in needs)
