"""Schedules under the names of the seed systems: ``jobnb.job_scheduler`` with its ``register``, and a configuration.

Run by front doors, and thin: all of it is `jobnb.schedule` on handlers. What is registered or configured again as it
was stays as it is, with its history, its runs, and what it missed meanwhile; so both may stand in a start-up script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from jobnb import config
from jobnb.errors import UsageProblem, unknown
from jobnb.job import Job, Priority
from jobnb.option import OPTION_NAMES
from jobnb.triggers.ticks import POLICY_NAMES

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.timetable import Schedule, Schedules

#: Why a schedule does not fire that its configuration does not want.
DISABLED = "disabled by its configuration"
#: The exchange whose hours ``market_hours_only`` means, where none is said.
MARKET = "XNYS"
#: What an entry of a configuration says beside policies and options of its jobs.
_KEYS = (
    "enabled", "interval", "cron", "run_at", "market_hours_only", "market", "during", "job", "args", "tz", "only",
    "skip", "start", "end",
)  # fmt: skip


class ScheduleType(StrEnum):
    """How a schedule is said: every so many seconds, as cron, or once."""

    INTERVAL = "interval"
    CRON = "cron"
    ONCE = "once"


#: Which argument goes with each of them.
_SAID_BY = {
    ScheduleType.INTERVAL: "interval_seconds",
    ScheduleType.CRON: "cron_expression",
    ScheduleType.ONCE: "run_at",
}


class JobScheduler:
    """The scheduler of the seed systems: ``jobnb.job_scheduler``.

    The service fires what is registered here; nothing has to be started.
    """

    @property
    def _manager(self) -> JobManager:
        from jobnb.manager import get_job_manager

        return get_job_manager()

    def register(
        self,
        name: str,
        job_name: str | Callable[..., Any],
        schedule_type: ScheduleType | str,
        *,
        interval_seconds: float | None = None,
        cron_expression: str | None = None,
        run_at: datetime | None = None,
        priority: Priority | str = Priority.NORMAL,
        args: Mapping[str, Any] | None = None,
        enabled: bool = True,
        **said: Any,
    ) -> Schedule:
        """Run a handler again and again; a schedule of that name is changed, one that is the same stays as it is.

        Parameters
        ----------
        name : str
        job_name : str or callable
            The name of a handler (`jobnb.job_handler`), or a function.
        schedule_type : ScheduleType or str
        interval_seconds, cron_expression, run_at
            The one that goes with the type.
        priority : Priority or str
        args : mapping, optional
            What the handler is called with.
        enabled : bool
        **said
            ``tz`` and all the rest of `jobnb.schedule`.

        Raises
        ------
        UsageProblem, UnknownName
            Nothing was changed.
        """
        try:
            kind = ScheduleType(str(schedule_type).lower())
        except ValueError:
            raise unknown("schedule_type", str(schedule_type), [each.value for each in ScheduleType]) from None
        given = {"interval_seconds": interval_seconds, "cron_expression": cron_expression, "run_at": run_at}
        wanted = _SAID_BY[kind]
        for key, value in given.items():
            if (key == wanted) is (value is None):
                raise UsageProblem(f"a schedule of the type {kind} says {wanted} and none of the others.")
        when: Any = given[wanted]
        said = {"priority": priority, "kwargs": dict(args or {}), **said}
        return _put(self._manager, [_Entry(name=name, target=job_name, when=when, said=said, enabled=enabled)])[0]

    def unregister(self, name: str) -> bool:
        """Remove a schedule; False if there is none. Its jobs stay."""
        return self._manager.store.schedules.remove(name)

    def enable(self, name: str) -> Schedule:
        """Let it fire again from now on."""
        found = self._manager.find_schedule(name)
        found.resume()
        return found

    def disable(self, name: str) -> Schedule:
        """Let it fire no more until it is enabled."""
        found = self._manager.find_schedule(name)
        found.pause()
        return found

    def run(self, name: str) -> Job:
        """Start a run now, beside its ticks."""
        return self._manager.find_schedule(name).run()

    run_now = run

    def get(self, name: str) -> Schedule:
        """Return a schedule."""
        return self._manager.find_schedule(name)

    def list(self) -> Schedules:
        """Return all schedules, by name."""
        return self._manager.schedules()

    def stats(self) -> dict[str, Any]:
        """Return how many there are, how many of them are enabled and due, and whether the service runs."""
        found: dict[str, Any] = self._manager.stats()["scheduler"]
        return found

    def __repr__(self) -> str:
        return f"<jobnb.job_scheduler: {len(self.list())} schedules>"


job_scheduler = JobScheduler()


def configure_schedules(mapping: Mapping[str, Mapping[str, Any]] | None = None) -> Schedules:
    """Make the schedules that a configuration describes.

    Parameters
    ----------
    mapping : mapping, optional
        By name: ``interval`` (``"5s"``, ``"1h"``, or seconds), ``cron`` or ``run_at``; ``enabled``;
        ``market_hours_only`` (of ``market``, XNYS by default, ``during`` its regular hours); ``job``, the name of the
        handler, by default that of the schedule; ``args``; and what `jobnb.schedule` takes: ``tz``, ``priority``,
        ``overlap``, … By default the section ``jobnb.schedules`` of Dask's configuration.

    Returns
    -------
    Schedules
        Those that are described.

    Raises
    ------
    UsageProblem, UnknownName
        Something in it is wrong. Nothing was changed.

    Notes
    -----
    An entry that is as it was changes nothing, however often it is applied: what was paused by hand stays so, and
    whatever was due meanwhile is caught up. What is not in the configuration any more stays until it is removed.

    Examples
    --------
    >>> bot = {"enabled": True, "interval": 60, "market_hours_only": True}
    >>> configure_schedules({"trading_bot": bot})  # doctest: +SKIP
    """
    from jobnb.manager import get_job_manager
    from jobnb.timetable import Schedules

    given = config.schedules() if mapping is None else mapping
    if not isinstance(given, Mapping):
        raise UsageProblem(f"a configuration of schedules maps names to what is said of each, not {given!r}.")
    return Schedules(_put(get_job_manager(), [_entry(str(name), said) for name, said in given.items()]))


class _Entry:
    """One schedule as it is wanted."""

    def __init__(self, *, name: str, target: Any, when: Any, said: Mapping[str, Any], enabled: bool) -> None:
        self.name, self.target, self.when, self.said, self.enabled = name, target, when, said, enabled


def _entry(name: str, said: Mapping[str, Any]) -> _Entry:
    if not isinstance(said, Mapping):
        raise UsageProblem(f"of the schedule {name} something like {{'interval': '5m'}} is said, not {said!r}.")
    found = {str(key).replace("-", "_"): value for key, value in said.items()}
    known = [*_KEYS, *POLICY_NAMES, *(each for each in OPTION_NAMES if each != "name")]
    for key in found:
        if key not in known:
            raise unknown("setting", key, known, of=f"schedule {name}")
    times = [key for key in ("interval", "cron", "run_at") if found.get(key) is not None]
    if len(times) != 1:
        raise UsageProblem(f"the schedule {name} has to say one of interval, cron and run_at.")
    when = found.pop(times[0])
    if times[0] == "cron" and len(str(when).split()) < 5:
        raise UsageProblem(f"{when!r} of the schedule {name} is no cron expression such as '0 8 * * 1-5'.")
    enabled = _flag(name, "enabled", found.pop("enabled", True))
    hours = _flag(name, "market_hours_only", found.pop("market_hours_only", False))
    market, during = found.pop("market", None), found.pop("during", "regular")
    if hours or market:
        from jobnb.triggers.market import Market

        only = found.get("only", ())
        condition = Market(str(market or MARKET)).hours(during)
        found["only"] = [*([only] if isinstance(only, str) or not hasattr(only, "__iter__") else only), condition]
    if str(found.get("priority", "")).lower() == "medium":
        found["priority"] = Priority.NORMAL
    target = found.pop("job", name)
    found["kwargs"] = dict(found.pop("args", None) or {})
    return _Entry(name=name, target=target, when=when, said={**found}, enabled=enabled)


def _flag(name: str, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageProblem(f"{key} of the schedule {name} must be true or false, not {value!r}.")
    return value


def _put(manager: JobManager, entries: list[_Entry]) -> list[Schedule]:
    """Make schedules: all of them are looked through before the first is changed."""
    planned = [manager.planned(each.name, each.target, each.when, **each.said) for each in entries]
    made = []
    for entry, plan in zip(entries, planned, strict=True):
        schedule = manager.put_schedule(plan, keep=True)
        record = schedule.record
        if not entry.enabled and record.enabled:
            manager.store.schedules.disable(entry.name, DISABLED)
        elif entry.enabled and not record.enabled and record.note == DISABLED:
            schedule.resume()
        made.append(schedule)
    return made
