from __future__ import annotations

import os
from pathlib import Path

import dask.config
import pytest

from jobnb import config
from jobnb.errors import HomeNotWritable, UnknownName


def test_the_home_comes_from_the_call_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBNB_HOME", str(tmp_path / "env"))
    assert config.load().home == tmp_path / "env"
    assert config.load(tmp_path / "said").home == tmp_path / "said"
    monkeypatch.delenv("JOBNB_HOME")
    assert config.load().home.name == "jobnb"


def test_settings_are_read_from_dask(tmp_path: Path) -> None:
    with dask.config.set({"jobnb.workers": 3, "jobnb.idle_timeout": "90s", "jobnb.progress-after": 0}):
        settings = config.load(tmp_path)
    assert (settings.workers, settings.idle_timeout, settings.progress_after) == (3, 90.0, 0.0)
    assert config.load(tmp_path).workers == config.cores()


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with dask.config.set({"jobnb.wrokers": 3}), pytest.raises(UnknownName, match=r"jobnb\.workers"):
        config.load(tmp_path)


def test_the_home_is_the_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    home.mkdir(parents=True, mode=0o755)
    config.make_home(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "blobs").is_dir()


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeNotWritable, match="Set JOBNB_HOME"):
        config.make_home(tmp_path / "file" / "home")


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= config.cores() <= (os.cpu_count() or 1)
