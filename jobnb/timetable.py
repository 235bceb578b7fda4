"""Schedules at the front door: the handle people hold, and what `JobManager` can do with them.

It checks what people write, stores it, and reads what the service made of it. It fires nothing: the service does,
whether or not anybody looks. (Not ``schedule.py``: a submodule of that name would hide ``jobnb.schedule(…)``.)
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from jobnb import filters, submission
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Job
from jobnb.option import OPTION_NAMES, Options
from jobnb.shown import shown
from jobnb.store.jobs import NewJob, from_us
from jobnb.store.schedules import ScheduleRecord, TickRecord
from jobnb.triggers import described
from jobnb.triggers.ticks import POLICY_NAMES, Policy

if TYPE_CHECKING:
    from datetime import timedelta

    from jobnb.filters import Filter
    from jobnb.manager import JobManager
    from jobnb.recipe import Jobs, Recipe
    from jobnb.triggers.condition import Condition
    from jobnb.triggers.trigger import Trigger

#: Options of a job that make no sense for one that runs again and again.
_NOT_OFTEN = {
    "run_at": "the schedule says when.",
    "expires_at": "say catch_up=… for how long a missed tick still counts.",
    "unique": "say overlap=… for what happens while the run before goes on.",
    "unique_for": "say overlap=… for what happens while the run before goes on.",
    "after": "its runs come by time.",
    "after_on": "its runs come by time.",
    "condition": "its runs come by time.",
    "on_parent_failure": "its runs come by time.",
}
_LONGEST_NAME = 200


class Schedule:
    """Something that runs again and again; made by `jobnb.schedule`, found by `jobnb.schedules`.

    It keeps its name and asks the store for everything else, so it is as good after a kernel restart as before.
    """

    def __init__(self, name: str, manager: JobManager) -> None:
        self.name = name
        self._manager = manager

    @property
    def record(self) -> ScheduleRecord:
        """Everything the store has of it, as of now.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: it was removed.
        """
        found = self._manager.store.schedules.get(self.name)
        if found is None:
            raise unknown("schedule", self.name, [s.name for s in self._manager.store.schedules.all()])
        return found

    @property
    def when(self) -> str:
        """The trigger in words."""
        return described.trigger(dict(self.record.trigger)).text

    @property
    def enabled(self) -> bool:
        """False while it is paused, and once it is over; `note` says why."""
        return self.record.enabled

    @property
    def note(self) -> str:
        """Why it is paused, or what is wrong with it."""
        return self.record.note

    @property
    def next_run(self) -> datetime | None:
        """The next tick, in UTC; None while it is paused, and once it is over."""
        record = self.record
        return record.next_at if record.enabled else None

    def upcoming(self, count: int = 5, after: datetime | None = None) -> list[datetime]:
        """Return its next moments, in UTC, or those after another moment; what its own functions say is not asked.

        Parameters
        ----------
        count : int, default 5
        after : datetime, optional
            Aware; now by default. Also of years to come, to see what a change of the clock or a holiday does.

        Raises
        ------
        OutOfCalendar
            ``OUT_OF_CALENDAR``: nobody knows the holidays yet.
        """
        trigger = described.trigger(dict(self.record.trigger))
        at = trigger.after(from_us(self._manager.store.clock()) if after is None else after)
        found: list[datetime] = []
        while at is not None and len(found) < count:
            found.append(at)
            at = trigger.after(at)
        return found

    @property
    def last_run(self) -> Job | None:
        """The newest of its jobs that are kept."""
        return next(iter(self.jobs(1)), None)

    @property
    def runs(self) -> int:
        """How many runs it has started."""
        return self.record.runs

    @property
    def failures(self) -> int:
        """How many of its last runs have failed in a row."""
        return self.record.failures

    def ticks(self, limit: int = 50) -> list[TickRecord]:
        """Return what became of its newest moments, newest first: fired, missed, coalesced, skipped, and why."""
        return self._manager.store.schedules.ticks(self.name, limit)

    def jobs(self, limit: int = 50) -> list[Job]:
        """Return its newest jobs, newest first."""
        made = [tick.job for tick in self.ticks(10 * limit) if tick.job]
        kept = [job for job in made if self._manager.store.jobs.get(job) is not None]
        return [Job(job, self._manager) for job in kept[:limit]]

    def pause(self) -> None:
        """Fire no more until `resume`; a run that goes on is not touched."""
        self._manager.store.schedules.enable(self.record.name, False)

    def resume(self) -> None:
        """Fire again from now on; what would have been due meanwhile is let go."""
        record = self.record
        now = from_us(self._manager.store.clock())
        following = described.trigger(dict(record.trigger)).after(now)
        if following is None:
            raise UsageProblem(f"schedule {self.name!r} is over: {self.when} does not come any more.")
        self._manager.store.schedules.enable(self.name, True, next_at=following, decided_at=now)
        self._manager.ensure_service()

    def run(self) -> Job:
        """Start a run now, beside its ticks, also while it is paused."""
        record, store = self.record, self._manager.store
        with store.database.writing():
            now = from_us(store.clock())
            deadline = Policy(**record.policy).deadline
            job = store.schedules.fire(record, now, now, "run by hand", deadline=deadline, by_hand=True)
        assert job is not None
        self._manager.ensure_service()
        return Job(job, self._manager)

    def remove(self) -> None:
        """Remove it; its jobs stay."""
        self._manager.store.schedules.remove(self.record.name)

    def __repr__(self) -> str:
        record = self.record
        state = f"next {record.next_at:%Y-%m-%d %H:%M:%S} UTC" if record.enabled and record.next_at else record.note
        return f"<Schedule {self.name}: {self.when} · {state} · {record.runs:,} runs>"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A schedule that is understood and not put yet."""

    name: str
    rows: Sequence[NewJob]
    place: int
    trigger: Trigger
    policy: Policy
    next_at: datetime
    decided_at: datetime


class Schedules(list[Schedule]):
    """Several schedules; a notebook shows them as a table."""

    HEAD = ("name", "when", "next (UTC)", "last", "runs", "note")

    def rows(self) -> list[tuple[str, ...]]:
        """Return what the table shows."""
        made: list[tuple[str, ...]] = []
        for each in self:
            record, last = each.record, each.last_run
            following = f"{record.next_at:%Y-%m-%d %H:%M:%S}" if record.enabled and record.next_at else "–"
            shown_last = f"{last.status} {last.id}" if last is not None else "–"
            made.append((each.name, each.when, following, shown_last, f"{record.runs:,}", record.note))
        return made

    def __repr__(self) -> str:
        rows = [self.HEAD, *self.rows()]
        if not self:
            return "no schedules"
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no schedules</p>"
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Timetable:
    """``schedule``, ``schedules``, ``find_schedule``; mixed into `JobManager`."""

    @property
    def _all(self) -> JobManager:
        return cast("JobManager", self)

    def schedule(
        self,
        name: str,
        target: Callable[..., Any] | Job | str | Recipe,
        when: Trigger | str | float | timedelta | datetime,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        tz: str = "UTC",
        only: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
        skip: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        **said: Any,
    ) -> Schedule:
        """Run something again and again; see `jobnb.schedule`."""
        return self.put_schedule(
            self.planned(
                name, target, when, args=args, kwargs=kwargs, tz=tz, only=only, skip=skip, start=start, end=end, **said
            )
        )

    def planned(
        self,
        name: str,
        target: Callable[..., Any] | Job | str | Recipe,
        when: Trigger | str | float | timedelta | datetime,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        tz: str = "UTC",
        only: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
        skip: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        **said: Any,
    ) -> Planned:
        """Check what is said of a schedule, and return what would be put; nothing is changed."""
        manager = self._all
        if not name or len(name) > _LONGEST_NAME:
            raise UsageProblem(f"a schedule needs a name of 1 to {_LONGEST_NAME} characters, not {name!r}.")
        policy, options = _parted(said)
        (only_known, only_asked), (skip_known, skip_asked) = filters.parted(only), filters.parted(skip)
        asked = filters.words(only_asked, skip_asked)
        trigger = described.parse(when, tz=tz, only=only_known, skip=skip_known, start=start, end=end, asked=asked)
        now = from_us(manager.store.clock())
        following = trigger.after(now)
        if following is None:
            raise UsageProblem(f"{trigger.text} does not come any more; it is {now:%Y-%m-%d %H:%M} UTC.")
        # Every run of it does the same work: the policy counts from each tick, not from now.
        options = options if options.name else options.merge(name=name)
        made = self._jobs_of(target, args, kwargs or {}, options, tz)
        rows = list(made.rows)
        if rows[0].parents:
            raise UsageProblem(
                f"the runs of schedule {name!r} would wait for other jobs, or take their results. Give them the value: "
                "job.result()."
            )
        if asked:
            rows[0] = filters.guarded(manager.store, manager.cluster, rows[0], only_asked, skip_asked, tz)
        return Planned(
            name=name, rows=rows, place=made.place, trigger=trigger, policy=policy, next_at=following, decided_at=now
        )

    def put_schedule(self, planned: Planned, *, keep: bool = False) -> Schedule:
        """Make or change a schedule; ``keep``: one that is the same already stays as it is."""
        manager = self._all
        manager.store.schedules.put(
            planned.name,
            planned.rows,
            place=planned.place,
            trigger=planned.trigger.to_json(),
            policy=planned.policy.to_json(),
            next_at=planned.next_at,
            decided_at=planned.decided_at,
            keep=keep,
        )
        manager.ensure_service()
        return Schedule(planned.name, manager)

    def schedules(self) -> Schedules:
        """Return all schedules of the store, by name."""
        manager = self._all
        return Schedules(Schedule(record.name, manager) for record in manager.store.schedules.all())

    def find_schedule(self, name: str) -> Schedule:
        """Return the schedule of a name.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: with the nearest name.
        """
        found = Schedule(name, self._all)
        _ = found.record
        return found

    def _jobs_of(
        self,
        target: Callable[..., Any] | Job | str | Recipe,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
        tz: str,
    ) -> Jobs:
        from jobnb.recipe import Jobs, Recipe

        if isinstance(target, Recipe):
            if args or kwargs:
                raise UsageProblem("a recipe has its arguments already: args and kwargs go with a function.")
            return target.jobs(self._all, options, tz)
        return Jobs(rows=[self._work_of(target, args, kwargs, options)])

    def _work_of(
        self, target: Callable[..., Any] | Job | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> NewJob:
        manager = self._all
        if isinstance(target, str):
            if args:
                raise UsageProblem("a handler takes its arguments by name: kwargs={…}.")
            said = {k: getattr(options, k) for k in OPTION_NAMES if getattr(options, k) != getattr(Options(), k)}
            return manager.handled(target, kwargs, said)
        if isinstance(target, Job):
            if args or kwargs:
                raise UsageProblem("a job is done again as it was: args and kwargs go with a function.")
            changes = {k: getattr(options, k) for k in OPTION_NAMES if getattr(options, k) != getattr(Options(), k)}
            return submission.again(manager.store, manager.cluster, target.record, changes)
        if not callable(target):
            raise UsageProblem(
                f"{target!r} is no function, job, handler or jobnb.deferred.…. Write schedule(name, f, when), not f()."
            )
        from jobnb.work import CallWork

        work = CallWork(fn=target, args=tuple(args), kwargs=dict(kwargs))
        return submission.new_job(
            manager.store, manager.cluster, work, "job", options,
            name=options.name, params=shown(args, kwargs), source=target,
        )  # fmt: skip


def _parted(said: Mapping[str, Any]) -> tuple[Policy, Options]:
    """Part the schedule's own words from options of its jobs; complain of a name that is neither."""
    for name in said:
        if name in _NOT_OFTEN:
            raise UsageProblem(f"{name} is not for a schedule: {_NOT_OFTEN[name]}")
        if name not in POLICY_NAMES and name not in OPTION_NAMES:
            known = [each for each in (*POLICY_NAMES, *OPTION_NAMES) if each not in _NOT_OFTEN]
            raise unknown("option", name, known, of="schedule")
    policy = Policy.parse({k: v for k, v in said.items() if k in POLICY_NAMES})
    return policy, Options().merge(**{k: v for k, v in said.items() if k not in POLICY_NAMES})
