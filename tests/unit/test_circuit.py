"""The decisions of a circuit breaker: by examples, against a slow model, and what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.circuit import (
    PROBE_SECONDS,
    SECOND,
    Ask,
    Circuit,
    Event,
    Failed,
    Phase,
    Released,
    Reset,
    Rule,
    Succeeded,
    Tripped,
    counts,
    step,
)
from jobnb.errors import UsageProblem

RULE = Rule(failures=3, within=60.0, open_for=30.0)
START = 1_700_000_000 * SECOND


def failed(circuit: Circuit, *moments: float, rule: Rule = RULE) -> Circuit:
    for at in moments:
        now = START + int(at * SECOND)
        circuit = step(circuit, Failed(holder="x", since=now), now, rule)
    return circuit


def at(seconds: float) -> int:
    return START + int(seconds * SECOND)


def test_so_many_failures_in_a_row_open_it() -> None:
    assert failed(Circuit(), 0, 1).phase(at(1)) is Phase.CLOSED
    opened = failed(Circuit(), 0, 1, 2)
    assert (opened.phase(at(2)), opened.until, opened.cause) == (Phase.OPEN, at(32), "failed 3 times")
    assert not step(opened, Ask(holder="a"), at(31), RULE).admits("a")


def test_a_success_between_them_or_time_forgives() -> None:
    circuit = step(failed(Circuit(), 0, 1), Succeeded(holder="x", since=at(1)), at(1.5), RULE)
    assert failed(circuit, 2, 3).phase(at(3)) is Phase.CLOSED
    assert failed(Circuit(), 0, 1, 61).phase(at(61)) is Phase.CLOSED, "the first is older than a minute"
    assert failed(Circuit(), 0, 1, 59).phase(at(59)) is Phase.OPEN


def test_one_probe_at_a_time_and_its_verdict() -> None:
    opened = failed(Circuit(), 0, 1, 2)
    half = step(opened, Ask(holder="first"), at(32), RULE)
    assert half.phase(at(32)) is Phase.HALF_OPEN
    assert half.admits("first")
    assert not step(half, Ask(holder="second"), at(33), RULE).admits("second")
    assert step(half, Ask(holder="first"), at(33), RULE).admits("first"), "it may ask again"
    again = step(half, Failed(holder="first", since=at(32)), at(34), RULE)
    assert (again.phase(at(34)), again.until, again.cause) == (Phase.OPEN, at(64), "failed again")
    assert step(half, Succeeded(holder="first", since=at(32)), at(34), RULE) == Circuit()


def test_a_probe_that_says_nothing_leaves_its_place_and_one_that_is_gone_loses_it() -> None:
    half = step(failed(Circuit(), 0, 1, 2), Ask(holder="first"), at(32), RULE)
    vacant = step(half, Released(holder="first"), at(33), RULE)
    assert step(vacant, Ask(holder="second"), at(33), RULE).admits("second")
    assert step(half, Released(holder="another"), at(33), RULE) == half
    late = at(32 + PROBE_SECONDS)
    assert half.again_at(at(33)) == late
    assert step(half, Ask(holder="second"), late, RULE).admits("second")


def test_calls_that_began_before_it_opened_say_nothing() -> None:
    opened = failed(Circuit(), 0, 1, 2)
    assert step(opened, Succeeded(holder="slow", since=at(1)), at(3), RULE) == opened
    half = step(opened, Ask(holder="first"), at(32), RULE)
    assert step(half, Failed(holder="slow", since=at(1)), at(33), RULE) == half
    assert step(half, Succeeded(holder="slow", since=at(1)), at(33), RULE) == half
    # One that is let through in spite of it, because it is critical, does.
    assert step(opened, Succeeded(holder="critical", since=at(5)), at(6), RULE) == Circuit()
    assert step(opened, Failed(holder="critical", since=at(5)), at(6), RULE) == opened


def test_by_hand() -> None:
    tripped = step(Circuit(), Tripped(seconds=600.0, who="ann"), at(0), RULE)
    assert (tripped.phase(at(599)), tripped.cause) == (Phase.OPEN, "was tripped by ann")
    assert step(tripped, Reset(), at(1), RULE) == Circuit()


def test_a_clock_that_was_set_back_keeps_it_open_no_longer_than_it_said() -> None:
    opened = failed(Circuit(), 0, 1, 2)
    back = at(-3600)
    moved = step(opened, Ask(holder="a"), back, RULE)
    assert not moved.admits("a")
    assert moved.until == back + 30 * SECOND
    assert step(failed(Circuit(), 0, 1), Failed(holder="x", since=back), back, RULE).failures == (back,)


def test_a_state_outlives_its_way_through_json() -> None:
    half = step(failed(Circuit(), 0, 1, 2), Ask(holder="first"), at(32), RULE)
    assert Circuit.of(half.to_json()) == half
    assert Circuit.of({}) == Circuit()


@pytest.mark.parametrize(
    ("on", "code", "bases", "declared", "expected"),
    [
        ((), "USER_ERROR", "KeyError LookupError", False, True),
        ((), "USER_ERROR", "KeyError LookupError", True, False),
        ((), "NETWORK_ERROR", "ConnectionError OSError", True, True),
        ((), "SOURCE_BUSY", "SourceBusy", True, True),
        ((), "BREAKER_OPEN", "BreakerOpen JobnbError", False, False),
        (("OSError",), "NETWORK_ERROR", "ConnectionError OSError", True, True),
        (("OSError",), "USER_ERROR", "KeyError", False, False),
        (("API_ERROR",), "API_ERROR", "HTTPError", False, True),
        (("Exception",), "USER_ERROR", "KeyError", False, True),
        (("TIMEOUT_ERROR",), "TIMEOUT_ERROR", "", True, True),
    ],
)
def test_what_counts(on: tuple[str, ...], code: str, bases: str, declared: bool, expected: bool) -> None:
    assert counts(Rule(on=on), code=code, bases=bases, declared=declared) is expected


@pytest.mark.parametrize("said", [{"failures": 0}, {"failures": 2.5}, {"failures": True}, {"within": 0}, {"on": [3]}])
def test_rules_that_are_none(said: dict[str, object]) -> None:
    with pytest.raises(UsageProblem):
        Rule().merge(said)


def test_a_rule_is_changed_by_what_is_said_of_it() -> None:
    rule = Rule().merge({"failures": 2, "within": "5m", "open_for": None, "on": ConnectionError})
    assert rule == Rule(failures=2, within=300.0, open_for=30.0, on=("ConnectionError",))


# Whatever happens

HOLDERS = st.sampled_from(["a", "b", "c"])
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["ask", "succeeded", "failed", "released", "trip", "reset"]), HOLDERS, st.integers(0, 40)
    ),
    max_size=60,
)


def event_of(kind: str, holder: str, since: int) -> Event:
    return {
        "ask": Ask(holder=holder),
        "succeeded": Succeeded(holder=holder, since=since),
        "failed": Failed(holder=holder, since=since),
        "released": Released(holder=holder),
        "trip": Tripped(seconds=45.0, who="ann"),
        "reset": Reset(),
    }[kind]


class Model:
    """What a breaker is for, told once more, as a list of what happened."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.fails: list[float] = []
        self.opened: float | None = None
        self.until = 0.0
        self.probe: tuple[str, float] | None = None

    def ask(self, holder: str, now: float) -> bool:
        if self.opened is None:
            return True
        if now < self.until:
            return False
        if self.probe is None or now >= self.probe[1]:
            self.probe = holder, now + max(PROBE_SECONDS, self.rule.open_for)
        return self.probe[0] == holder

    def open(self, now: float, length: float) -> None:
        self.opened, self.until, self.probe = now, now + length, None

    def close(self) -> None:
        self.fails, self.opened, self.probe = [], None, None

    def hear(self, kind: str, holder: str, since: float, now: float) -> None:
        if kind == "trip":
            self.open(now, 45.0)
        elif kind == "reset" or (kind == "succeeded" and (self.opened is None or since >= self.opened)):
            self.close()
        elif kind == "released" and self.probe is not None and self.probe[0] == holder:
            self.probe = None
        elif kind == "failed" and self.opened is None:
            self.fails = [t for t in self.fails if now - t < self.rule.within] + [now]
            if len(self.fails) >= self.rule.failures:
                self.open(now, self.rule.open_for)
        elif kind == "failed" and self.opened is not None and since >= self.opened and now >= self.until:
            self.open(now, self.rule.open_for)


@given(MOVES, st.integers(1, 4), st.sampled_from([5.0, 30.0, 90.0]), st.sampled_from([5.0, 30.0, 90.0]))
def test_it_does_what_the_model_does(
    moves: list[tuple[str, str, int]], failures: int, within: float, open_for: float
) -> None:
    rule = Rule(failures=failures, within=within, open_for=open_for)
    circuit, model, now = Circuit(), Model(rule), 0
    asked = dict.fromkeys("abc", 0)
    for kind, holder, pause in moves:
        now += pause
        us = START + now * SECOND
        if kind == "ask":
            asked[holder] = now
        circuit = step(circuit, event_of(kind, holder, START + asked[holder] * SECOND), us, rule)
        if kind == "ask":
            assert circuit.admits(holder) is model.ask(holder, now)
        else:
            model.hear(kind, holder, asked[holder], now)
        assert (circuit.until is None) is (model.opened is None)
        if circuit.until is None:
            assert len(circuit.failures) < failures
        else:
            assert circuit.opened_at is not None
            assert us <= circuit.until or circuit.phase(us) is Phase.HALF_OPEN
            assert circuit.again_at(us) >= us
        # At most one of them is the probe, and none while it is open.
        assert not (circuit.probe and circuit.phase(us) is Phase.OPEN)
        assert Circuit.of(circuit.to_json()) == circuit
