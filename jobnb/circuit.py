"""When an outside service is left alone for a while: the decisions of a circuit breaker.

Pure: `step` makes of a state, an event and a moment the next state. The store keeps the state and gives the moment
(`jobnb.store.limits`); what people hold is in `jobnb.guard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from jobnb.durations import seconds
from jobnb.errors import UsageProblem
from jobnb.retry import names_of

SECOND = 1_000_000
#: Failures that a breaker remembers at most.
MOST_FAILURES = 1_000
#: A probe of which nothing is heard for so long, or for as long as the breaker opens, is given up.
PROBE_SECONDS = 60.0
#: Codes of what is the outside service's failure when the breaker does not say what it counts.
SERVICE_CODES = frozenset({"NETWORK_ERROR", "API_ERROR", "TIMEOUT_ERROR", "SOURCE_BUSY"})


class Phase(StrEnum):
    """How a breaker stands: calls go through, none does, or one does, to see whether the service is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a breaker opens, and for how long.

    Attributes
    ----------
    failures : int, default 5
        So many failures in a row, without a success between them, …
    within : float, default 60
        … in so many seconds open it.
    open_for : float, default 30
        Seconds after which it lets a probe through.
    on : tuple of str
        Names of the exceptions, or error codes, that count. Without it: any exception of a block or call; of a job
        that only declares its need, errors of the network, of an API and of time.
    """

    failures: int = 5
    within: float = 60.0
    open_for: float = 30.0
    on: tuple[str, ...] = ()

    def merge(self, said: Mapping[str, Any]) -> Self:
        """Return the rule with what is said of it, checked."""
        return replace(self, **checked(said))

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain values."""
        return {**asdict(self), "on": list(self.on)}

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"{self.failures} failures within {self.within:g} s open it for {self.open_for:g} s"


RULE_NAMES = tuple(f.name for f in fields(Rule))


def checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a rule, checked and plain; what is None is not said.

    Raises
    ------
    UsageProblem
        A value does not fit.
    """
    made: dict[str, Any] = {}
    for name, value in said.items():
        if value is None:
            continue
        if name == "on":
            made[name] = names_of(value)
        elif name == "failures":
            if isinstance(value, bool) or value != int(value) or not 1 <= value <= MOST_FAILURES:
                raise UsageProblem(f"failures must be a whole number from 1 to {MOST_FAILURES:,}, not {value!r}.")
            made[name] = int(value)
        else:
            made[name] = seconds(value, name)
    return made


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The state of a breaker; the first one is closed. Moments are µs.

    Attributes
    ----------
    failures : tuple of int
        When it has failed since the last success; only those that still count.
    opened_at, until : int or None
        When it opened, and when it lets a probe through; None while closed.
    cause : str
        Why it is open.
    probe : str
        Who tries whether the service is back.
    probe_until : int
        When the probe is given up.
    """

    failures: tuple[int, ...] = ()
    opened_at: int | None = None
    until: int | None = None
    cause: str = ""
    probe: str = ""
    probe_until: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Return the state that `to_json` wrote."""
        return cls(**{**value, "failures": tuple(value.get("failures", ()))})

    def phase(self, now: int) -> Phase:
        """Return how it stands at a moment."""
        if self.until is None:
            return Phase.CLOSED
        return Phase.OPEN if now < self.until else Phase.HALF_OPEN

    def admits(self, holder: str) -> bool:
        """Tell whether somebody who has just asked may go."""
        return self.until is None or (bool(self.probe) and self.probe == holder)

    def again_at(self, now: int) -> int:
        """Return when it is worth to ask again."""
        if self.until is None:
            return now
        return self.until if now < self.until else max(now, self.probe_until if self.probe else now)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Somebody wants to call the service."""

    holder: str


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """A call that began at ``since`` has succeeded."""

    holder: str
    since: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A call that began at ``since`` has failed."""

    holder: str
    since: int


@dataclass(frozen=True, kw_only=True)
class Released:
    """A call ended in a way that says nothing about the service."""

    holder: str


@dataclass(frozen=True, kw_only=True)
class Tripped:
    """Somebody opens it by hand, for so many seconds."""

    seconds: float
    who: str


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Somebody closes it by hand."""


Event = Ask | Succeeded | Failed | Released | Tripped | Reset


def step(circuit: Circuit, event: Event, now: int, rule: Rule) -> Circuit:
    """Return the state after an event.

    Parameters
    ----------
    circuit : Circuit
    event : Event
    now : int
        µs.
    rule : Rule

    Examples
    --------
    >>> rule, circuit = Rule(failures=2, open_for=30.0), Circuit()
    >>> for at in (1, 2):
    ...     circuit = step(circuit, Failed(holder="a", since=at), at, rule)
    >>> circuit.phase(3), circuit.cause, circuit.until
    (<Phase.OPEN: 'open'>, 'failed 2 times', 30000002)
    >>> step(circuit, Ask(holder="b"), circuit.until, rule).admits("b")
    True
    """
    circuit = _tidied(circuit, now, rule)
    opened = circuit.opened_at
    match event:
        case Ask(holder=holder):
            if circuit.phase(now) is Phase.HALF_OPEN and not circuit.probe:
                patience = max(PROBE_SECONDS, rule.open_for)
                return replace(circuit, probe=holder, probe_until=now + int(patience * SECOND))
            return circuit
        case Succeeded(since=since):
            # One that began before it opened says nothing of how the service is since.
            return Circuit() if opened is None or since >= opened else circuit
        case Failed(since=since):
            if opened is None:
                failures = (*circuit.failures, now)[-rule.failures :]
                if len(failures) < rule.failures:
                    return replace(circuit, failures=failures)
                times = f"{rule.failures} time{'s' * (rule.failures != 1)}"
                return _opened(failures, now, rule.open_for, f"failed {times}")
            if since >= opened and circuit.phase(now) is Phase.HALF_OPEN:
                return _opened(circuit.failures, now, rule.open_for, "failed again")
            return circuit
        case Released(holder=holder):
            return replace(circuit, probe="", probe_until=0) if circuit.probe == holder else circuit
        case Tripped(seconds=length, who=who):
            return _opened(circuit.failures, now, length, f"was tripped by {who}")
        case Reset():
            return Circuit()


def _opened(failures: tuple[int, ...], now: int, length: float, cause: str) -> Circuit:
    return Circuit(failures=failures, opened_at=now, until=now + int(length * SECOND), cause=cause)


def _tidied(circuit: Circuit, now: int, rule: Rule) -> Circuit:
    """Let go of what does not count any more."""
    if circuit.opened_at is not None and circuit.until is not None and circuit.opened_at > now:
        # A clock that was set back must not keep it open for longer than it said.
        circuit = replace(circuit, opened_at=now, until=now + circuit.until - circuit.opened_at, probe="")
    if circuit.until is None:
        fresh = tuple(at for at in circuit.failures if now - rule.within * SECOND < at <= now)
        if fresh != circuit.failures:
            circuit = replace(circuit, failures=fresh)
    if circuit.probe and circuit.probe_until <= now:
        circuit = replace(circuit, probe="", probe_until=0)
    return circuit


def counts(rule: Rule, *, code: str, bases: str, declared: bool = False) -> bool:
    """Tell whether an error is the outside service's failure.

    Parameters
    ----------
    rule : Rule
    code, bases : str
        The error's code, and the names of its class and of what that derives from, blank-separated.
    declared : bool, default False
        The job only declared its need, so that nobody knows where the error came from.

    Examples
    --------
    >>> counts(Rule(), code="USER_ERROR", bases="KeyError"), counts(Rule(on=("OSError",)), code="", bases="KeyError")
    (True, False)
    """
    if rule.on:
        names = {code, *bases.split()}
        return not (names | {"Exception"} if bases else names).isdisjoint(rule.on)
    return code in SERVICE_CODES if declared else code not in ("BREAKER_OPEN", "NO_ANSWER")
