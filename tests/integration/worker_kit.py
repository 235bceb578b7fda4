"""What the worker's integration tests share: requests, a task in a thread, and waiting with a deadline."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from jobnb.packing import pack
from jobnb.work import CallWork
from jobnb.worker.host import host
from jobnb.worker.request import TaskOutcome, TaskRequest
from jobnb.worker.supervisor import run_task

TOPIC = "jobnb-test"
_numbers = itertools.count(1)


def ask(fn: Callable[..., Any], *args: Any, work: Any = None, **options: Any) -> tuple[TaskRequest, bytes]:
    work = work if work is not None else CallWork(fn=fn, args=args)
    payload = pack(work, _no_blobs).payload
    fields: dict[str, Any] = {
        "job": f"job{next(_numbers)}",
        "task": 0,
        "attempt": 1,
        "start": 0,
        "stop": 1,
        "topic": TOPIC,
        "payload_hash": hashlib.sha256(payload).hexdigest(),
    }
    return TaskRequest(**{**fields, **options}), payload


def _no_blobs(content: bytes) -> str:
    raise AssertionError("there is no store here that could keep a large array")


def run(fn: Callable[..., Any], *args: Any, **options: Any) -> TaskOutcome:
    request, payload = ask(fn, *args, **options)
    return TaskOutcome.unpack(run_task(request.pack(), payload))


class Running:
    """A task that runs in a thread of this process, outside Dask."""

    def __init__(self, fn: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.request, self.payload = ask(fn, *args, **options)
        self._outcome: TaskOutcome | None = None
        self.ended_at = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._outcome = TaskOutcome.unpack(run_task(self.request.pack(), self.payload))
        self.ended_at = time.monotonic()

    def tell(self, reason: str) -> None:
        host().tell("", self.request.key, reason)

    def enough(self, most: int = 0) -> None:
        host().enough(self.request.key, most)

    def outcome(self, seconds: float = 10) -> TaskOutcome:
        self._thread.join(seconds)
        assert self._outcome is not None, "the task did not end"
        return self._outcome


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until ``check`` returns something true, and return it."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.003)
    return found


def read_pid(path: Any) -> int:
    """Wait until a job has written its process id there."""
    return int(eventually(lambda: path.exists() and path.read_text().strip()))


def alive(pid: int) -> bool:
    """Say whether a process lives; a zombie does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def texts(outcome: TaskOutcome, stream: str | None = None) -> list[str]:
    return [text for _, _, name, text in outcome.log if stream in (None, name)]
