"""Where a breaker or a rate limit asks: the store, or, inside a job, its supervisor, who passes it on to the service.

The child's main loop puts a desk of its own here; everybody else asks the store. A question and its answer are plain
maps; `jobnb.store.limits` says which there are.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from jobnb.errors import UsageProblem

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Characters of a name.
LONGEST_NAME = 200
#: Set in the environment of a job's process, and of whatever that starts (`jobnb.worker.orphan`).
_CHILD = "JOBNB_CHILD"


class Desk(Protocol):
    """Somebody who answers questions."""

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer."""
        ...

    def tell(self, question: Mapping[str, Any]) -> None:
        """Say something to which no answer is needed."""
        ...


class _Closed:
    """The desk of a process that a job has started, and of a job's process after its task."""

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        raise UsageProblem(
            f"{question.get('name')!r} can only be asked by the job's own process, while it runs: not by a process "
            "that the job has started, nor by a thread that it has left behind."
        )

    def tell(self, question: Mapping[str, Any]) -> None:
        self.ask(question)


_desk: Desk | None = None


def use(desk: Desk | None) -> None:
    """Have the questions of this process go to ``desk``; None for nobody (the child's main loop calls this)."""
    global _desk
    _desk = desk


def here() -> Desk | None:
    """Return the desk of the job that this process is; None in a notebook or script, where the store is asked."""
    if _desk is not None:
        return _desk
    return _Closed() if _CHILD in os.environ else None


def needed(said: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of ``needs=``, checked."""
    return tuple(dict.fromkeys(_named(name) for name in ([said] if isinstance(said, str) else said)))


def _named(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise UsageProblem(f"an outside service has a name of 1 to {LONGEST_NAME} characters, not {name!r}.")
    return name


def manager_here(manager: JobManager | None = None) -> JobManager:
    """Return the manager whose store is asked, by default the one of ``jobnb.submit``.

    Raises
    ------
    UsageProblem
        Inside a job, which has no store.
    """
    if here() is not None:
        raise UsageProblem(
            "a job has no store to look into: of a breaker it can see state, failures and opens_until. Tables and "
            "records are for notebooks and scripts."
        )
    if manager is None:
        from jobnb.manager import get_job_manager

        return get_job_manager()
    return manager


def number() -> str:
    """Return a name for a question that no other one has."""
    return secrets.token_hex(12)


class Asker:
    """What the handles of breakers and rate limits share: a name, and whom they ask."""

    def __init__(self, name: str, manager: JobManager | None) -> None:
        self.name = _named(name)
        self._manager = manager

    def _ask(self, op: str, **more: Any) -> dict[str, Any]:
        question = {"op": op, "name": self.name, **more}
        there = here()
        return self._managed.store.limits.answer(question) if there is None else there.ask(question)

    def _tell(self, op: str, **more: Any) -> None:
        question = {"op": op, "name": self.name, **more}
        there = here()
        if there is None:
            self._managed.store.limits.answer(question)
        else:
            there.tell(question)

    @property
    def _managed(self) -> JobManager:
        """The manager whose store is asked."""
        return manager_here(self._manager)
