"""What holds for all tests: they leave no service behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import pytest

#: Services that were asked to leave get this long to be gone.
LEAVE_SECONDS = 30


@pytest.fixture(scope="session", autouse=True)
def _no_service_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the last test where a service still runs in one of this run's folders; end it."""
    yield
    folder = str(tmp_path_factory.getbasetemp())
    services = {process: command for process in psutil.process_iter() if (command := _serves(process, folder))}
    _, left = psutil.wait_procs(list(services), LEAVE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert not left, f"services that tests have left: {[services[process] for process in left]}"


def _serves(process: psutil.Process, folder: str) -> str:
    """Return the command of a service that has its home in a folder; empty of any other process."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    wanted = "jobnb.service" in command and any(part.startswith(folder) for part in command)
    return " ".join(command) if wanted else ""
