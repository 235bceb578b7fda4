"""The Dask clusters a service can dispatch to: its own, one at an address, or an object that somebody holds.

Run by the service only. This module starts and reaches clusters and counts their places; what runs there is
the dispatcher's to say.
"""

from __future__ import annotations

import logging
import os
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

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10

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
}


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

    def slots(self) -> int:
        """Return how many tasks the cluster can run at once, now."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sum(int(w["nthreads"]) for w in workers.values() if w.get("status") in (None, "running"))

    def workers(self) -> int:
        """Return how many workers the cluster has, now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

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
    client = Client(cluster, set_as_default=False)
    client.register_plugin(JobnbPlugin(), name="jobnb")
    return Cluster(client=client, address=cluster.scheduler_address, shares_disk=True, window=2, owned=cluster)


def remote(address: str) -> Cluster:
    """Connect to a cluster at an address (``tcp://…``, ``tls://…``) or of a scheduler file.

    Raises
    ------
    ClusterUnreachable, VersionMismatch
    """
    try:
        if address.endswith(".json"):
            client = Client(scheduler_file=address, set_as_default=False, timeout=CONNECT_SECONDS)
        else:
            client = Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterUnreachable(
            f"no Dask scheduler answers at {address} ({error}). Check the address and that the scheduler is up."
        ) from error
    try:
        return borrowed(client, address=address, keep=False)
    except BaseException:
        client.close()
        raise


def borrowed(client: Any, *, address: str, keep: bool = True) -> Cluster:
    """Use a client that somebody else made, and owns when ``keep`` is true."""
    check_versions(client)
    client.register_plugin(JobnbPlugin(), name="jobnb")
    return Cluster(client=client, address=address, shares_disk=False, window=1, borrowed=keep)


def versions() -> dict[str, str]:
    """Return what has to agree between this process and the workers."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "jobnb": jobnb.__version__,
        "pid": str(os.getpid()),
    }


def check_versions(client: Any) -> None:
    """Raise `VersionMismatch` unless every worker has jobnb and the same minor version of Python."""
    try:
        found: dict[str, dict[str, str]] = client.run(versions)
    except ModuleNotFoundError as error:
        raise VersionMismatch(
            f"the cluster's workers cannot import {error.name}. Install jobnb {jobnb.__version__} where they run."
        ) from error
    mine = versions()
    for worker, theirs in found.items():
        for what in ("python", "jobnb"):
            if theirs[what] != mine[what]:
                raise VersionMismatch(
                    f"worker {worker} has {what} {theirs[what]}, this process has {mine[what]}. "
                    "Install the same version on both sides."
                )
