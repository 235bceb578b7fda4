"""The service as systemd and launchd want it described, so that schedules survive a reboot. Pure text.

``jobnb service install`` prints it and says what to do with it; nothing is installed behind anybody's back.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jobnb
from jobnb import config
from jobnb.daemon import EMBEDDED

System = Literal["systemd", "launchd"]

#: Seconds after a failure until it is started again.
RESTART_SECONDS = 10
#: Seconds beyond the grace of running jobs within which the service has gone.
_LEAVING_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The service of one home and cluster, to be started by the system.

    Attributes
    ----------
    home : Path
    cluster : str
        ``local`` or a Dask address.
    python : str
        The interpreter in which jobnb is installed.
    stop_grace : float
        Seconds that running jobs have to end when the machine shuts down.
    pythonpath : str
        Where jobnb was imported from, if it is not installed.
    """

    home: Path
    cluster: str = EMBEDDED
    python: str = sys.executable
    stop_grace: float = 10.0
    pythonpath: str = ""

    @classmethod
    def here(cls, home: Path, cluster: str = EMBEDDED, *, stop_grace: float = 10.0) -> Unit:
        """Describe the service that this process would start."""
        return cls(home=home, cluster=cluster, stop_grace=stop_grace, pythonpath=_not_installed())

    @property
    def name(self) -> str:
        """``jobnb``, with a few letters more for another home than the default one, or another cluster."""
        if self.cluster == EMBEDDED and self.home == config.default_home_of_platform():
            return "jobnb"
        return f"jobnb-{hashlib.sha256(f'{self.home} {self.cluster}'.encode()).hexdigest()[:6]}"

    @property
    def command(self) -> list[str]:
        """What is run: in the foreground, for good."""
        program = [self.python, "-P", "-m", "jobnb.service"]
        return [*program, "--home", str(self.home), "--cluster", self.cluster, "--stay"]

    @property
    def environment(self) -> dict[str, str]:
        """What it needs of the surroundings."""
        path = {"PYTHONPATH": self.pythonpath} if self.pythonpath else {}
        return {"JOBNB_HOME": str(self.home), "PYTHONUNBUFFERED": "1", **path}

    # What a system wants

    def text(self, system: System) -> str:
        """Return the file."""
        return self.systemd() if system == "systemd" else self.launchd()

    def systemd(self) -> str:
        """Return a unit of a systemd user manager."""
        command = " ".join(_quoted(word).replace("$", "$$") for word in self.command)
        surroundings = "\n".join(f"Environment={_quoted(f'{k}={v}')}" for k, v in self.environment.items())
        return f"""\
[Unit]
Description=jobnb, research jobs on {_plain(self.cluster)} ({_plain(str(self.home))})
# A cluster may be away for long: it is tried again for good.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
{surroundings}
Restart=on-failure
RestartSec={RESTART_SECONDS}
# It stops its workers itself, and lets running jobs end first.
KillMode=mixed
TimeoutStopSec={round(self.stop_grace + _LEAVING_SECONDS)}

[Install]
WantedBy=default.target
"""

    def launchd(self) -> str:
        """Return the property list of a launchd agent."""
        log = str(self.home / "service.log")
        made = {
            "Label": self.label,
            "ProgramArguments": self.command,
            "EnvironmentVariables": self.environment,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART_SECONDS,
            "ExitTimeOut": round(self.stop_grace + _LEAVING_SECONDS),
            # As a background process it would be kept on the slow cores.
            "ProcessType": "Standard",
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
        return plistlib.dumps(made, sort_keys=False).decode()

    @property
    def label(self) -> str:
        """The agent's name for launchd."""
        return f"org.jobnb.{self.name}"

    def commands(self, system: System, again: str = "jobnb service install") -> list[str]:
        """Return the two commands that install it for good; ``again`` is what prints it."""
        if system == "systemd":
            folder = "~/.config/systemd/user"
            return [
                f"mkdir -p {folder} && {again} --systemd --print > {folder}/{self.name}.service",
                f"systemctl --user daemon-reload && systemctl --user enable --now {self.name}.service",
            ]
        path = f"~/Library/LaunchAgents/{self.label}.plist"
        return [f"{again} --launchd --print > {path}", f"launchctl bootstrap gui/$(id -u) {path}"]


def hints(system: System, unit: Unit) -> list[str]:
    """Return what else is good to know."""
    if system == "systemd":
        return [
            "To have it run while you are not logged in: loginctl enable-linger",
            f"What it says: journalctl --user -u {unit.name}. To undo it: systemctl --user disable --now {unit.name}",
        ]
    return [f"What it says: {unit.home / 'service.log'}. To undo it: launchctl bootout gui/$(id -u)/{unit.label}"]


def system_here() -> System:
    """Return which of the two this machine has."""
    return "launchd" if sys.platform == "darwin" else "systemd"


def _not_installed() -> str:
    """Return the search path by which jobnb was found, unless it is where packages are installed."""
    package = Path(jobnb.__file__).resolve().parent.parent
    if str(package) in {str(Path(p).resolve()) for p in (*site.getsitepackages(), site.getusersitepackages())}:
        return os.environ.get("PYTHONPATH", "")
    known = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return os.pathsep.join(dict.fromkeys([*known, str(package)]))


def _quoted(word: str) -> str:
    """Quote a word for a unit; a percent sign would be a specifier."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{escaped}"'


def _plain(text: str) -> str:
    return " ".join(text.replace("%", "%%").split())
