"""The Dask clusters a service can dispatch to: its own, one at an address, or an object that somebody holds.

Run by the service only. This module starts and reaches clusters and counts their places; what runs there is
the dispatcher's to say.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, LocalCluster
from distributed.security import Security

import jobnb
from jobnb.errors import ClusterUnreachable, VersionMismatch
from jobnb.tls import tls_files
from jobnb.worker.cancellation import JobnbPlugin
from jobnb.worker.heartbeat import SeldomHeartbeats

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
#: A worker that dies while it starts (out of memory, killed) is no reason to give up the whole service.
START_TRIES = 3

#: How the embedded cluster differs from Dask's defaults, and why.
EMBEDDED_CONFIG: Mapping[str, Any] = {
    # Whether a lost task runs again is ours to decide, and to record.
    "distributed.scheduler.allowed-failures": 0,
    # Our window keeps priorities; stealing would move tasks regardless of them (dask/distributed#8992).
    "distributed.scheduler.work-stealing": False,
    # 1.1 parks one more task behind a long one on each worker.
    "distributed.scheduler.worker-saturation": 1.0,
    # The supervisor's memory says nothing: jobs live in children, which have a limit of their own.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.daemon": False,
    # It would profile the supervisor, which waits.
    "distributed.worker.profile.enabled": False,
    # Dask watches itself 50 times a second and more; an idle cluster then takes 6 % of a core instead of 1.5 %.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.memory.monitor-interval": "10s",
    # Results are read at once and never copied.
    "distributed.scheduler.active-memory-manager.start": False,
}


class ClusterLost(ClusterUnreachable):
    """The Dask scheduler went away while jobs ran."""

    code = "CLUSTER_LOST"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a cluster is at one moment."""

    workers: int
    slots: int


@dataclass(kw_only=True)
class Cluster:
    """A connected cluster.

    Attributes
    ----------
    client : distributed.Client
    shares_disk : bool
        Its workers see the store's folder: data is mapped from there, results are kept there as receipts.
    window : int
        Tasks out per place. One more than runs hides a round trip, where the scheduler holds it back itself.
    """

    client: Any
    address: str
    shares_disk: bool
    window: int
    owned: LocalCluster | None = None
    borrowed: bool = False

    def __post_init__(self) -> None:
        self._asked: concurrent.futures.Future[Any] | None = None
        self._connection = self.client.scheduler_comm
        #: Where the scheduler itself listens; `address` may name a file.
        self.scheduler_address = str(self.client.scheduler.address)
        self._scheduler: str | None = None
        #: Addresses of the workers that run, when last counted.
        self.workers: tuple[str, ...] = ()

    def size(self, patience: float = CONNECT_SECONDS) -> Size | None:
        """Count the workers and the tasks that they can run at once, now.

        Parameters
        ----------
        patience : float
            Seconds to wait for the scheduler's answer; one that comes later is taken the next time.

        Returns
        -------
        Size or None
            None: the scheduler has not answered yet.

        Raises
        ------
        ClusterLost
            The scheduler is away, or another one answers at its address: it knows nothing of our tasks.
        """
        info = self._info(patience)
        if not self.connected():
            raise ClusterLost(f"the Dask scheduler at {self.address} went away.")
        if info is None:
            return None
        self._scheduler = self._scheduler or str(info["id"])
        if info["id"] != self._scheduler:
            raise ClusterLost(f"another Dask scheduler answers at {self.address}.")
        workers = info["workers"]
        running = {at: int(w["nthreads"]) for at, w in workers.items() if w.get("status") in (None, "running")}
        self.workers = tuple(running)
        return Size(workers=len(workers), slots=sum(running.values()))

    def connected(self) -> bool:
        """Tell whether the connection to the scheduler is up, and still the first one.

        With another one the client has forgotten all of its futures.
        """
        return str(self.client.status) == "running" and self.client.scheduler_comm is self._connection

    def _info(self, patience: float) -> Mapping[str, Any] | None:
        try:
            if self._asked is None:
                # Not `scheduler_info`, which waits for a frozen scheduler for ever.
                coroutine = self.client.scheduler.identity(n_workers=-1)
                self._asked = asyncio.run_coroutine_threadsafe(coroutine, self.client.loop.asyncio_loop)
            info: Mapping[str, Any] = self._asked.result(patience)
        except concurrent.futures.TimeoutError:
            return None
        except (OSError, RuntimeError, AttributeError, concurrent.futures.CancelledError) as error:
            self._asked = None
            raise ClusterLost(f"the Dask scheduler at {self.address} went away ({error}).") from error
        self._asked = None
        return info

    def close(self) -> None:
        """Leave the cluster; end it if it is our own."""
        if not self.borrowed:
            self.client.close()
        if self.owned is not None:
            self.owned.close()


def embedded(home: Path, workers: int) -> Cluster:
    """Start our own cluster: one single-threaded worker per core, loopback only, TLS."""
    dask.config.set(EMBEDDED_CONFIG)
    security = Security.temporary()
    files = tls_files(home)
    files.write(certificate=str(security.tls_client_cert), key=str(security.tls_client_key))
    security = Security(**files.settings())
    for left in reversed(range(START_TRIES)):
        try:
            return _started(home, workers, security)
        # Also that a worker dies while it is told of the plugin.
        except (RuntimeError, OSError, TimeoutError) as error:
            if not left:
                raise
            logger.warning("the cluster did not start (%s); once more", error)
    raise AssertionError("unreachable")


def _started(home: Path, workers: int, security: Security) -> Cluster:
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.WARNING,
        memory_limit=0,
        local_directory=str(home / "dask"),
    )
    try:
        client = Client(cluster, set_as_default=False)
        client.register_plugin(JobnbPlugin(), name="jobnb")
        client.register_plugin(SeldomHeartbeats())
        return Cluster(client=client, address=cluster.scheduler_address, shares_disk=True, window=2, owned=cluster)
    except BaseException:
        cluster.close()
        raise


def remote(address: str) -> Cluster:
    """Connect to a cluster at an address (``tcp://…``, ``tls://…``) or of a scheduler file.

    Raises
    ------
    ClusterUnreachable, VersionMismatch
    """
    try:
        client = Client(_scheduler_address(address), set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, TypeError, KeyError) as error:
        raise ClusterUnreachable(
            f"no Dask scheduler answers at {address} ({str(error).splitlines()[0] if str(error) else error!r}). "
            "Check the address and that the scheduler is up."
        ) from error
    try:
        return borrowed(client, address=address, keep=False)
    except BaseException:
        client.close()
        raise


def _scheduler_address(address: str) -> str:
    """Return the address itself, or the one in a scheduler file: for a missing file Dask would wait for ever."""
    if not address.endswith(".json"):
        return address
    return str(json.loads(Path(address).read_text(encoding="utf-8"))["address"])


def borrowed(client: Any, *, address: str, keep: bool = True) -> Cluster:
    """Use a client that somebody else made, and owns when ``keep`` is true."""
    check_versions(client)
    client.register_plugin(JobnbPlugin(), name="jobnb")
    return Cluster(client=client, address=address, shares_disk=False, window=1, borrowed=keep)


def reborrowed(client: Any, *, address: str) -> Cluster:
    """Use somebody's client again after its scheduler went away, once the client has found it, or another.

    Raises
    ------
    ClusterUnreachable
        It has not.
    """
    if str(client.status) != "running":
        raise ClusterUnreachable(
            f"the Dask client of {address} is {client.status}. Connect again with a client of a running cluster."
        )
    return borrowed(client, address=address)


def versions() -> dict[str, str]:
    """Return what has to agree between this process and the cluster's."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "jobnb": jobnb.__version__}


def check_versions(client: Any) -> None:
    """Raise `VersionMismatch` unless every worker has jobnb and the same minor version of Python."""
    mine = versions()
    found: dict[str, Any] = client.run(versions, on_error="return")
    try:
        # The scheduler unpickles what is submitted, so it has to know jobnb as well.
        found["the scheduler"] = client.run_on_scheduler(versions)
    except ImportError as error:
        found["the scheduler"] = error
    for where, theirs in found.items():
        if isinstance(theirs, ImportError):
            raise VersionMismatch(
                f"{where} cannot import {theirs.name or 'jobnb'}. Install jobnb {mine['jobnb']} where it runs."
            )
        if isinstance(theirs, BaseException):
            continue  # It left while it was asked.
        for what in ("python", "jobnb"):
            if theirs[what] != mine[what]:
                raise VersionMismatch(
                    f"{where} has {what} {theirs[what]}, this process has {mine[what]}. "
                    "Install the same version on both sides."
                )
