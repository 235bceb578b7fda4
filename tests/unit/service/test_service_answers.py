"""The service's answers to jobs: one transaction for those that come together, to each worker its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobnb.errors import HomeNotWritable, StoreError
from jobnb.service.answers import Answers
from jobnb.store import Store
from jobnb.worker.asking import Answer, deliver


class FakeClient:
    """Runs functions on workers as `distributed.Client` does on its own loop: it writes them down."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, Mapping[str, Answer]]] = queue.Queue()
        asyncio_loop = asyncio.new_event_loop()
        self.loop = SimpleNamespace(asyncio_loop=asyncio_loop)
        self._thread = threading.Thread(target=asyncio_loop.run_forever)
        self._thread.start()
        self.gone: set[str] = set()

    async def run(self, fn: Any, answers: Mapping[str, Answer], *, workers: list[str], on_error: str) -> None:
        assert (fn, on_error, len(workers)) == (deliver, "ignore", 1)
        if workers[0] in self.gone:
            raise OSError("it has left")
        self.told.put((workers[0], answers))

    def close(self) -> None:
        self.loop.asyncio_loop.call_soon_threadsafe(self.loop.asyncio_loop.stop)
        self._thread.join()
        self.loop.asyncio_loop.close()


@pytest.fixture
def client() -> Iterator[FakeClient]:
    made = FakeClient()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def answers(store: Store, client: FakeClient) -> Iterator[Answers]:
    made = Answers(store, client)
    yield made
    made.close()


def event(number: str, worker: str = "tcp://a", **question: Any) -> dict[str, Any]:
    said = {"id": number, "op": "take", "name": "yahoo", "rate": [2, 60.0], "count": 1, **question}
    return {"kind": "question", "job": "j", "task": 0, "attempt": 1, "worker": worker, "question": said}


def test_no_thread_without_a_question(answers: Answers) -> None:
    assert "jobnb-answers" not in [thread.name for thread in threading.enumerate()]
    answers.close()


def test_each_worker_gets_its_own_and_a_repeated_question_counts_once(
    answers: Answers, client: FakeClient, store: Store
) -> None:
    for _ in range(3):
        answers.put(event("q1"))
        answers.put(event("q2", "tcp://b"))
    answers.close()
    told: dict[str, dict[str, Answer]] = {}
    while len(told) < 2:
        worker, said = client.told.get(timeout=10)
        told.setdefault(worker, {}).update(said)
    assert told == {"tcp://a": {"q1": {"pause": 0.0}}, "tcp://b": {"q2": {"pause": 0.0}}}
    assert store.limits.rate_limit("yahoo").taken == 2


def test_what_makes_no_sense_is_answered_with_why(answers: Answers, client: FakeClient) -> None:
    answers.put(event("q1", rate=None))
    answers.put(event("q2", count=None))
    answers.put(event("q3"))
    said: dict[str, Answer] = {}
    while len(said) < 3:
        said.update(client.told.get(timeout=10)[1])
    assert said["q1"]["error"]["code"] == "UNKNOWN_NAME"
    assert said["q2"]["error"]["code"] == "USAGE_ERROR"
    assert said["q3"] == {"pause": 0.0}


@pytest.mark.parametrize("error", [StoreError("busy"), HomeNotWritable("gone"), RuntimeError("a mistake")])
def test_a_store_that_fails_leaves_them_to_be_asked_again(
    answers: Answers, client: FakeClient, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    met = threading.Event()

    def fail() -> Any:
        met.set()
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(store.limits, "together", fail)
        answers.put(event("q1"))
        assert met.wait(10)
    answers.put(event("q1"))
    assert client.told.get(timeout=10) == ("tcp://a", {"q1": {"pause": 0.0}})


def test_a_worker_that_has_left_keeps_nobody_waiting(answers: Answers, client: FakeClient) -> None:
    client.gone.add("tcp://a")
    answers.put(event("q1"))
    answers.put(event("q2", "tcp://b"))
    assert client.told.get(timeout=10)[0] == "tcp://b"
