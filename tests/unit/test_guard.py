"""Breakers and rate limits as people hold them, in a notebook: blocks, decorators, calls, fallbacks, tables."""

from __future__ import annotations

import asyncio
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import jobnb
from jobnb import BreakerOpen, GiveUp, JobManager, StaleValue
from jobnb.breaking import Breaker, call_key
from jobnb.errors import UnknownName, UsageProblem
from jobnb.limiting import Limit
from jobnb.store import Store

SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Any:
    made = JobManager(home=tmp_path / "home")
    made._store = Store(tmp_path / "home", clock)
    monkeypatch.setattr(type(made.daemon), "ensure", lambda self: None)
    yield made
    made.store.close()


def down(symbol: str = "") -> None:
    raise ConnectionError("down")


def fail(manager: JobManager, times: int, name: str = "yahoo") -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError), manager.breaker(name):
            down()


def test_a_block_that_fails_too_often_is_not_entered_any_more(manager: JobManager, clock: Clock) -> None:
    manager.breaker("yahoo", failures=3, open_for="20s")
    fail(manager, 3)
    entered = False
    with (
        pytest.raises(BreakerOpen, match="yahoo failed 3 times and is left alone; again in 20 s") as caught,
        manager.breaker("yahoo"),
    ):
        entered = True
    assert not entered
    assert (caught.value.name, round(caught.value.retry_after)) == ("yahoo", 20)
    breaker = manager.breaker("yahoo")
    assert (breaker.state, breaker.failures) == ("open", 3)
    assert breaker.opens_until is not None
    clock.pass_(21)
    assert breaker.state == "half-open"
    with breaker, pytest.raises(BreakerOpen, match="is being tried again"), manager.breaker("yahoo"):
        pass
    assert (breaker.state, breaker.failures, breaker.opens_until) == ("closed", 0, None)


def test_what_counts(manager: JobManager) -> None:
    only = manager.breaker("yahoo", failures=1, on=(ConnectionError, "API_ERROR"))
    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)), only:
            raise error
    assert only.state == "closed"
    every = manager.breaker("kraken", failures=1)
    for harmless in (GiveUp("no such symbol"), SystemExit(0), BreakerOpen("another")):
        with pytest.raises(type(harmless)), every:
            raise harmless
    assert every.state == "closed"
    with pytest.raises(ConnectionResetError), only:
        raise ConnectionResetError
    with pytest.raises(KeyError), every:
        raise KeyError
    assert (only.state, every.state) == ("open", "open")


def test_blocks_within_blocks_of_one_handle(manager: JobManager) -> None:
    breaker = manager.breaker("yahoo", failures=5)
    with breaker, pytest.raises(ConnectionError), breaker:
        down()
    assert breaker.record.succeeded == 1
    assert breaker.record.failed == 1


def test_as_decorator_and_async(manager: JobManager) -> None:
    breaker = manager.breaker("yahoo", failures=2)

    @breaker
    def plain(x: int) -> int:
        return 1 // x

    @breaker
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return 1 // x

    async def block() -> None:
        async with breaker:
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await later(0)
        assert await breaker.call(later, 1) == 1

    assert plain(1) == 1
    asyncio.run(block())
    assert plain.__name__ == "plain"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            plain(0)
    with pytest.raises(BreakerOpen):
        plain(1)
    with pytest.raises(BreakerOpen):
        asyncio.run(later(1))  # type: ignore[arg-type]


def quote(symbol: str, *, to_fail: list[bool], n: int = 1) -> dict[str, Any]:
    if to_fail[0]:
        raise ConnectionError("down")
    return {"symbol": symbol, "n": n}


def test_the_last_value_stands_in_marked(manager: JobManager) -> None:
    breaker = manager.breaker("yahoo", failures=2, fallback="last")
    switch = [False]
    fetch = partial(quote, to_fail=[False])
    failing = breaker(_failing(switch))
    assert failing("AAPL") == "AAPL!"
    assert (breaker.stale, breaker.as_of is not None) == (False, True)
    good = breaker.as_of
    switch[0] = True
    for _ in range(2):
        with pytest.warns(StaleValue, match=r"yahoo: down; the value of 20.* UTC is used\."):
            assert failing("AAPL") == "AAPL!"
    assert (breaker.stale, breaker.as_of) == (True, good)
    # Now it is open, and another handle, as of another notebook, finds the same value.
    other = manager.breaker("yahoo", fallback="last")
    with pytest.warns(StaleValue, match="is left alone"):
        reply = other.reply(_failing([True]), "AAPL")
    assert (reply.value, reply.stale, reply.as_of) == ("AAPL!", True, good)
    assert isinstance(reply.error, BreakerOpen)
    with pytest.raises(BreakerOpen):
        failing("MSFT")
    with pytest.raises(BreakerOpen):
        other.call(fetch, "AAPL")


def _failing(switch: list[bool]) -> Any:
    def fetch(symbol: str) -> str:
        if switch[0]:
            raise ConnectionError("down")
        return f"{symbol}!"

    return fetch


def test_a_frame_carries_its_mark(manager: JobManager) -> None:
    import pandas as pd

    breaker = manager.breaker("yahoo", failures=1, fallback="last")
    frame = pd.DataFrame({"close": [1.0, 2.0]})
    answers = [frame]

    def fetch() -> pd.DataFrame:
        if not answers:
            raise ConnectionError("down")
        return answers.pop()

    assert "stale" not in breaker.call(fetch).attrs
    with pytest.warns(StaleValue):
        again = breaker.call(fetch)
    pd.testing.assert_frame_equal(again, frame, check_flags=False)
    assert again.attrs["stale"] is True
    assert breaker.as_of is not None
    assert again.attrs["as_of"] == breaker.as_of.isoformat()


@pytest.mark.parametrize(
    ("fallback", "value"), [(None, None), ("none", "none"), (lambda symbol: symbol.lower(), "aapl"), (0.0, 0.0)]
)
def test_other_fallbacks(manager: JobManager, fallback: Any, value: Any) -> None:
    breaker = manager.breaker("yahoo", fallback=fallback)
    assert breaker.call(down, "AAPL") == value
    assert (breaker.stale, breaker.as_of) == (True, None)
    with pytest.raises(ValueError, match="mine"):
        manager.breaker("yahoo", on=OSError, fallback=fallback).call(_raise, ValueError("mine"))


def _raise(error: Exception) -> None:
    raise error


def test_a_value_that_cannot_be_kept_is_returned_all_the_same(
    manager: JobManager, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = manager.breaker("yahoo", fallback="last")
    assert next(breaker.call(lambda: iter(x for x in [7]))) == 7
    assert "cannot be kept for later" in caplog.text
    with pytest.raises(UsageProblem, match='fallback="last" needs arguments that can be pickled'):
        breaker.call(lambda f: 1, (x for x in []))


def test_a_block_takes_no_fallback(manager: JobManager) -> None:
    with pytest.raises(UsageProblem, match="with block has no value"), manager.breaker("yahoo", fallback="last"):
        pass


def test_a_call_is_known_by_function_and_arguments() -> None:
    def f(x: int) -> int:
        return x

    key = call_key(f, [1], {"b": 2, "a": 1})
    assert key == call_key(f, [1], {"a": 1, "b": 2})
    assert len({key, call_key(f, [1], {}), call_key(partial(f, 1), [], {}), call_key(quote, [1], {})}) == 4
    assert call_key(lambda x: x + 1, [1], {}) != call_key(lambda x: x + 2, [1], {})


def test_handles_travel(manager: JobManager) -> None:
    breaker = manager.breaker("yahoo", failures=7, fallback=None)
    limit = manager.rate_limit("yahoo", "5/s")
    for dumps in (pickle.dumps, cloudpickle.dumps):
        there: Breaker = pickle.loads(dumps(breaker))
        assert (there.name, there._plain, there._fallback) == ("yahoo", {"failures": 7}, None)
        bare: Breaker = pickle.loads(dumps(manager.breaker("x")))
        assert bare._fallback is manager.breaker("x")._fallback, "no fallback is no fallback there, too"
        assert pickle.loads(dumps(limit))._rate == limit._rate


def test_by_hand_and_tables(manager: JobManager) -> None:
    assert repr(manager.breakers()) == "no breakers"
    breaker = manager.breaker("yahoo")
    breaker.trip("10m")
    assert "was tripped by" in repr(breaker)
    with pytest.raises(BreakerOpen, match="again in 600 s"), breaker:
        pass
    table = manager.breakers()
    assert [b.name for b in table] == ["yahoo"]
    assert "open" in repr(table)
    assert "<td" in table._repr_html_()
    table[0].reset()
    assert breaker.state == "closed"
    manager.rate_limit("kraken", "15/min")
    assert repr(manager.rate_limits()).splitlines()[1].split() == ["kraken", "15/min", "15", "0"]
    stats = manager.stats()
    assert stats["breakers"]["yahoo"]["state"] == "closed"
    assert stats["rate_limits"]["kraken"] == {"rate": "15/min", "free": 15, "taken": 0}
    breaker.remove()
    manager.rate_limit("kraken").remove()
    assert (list(manager.breakers()), list(manager.rate_limits())) == ([], [])


@pytest.mark.parametrize("name", ["", "x" * 201, 3])
def test_names(manager: JobManager, name: Any) -> None:
    with pytest.raises(UsageProblem, match="has a name of 1 to 200"):
        manager.breaker(name)
    with pytest.raises(UsageProblem, match="has a name of 1 to 200"):
        jobnb.options(needs=[name])


# Rate limits


def test_a_limit_lets_so_many_through_and_then_waits(manager: JobManager, clock: Clock) -> None:
    slept: list[float] = []
    manager.rate_limit("yahoo", "2/10s")
    limit = Limit("yahoo", manager=manager, sleep=lambda s: (slept.append(s), clock.pass_(s)))
    for _ in range(2):
        with limit:
            pass
    assert slept == []
    limited = limit(lambda x: x)
    assert limited(3) == 3
    assert slept == [pytest.approx(5.0, abs=0.01)]
    with pytest.raises(TimeoutError, match=r"allows the next call in 5\.0 s, not within 1 s"):
        limit.wait(timeout="1s")
    assert limit.wait(2) == pytest.approx(10.0, abs=0.01)
    clock.pass_(60)

    async def later() -> float:
        async with limit:
            return await limit.wait_async()

    assert asyncio.run(later()) == 0.0


def test_a_limit_that_nobody_has_set(manager: JobManager) -> None:
    with pytest.raises(UnknownName, match=r"unknown rate limit 'yahoo'.*100/min"):
        manager.rate_limit("yahoo").wait()
    with pytest.raises(UsageProblem, match="no rate"):
        manager.rate_limit("yahoo", "often")
    with pytest.raises(UsageProblem, match="whole number from 1"):
        manager.rate_limit("yahoo", "3/s").wait(0)


# Needs


def test_needs_go_with_the_job_and_its_rerun(manager: JobManager) -> None:
    job = manager.submit(len, ("abc",), None, jobnb.options(needs="yahoo").options)
    assert job.record.options["needs"] == ["yahoo"]
    assert "needs" not in manager.submit(len, ("abc",)).record.options
    assert manager.rerun(job.id).record.options["needs"] == ["yahoo"]
    assert manager.rerun(job.id, needs=["kraken", "kraken"]).record.options["needs"] == ["kraken"]


def sync() -> int:
    return 1


def test_needs_of_handlers_and_schedules(manager: JobManager) -> None:
    manager.register_handler("sync", sync, needs="yahoo")
    assert manager.enqueue("sync").record.options["needs"] == ["yahoo"]
    assert manager.enqueue("sync", needs=["kraken"]).record.options["needs"] == ["kraken"]
    assert manager.schedule("hourly", sync, "1h", needs="yahoo").run().record.options["needs"] == ["yahoo"]


def test_needs_takes_breakers_only(manager: JobManager) -> None:
    manager.rate_limit("yahoo", "5/s")
    with pytest.raises(UsageProblem, match=r"needs takes breakers, and 'yahoo' is a rate limit.*Nothing was enqueued"):
        manager.submit(len, ("abc",), None, jobnb.options(needs=["yahoo"]).options)
    assert manager.records() == []
    manager.breaker("yahoo", failures=2)
    assert manager.submit(len, ("abc",), None, jobnb.options(needs=["yahoo"]).options)


def test_a_process_that_a_job_has_started_cannot_ask(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBNB_CHILD", "1")
    with pytest.raises(UsageProblem, match="only be asked by the job's own process"), manager.breaker("yahoo"):
        pass
    for look in (jobnb.breakers, jobnb.rate_limits, lambda: manager.breaker("yahoo").record):
        with pytest.raises(UsageProblem, match="a job has no store"):
            look()


def test_blocks_of_two_coroutines_and_two_threads_of_one_handle(manager: JobManager) -> None:
    breaker = manager.breaker("yahoo", failures=9)

    async def block(error: Exception | None, first: asyncio.Event, then: asyncio.Event) -> None:
        async with breaker:
            first.set()
            await then.wait()
            if error is not None:
                raise error

    async def both() -> None:
        one, two = asyncio.Event(), asyncio.Event()
        done = await asyncio.gather(
            block(ConnectionError("down"), one, two), block(None, two, one), return_exceptions=True
        )
        assert [type(each) for each in done] == [ConnectionError, type(None)]

    asyncio.run(both())
    assert (breaker.record.succeeded, breaker.record.failed) == (1, 1)


def test_blocks_leave_nothing_behind(manager: JobManager) -> None:
    from jobnb.breaking import _blocks

    for _ in range(10):
        with manager.breaker("yahoo"), manager.breaker("kraken"):
            assert len(_blocks.get()) == 2
    assert _blocks.get() == ()
