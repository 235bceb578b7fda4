"""Which ticks of a schedule are due, and what becomes of each: fired, missed, or one for many. Pure decisions.

Used by the service. A moment that has passed while nobody looked (the machine slept, the service was stopped) is
decided by the schedule's policy, and leaves a row either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from jobnb.durations import seconds
from jobnb.errors import UsageProblem, unknown
from jobnb.triggers.trigger import Trigger

Missed = Literal["coalesce", "all", "skip"]
Overlap = Literal["skip", "queue", "cancel_previous"]
Verdict = Literal["fired", "missed", "coalesced"]

MISSED: tuple[Missed, ...] = ("coalesce", "all", "skip")
OVERLAP: tuple[Overlap, ...] = ("skip", "queue", "cancel_previous")
#: A tick that is noticed within this time is no missed one.
PUNCTUAL = timedelta(seconds=5)
#: Of a long pause, more ticks than this are not looked at one by one: the earlier ones share one row.
MOST = 1_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What happens to ticks that come late, or while the run before still goes on.

    Attributes
    ----------
    missed : {"coalesce", "all", "skip"}
        Of several ticks that passed unnoticed: run the last of them once, each of them, or none.
    catch_up : float or None
        Seconds after which a tick is too old to be run at all; None: never too old.
    overlap : {"skip", "queue", "cancel_previous"}
        While the run before goes on: leave this one out, run it afterwards, or cancel the other.
    jitter : float
        Seconds, at most, by which a run starts later than its tick; the same for the same tick.
    max_runs : int or None
        After so many runs the schedule is over.
    pause_after : int or None
        After so many failures in a row the schedule pauses.
    deadline : float or None
        Seconds after its tick by which a run has to have ended.
    """

    missed: Missed = "coalesce"
    catch_up: float | None = None
    overlap: Overlap = "skip"
    jitter: float = 0.0
    max_runs: int | None = None
    pause_after: int | None = None
    deadline: float | None = None

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Policy:
        """Check what people write.

        Raises
        ------
        UnknownName, UsageProblem
            ``UNKNOWN_NAME``, ``USAGE_ERROR``: with the value and what is possible.
        """
        checked = dict(said)
        for name, known in (("missed", MISSED), ("overlap", OVERLAP)):
            if name in checked and checked[name] not in known:
                raise unknown(name, str(checked[name]), known)
        if checked.get("catch_up") is not None:
            checked["catch_up"] = seconds(checked["catch_up"], "catch_up")
        for name in ("jitter", "deadline"):
            if checked.get(name):
                checked[name] = seconds(checked[name], name)
        for name in ("max_runs", "pause_after"):
            value = checked.get(name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageProblem(f"{name} must be a whole number from 1 on, not {value!r}.")
        return cls(**checked)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


POLICY_NAMES = tuple(field.name for field in fields(Policy))


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One moment of a schedule, and what is to become of it.

    Attributes
    ----------
    at : datetime
        The moment itself: what the run is told to be "as of".
    verdict : {"fired", "missed", "coalesced"}
    why : str
        Empty for one that was on time.
    """

    at: datetime
    verdict: Verdict
    why: str = ""


def due(trigger: Trigger, last: datetime, now: datetime, policy: Policy) -> list[Tick]:
    """Decide on the ticks after ``last`` up to ``now``, oldest first.

    Parameters
    ----------
    trigger : Trigger
    last : datetime
        The latest moment that was decided on already.
    now : datetime
    policy : Policy

    Returns
    -------
    list of Tick
        Each moment once. Where there were more than `MOST`, the earlier ones share the row of their first.
    """
    return decided(trigger, last, now, policy)[0]


def decided(
    trigger: Trigger, last: datetime, now: datetime, policy: Policy, *, known: datetime | None = None
) -> tuple[list[Tick], datetime | None]:
    """Decide as `due` does, and return the next moment after ``now`` as well; None if there is none any more.

    ``known``: the first moment after ``last``, where that was asked before.
    """
    moments: list[datetime] = []
    dropped, first = 0, None
    tick = known or trigger.after(last)
    while tick is not None and tick <= now:
        moments.append(tick)
        if len(moments) > MOST:
            first = first or moments[0]
            dropped += 1
            del moments[0]
        tick = trigger.after(tick)
    made = []
    if first is not None:
        made.append(
            Tick(at=first, verdict="missed", why=f"this and {dropped - 1:,} more were missed: too many to catch up")
        )
    for i, moment in enumerate(moments):
        late = now - moment
        newest = i == len(moments) - 1
        if late <= PUNCTUAL and (newest or policy.missed == "all"):
            made.append(Tick(at=moment, verdict="fired"))
        elif policy.catch_up is not None and late > timedelta(seconds=policy.catch_up):
            made.append(Tick(at=moment, verdict="missed", why=f"noticed {_length(late)} late, too old to catch up"))
        elif policy.missed == "skip":
            made.append(Tick(at=moment, verdict="missed", why=f"noticed {_length(late)} late"))
        elif policy.missed == "coalesce" and not newest:
            made.append(
                Tick(at=moment, verdict="coalesced", why=f"noticed {_length(late)} late; the newest one stands for it")
            )
        else:
            made.append(Tick(at=moment, verdict="fired", why=f"noticed {_length(late)} late"))
    return made, tick


def delay(name: str, at: datetime, jitter: float) -> timedelta:
    """Return by how much the run of a tick starts later: the same for the same tick, spread over ``jitter`` seconds."""
    import zlib

    share = zlib.crc32(f"{name} {at.isoformat()}".encode()) / 2**32
    return timedelta(seconds=jitter * share)


def _length(late: timedelta) -> str:
    whole = int(late.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if whole >= size:
            return f"{whole / size:.3g} {unit}"
    return f"{whole} s"
