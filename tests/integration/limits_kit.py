"""Functions that jobs of the tests of breakers and rate limits run."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from service_kit import wait_for

import jobnb
from jobnb.errors import UsageProblem


def fail(name: str) -> None:
    with jobnb.breaker(name):
        raise ConnectionError("down")


def through(name: str) -> str:
    with jobnb.breaker(name):
        return "through"


def seen(name: str) -> tuple[str, int]:
    breaker = jobnb.breaker(name)
    return breaker.state, breaker.failures


def just_fail(text: str = "down") -> None:
    raise ConnectionError(text)


def take_if_free(name: str, calls: int) -> int:
    """Take as many calls as there are without waiting; return how many."""
    taken = 0
    for _ in range(calls):
        try:
            jobnb.rate_limit(name).wait(timeout=0.001)
            taken += 1
        except TimeoutError:
            pass
    return taken


def take_as_item(name_and_calls: tuple[str, int]) -> int:
    return take_if_free(*name_and_calls)


def wait_long(name: str, mark: str) -> None:
    Path(mark).touch()
    jobnb.rate_limit(name).wait(2)
    jobnb.rate_limit(name).wait(2)


def quote(name: str, symbol: str, size: int, good: bool) -> tuple[int, bool, str]:
    """Ask for a quote of so many bytes, of which the outside service may know nothing; return what came back."""

    def fetch(symbol: str) -> bytes:
        if not good:
            raise ConnectionError("down")
        return symbol[:1].encode() * size

    breaker = jobnb.breaker(name, failures=1, fallback="last")
    value = breaker.call(fetch, symbol)
    return len(value), breaker.stale, str(breaker.as_of)


def unknown_rate(name: str) -> str:
    try:
        jobnb.rate_limit(name).wait()
    except UsageProblem as error:
        return error.message
    return ""


def from_threads(name: str) -> int:
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda _: take_if_free(name, 5), range(8)))


def _ask_from_elsewhere(name: str, said: Any) -> None:
    try:
        jobnb.rate_limit(name).wait()
        said.put("taken")
    except UsageProblem as error:
        said.put(error.message)


def from_a_process(name: str) -> str:
    forked = multiprocessing.get_context("fork")
    said = forked.Queue()
    process = forked.Process(target=_ask_from_elsewhere, args=(name, said))
    process.start()
    told: str = said.get(timeout=20)
    process.join()
    return told


async def later(name: str) -> tuple[str, float]:
    async with jobnb.breaker(name), jobnb.rate_limit(name, "1000/s"):
        await asyncio.sleep(0)

    @jobnb.breaker(name)
    async def call() -> str:
        return "called"

    return await call(), await jobnb.rate_limit(name).wait_async()


def ask_after(name: str, mark: str, gate: str) -> tuple[str, int]:
    """Say that it runs, wait for the gate, and ask."""
    with jobnb.breaker(name):
        Path(mark).touch()
        wait_for(gate)
    Path(mark + "-2").touch()
    with jobnb.breaker(name):
        pass
    return "through", jobnb.current().attempt  # type: ignore[union-attr]


def fail_until(path: str) -> str:
    if not Path(path).exists():
        raise ConnectionError("down")
    return "there"
