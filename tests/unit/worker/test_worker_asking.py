"""A job's questions on their way: asked again until answered, given up in time, and from several threads at once."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from jobnb import desk
from jobnb.errors import NoAnswer, UnknownName
from jobnb.worker.asking import ANSWER_SECONDS, KEPT_BYTES, VALUE_BYTES, ChildDesk, Mailbox, Questions
from jobnb.worker.channel import ChildChannel, HostChannel


class Bench:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.woken = 0
        self.questions = Questions(self.sent.append, {"job": "j", "worker": "tcp://w"}, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def put(self, number: str = "q1", now: float = 0.0, waits: bool = True, **more: Any) -> dict[str, Any] | None:
        return self.questions.put({"id": number, "op": "ask", "name": "yahoo", **more}, now, waits=waits)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_question_goes_out_with_who_asks_and_its_answer_comes_back(bench: Bench) -> None:
    assert bench.put() is None
    assert bench.sent == [
        {"job": "j", "worker": "tcp://w", "kind": "question", "question": {"id": "q1", "op": "ask", "name": "yahoo"}}
    ]
    mailbox = Mailbox()
    mailbox.watch(bench.questions)
    mailbox.deliver({"q1": {"ok": True}, "of another task": {}})
    assert bench.woken == 1
    assert bench.questions.tick(0.1) == [("q1", {"ok": True})]
    mailbox.deliver({"q1": {"ok": True}})
    assert bench.questions.tick(0.2) == [], "an answer that comes twice is given once"
    assert bench.questions.due_at() is None
    mailbox.unwatch(bench.questions)


def test_it_is_asked_again_and_given_up_in_time(bench: Bench) -> None:
    bench.put(now=100.0)
    bench.put("told", 100.0, waits=False)
    now, answers = 100.0, list[Any]()
    while not answers:
        due = bench.questions.due_at()
        assert due is not None
        assert due > now
        now = due
        answers = bench.questions.tick(now)
    assert now == 100.0 + ANSWER_SECONDS
    assert bench.questions.due_at() is None
    (number, answer), *rest = answers
    assert (number, answer["error"]["code"], rest) == ("q1", "NO_ANSWER", [])
    assert "did not answer within 60 s" in answer["error"]["message"]
    assert 10 < len([s for s in bench.sent if s["question"]["id"] == "q1"]) < 20


def test_without_a_service_the_answer_is_no_at_once() -> None:
    answer = Questions(None, {}, lambda: None).put({"id": "q", "op": "ask", "name": "yahoo"}, 0.0, waits=True)
    assert answer is not None
    assert "no jobnb service runs" in answer["error"]["message"]


def test_small_values_go_with_the_question_and_large_ones_with_the_outcome(bench: Bench) -> None:
    bench.put("small", op="succeeded", call="a", at=1, value=b"x")
    bench.put("large", op="succeeded", call="b", at=2, value=b"x" * (VALUE_BYTES + 1))
    assert bench.sent[0]["question"]["value"] == b"x"
    assert "value" not in bench.sent[1]["question"]
    assert [(*kept[:3], len(kept[3])) for kept in bench.questions.kept()] == [("yahoo", "b", 2, VALUE_BYTES + 1)]
    # What is kept here is known here.
    assert (bench.put("q", op="last", call="b") or {})["at"] == 2
    assert bench.put("q", op="last", call="a") is None
    for n in range(3):
        bench.put(f"huge{n}", op="succeeded", call=f"h{n}", at=n, value=b"x" * (KEPT_BYTES // 2))
    assert [kept[1] for kept in bench.questions.kept()] == ["h1", "h2"]


@pytest.fixture
def ends() -> Any:
    ours, theirs = socket.socketpair()
    host, child = HostChannel(ours), ChildChannel(theirs)
    yield host, child
    host.close()
    child.close()


def serve(host: HostChannel, answers: dict[str, dict[str, Any]], stop: threading.Event) -> None:
    """Answer what is asked, the last question first, as a slow service might."""
    asked: list[Any] = []
    while not stop.is_set():
        asked += [m for m in host.receive()[0] if m["k"] == "ask"]
        if len(asked) == len(answers):
            for message in reversed(asked):
                host.send({"k": "answer", "id": message["id"], "a": answers[message["q"]["name"]]})
            asked.clear()
        stop.wait(0.001)


def test_threads_of_a_job_ask_at_once_and_each_gets_its_own_answer(ends: Any) -> None:
    host, child = ends
    there = ChildDesk(child.ask, child.send)
    wanted = {name: {"pause": n} for n, name in enumerate(["a", "b", "c", "d"])}
    stop, got = threading.Event(), dict[str, Any]()
    server = threading.Thread(target=serve, args=(host, wanted, stop))
    server.start()
    threads = [
        threading.Thread(target=lambda name=name: got.update({name: there.ask({"op": "take", "name": name})}))
        for name in wanted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    stop.set()
    server.join()
    assert got == wanted


def test_a_thread_that_is_left_behind_does_not_take_the_next_task_away(ends: Any) -> None:
    host, child = ends
    there = ChildDesk(child.ask, child.send)
    said: list[BaseException] = []

    def ask() -> None:
        try:
            there.ask({"op": "ask", "name": "yahoo"})
        except NoAnswer as error:
            said.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not host.receive()[0]:
        pass
    child.forget_questions()
    host.send({"k": "run", "n": 1})
    assert child.receive() == {"k": "run", "n": 1}
    thread.join(10)
    assert "the task is over" in str(said[0])


def test_errors_of_the_service_are_errors_of_the_call(ends: Any) -> None:
    host, child = ends
    there = ChildDesk(child.ask, child.send)
    stop = threading.Event()
    answers = {"yahoo": {"error": {"code": "UNKNOWN_NAME", "message": "unknown rate limit"}}}
    server = threading.Thread(target=serve, args=(host, answers, stop))
    server.start()
    with pytest.raises(UnknownName, match="unknown rate limit"):
        there.ask({"op": "take", "name": "yahoo"})
    stop.set()
    server.join()
    host.close()
    with pytest.raises(NoAnswer, match="nobody answers any more"):
        there.ask({"op": "take", "name": "yahoo"})


def test_whose_desk_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.here() is None
    mine = ChildDesk(lambda message: message, lambda message: None)
    monkeypatch.setattr(desk, "_desk", mine)
    assert desk.here() is mine
