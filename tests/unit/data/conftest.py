from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from price_kit import Counting

from jobnb.data.origin import CallableSource, Terms


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobnb import manager

    monkeypatch.setenv("JOBNB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(manager, "_default", None)


@pytest.fixture
def counting() -> Callable[..., tuple[Counting, CallableSource]]:
    def make(freq: str = "D", tz: str | None = None, **terms: object) -> tuple[Counting, CallableSource]:
        asked = Counting(freq, tz)
        return asked, CallableSource(asked, "counting", Terms(**terms))

    return make
