from __future__ import annotations

import subprocess
from pathlib import Path

from jobnb import revision


def git(folder: Path, *words: str) -> str:
    said = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(said, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert revision.revision(str(inner)) == {"commit": commit, "dirty": False}
    (tmp_path / "a").write_text("2")
    assert revision.revision(str(inner)) == {"commit": commit, "dirty": False}, "kept for a few seconds"
    assert revision.revision(str(tmp_path)) == {"commit": commit, "dirty": True}


def test_no_repository(tmp_path: Path) -> None:
    assert revision.revision(str(tmp_path)) == {}
