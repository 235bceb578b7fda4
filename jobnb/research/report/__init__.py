"""Tear sheets: one HTML file of a result, complete in itself, for screen and paper.

Written at the front door, where a result is looked at. The same result gives the same bytes. All text of the user's
is escaped, and the page loads nothing and runs nothing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    from jobnb.job import JobRecord


def write(
    result: Any,
    path: str | os.PathLike[str],
    about: Mapping[str, object] | None = None,
    *,
    best: bool | None = None,
) -> Path:
    """Write the tear sheet of a result.

    Parameters
    ----------
    result : BacktestResult, ForeignResult, OptimizeResult, WalkForwardResult or CrossValidationResult
    path : path
        The file. It is there as a whole or not at all.
    about : mapping, optional
        What else stands at the foot: the job, its data, versions.
    best : bool, optional
        Of a search: run the best trial once more for its own tear sheet; by default where the result knows its job.

    Returns
    -------
    pathlib.Path
        The file, absolute.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: there is no report of such a result, or the file cannot be written.
    """
    target = Path(path).expanduser().absolute()
    if target.is_dir():
        raise UsageProblem(f"{target} is a folder; name a file in it: {target / 'report.html'}")
    if not target.parent.is_dir():
        raise UsageProblem(f"there is no folder {target.parent}; make it first, or choose another.")
    _replace(target, page(result, about, best=best).encode())
    return target


def page(result: Any, about: Mapping[str, object] | None = None, *, best: bool | None = None) -> str:
    """Return the tear sheet of a result as text of HTML; see `write`."""
    from jobnb.research.folds_result import FoldsResult
    from jobnb.research.optimize import OptimizeResult
    from jobnb.research.pictured import Pictured

    if isinstance(result, OptimizeResult):
        from jobnb.research.report.search import search_page

        wanted = result.reruns if best is None else best
        run = result.rerun_best() if wanted and result.best_index is not None else None
        return search_page(result, about or {}, run if isinstance(run, Pictured) else None)
    if isinstance(result, FoldsResult):
        from jobnb.research.report.folds import folds_page

        return folds_page(result, about or {})
    # By what they bring, so that nothing of several instruments is loaded for one.
    if isinstance(result, Pictured) and isinstance(result, Mapping):
        from jobnb.research.report.instruments import instruments_page

        return instruments_page(result, about or {})  # type: ignore[arg-type]  # the one of these that is a mapping
    if isinstance(result, Pictured) and hasattr(result, "by_instrument"):
        from jobnb.research.report.instruments import portfolio_page

        return portfolio_page(result, about or {})  # type: ignore[arg-type]
    if isinstance(result, Pictured):
        from jobnb.research.report.run import run_page

        return run_page(result, about or {})
    raise UsageProblem(
        f"there is no report of a {type(result).__name__}; "
        "there is one of backtests, optimizations, walk-forwards and cross-validations."
    )


def about(job: JobRecord) -> dict[str, str]:
    """Return what the foot says of the job that a result is from: enough to find it, and to run it again."""
    snapshot = job.snapshot
    data = snapshot.get("data")
    git = snapshot.get("git")
    versions = snapshot.get("versions")
    return {
        "Job": f"{job.id} · {job.name} · {job.created_at:%Y-%m-%d %H:%M} UTC",
        "Data": " · ".join(str(data[k]) for k in ("name", "fingerprint") if data.get(k))
        if isinstance(data, Mapping)
        else "",
        "Seed": str(snapshot.get("seed", "")),
        "Code": f"{git['commit']}{' with changes' if git.get('dirty') else ''}"
        if isinstance(git, Mapping) and git.get("commit")
        else "",
        "Versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else "",
    }


def check(job: JobRecord) -> None:
    """Refuse a job of which there can be no report, before anybody waits for it.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``
    """
    if job.plan.get("type") in ("map", "extract") or job.kind == "cell":
        raise UsageProblem(
            f"job {job.id} ({job.name}) is a {job.kind} and has no report; "
            "there is one of backtests, optimizations, walk-forwards and cross-validations."
        )


def _replace(target: Path, data: bytes) -> None:
    part = ""
    try:
        handle, part = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp's are for the owner's eyes only; a report is a file like any other.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, target)
    except OSError as error:
        raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
