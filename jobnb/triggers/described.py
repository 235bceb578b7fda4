"""Triggers and conditions from what the store keeps of them, and from what people write.

Pure, in any process. A new kind of trigger is a module of its own and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from jobnb.errors import JobnbError, UsageProblem
from jobnb.triggers.condition import Condition, InSession, TradingDay, Weekdays
from jobnb.triggers.cron import Cron
from jobnb.triggers.interval import MONDAY, Interval
from jobnb.triggers.limited import Limited
from jobnb.triggers.market import Market, SessionEdge, SessionInterval
from jobnb.triggers.once import Once
from jobnb.triggers.trigger import Trigger


def _limited(said: dict[str, Any]) -> Limited:
    start, end = (datetime.fromisoformat(said[name]) if said[name] else None for name in ("start", "end"))
    return Limited(
        trigger=trigger(said["trigger"]),
        only=tuple(condition(each) for each in said["only"]),
        skip=tuple(condition(each) for each in said["skip"]),
        start=start,
        end=end,
        asked=tuple(said.get("asked", ())),
    )


_TRIGGERS: dict[str, Callable[[dict[str, Any]], Trigger]] = {
    "interval": Interval.from_json,
    "cron": Cron.from_json,
    "once": Once.from_json,
    "session_edge": SessionEdge.from_json,
    "session_interval": SessionInterval.from_json,
    "limited": _limited,
}
_CONDITIONS: dict[str, Callable[[dict[str, Any]], Condition]] = {
    "in_session": lambda said: InSession(exchange=said["exchange"], during=said["during"]),
    "trading_day": lambda said: TradingDay(exchange=said["exchange"]),
    "weekdays": lambda said: Weekdays(days=tuple(said["days"]), tz=said["tz"]),
}


def trigger(said: dict[str, Any]) -> Trigger:
    """Build a trigger from its `Trigger.to_json`.

    Raises
    ------
    JobnbError
        A newer jobnb wrote it.
    """
    made = _TRIGGERS.get(str(said.get("kind")))
    if made is None:
        raise JobnbError(f"this jobnb knows no trigger of the kind {said.get('kind')!r}; a newer one wrote it.")
    return made(said)


def condition(said: dict[str, Any]) -> Condition:
    """Build a condition from its `Condition.to_json`.

    Raises
    ------
    JobnbError
        A newer jobnb wrote it.
    """
    made = _CONDITIONS.get(str(said.get("kind")))
    if made is None:
        raise JobnbError(f"this jobnb knows no condition of the kind {said.get('kind')!r}; a newer one wrote it.")
    return made(said)


def parse(
    when: Trigger | str | float | timedelta | datetime,
    *,
    tz: str = "UTC",
    only: Condition | str | Iterable[Condition | str] = (),
    skip: Condition | str | Iterable[Condition | str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    anchor: datetime = MONDAY,
    asked: Iterable[str] = (),
) -> Trigger:
    """Read when something is due, as people write it.

    Parameters
    ----------
    when : Trigger, str, float, timedelta or datetime
        ``"0 8 * * 1-5"`` (cron), ``"15m"`` or ``"every 15m"`` or seconds or a timedelta, ISO text or a datetime for
        once, or a trigger such as ``jobnb.market("XNYS").open("+5m")``.
    tz : str
        For cron, for days of the week, and for a datetime without a zone.
    only, skip : Condition or str, or several
        ``"weekdays"``, ``"mon,wed"``, an exchange (``"XNYS"``: its regular hours), or a condition such as
        ``jobnb.market("XNYS").days``.
    start, end : datetime, optional
        Aware; from when, and until when.
    anchor : datetime
        From which intervals are counted.
    asked : iterable of str
        In words, what is asked only when a run begins.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: with what is wrong.
    """
    made = _plain(when, tz, anchor)
    conditions = [_conditions(each, tz) for each in (only, skip)]
    words = tuple(asked)
    if not any(conditions) and start is None and end is None and not words:
        return made
    return Limited(trigger=made, only=conditions[0], skip=conditions[1], start=start, end=end, asked=words)


def _plain(when: Trigger | str | float | timedelta | datetime, tz: str, anchor: datetime) -> Trigger:
    from jobnb.triggers.trigger import zone

    if isinstance(when, Trigger):
        return when
    if isinstance(when, datetime):
        return Once(at=when if when.tzinfo else when.replace(tzinfo=zone(tz)))
    if isinstance(when, timedelta | int | float):
        return Interval.parse(when, anchor)
    text = when.strip()
    if len(text.split()) > 2:
        return Cron(expression=text, tz=tz)
    try:
        return _plain(datetime.fromisoformat(text), tz, anchor)
    except ValueError:
        pass
    try:
        return Interval.parse(text.removeprefix("every").strip(), anchor)
    except UsageProblem as error:
        raise UsageProblem(
            f"{when!r} is no time: write '15m' for every 15 minutes, cron such as '0 8 * * 1-5', "
            "an ISO date and time for once, or jobnb.market('XNYS').open('+5m')."
        ) from error


def _conditions(said: Condition | str | Iterable[Condition | str], tz: str) -> tuple[Condition, ...]:
    several = [said] if isinstance(said, str) or hasattr(said, "holds") else list(said)
    return tuple(_condition(each, tz) for each in several)


def _condition(said: Any, tz: str) -> Condition:
    if not isinstance(said, str):
        found: Condition = said
        return found
    if said.isupper():
        return Market(said).hours()
    return Weekdays.parse(said, tz)
