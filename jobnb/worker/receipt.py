"""The outcome on disk, beside the store, before Dask has it: Dask runs finished tasks again when their worker dies.

Runs in the supervisor, only where worker and service share a disk. A claim beside the receipt says that the
attempt has begun: Dask also runs tasks again whose worker died in the middle, and an attempt runs once.
"""

from __future__ import annotations

import os
from pathlib import Path

from jobnb.worker.request import TaskOutcome, TaskRequest


def earlier(path: Path, request: TaskRequest) -> bytes | None:
    """Return the packed outcome that an earlier run of this very attempt left, or None."""
    try:
        data = path.read_bytes()
    except OSError:
        return None  # not there; if it cannot be written either, `claim` says so
    outcome = TaskOutcome.unpack(data)
    same = (outcome.job, outcome.task, outcome.attempt) == (request.job, request.task, request.attempt)
    return data if same else None


def claim(path: Path) -> bool:
    """Claim the attempt; False when an earlier run has."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(claim_path(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def write(path: Path, data: bytes) -> None:
    """Turn the claim into the receipt, which is whole or not there.

    It outlives every process, and that is what it is for; flushing it to the disk for a power cut, after which the
    attempt is simply made again, would cost each task more than all the rest of it.
    """
    claim = claim_path(path)
    with os.fdopen(os.open(claim, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
    os.replace(claim, path)


def claim_path(path: Path) -> Path:
    """Return where the claim of a receipt lies."""
    return path.with_name(path.name + ".claim")
