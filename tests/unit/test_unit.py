"""The files for systemd and launchd: what they run, as whom they call it, and that the systems take them."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobnb import cli, config
from jobnb.unit import Unit, hints

STRANGE = '/home/ann b/100 % "jobs" $HOME\\x'


def test_it_runs_this_python_for_this_home() -> None:
    unit = Unit.here(Path("/home/ann/jobs"), "tcp://host:8786")
    assert unit.command == [
        sys.executable, "-P", "-m", "jobnb.service", "--home", "/home/ann/jobs",
        "--cluster", "tcp://host:8786", "--stay",
    ]  # fmt: skip
    assert unit.environment["JOBNB_HOME"] == "/home/ann/jobs"
    said = unit.systemd()
    assert f'ExecStart="{sys.executable}" "-P" "-m" "jobnb.service"' in said
    assert "Restart=on-failure" in said
    assert "WantedBy=default.target" in said


def test_each_home_and_cluster_has_a_name_of_its_own() -> None:
    assert Unit(home=config.default_home_of_platform()).name == "jobnb"
    names = {Unit(home=Path(home), cluster=cluster).name for home in "ab" for cluster in ("local", "tcp://x:1")}
    assert len(names) == 4
    assert all(name.startswith("jobnb-") for name in names)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("home", ["/home/ann/jobs", STRANGE])
def test_systemd_takes_it(tmp_path: Path, home: str) -> None:
    path = tmp_path / "jobnb.service"
    path.write_text(Unit.here(Path(home)).systemd())
    said = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(path)],
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_nothing_in_a_path_means_something_to_systemd() -> None:
    (line,) = [x for x in Unit.here(Path(STRANGE)).systemd().splitlines() if x.startswith("ExecStart=")]
    assert '"/home/ann b/100 %% \\"jobs\\" $$HOME\\\\x"' in line


def test_launchd_takes_it() -> None:
    unit = Unit.here(Path(STRANGE))
    read = plistlib.loads(unit.launchd().encode())
    assert read["ProgramArguments"] == unit.command
    assert read["EnvironmentVariables"] == unit.environment
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert read["RunAtLoad"] is True
    assert read["StandardErrorPath"] == f"{STRANGE}/service.log"
    assert unit.label in unit.commands("launchd")[1]
    assert unit.label in hints("launchd", unit)[0]


def test_the_command_prints_it_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOBNB_HOME", raising=False)
    home = tmp_path / "my home"
    assert cli.main(["--home", str(home), "service", "install", "--systemd"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("[Unit]\n")
    assert str(home) in said.out
    write, enable = said.err.splitlines()[2:4]
    assert f"jobnb --home '{home}' service install --systemd --print > ~/.config/systemd/user/jobnb-" in write
    assert enable.strip().startswith("systemctl --user daemon-reload && systemctl --user enable --now jobnb-")
    assert "loginctl enable-linger" in said.err
    assert cli.main(["--home", str(home), "service", "install", "--launchd", "--print", "--cluster", "tcp://x:1"]) == 0
    said = capsys.readouterr()
    assert plistlib.loads(said.out.encode())["ProgramArguments"][-2:] == ["tcp://x:1", "--stay"]
    assert said.err == ""
    assert cli.main(["--home", str(home), "service", "stop"]) == 0
    assert "no service was running" in capsys.readouterr().out
