"""Keeps the service's lease while its dispatcher is alive: a thread that renews it and notices its loss.

It stops renewing when the dispatcher has not been heard of for a while, so that a stuck service is replaced.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from jobnb.errors import HomeNotWritable, JobnbError, LeaseLost, StoreError
from jobnb.store import Store
from jobnb.store.leases import Lease

logger = logging.getLogger(__name__)

#: The variable is for tests of what happens when a service does not renew its lease; all of a store need the same.
LEASE_SECONDS = float(os.environ.get("JOBNB_LEASE_SECONDS", "15"))
RENEW_SECONDS = LEASE_SECONDS / 5
#: Silence of the dispatcher after which it counts as stuck. Sending large data over a slow line is not stuck.
SILENCE_SECONDS = 300.0


class LeaseKeeper:
    """Renews a lease every `RENEW_SECONDS` until it is closed.

    Parameters
    ----------
    store : Store
    lease : Lease
        As taken.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self.lease = lease
        #: Set once another service is in charge.
        self.lost = threading.Event()
        #: Set once somebody has asked this service to leave.
        self.stop_requested = threading.Event()
        #: Set once somebody does not want it to wait for running tasks.
        self.stop_now = threading.Event()
        self._store = store
        self._info = dict(lease.info)
        self._heard = time.monotonic()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobnb-lease", daemon=True)
        self._thread.start()

    def alive(self) -> None:
        """Say that the dispatcher is well."""
        self._heard = time.monotonic()

    def tell(self, **info: Any) -> None:
        """Change what the lease says about the service, at once."""
        self._info = {**self._info, **info}
        self._wake.set()

    def note(self, lease: Lease) -> None:
        """Take note of what the lease's row asks for."""
        if lease.stop_now:
            self.stop_now.set()
        if lease.stop_requested:
            self.stop_requested.set()

    def close(self) -> None:
        """Stop renewing and give the lease back."""
        self._closed.set()
        self._wake.set()
        self._thread.join()
        try:
            self._store.leases.release(self.lease)
        except JobnbError as error:
            logger.warning("the lease could not be given back: %s", error)

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                self._wake.wait(RENEW_SECONDS)
                self._wake.clear()
                if not self._closed.is_set():
                    self._renew()
        except LeaseLost:
            pass
        finally:
            # Whatever ended this thread: without it the service must not go on.
            self.lost.set()
            self._store.close()

    def _renew(self) -> None:
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            logger.error("the dispatcher is silent; the lease is not renewed")
            return
        try:
            renewed = self._store.leases.renew(self.lease, LEASE_SECONDS, self._info)
        except HomeNotWritable:
            raise
        except StoreError:
            logger.exception("the lease could not be renewed")
            return
        self.note(renewed)
