"""Where jobnb keeps its things and what can be configured: the ``jobnb`` section of Dask's configuration.

Set values in a Dask YAML file, by ``dask.config.set({"jobnb.workers": 4})``, or by an environment variable
such as ``DASK_JOBNB__WORKERS=4``. Every process uses this module; it imports only ``dask.config``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobnb.channel import Channel, described
from jobnb.durations import seconds
from jobnb.errors import HomeNotWritable, UsageProblem, unknown

#: Name: default. Durations are seconds or text such as ``"10m"``.
DEFAULTS: dict[str, Any] = {
    "home": None,
    "workers": None,
    "idle-timeout": "10m",
    "progress-after": 0.5,
    "retry": None,
    "keep-completed": None,
    "stuck-after": "1h",
    "stop-grace": "10s",
    "schedules": None,
    "notify": None,
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration as of one moment.

    Attributes
    ----------
    home : Path
        The folder of the store.
    workers : int
        Worker processes of the embedded cluster; one per core by default.
    idle_timeout : float
        Seconds without a job or a request after which the service leaves.
    progress_after : float
        Seconds that a card stays invisible, so that nothing flashes for a job that ends at once.
    keep_completed : float or None
        Seconds after which the service removes completed and cancelled jobs; None to keep them.
    stuck_after : float or None
        Seconds without a sign of life after which a running job raises a warning.
    stop_grace : float
        Seconds that running tasks have to end when the service is asked to leave.
    notify : tuple of Channel
        Who is told of what: a mapping of names to addresses, or to mappings with ``url``, ``on``, ….
    """

    home: Path
    workers: int
    idle_timeout: float
    progress_after: float
    keep_completed: float | None
    stuck_after: float | None
    stop_grace: float
    notify: tuple[Channel, ...] = ()


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_home() -> Path:
    """Return the home folder: ``JOBNB_HOME``, or the platform's folder for user state."""
    named = os.environ.get("JOBNB_HOME")
    if named:
        return Path(named).expanduser().absolute()
    return default_home_of_platform()


def default_home_of_platform() -> Path:
    """Return the platform's folder for user state."""
    import platformdirs

    return Path(platformdirs.user_state_dir("jobnb", appauthor=False))


def load(home: str | os.PathLike[str] | None = None) -> Config:
    """Read the configuration.

    Parameters
    ----------
    home : path, optional
        The home folder; the configured one by default.

    Raises
    ------
    UnknownName
        The configuration holds a name that jobnb does not know.
    """
    section = _section()
    for name in section:
        if name not in DEFAULTS:
            raise unknown("setting", f"jobnb.{name}", [f"jobnb.{k}" for k in DEFAULTS])
    values = {**DEFAULTS, **section}
    after = values["progress-after"]
    return Config(
        home=Path(home or values["home"] or default_home()).expanduser().absolute(),
        workers=int(values["workers"] or cores()),
        idle_timeout=seconds(values["idle-timeout"], "jobnb.idle-timeout"),
        progress_after=seconds(after, "jobnb.progress-after") if after else 0.0,
        keep_completed=seconds(values["keep-completed"], "jobnb.keep-completed") if values["keep-completed"] else None,
        stuck_after=seconds(values["stuck-after"], "jobnb.stuck-after") if values["stuck-after"] else None,
        stop_grace=seconds(values["stop-grace"], "jobnb.stop-grace") if values["stop-grace"] else 0.0,
        notify=_channels(values["notify"]),
    )


def _channels(said: Any) -> tuple[Channel, ...]:
    if not said:
        return ()
    if not isinstance(said, dict):
        # Not repeated: it may hold secrets.
        raise UsageProblem("jobnb.notify must be a mapping of names to addresses.")
    return tuple(described(str(name), each) for name, each in said.items())


def retry() -> Any:
    """Return the configured default of ``retry``: a number of retries, a mapping of `Retry`'s fields, or None."""
    found = _section().get("retry")
    return {str(k).replace("-", "_"): v for k, v in found.items()} if isinstance(found, dict) else found


def schedules() -> Any:
    """Return the configured schedules: a mapping, empty where there are none; see `jobnb.configure_schedules`."""
    return _section().get("schedules") or {}


def _section() -> dict[str, Any]:
    import dask.config

    return {str(k).replace("_", "-"): v for k, v in (dask.config.get("jobnb", None) or {}).items()}


def make_home(home: Path) -> Path:
    """Create the home folder, readable by its owner only, and return it.

    Raises
    ------
    HomeNotWritable
        It cannot be created or written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_mode & 0o077:
            home.chmod(0o700)
        for part in ("blobs", "receipts"):
            (home / part).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise HomeNotWritable(
            f"the jobnb home {home} cannot be written ({error.strerror or error}). "
            "Set JOBNB_HOME to a folder of yours on a local disk."
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise HomeNotWritable(
            f"the jobnb home {home} cannot be written. Set JOBNB_HOME to a folder of yours on a local disk."
        )
    return home
