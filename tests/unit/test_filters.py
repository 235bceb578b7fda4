"""Filters of people's own: asked in the run, with the moment of its tick, before anything else of it happens."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import cloudpickle
import pytest

from jobnb import filters
from jobnb.errors import UsageProblem
from jobnb.filters import Filtered
from jobnb.store.jobs import to_us
from jobnb.work import CallWork, Hooked, Part, unwrapped
from jobnb.worker import context

SUNDAY_NIGHT = datetime(2026, 11, 30, 4, tzinfo=UTC)
CODE = cloudpickle.dumps(CallWork(fn=len, args=("abc",)))


def enter(**more: Any) -> None:
    about = {
        "job": "j", "name": "n", "task": 0, "attempt": 1, "seed": None, "start": 0, "stop": 1,
        "fire_at": to_us(SUNDAY_NIGHT), **more,
    }  # fmt: skip
    context.enter(context.JobContext(about, context.Meter(lambda _: None), lambda _: None))


@pytest.fixture(autouse=True)
def _outside() -> Iterator[None]:
    yield
    context.enter(None)


def run(**said: Any) -> Part:
    return Filtered(code=CODE, **said).run(0, 1, None, lambda _: None)


def sunday(moment: datetime) -> bool:
    return moment.weekday() == 6


async def later(moment: datetime) -> bool:
    return sunday(moment)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"only": [sunday], "tz": "America/New_York"}, ""),
        ({"only": [later], "tz": "America/New_York"}, ""),
        ({"only": [sunday]}, "only=sunday said no"),
        ({"skip": [sunday], "tz": "America/New_York"}, "skip=sunday said yes"),
        ({"skip": [sunday]}, ""),
        ({"only": [lambda t: True, sunday]}, "only=sunday said no"),
    ],
)
def test_all_of_only_and_none_of_skip(said: dict[str, Any], refused: str) -> None:
    enter()
    part = run(**said)
    assert part.refused == refused
    if not refused:
        assert pickle.loads(part.result) == 3


@pytest.mark.parametrize("about", [{"by_hand": True}, {"fire_at": None}])
def test_a_run_that_somebody_wants_is_not_asked(about: dict[str, Any]) -> None:
    enter(**about)
    assert not run(only=[sunday]).refused


def test_one_that_raises_says_which_and_for_when() -> None:
    enter()
    with pytest.raises(ZeroDivisionError) as caught:
        run(only=[lambda t: 1 / 0])
    assert "only=<lambda>" in caught.value.__notes__[0]
    assert "2026-11-30T04:00" in caught.value.__notes__[0]


def test_what_is_inside_is_found() -> None:
    inner = Hooked(CallWork(fn=len))
    found = unwrapped(Filtered(code=cloudpickle.dumps(inner)))
    assert isinstance(found, CallWork)


def test_they_are_parted_from_conditions() -> None:
    assert filters.parted("weekdays") == (["weekdays"], ())
    assert filters.parted(sunday) == ([], (sunday,))
    assert filters.parted(["XNYS", sunday]) == (["XNYS"], (sunday,))
    with pytest.raises(UsageProblem, match="int"):
        filters.parted(int)
