from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.durations import moment, seconds, size_bytes
from jobnb.errors import UnknownName, UsageProblem
from jobnb.job import Priority
from jobnb.option import OPTION_NAMES, Hooks, Options

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (90, 90.0),
        ("90", 90.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        (timedelta(days=1), 86400),
    ],
)
def test_durations(said: float | str | timedelta, meant: float) -> None:
    assert seconds(said) == pytest.approx(meant)


@pytest.mark.parametrize("said", ["", "5 minutes ago", "-3", 0, -1, "1y", float("inf")])
def test_what_is_no_duration_is_refused_with_an_example(said: float | str) -> None:
    with pytest.raises(UsageProblem, match=r"not a duration|more than 0"):
        seconds(said, "timeout")


@given(st.integers(1, 10**6), st.sampled_from(["s", "m", "h"]))
def test_a_whole_duration_is_the_sum_of_its_parts(n: int, unit: str) -> None:
    assert seconds(f"{n}{unit}{n}ms") == pytest.approx(seconds(f"{n}{unit}") + n / 1000)


@pytest.mark.parametrize(
    ("said", "meant"), [(100, 100), ("2GiB", 2 * 2**30), ("500MB", 500 * 10**6), ("1.5 kib", 1536)]
)
def test_sizes(said: int | str, meant: int) -> None:
    assert size_bytes(said) == meant


@pytest.mark.parametrize("said", ["much", "-1GB", "0", "2 XB"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(UsageProblem, match="is not a size"):
        size_bytes(said)


def test_moments() -> None:
    assert moment("2026-11-22T14:00:00+02:00", NOW) == NOW
    assert moment("10m", NOW) == NOW + timedelta(minutes=10)
    assert moment(60, NOW) == NOW + timedelta(minutes=1)
    assert moment(NOW, NOW) is not None


def test_every_option_can_be_said_and_is_checked() -> None:
    options = Options().merge(
        name="x", priority="HIGH", timeout="1m", memory_limit="1GiB", cancel_grace=2, queue="q", tags="a", seed="7",
        run_at=NOW, retry=2, deadline="1h", expires_at=NOW, unique="k", unique_for="1d", on_error="record",
        hooks=Hooks(before=print), after="load", after_on="any", condition=bool, on_parent_failure="run",
        notify=True,
        needs=["yahoo", "yahoo"],
    )  # fmt: skip
    assert options.priority is Priority.HIGH
    assert options.tags == ("a",)
    assert options.seed == 7
    assert options.needs == ("yahoo",)
    assert {n for n in OPTION_NAMES if getattr(options, n) == getattr(Options(), n)} == set()


def test_none_means_the_default() -> None:
    assert Options(timeout=5.0).merge(timeout=None).timeout is None


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'timeout'"):
        Options().merge(timout=3)
    with pytest.raises(UnknownName, match="Did you mean 'high'"):
        Options().merge(priority="hihg")
    with pytest.raises(UsageProblem, match="201 characters"):
        Options().merge(name="x" * 201)
