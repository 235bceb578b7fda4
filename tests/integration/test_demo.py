"""``jobnb demo`` as a newcomer runs it: in a fresh home, from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil


def test_the_demo_shows_results_and_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ran = subprocess.run(
        [sys.executable, "-m", "jobnb.cli", "demo"],
        env={**os.environ, "JOBNB_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert "Sharpe" in ran.stdout
    assert "runs 10,000" in ran.stdout
    assert "best parameters   fast=" in ran.stdout
    assert "Try next" in ran.stdout
    left = [p for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or ())]
    assert left == []
