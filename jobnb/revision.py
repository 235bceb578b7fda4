"""The git commit a job was submitted from, and whether files had been changed since. Run by front doors.

Asking git costs some ten milliseconds, so an answer is kept for a few seconds. No git, no repository: no answer.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

KEEP_SECONDS = 10.0
PATIENCE_SECONDS = 1.0

_kept: dict[str, tuple[float, dict[str, str | bool]]] = {}


def revision(folder: str) -> dict[str, str | bool]:
    """Return ``{"commit": …, "dirty": …}`` of a folder, or nothing where it is in no repository."""
    now = time.monotonic()
    kept = _kept.get(folder)
    if kept is not None and now - kept[0] < KEEP_SECONDS:
        return kept[1]
    found: dict[str, str | bool] = {}
    if any((parent / ".git").exists() for parent in (Path(folder), *Path(folder).parents)):
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
        if commit:
            found = {"commit": commit.strip()}
            if changed is not None:
                found["dirty"] = bool(changed.strip())
    _kept[folder] = (now, found)
    return found


def _git(folder: str, *words: str) -> str | None:
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
