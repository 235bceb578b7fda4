"""Functions that integration tests run as jobs, and helpers to wait and to look at processes. Imports little."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobnb


def until(true: Callable[[], Any], seconds: float = 20.0, *, what: Callable[[], object] | None = None) -> Any:
    """Wait until ``true()`` is, and return it; ``what()`` tells what is there instead."""
    ends = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > ends:
            raise AssertionError(f"still not so after {seconds} s: {what() if what else true}")
        time.sleep(0.01)


def processes_of(home: Path) -> dict[int, str]:
    """Return the processes (id: command) that carry this home in command or environment, this one excepted."""
    found = {}
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit() or int(proc.name) == os.getpid():
            continue
        try:
            command, surroundings = (proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()
            state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(home).encode() in command + surroundings and state != "Z":
            found[int(proc.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:300]
    return found


def end(manager: jobnb.JobManager) -> None:
    """Stop the service of a manager and see that no process of its home is left."""
    home = manager.store.home
    manager.close()
    # One that is only just starting has no lease yet and cannot be asked to stop.
    until(lambda: manager.daemon.stop() or not processes_of(home), what=lambda: processes_of(home))
    until(lambda: not processes_of(home), what=lambda: processes_of(home))
    manager.store.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def add(a: float, b: float = 0) -> float:
    return a + b


def square(x: float) -> float:
    return x * x


def process_of(x: float) -> int:
    return os.getpid()


def boom(text: str = "no") -> None:
    raise ValueError(text)


async def later(x: int) -> int:
    await asyncio.sleep(0.01)
    return x + 1


def talk(n: int) -> str:
    for i in range(n):
        print("line", i)  # noqa: T201
    print("to the error stream", file=sys.stderr)  # noqa: T201
    return "said"


def walk(n: int, gate: str) -> int:
    """Report progress, then wait for the gate."""
    for i in range(n):
        jobnb.progress(i + 1, n, f"step {i + 1}")
    wait_for(gate)
    return n


def bar(n: int) -> int:
    from tqdm import tqdm

    return sum(1 for _ in tqdm(range(n)))


def wait_for(gate: str) -> str:
    """Return once the file is there."""
    while not os.path.exists(gate):
        time.sleep(0.005)
    return "open"


def mark_and_wait(mark: str, gate: str) -> str:
    """Append this process to a file, so that runs can be counted; then wait for the gate."""
    with open(mark, "a") as file:
        file.write(f"{os.getpid()}\n")
    return wait_for(gate)


def mark_and_spin(mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    while True:
        pass


def mark_and_sleep(mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(1000)


def mark_and_hold_gil(mark: str) -> None:
    """Run C code that never lets the interpreter go."""
    import ctypes

    Path(mark).write_text(str(os.getpid()))
    # PyDLL keeps the interpreter's lock while it calls.
    ctypes.PyDLL(None).sleep(1000)


def mark_and_ignore_interrupts(mark: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(mark).write_text(str(os.getpid()))
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def item_or_gate(item: tuple[int, str, str]) -> int:
    """Count the run of an item; those after the third wait for the gate, and one of the others is a task's worth."""
    index, marks, gate = item
    with open(os.path.join(marks, str(index)), "a") as file:
        file.write("run\n")
    if index >= 3:
        wait_for(gate)
    else:
        time.sleep(0.2)
    return index * 10


def total(frame: Any) -> tuple[float, bool]:
    """Return the sum of a frame, and whether its values come from a file."""
    import numpy as np

    values = frame["x"].to_numpy()
    base: Any = values
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return float(values.sum()), base is not None


def executor(params: dict[str, Any], progress_callback: Callable[..., None]) -> dict[str, Any]:
    progress_callback(1, 2, "half")
    return {"x": params["x"] * 2}


async def async_executor(params: dict[str, Any], progress_callback: Callable[..., None]) -> dict[str, Any]:
    await asyncio.sleep(0)
    progress_callback(2, 2, "all")
    return {"x": params["x"] * 3}


def nan_progress() -> str:
    jobnb.progress(float("nan"), float("inf"), "strange")
    return "alive"


def seconds_of(x: float) -> float:
    time.sleep(x)
    return x


def unpicklable_result() -> Any:
    return (i for i in range(3))


def grab(mebibytes: int) -> int:
    held = bytearray(mebibytes << 20)
    for i in range(0, len(held), 4096):
        held[i] = 1
    time.sleep(30)
    return len(held)
