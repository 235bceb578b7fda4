"""How an attempt ended, from all that its supervisor knows: who stopped it, what the child said, how it died.

Pure; runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobnb.worker import failure, memory
from jobnb.worker.request import State, TaskError, TaskRequest

#: Why a supervisor ended its child.
Stop = Literal["cancel", "lost", "timeout", "memory"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known when a task is over.

    Attributes
    ----------
    stopped
        Why the supervisor ended it; None when it ended by itself.
    end
        The child's last message; None when it died before.
    held
        The memory, in bytes, that the job held when it was last looked at.
    dead, status, max_rss
        Whether the child is dead, how it died (None when nobody saw it), and its largest size in bytes.
    """

    stopped: Stop | None
    end: Mapping[str, Any] | None
    held: int = 0
    dead: bool = False
    status: int | None = None
    max_rss: int = 0


def judge(
    request: TaskRequest, facts: Facts, last_words: Callable[[], Sequence[str]]
) -> tuple[State, TaskError | None]:
    """Return the state of the attempt and what went wrong, if something did.

    Parameters
    ----------
    request, facts
        What was asked for, and what came of it.
    last_words
        Returns the report of ``faulthandler``; called for a child that died by itself.
    """
    inner = (facts.end or {}).get("error") or {}
    at = {k: str(inner[k]) for k in ("where", "traceback") if inner.get(k)}
    match facts.stopped:
        case "cancel":
            return "cancelled", TaskError(code="CANCELLED", message="the task was cancelled.", **at)
        case "lost":
            return "lost", TaskError(code="WORKER_LOST", message="the worker left while the task ran.")
        case "timeout":
            return "failed", TaskError(
                code="TIMEOUT_ERROR",
                message=f"the task ran longer than its timeout of {request.timeout:g} s.",
                hint="Give the job a longer timeout, or less to do per task.",
                **at,
            )
        case "memory":
            limit = request.memory_limit or 0
            return "failed", TaskError(
                code="MEMORY_ERROR",
                message=f"the task held {facts.held / 2**20:.0f} MiB, its limit is {limit / 2**20:.0f} MiB.",
                hint="Raise memory_limit, or use less data at once.",
                **at,
            )
    if facts.end is not None:
        return facts.end["state"], TaskError(**inner) if inner else None
    if facts.status is None and facts.dead:
        return "lost", TaskError(code="WORKER_LOST", message="the process that starts jobs on this worker died.")
    limit_near = request.memory_limit is not None and facts.held > 0.8 * request.memory_limit
    near = limit_near or memory.near_exhaustion(facts.max_rss)
    return "failed", failure.death(facts.status, near_limit=near, words=last_words())
