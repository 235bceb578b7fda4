"""Reads back what a job's tasks gave, as its plan says. Run where somebody asks for the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobnb.errors import JobCancelled, JobFailed, JobnbError, UsageProblem
from jobnb.job import JobRecord, Status

#: Types of plans whose result is an `OptimizeResult`.
SEARCHES = ("grid", "random", "tpe")
#: Types of plans whose items are folds.
FOLDS = ("walk_forward", "cross_validation")


def check(job: JobRecord, *, partial: bool) -> None:
    """Raise unless the job has a result that can be read.

    Raises
    ------
    JobFailed, JobCancelled
        It ended without one.
    UsageProblem
        A part was asked for of a job that has no parts.
    """
    if job.status is Status.COMPLETED or (partial and job.plan.get("type") != "single"):
        return
    if job.status is Status.CANCELLED:
        kept = f" {job.done:,} of {job.items:,} items are kept: result(partial=True)." if job.done else ""
        if job.error is not None:
            raise JobCancelled(f"job {job.id} ({job.name}) was {job.error.message}.{kept}")
        raise JobCancelled(f"job {job.id} ({job.name}) was cancelled by {job.cancelled_by or 'somebody'}.{kept}")
    if job.status is Status.FAILED and job.error is not None:
        error = job.error
        where = f" at {error.where}" if error.where else ""
        hint = f" {error.hint}" if error.hint else ""
        raise JobFailed(
            f"job {job.id} ({job.name}) failed: {error.code}: {error.line.rstrip('.')}{where}.{hint}",
            job_id=job.id,
            error_code=error.code,
            traceback=error.traceback,
        )
    raise UsageProblem(f"job {job.id} is {job.status} and has no partial result; wait for it: result().")


def same(plan: Mapping[str, Any], first: Sequence[bytes], second: Sequence[bytes]) -> bool:
    """Tell whether two runs of one plan gave the same values, to the last bit; NaN equals NaN."""
    if b"".join(first) == b"".join(second):
        return True
    if plan.get("type") == "extract":
        # The second time the bars may have been kept already: what counts is what they are.
        prints = [{k: v.fingerprint for k, v in load(plan, parts).symbols.items()} for parts in (first, second)]
        return prints[0] == prints[1]
    import joblib

    values = []
    for parts in (first, second):
        value = load(plan, parts)
        kind = plan.get("type")
        values.append(value.trials if kind in SEARCHES else value.folds if kind in FOLDS else value)
    return bool(joblib.hash(values[0]) == joblib.hash(values[1]))


def load(plan: Mapping[str, Any], parts: Sequence[bytes]) -> Any:
    """Return the value that the finished parts make up."""
    from jobnb import work

    match plan.get("type"):
        case "map":
            return work.load_map(parts)
        case "grid" | "random" | "tpe":
            from jobnb.research.optimize import load_sweep

            return load_sweep(plan["meta"], parts)
        case "walk_forward" | "cross_validation":
            from jobnb.research.fold_result import load_folds

            return load_folds(plan["meta"], parts)
        case "instruments":
            from jobnb.research.instruments_result import load_instruments

            return load_instruments(plan["meta"], parts)
        case "single":
            return work.load_call(parts)
        case "extract":
            from jobnb.data.extracted import load_extraction

            return load_extraction(plan["meta"], parts)
        case other:
            raise JobnbError(f"this jobnb does not know plans of type {other!r}. Upgrade jobnb.")
