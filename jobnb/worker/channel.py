"""Messages between supervisor and child: a length and a msgpack body, over a stream socket.

Both ends use it. The supervisor's end never blocks (a child that stopped reading must not hold a worker
thread); the child's end blocks, and is safe from signals in the middle of a message.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgpack

from jobnb.worker import signals

_HEADER = struct.Struct(">Q")
#: Not more: for each read a buffer is made, and the C library maps a large one anew.
_READ_BYTES = 1 << 16
#: So many at most before somebody else has a turn.
_READS = 16
#: A larger message is sent without being put together with its header first.
_COPY_BYTES = 1 << 20
#: How long one of several threads waits for its answer before it lets another one read.
_TURN_SECONDS = 0.05
_SIGINT = (signals.INTERRUPT,)

Message = dict[str, Any]


class ProtocolError(Exception):
    """The bytes on the socket are not a message: the peer died in the middle of one."""


def _pack(message: Message) -> tuple[bytes, bytes]:
    body = msgpack.packb(message, default=_plain)
    return _HEADER.pack(len(body)), body


def _plain(value: Any) -> Any:
    # Summaries are made of plain values, but numpy's scalars slip in easily.
    return value.item() if hasattr(value, "item") else str(value)


class _Frames:
    """Cuts the byte stream into messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        held = self._held
        held += data
        at = 0
        try:
            while len(held) - at >= _HEADER.size:
                (length,) = _HEADER.unpack_from(held, at)
                begin = at + _HEADER.size
                if len(held) - begin < length:
                    return
                body = bytes(memoryview(held)[begin : begin + length])
                at = begin + length
                try:
                    message = msgpack.unpackb(body)
                except ValueError as error:
                    raise ProtocolError(str(error)) from error
                if not isinstance(message, dict):
                    raise ProtocolError("a message is a map")
                yield message
        finally:
            del held[:at]


class HostChannel:
    """The supervisor's end: queues what it sends, returns what has come."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out: deque[memoryview] = deque()
        self._frames = _Frames()
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out)

    def send(self, message: Message) -> None:
        """Queue a message and send what the socket takes."""
        self._out.extend(memoryview(part) for part in _pack(message))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        while self._out:
            part = self._out[0]
            try:
                sent = self._sock.send(part)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                # The death itself is noticed, with its reason, by whoever waits for the process.
                self._out.clear()
                return
            if sent == len(part):
                self._out.popleft()
            else:
                self._out[0] = part[sent:]

    def receive(self) -> tuple[list[Message], bool]:
        """Return the messages that have come, and whether the peer has hung up."""
        messages: list[Message] = []
        for _ in range(_READS):
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except ConnectionResetError:
                return messages, True
            messages += self._frames.feed(data)
            if len(data) < _READ_BYTES:
                return messages, not data
        return messages, False

    def close(self) -> None:
        """Hang up; the child leaves when it notices."""
        self.closed = True
        self._sock.close()


class ChildChannel:
    """The child's end: blocking, one sender at a time, never cut in the middle by SIGINT."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._frames = _Frames()
        self._ready: deque[Message] = deque()
        self._lock = threading.Lock()
        #: Held by whoever reads: the main loop, or a thread of the job that waits for an answer.
        self._reading = threading.Lock()
        self._answers: dict[str, Message] = {}
        self._questions = 0
        self._enough: int | None = None

    def send(self, message: Message) -> None:
        """Send a message."""
        head, body = _pack(message)
        # SIGINT in the middle would leave half a message; it is delivered right after instead.
        with _masked(), self._lock:
            if len(body) < _COPY_BYTES:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)

    def receive(self) -> Message | None:
        """Wait for the next message that is no answer; None when the supervisor hung up."""
        while True:
            with self._reading:
                if self._ready:
                    return self._ready.popleft()
                if not self._read():
                    return None

    def ask(self, message: Message) -> Message:
        """Send a question and wait for the answer of the same ``id``, from any thread of the job.

        Raises
        ------
        EOFError
            The supervisor hung up, or the task of the question is over.
        """
        asked, task = str(message["id"]), self._questions
        self.send(message)
        while True:
            with self._reading:
                if asked in self._answers:
                    return self._answers.pop(asked)
                if task != self._questions:
                    raise EOFError("the task is over")
                # In turns, so that a thread that a job has left behind does not keep the main loop from its work.
                if not select.select([self._sock], [], [], _TURN_SECONDS)[0]:
                    continue
                # SIGINT between two lines of it would lose what has come.
                with _masked():
                    there = self._read()
                if not there:
                    raise EOFError("the supervisor has hung up")

    def enough(self) -> int | None:
        """Return how many of its items the task is to do, 0 for no more than it has; None for all. Never waits."""
        if self._enough != 0 and self._reading.acquire(blocking=False):
            try:
                if select.select([self._sock], [], [], 0)[0]:
                    with _masked():
                        self._read()
            finally:
                self._reading.release()
        return self._enough

    def forget_questions(self) -> None:
        """Let go of the questions of a task that is over."""
        self._questions += 1
        self._answers.clear()

    def _read(self) -> bool:
        data = self._sock.recv(_READ_BYTES)
        for message in self._frames.feed(data):
            kind = message.get("k")
            if kind == "answer":
                self._answers[str(message["id"])] = message
            elif kind == "enough":
                self._enough = int(message["most"])
            else:
                # What was said to a task that was over by then is not said to the next one.
                self._enough = None
                self._ready.append(message)
        return bool(data)

    def close(self) -> None:
        """Let go of the socket; also in a forked copy, where the thread that was sending does not exist."""
        self._sock.close()
        self._lock = threading.Lock()
        self._reading = threading.Lock()


@contextlib.contextmanager
def _masked() -> Iterator[None]:
    before = signals.set_mask(signals.BLOCK, _SIGINT)
    try:
        yield
    finally:
        signals.set_mask(signals.REPLACE, before)


class Wake:
    """Wakes a supervisor's selector from another thread; says why.

    Reasons are kept; setting a reason after `close` does nothing, because the descriptor's number may belong
    to somebody else by then.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._closed = False
        self.reasons: set[str] = set()
        #: With the reason "enough": of how many items, see `ChildChannel.enough`.
        self.most: int | None = None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._read

    def set(self, reason: str) -> None:
        """Wake the supervisor, from any thread."""
        with self._lock:
            self.reasons.add(reason)
            if not self._closed:
                with contextlib.suppress(BlockingIOError):  # full: it is awake already
                    os.write(self._write, b"!")

    def clear(self) -> None:
        """Empty the pipe; the reasons stay."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            self._closed = True
            os.close(self._read)
            os.close(self._write)
