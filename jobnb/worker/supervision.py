"""One task in one child: the loop that feeds it, listens to it, and ends it when it must end.

Runs in a task thread of the Dask worker, inside `jobnb.worker.supervisor.run_task`. It blocks on nothing but its
selector, and what it decides it decides here; what it reads is parsed elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from jobnb.worker import memory
from jobnb.worker.asking import Questions
from jobnb.worker.channel import Message, ProtocolError, Wake
from jobnb.worker.output import LogRing, Stream
from jobnb.worker.pool import Pool
from jobnb.worker.process import ChildProcess
from jobnb.worker.relay import Relay
from jobnb.worker.request import State, TaskError, TaskOutcome, TaskRequest
from jobnb.worker.slot import Slot
from jobnb.worker.verdict import Facts, Stop, judge

_MEMORY_POLL_SECONDS = 0.2
#: What the plugin may tell; a worker that leaves comes first.
_TOLD: tuple[Stop, ...] = ("lost", "cancel")
#: How long to wait for a killed process to be gone; only a process stuck in the kernel takes longer.
_DEATH_SECONDS = 5.0
#: How long a child that closed its channel may take to die by itself.
_HANGUP_SECONDS = 0.5
_READ_BYTES = 1 << 16
#: What a grandchild goes on printing after the task is not read for ever.
_DRAIN_READS = 64


class Supervision:
    """The life of one task; `run` once.

    Parameters
    ----------
    request, payload, paths
        What to run, the pickled work, and where its data is.
    ring, relay
        Where output and progress go.
    wake
        Told by the plugin; also woken by the child's death.
    ask, ask_seconds
        ``ask()`` says what became of the task: None, "cancel" or "lost"; and how often to ask.
    slot
        The task's place among those of the worker.
    cluster
        How a job's own Dask client reaches the scheduler; None outside Dask.
    questions
        What the job asks the service.
    """

    def __init__(
        self,
        *,
        request: TaskRequest,
        payload: bytes,
        paths: dict[str, str],
        ring: LogRing,
        relay: Relay,
        wake: Wake,
        ask: Callable[[], Stop | None],
        ask_seconds: float,
        slot: Slot,
        questions: Questions,
        cluster: dict[str, Any] | None = None,
    ) -> None:
        self._request = request
        self._payload = payload
        self._paths = paths
        self._ring = ring
        self._relay = relay
        self._wake = wake
        self._ask = ask
        self._ask_seconds = ask_seconds
        self._slot = slot
        self._cluster = cluster
        self._questions = questions
        self._streams = {"out": Stream("stdout", ring), "err": Stream("stderr", ring)}
        self._own_progress = False
        self._artifacts: dict[str, bytes] = {}
        self._stopped: Stop | None = None
        self._end: Message | None = None
        self._deadline: float | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None
        self._begun = False
        #: How many items the child was last told to do at most.
        self._told_most: int | None = None
        self._next_look = 0.0
        self._next_ask = 0.0
        self._held = 0
        self._hung_up = False
        self._strays: dict[int, Any] = {}

    @property
    def heavy(self) -> bool:
        """True once the child has said that it has the heavy libraries loaded."""
        return self._end is not None and bool(self._end["heavy"])

    def run(self, child: ChildProcess, blank: TaskOutcome, pool: Pool) -> TaskOutcome:
        """Run the task in ``child``, which goes back to ``pool`` when it may be used again."""
        child.listen(lambda: self._wake.set("exit"))
        try:
            with selectors.DefaultSelector() as selector:
                self._loop(selector, child)
        except BaseException:
            child.kill()
            pool.discard(child)
            raise
        state, error = judge(self._request, self._facts(child), lambda: self._ring.cut("stderr", "Fatal Python error"))
        if state == "completed":
            child.listen(None)
            pool.give(child)
        else:
            if self._stopped is not None:
                child.kill()
                memory.kill_all(self._strays.values())
            pool.discard(child)
        return self._outcome(child, blank, state, error)

    def _loop(self, selector: selectors.BaseSelector, child: ChildProcess) -> None:
        selector.register(self._wake, selectors.EVENT_READ, "wake")
        selector.register(child.channel, selectors.EVENT_READ, "channel")
        selector.register(child.out, selectors.EVENT_READ, "out")
        selector.register(child.err, selectors.EVENT_READ, "err")
        if child.ready:
            self._begin(child)
        self._tick(child)
        while not self._over(child):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.pending else 0)
            if not self._hung_up:
                selector.modify(child.channel, events, "channel")
            for key, _ in selector.select(self._patience()):
                if key.data == "wake":
                    self._wake.clear()
                elif key.data == "channel":
                    child.channel.flush()
                    self._listen(selector, child)
                elif self._read(key.data, key.fd) == 0:
                    selector.unregister(key.fd)
            self._tick(child)
        self._drain(child)

    def _over(self, child: ChildProcess) -> bool:
        if self._stopped is None:
            return self._end is not None or child.dead.is_set()
        if self._give_up_at is not None and time.monotonic() >= self._give_up_at:
            return True
        # A child that has no task yet runs nothing: it is enough that it will be killed.
        return child.dead.is_set() or not child.ready

    def _patience(self) -> float | None:
        times = [self._deadline, self._kill_at, self._give_up_at, self._relay.due_at(), self._questions.due_at()]
        if self._request.memory_limit is not None:
            times.append(self._next_look)
        times.append(self._next_ask)
        ends = [t for t in times if t is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _begin(self, child: ChildProcess) -> None:
        self._begun = True
        self._relay.pid = child.pid or 0
        self._relay.begin(time.monotonic())
        known = child.payload_hash == self._request.payload_hash
        child.payload_hash = self._request.payload_hash
        if self._request.timeout is not None:
            self._deadline = time.monotonic() + self._request.timeout
        child.channel.send(
            {
                "k": "run",
                "request": asdict(self._request),
                "payload": None if known else self._payload,
                "paths": self._paths,
                "cluster": self._cluster,
            }
        )

    def _read(self, name: str, fd: int) -> int | None:
        """Take in what was printed; return how many bytes, 0 at the end of it, None if there is nothing now."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        if data:
            stream = self._streams[name]
            stream.feed(data)
            if stream.bar is not None and not self._own_progress:
                self._relay.progress = stream.bar
        return len(data)

    def _drain(self, child: ChildProcess) -> None:
        if not child.channel.closed and not self._hung_up:
            with contextlib.suppress(ProtocolError):
                while True:
                    messages, hung_up = child.channel.receive()
                    for message in messages:
                        self._hear(message, child)
                    if hung_up or not messages:
                        break
        for name, fd in (("out", child.out), ("err", child.err)):
            for _ in range(_DRAIN_READS):
                if self._read(name, fd) != _READ_BYTES:
                    break
            self._streams[name].flush()

    def _listen(self, selector: selectors.BaseSelector, child: ChildProcess) -> None:
        try:
            messages, hung_up = child.channel.receive()
        except ProtocolError:
            messages, hung_up = [], True
        for message in messages:
            self._hear(message, child)
        if hung_up:
            self._hung_up = True
            selector.unregister(child.channel)
            if self._kill_at is None:
                self._kill_at = time.monotonic() + _HANGUP_SECONDS

    def _hear(self, message: Message, child: ChildProcess) -> None:
        kind = message["k"]
        if kind == "ready":
            child.ready = True
            # The child may be quicker than the news of its birth. It has run nothing yet, so what it holds now is
            # what every child is born with.
            child.born(message["pid"])
            if self._request.memory_limit is not None:
                child.base_memory = memory.own_bytes(message["pid"])
            if self._stopped is None:
                self._begin(child)
        elif kind == "progress":
            self._relay.done = message["done"]
            self._relay.most = message["most"]
            self._take_progress(message["p"])
        elif kind == "log":
            for line in str(message["text"]).splitlines() or [""]:
                self._ring.add("log", line, message["t"])
        elif kind == "artifact":
            self._artifacts[message["name"]] = message["data"]
        elif kind in ("ask", "tell"):
            answer = self._questions.put(message["q"], time.monotonic(), waits=kind == "ask")
            if answer is not None and kind == "ask":
                child.channel.send({"k": "answer", "id": message["id"], "a": answer})
        elif kind == "secede":
            # Of a task that is being stopped Dask wants to hear no more.
            if self._stopped is None:
                self._slot.leave()
        elif kind == "rejoin":
            self._slot.come_back()
        elif kind == "end":
            self._end = message
            self._relay.done = message["done"]
            self._take_progress(message["progress"])
            if self._stopped is not None:
                self._kill(child)

    def _take_progress(self, value: list[Any] | None) -> None:
        if value is not None:
            self._own_progress = True
            self._relay.progress = (value[0], value[1], value[2])

    def _tick(self, child: ChildProcess) -> None:
        now = time.monotonic()
        if now >= self._next_ask:
            # The first time at once: the task may have been cancelled before the plugin knew whom to tell.
            self._next_ask = now + self._ask_seconds
            self._note(self._ask(), child)
        for reason in _TOLD:
            if reason in self._wake.reasons:
                self._note(reason, child)
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._note("timeout", child)
        limit = self._request.memory_limit
        if limit is not None and now >= self._next_look and child.ready and child.pid is not None:
            self._next_look = now + _MEMORY_POLL_SECONDS
            self._held = memory.group_bytes(child.pid, child.base_memory)
            if self._held > limit:
                self._note("memory", child)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill(child)
        # To a child that has not begun it would go before its task, and not be heard.
        most = self._wake.most
        if most is not None and most != self._told_most and self._begun and not child.channel.closed:
            self._told_most = most
            # Nor is it said where all of the span is wanted.
            if self._request.budget is not None:
                child.channel.send({"k": "enough", "most": most})
        for number, answer in self._questions.tick(now):
            if not child.channel.closed:
                child.channel.send({"k": "answer", "id": number, "a": answer})
        self._relay.tick(now, time.time_ns() // 1000)

    def _note(self, reason: Stop | None, child: ChildProcess) -> None:
        """Begin to stop the child, once."""
        if reason is None or self._stopped is not None or self._end is not None:
            return
        self._stopped = reason
        self._deadline = None
        if reason == "lost" or not child.ready:
            self._kill(child)
            return
        # SIGINT first, so that finally blocks run; it goes to the whole group as from a terminal.
        child.signal(signal.SIGINT)
        self._kill_at = time.monotonic() + self._request.cancel_grace

    def _kill(self, child: ChildProcess) -> None:
        if self._give_up_at is not None:
            self._kill_at = None
            return
        self._kill_at = None
        self._give_up_at = time.monotonic() + _DEATH_SECONDS
        if child.pid is not None:
            # A grandchild with a session of its own is not in the group, and nobody's child once ours is dead.
            self._strays = {p.pid: p for p in memory.descendants(child.pid)}
        child.kill()

    def _facts(self, child: ChildProcess) -> Facts:
        return Facts(
            stopped=self._stopped,
            end=self._end,
            held=self._held,
            dead=child.dead.is_set(),
            status=child.status,
            max_rss=child.max_rss,
        )

    def _outcome(self, child: ChildProcess, blank: TaskOutcome, state: State, error: TaskError | None) -> TaskOutcome:
        end = self._end or {}
        done = state == "completed"
        return replace(
            blank,
            state=state,
            stop=end["stop"] if done else blank.start,
            result=end.get("result") if done else None,
            summary=end.get("summary") if done else None,
            failed=end.get("failed", 0) if done else 0,
            carry=end.get("carry") if done else None,
            refused=state == "failed" and self._stopped is None and bool(end.get("refused")),
            error=None if error is None else error.as_map(),
            log=self._ring.lines(),
            log_dropped=self._ring.dropped,
            progress=self._relay.progress,
            artifacts=tuple(self._artifacts.items()),
            kept=self._questions.kept(),
            finished_at=time.time_ns() // 1000,
            pid=child.pid or 0,
            cpu_seconds=end.get("cpu", child.cpu_seconds),
            max_rss=end.get("rss", child.max_rss),
        )
