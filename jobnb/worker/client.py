"""The Dask client that a job opens for itself, on the cluster that runs it; its slot is free for others meanwhile.

The supervisor says how to reach the scheduler (`access`), over the child's channel and nowhere else, because a key
may be in it; the child connects (`open_client`). The child imports this module only when a job asks for a client:
`distributed` is heavy.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Client, Worker
from distributed.security import Security

from jobnb.errors import ClusterUnreachable

CONNECT_SECONDS = 10
_VERSIONS = ("tls_min_version", "tls_max_version")
_FILES = ("tls_ca_file", "tls_client_cert", "tls_client_key")
_PLAIN = (*_FILES, "require_encryption", "tls_ciphers", "extra_conn_args")


def access(worker: Worker | None) -> dict[str, Any] | None:
    """Return how to reach the scheduler of this worker, as plain values; None outside Dask."""
    if worker is None:
        return None
    security = worker.security
    tls = {name: getattr(security, name) for name in _PLAIN}
    tls |= {name: None if (v := getattr(security, name)) is None else int(v) for name in _VERSIONS}
    if not tls["tls_client_cert"]:
        # A worker that was started with a certificate of its own has none for clients; its own is as good.
        tls |= {"tls_client_cert": security.tls_worker_cert, "tls_client_key": security.tls_worker_key}
    for name in _FILES:
        # A path is relative to the worker's folder, and the job runs in another; many lines are the key itself.
        if tls[name] and "\n" not in tls[name]:
            tls[name] = os.path.abspath(tls[name])
    return {"address": str(worker.scheduler.address), "tls": {k: v for k, v in tls.items() if v not in (None, {})}}


class JobClient(Client):
    """A client that says when it is closed."""

    jobnb_closed: Callable[[JobClient], None] | None = None

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the connection; the job takes its slot back."""
        try:
            return super().close(*args, **kwargs)
        finally:
            told, self.jobnb_closed = self.jobnb_closed, None
            if told is not None:
                told(self)


def open_client(where: Mapping[str, Any] | None, name: str, closed: Callable[[JobClient], None]) -> JobClient:
    """Connect to the scheduler.

    Parameters
    ----------
    where
        What `access` returned.
    name
        Shown in Dask's dashboard.
    closed
        Called with the client when it is closed.

    Raises
    ------
    ClusterUnreachable
        The job is not run by Dask, or its scheduler cannot be reached from another process.
    """
    if where is None:
        raise ClusterUnreachable("this job is not run by a Dask worker, so it has no cluster to connect to.")
    address = str(where["address"])
    if address.startswith("inproc:"):
        raise ClusterUnreachable(
            f"the scheduler at {address} can only be reached in its own process, and the job runs in another one. "
            "Use a cluster with processes=True, or connect jobnb to a scheduler's address."
        )
    tls = dict(where["tls"])
    tls |= {k: ssl.TLSVersion(tls[k]) for k in _VERSIONS if k in tls}
    try:
        # The default of this process, so that collections (dask.compute) find it too.
        client = JobClient(address, security=Security(**tls), name=name, set_as_default=True, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterUnreachable(f"the scheduler at {address} does not answer this job ({error}).") from error
    client.jobnb_closed = closed
    return client
