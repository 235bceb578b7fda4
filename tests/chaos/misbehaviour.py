"""The table of what user code may do to its process, and a real Dask worker to do it on. For test and benchmark.

Each job gets the path of a note: there it writes the processes that it consists of, when it is up to its mischief.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import select
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import Client, Future, LocalCluster

from jobnb.work import CallWork
from jobnb.worker.cancellation import JobnbPlugin
from jobnb.worker.request import TaskOutcome, TaskRequest
from jobnb.worker.supervisor import run_task

# Children cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TOPIC = "jobnb-misbehaviour"
LARGE_BYTES = 500 << 20
_numbers = itertools.count(1)


def begin(note: str, *others: int) -> None:
    """Say which processes there are."""
    part = f"{note}.part"
    Path(part).write_text(" ".join(map(str, (os.getpid(), *others))))
    os.replace(part, note)


# What ends by itself


def exception(note: str) -> None:
    begin(note)
    raise ValueError("no such price")


def sys_exit(note: str) -> None:
    begin(note)
    sys.exit(4)


def os_exit(note: str) -> None:
    begin(note)
    os._exit(3)


def segmentation_fault(note: str) -> None:
    import ctypes

    begin(note)
    ctypes.string_at(0)


def crash_with_daemons(note: str) -> None:
    begin(note, grandchild(own_session=False), grandchild(own_session=True))
    os.abort()


def out_of_memory(note: str) -> None:
    begin(note)
    held = []
    while True:
        held.append(b"x" * (8 << 20))
        time.sleep(0.005)


def prints(note: str) -> str:
    begin(note)
    line = "x" * 99
    for _ in range(1_000_000):
        print(line)  # noqa: T201
    return "done"


def progress_calls(note: str) -> str:
    from jobnb.worker import context

    begin(note)
    for i in range(1_000_000):
        context.progress(i, 1_000_000)
    return "done"


def unpicklable_result(note: str) -> Any:
    begin(note)
    return (i for i in range(3))


def large_result(note: str) -> bytes:
    begin(note)
    return bytes(LARGE_BYTES)


def closed_descriptor(note: str) -> str:
    begin(note)
    os.close(1)
    return "done"


def closed_stdout(note: str) -> str:
    begin(note)
    sys.stdout.close()
    sys.stderr.close()
    return "done"


def deleted_folder(note: str) -> str:
    import tempfile

    begin(note)
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    return "done"


def multiprocessing_pools(note: str) -> str:
    import multiprocessing

    begin(note)
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
    return "done"


def joblib_pool(note: str) -> str:
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(4))
    begin(note, *set(found))
    return "done"


# What has to be ended


def endless_loop(note: str) -> None:
    begin(note)
    while True:
        pass


def gil_held_in_c(note: str) -> None:
    begin(note)
    # One call of C code that neither lets the interpreter go nor looks at signals.
    sum(itertools.repeat(0))


def deadlocked_threads(note: str) -> None:
    import threading

    one, two = threading.Lock(), threading.Lock()
    both = threading.Barrier(2)

    def grab(first: threading.Lock, second: threading.Lock) -> None:
        with first:
            both.wait()
            with second:
                pass

    threads = [threading.Thread(target=grab, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    begin(note)
    for thread in threads:
        thread.join()


def swallowed_interrupt(note: str) -> None:
    begin(note)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def ignored_signals(note: str) -> None:
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    begin(note)
    time.sleep(1000)


def grandchild(*, own_session: bool) -> int:
    """Fork a process that waits, deaf to SIGINT."""
    import signal

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if own_session:
            os.setsid()
        while True:
            time.sleep(1000)
    return pid


def grandchildren(note: str) -> None:
    begin(note, grandchild(own_session=False), grandchild(own_session=True))
    time.sleep(1000)


def flood(note: str) -> None:
    begin(note)
    while True:
        sys.stdout.write("y" * 4096)


def busy_pool(note: str) -> None:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        begin(note, *{pool.apply(os.getpid) for _ in range(4)})
        pool.map(time.sleep, [1000, 1000])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table: what the job does, and how it must end."""

    fn: Callable[[str], Any]
    #: "completed", or the code of the failure; "CANCELLED" has the job cancelled once it runs.
    ends: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.fn.__name__ if self.ends != "TIMEOUT_ERROR" else f"{self.fn.__name__}_timeout"


CANCELLED = tuple(
    Case(fn=fn, ends="CANCELLED")
    for fn in (
        endless_loop,
        gil_held_in_c,
        deadlocked_threads,
        swallowed_interrupt,
        ignored_signals,
        grandchildren,
        flood,
        busy_pool,
    )
)
TIMEOUT_SECONDS = 0.4
TIMED_OUT = tuple(
    Case(fn=fn, ends="TIMEOUT_ERROR", options={"timeout": TIMEOUT_SECONDS})
    for fn in (endless_loop, gil_held_in_c, grandchildren)
)
BY_ITSELF = (
    Case(fn=exception, ends="USER_ERROR"),
    Case(fn=sys_exit, ends="USER_ERROR"),
    Case(fn=os_exit, ends="CHILD_CRASHED"),
    Case(fn=segmentation_fault, ends="CHILD_CRASHED"),
    Case(fn=crash_with_daemons, ends="CHILD_CRASHED"),
    Case(fn=out_of_memory, ends="MEMORY_ERROR", options={"memory_limit": 300 << 20}),
    Case(fn=prints, ends="completed"),
    Case(fn=progress_calls, ends="completed"),
    Case(fn=unpicklable_result, ends="UNPICKLABLE"),
    Case(fn=large_result, ends="completed"),
    Case(fn=closed_descriptor, ends="completed"),
    Case(fn=closed_stdout, ends="completed"),
    Case(fn=deleted_folder, ends="completed"),
    Case(fn=multiprocessing_pools, ends="completed"),
    Case(fn=joblib_pool, ends="completed"),
)
TABLE = BY_ITSELF + CANCELLED + TIMED_OUT


def cluster() -> LocalCluster:
    """One worker with two slots: the job's and its neighbour's."""
    return LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=True,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    )


def connect(where: LocalCluster) -> Client:
    client = Client(where, set_as_default=False)
    client.register_plugin(JobnbPlugin())
    return client


def submit(client: Client, fn: Callable[..., Any], *args: Any, **options: Any) -> tuple[str, Future]:
    """Send a function to the worker as a job of its own."""
    payload = cloudpickle.dumps(CallWork(fn=fn, args=args))
    request = TaskRequest(
        job=f"job{next(_numbers)}",
        task=0,
        attempt=1,
        start=0,
        stop=1,
        topic=TOPIC,
        payload_hash=hashlib.sha256(payload).hexdigest(),
        **options,
    )
    return request.job, client.submit(run_task, request.pack(), payload, key=request.key, pure=False, retries=0)


def outcome(future: Future, seconds: float = 60) -> TaskOutcome:
    return TaskOutcome.unpack(future.result(timeout=seconds))


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until ``what()`` is true and return it."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, f"still not so after {seconds} s"
        time.sleep(0.002)
    return found


def processes(note: Path) -> list[int]:
    """Wait for a job's note."""
    until(note.exists)
    return [int(pid) for pid in note.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Deaths:
    """Watches processes, from now on, and says when the last of them died."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._fds = []
        for pid in pids:
            try:
                self._fds.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue

    def wait(self, seconds: float = 20.0) -> float:
        """Return the monotonic time at which all were dead."""
        ends = time.monotonic() + seconds
        for fd in self._fds:
            ready, _, _ = select.select([fd], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"a process lives {seconds} s later"
        died = time.monotonic()
        for fd in self._fds:
            os.close(fd)
        return died
