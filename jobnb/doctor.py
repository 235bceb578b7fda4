"""``jobnb doctor``: looks at everything jobnb needs and says what is wrong and how to mend it.

Run by the command line. It changes nothing; a probe file in the home folder is removed at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from jobnb import config
from jobnb.errors import JobnbError
from jobnb.manager import JobManager
from jobnb.store.database import NETWORK_FILE_SYSTEMS, file_system

PACKAGES = (
    "jobnb", "distributed", "numpy", "pandas", "numba", "cloudpickle", "apsw", "ipykernel", "ipywidgets", "jupyterlab",
)  # fmt: skip
#: Versions of SQLite before this can corrupt a WAL database that several processes write.
SQLITE_SOUND = (3, 51, 3)
FREE_BYTES = 1_000_000_000


class Verdict(StrEnum):
    """How a finding stands."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``mend`` says what to do where it is not well."""

    what: str
    verdict: Verdict
    found: str
    mend: str = ""


def examine(manager: JobManager) -> Iterator[Finding]:
    """Yield what is found, one thing after the other; errors become findings."""
    yield Finding(what="python", verdict=Verdict.OK, found=f"{platform.python_version()} on {platform.platform()}")
    yield from _packages()
    try:
        home = config.load(manager.home).home
    except JobnbError as error:
        yield Finding(what="configuration", verdict=Verdict.BAD, found=error.message, mend="Correct the name.")
        return
    yield from _home(home)
    try:
        yield from _store(manager)
    except JobnbError as error:
        yield Finding(what="store", verdict=Verdict.BAD, found=f"{error.code}: {error.message}")
        return
    yield from _service(manager)
    for state in manager.store.notices.states():
        found = f"{state.channel.name} ({state.channel.shown}): {state.note or f'{state.sent:,} sent'}"
        mend = f"jobnb notices test {state.channel.name}" if state.note else ""
        yield Finding(what="notices", verdict=Verdict.NOTE if state.note else Verdict.OK, found=found, mend=mend)


def _packages() -> Iterator[Finding]:
    import apsw

    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            verdict = Verdict.NOTE if name == "ipykernel" else Verdict.BAD
            yield Finding(what=name, verdict=verdict, found="not installed", mend=f"pip install {name}")
            continue
        yield Finding(what=name, verdict=Verdict.OK, found=version)
    found = apsw.sqlite_lib_version()
    sound = tuple(int(part) for part in found.split(".")[:3]) >= SQLITE_SOUND
    yield Finding(
        what="sqlite",
        verdict=Verdict.OK if sound else Verdict.BAD,
        found=f"{found} (in apsw)",
        mend="" if sound else "pip install --upgrade apsw: versions before 3.51.3 can corrupt the store.",
    )


def _home(home: Path) -> Iterator[Finding]:
    try:
        config.make_home(home)
        with tempfile.NamedTemporaryFile(dir=home):
            pass
    except (JobnbError, OSError) as error:
        yield Finding(
            what="home",
            verdict=Verdict.BAD,
            found=f"{home} cannot be written: {error}",
            mend="Set JOBNB_HOME to a folder of yours on a local disk.",
        )
        return
    mode = home.stat().st_mode & 0o777
    yield Finding(
        what="home",
        verdict=Verdict.OK if mode == 0o700 else Verdict.BAD,
        found=f"{home} (mode {mode:o})",
        mend="" if mode == 0o700 else f"chmod 700 {home}",
    )
    kind = file_system(home)
    network = kind in NETWORK_FILE_SYSTEMS
    yield Finding(
        what="file system",
        verdict=Verdict.NOTE if network else Verdict.OK,
        found=kind or "unknown",
        mend="A network file system is slow and weak at locking: set JOBNB_HOME to a local disk." if network else "",
    )
    free = shutil.disk_usage(home).free
    yield Finding(
        what="free space",
        verdict=Verdict.OK if free > FREE_BYTES else Verdict.NOTE,
        found=f"{free / 1e9:,.1f} GB",
        mend="" if free > FREE_BYTES else "Make room: results and data are stored there.",
    )


def _store(manager: JobManager) -> Iterator[Finding]:
    counts = manager.store.jobs.counts()
    row = manager.store.database.row("PRAGMA quick_check(1)")
    sound = row is not None and row[0] == "ok"
    shown = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no job yet"
    yield Finding(
        what="store",
        verdict=Verdict.OK if sound else Verdict.BAD,
        found=shown if sound else f"damaged: {row}",
        mend="" if sound else "Run `jobnb stop`, move jobs.db away, and restore a copy of it.",
    )


def _service(manager: JobManager) -> Iterator[Finding]:
    lease = manager.daemon.lease()
    if lease is None:
        yield Finding(what="service", verdict=Verdict.OK, found="not running; it starts with the next job")
        tail = manager.daemon.log_tail(200)
        failed = [line for line in tail.splitlines() if " ERROR " in line]
        if failed:
            yield Finding(
                what="service log",
                verdict=Verdict.NOTE,
                found=failed[-1][:300],
                mend=f"The whole log is {manager.daemon.log}.",
            )
        return
    info = lease.info
    here = "" if info.get("host") == socket.gethostname() else f" on {info.get('host')}"
    yield Finding(what="service", verdict=Verdict.OK, found=f"{info.get('state')}, pid {lease.pid}{here}")
    try:
        client = manager.client()
    except (JobnbError, OSError, TimeoutError) as error:
        yield Finding(
            what="cluster",
            verdict=Verdict.BAD,
            found=f"does not answer: {error}",
            mend="Run `jobnb stop`; the next job starts a new one.",
        )
        return
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        yield Finding(
            what="cluster",
            verdict=Verdict.OK if workers else Verdict.BAD,
            found=f"{client.scheduler.address}, {workers} worker{'s' * (workers != 1)}",
            mend="" if workers else "No worker is left: run `jobnb stop`; the next job starts new ones.",
        )
    finally:
        client.close()


def report(findings: list[Finding]) -> str:
    """Return the findings as a table for people, the trouble last."""
    width = max(len(f.what) for f in findings)
    lines = [f"{f.verdict:<5}{f.what:<{width}}  {f.found}" for f in findings]
    trouble = [f for f in findings if f.verdict is not Verdict.OK]
    lines.append("")
    if not trouble:
        lines.append("All is well.")
    lines += [f"{f.what}: {f.mend or f.found}" for f in trouble]
    return os.linesep.join(lines)
