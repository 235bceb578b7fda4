"""Named handlers at the front door: functions registered once, run by name from anywhere, also after their kernel.

The function is stored with its code; whoever enqueues a job of that name needs neither the function nor its module.
Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from jobnb import submission
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Job
from jobnb.notifying import still
from jobnb.option import Options
from jobnb.shown import shown
from jobnb.store.handlers import HandlerRecord
from jobnb.store.jobs import NewJob

if TYPE_CHECKING:
    from jobnb.manager import JobManager

_LONGEST_NAME = 200
#: What a handler says of all of its jobs; the rest is said when one is enqueued.
_LASTING = ("timeout", "memory_limit", "cancel_grace", "retry")


class Handling:
    """``register_handler``, ``enqueue``, ``handlers``; mixed into `JobManager`."""

    @property
    def _whole(self) -> JobManager:
        return cast("JobManager", self)

    def register_handler(self, name: str, fn: Callable[..., Any], **said: Any) -> int:
        """Keep a function under a name; return its version; see `jobnb.job_handler`."""
        from jobnb.work import HandlerCall

        manager = self._whole
        if not name or len(name) > _LONGEST_NAME:
            raise UsageProblem(f"a handler needs a name of 1 to {_LONGEST_NAME} characters, not {name!r}.")
        if not callable(fn):
            raise UsageProblem(f"{fn!r} is not a function.")
        options = Options().merge(name=name, **said)
        new = submission.new_job(
            manager.store, manager.cluster, HandlerCall(fn=fn), "handler", options, name=name, params={}, source=fn
        )
        if new.parents:
            raise UsageProblem("what a job of a handler waits for is said when it is enqueued: enqueue(…, after=[…]).")
        return manager.store.handlers.put(name, new)

    def enqueue(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        scheduled_at: datetime | str | None = None,
        **said: Any,
    ) -> Job:
        """Run a handler as a job; see `jobnb.enqueue`."""
        if scheduled_at is not None:
            said = {**said, "run_at": scheduled_at}
        return self._whole._hand_in(self.handled(name, args or {}, said))

    def handlers(self) -> list[HandlerRecord]:
        """Return the newest version of each handler, by name."""
        return self._whole.store.handlers.all()

    def handled(self, name: str, args: Mapping[str, Any], said: Mapping[str, Any]) -> NewJob:
        """Return the row of a job of a handler.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: with the nearest name of a handler.
        """
        from jobnb.work import Handled

        manager = self._whole
        found = manager.store.handlers.get(name)
        if found is None:
            raise unknown("handler", name, [each.name for each in self.handlers()])
        # What was not said of the handler is left to its queue, as that is by now.
        known = found.job.get("said", (*_LASTING, "priority", "tags"))
        kept = {k: v for k in _LASTING if k in known and (v := found.job["options"].get(k)) is not None}
        if told := still(manager.store, found.job["options"].get("notify", ())):
            kept["notify"] = told
        if needs := found.job["options"].get("needs"):
            kept["needs"] = needs
        lasting = {k: found.job[k] for k in ("priority", "queue", "tags") if k in known or k == "queue"}
        options = Options(name=name).merge(**{**kept, **lasting, **said})
        work = Handled(code=manager.store.payloads.get(found.payload), args=dict(args))
        new = submission.new_job(
            manager.store, manager.cluster, work, "handler", options,
            name=name, params=shown((), args), blobs=found.blobs,
        )  # fmt: skip
        # The surroundings are those in which its code can be unpickled.
        about = {"handler": {"name": name, "version": found.version}, "seed": new.snapshot["seed"]}
        return replace(new, snapshot={**found.job["snapshot"], **about})
