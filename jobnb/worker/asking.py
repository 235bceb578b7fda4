"""Questions of a job about breakers and rate limits, on their way to the service and back.

The child asks its supervisor (`ChildDesk`); the supervisor tells the service by an event, again and again until there
is an answer (`Questions`); the service hands the answer to the worker's process (`deliver`). Each question has a name
of its own, so that one that is asked twice counts once. Nothing here decides anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jobnb import desk
from jobnb.errors import JobnbError, NoAnswer, UnknownName, UsageProblem

#: A question is repeated after this time, then after twice of it, and so on up to the other.
AGAIN_SECONDS = 1.0
MOST_AGAIN_SECONDS = 5.0
#: When the service has not answered by then, it is told to the job: a service that starts again takes some seconds.
ANSWER_SECONDS = 60.0
#: Values up to this size travel with the question, others with the task's outcome: the scheduler keeps many events.
VALUE_BYTES = 16_000
#: Of the values that wait for the task's outcome, the oldest are let go beyond this.
KEPT_BYTES = 64 << 20

Answer = dict[str, Any]
#: A value that a call gave: breaker, call, µs, pickled.
Kept = tuple[str, str, int, bytes]


class ChildDesk:
    """Where a job's own process asks.

    Parameters
    ----------
    ask
        Sends a message to the supervisor, and waits for the answer.
    send
        Sends a message.
    """

    def __init__(self, ask: Callable[[dict[str, Any]], dict[str, Any]], send: Callable[[dict[str, Any]], None]) -> None:
        self._ask = ask
        self._send = send

    def ask(self, question: Mapping[str, Any]) -> Answer:
        """Return the service's answer.

        Raises
        ------
        NoAnswer
            There was none in time.
        UsageProblem
            What is asked makes no sense.
        """
        number = desk.number()
        try:
            answer: Answer = self._ask({"k": "ask", "id": number, "q": {**question, "id": number}})["a"]
        except (EOFError, OSError) as error:
            raise NoAnswer(f"{question['name']!r} was asked, and nobody answers any more: {error}.") from None
        if "error" in answer:
            raise _error(answer["error"])
        return answer

    def tell(self, question: Mapping[str, Any]) -> None:
        """Say something to which no answer is needed."""
        number = desk.number()
        with contextlib.suppress(OSError):  # the supervisor is gone, and this process will be soon
            self._send({"k": "tell", "id": number, "q": {**question, "id": number}})


def _error(said: Mapping[str, Any]) -> JobnbError:
    kinds: dict[str, type[JobnbError]] = {kind.code: kind for kind in (NoAnswer, UnknownName, UsageProblem)}
    return kinds.get(str(said["code"]), JobnbError)(str(said["message"]))


class Questions:
    """The open questions of one task; only its supervisor's thread uses it, but for `arrived`.

    Parameters
    ----------
    send
        Sends an event to the service; None where there is none.
    about
        What every question says of who asks: job, task, attempt, and the worker's address.
    wake
        Wakes the supervisor when an answer has come.
    """

    def __init__(
        self, send: Callable[[dict[str, object]], None] | None, about: Mapping[str, object], wake: Callable[[], None]
    ) -> None:
        self._send = send
        self._about = about
        self._wake = wake
        self._lock = threading.Lock()
        self._come: list[tuple[str, Answer]] = []
        #: Question by name: what is asked, whether the child waits, when it is said again, the pause after that, when
        #: it is given up.
        self._open: dict[str, tuple[dict[str, Any], bool, float, float, float]] = {}
        self._kept: dict[tuple[str, str], tuple[int, bytes]] = {}

    def put(self, question: dict[str, Any], now: float, *, waits: bool) -> Answer | None:
        """Take a question in; return the answer where nobody else need be asked.

        Parameters
        ----------
        question : dict
        now : float
            Monotonic.
        waits : bool
            Whether the child waits for the answer.
        """
        where = str(question.get("name")), str(question.get("call"))
        if question["op"] == "last" and where in self._kept:
            at, last = self._kept[where]
            return {"at": at, "value": last}
        value = question.get("value")
        if value is not None and len(value) > VALUE_BYTES:
            self._keep(where, int(question["at"]), question.pop("value"))
        if self._send is None:
            text = f"{where[0]!r} was asked in a job that no jobnb service runs."
            return {"error": {"code": NoAnswer.code, "message": text}}
        self._open[str(question["id"])] = (question, waits, now + AGAIN_SECONDS, AGAIN_SECONDS, now + ANSWER_SECONDS)
        self._say(question)
        return None

    def _keep(self, where: tuple[str, str], at: int, value: bytes) -> None:
        self._kept.pop(where, None)
        self._kept[where] = at, value
        held = sum(len(each) for _, each in self._kept.values())
        while held > KEPT_BYTES:
            held -= len(self._kept.pop(next(iter(self._kept)))[1])

    def _say(self, question: Mapping[str, Any]) -> None:
        assert self._send is not None
        self._send({**self._about, "kind": "question", "question": dict(question)})

    def asks(self, number: str) -> bool:
        """Tell whether a question is one of these, from any thread."""
        return number in self._open

    def arrived(self, number: str, answer: Answer) -> None:
        """Note an answer, from any thread."""
        with self._lock:
            self._come.append((number, answer))
        self._wake()

    def due_at(self) -> float | None:
        """Return the monotonic time at which `tick` has something to do, or None."""
        return min((min(again, ends) for _, _, again, _, ends in self._open.values()), default=None)

    def tick(self, now: float) -> list[tuple[str, Answer]]:
        """Repeat the questions whose time has come; return the answers that the child waits for."""
        with self._lock:
            come, self._come = self._come, []
        ready: list[tuple[str, Answer]] = []
        for number, answer in come:
            asked = self._open.pop(number, None)
            if asked is not None and asked[1]:
                ready.append((number, answer))
        for number, (question, waits, again, pause, ends) in list(self._open.items()):
            if now >= ends:
                del self._open[number]
                if waits:
                    text = (
                        f"{question['name']!r} was asked, and the jobnb service did not answer within "
                        f"{ANSWER_SECONDS:g} s. Is it running? `jobnb status` says."
                    )
                    ready.append((number, {"error": {"code": NoAnswer.code, "message": text}}))
            elif now >= again:
                pause = min(2 * pause, MOST_AGAIN_SECONDS)
                self._open[number] = (question, waits, now + pause, pause, ends)
                self._say(question)
        return ready

    def kept(self) -> tuple[Kept, ...]:
        """Return the values that go with the task's outcome."""
        return tuple((name, call, at, value) for (name, call), (at, value) in self._kept.items())


class Mailbox:
    """Which question of this process is whose; the service's answers come in here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Questions] = []

    def watch(self, questions: Questions) -> None:
        """Hand answers to these questions from now on."""
        with self._lock:
            self._open.append(questions)

    def unwatch(self, questions: Questions) -> None:
        """The task is over."""
        with self._lock:
            self._open.remove(questions)

    def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Hand answers to whoever asked."""
        with self._lock:
            listening = list(self._open)
        for questions in listening:
            for number in filter(questions.asks, answers):
                questions.arrived(number, answers[number])


def deliver(answers: Mapping[str, Answer]) -> None:
    """Take answers in; the service has Dask run this in the worker's process, on its event loop."""
    from jobnb.worker.host import host

    host().mailbox.deliver(answers)
