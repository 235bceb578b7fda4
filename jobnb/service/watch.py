"""Watches over the jobs of a service: those that are stuck, too many that fail, old ones to be removed.

Run by the dispatcher now and then. It only warns, by an event row that listeners and statistics read; what to do about
it is for people to decide.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from jobnb.config import Config
from jobnb.job import Status
from jobnb.service.ledger import Ledger
from jobnb.store import Store
from jobnb.store.jobs import from_us
from jobnb.store.leases import Lease

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_SECONDS = 30.0
#: Failed jobs are a warning when they are this share of those that ended in the window, if enough have.
FAILURE_SHARE = 0.5
FAILURE_WINDOW = timedelta(hours=1)
FAILURE_LEAST = 10


@dataclass(kw_only=True)
class Watch:
    """Looks after the jobs of one store and cluster.

    Attributes
    ----------
    store : Store
    stuck_after : float or None
        Seconds without a sign of life after which a running job counts as stuck.
    keep_completed : float or None
        Seconds after which completed and cancelled jobs are removed.
    """

    store: Store
    stuck_after: float | None = None
    keep_completed: float | None = None
    _next: float = 0.0
    _stuck: set[str] = field(default_factory=set)
    _failing: bool = False

    @classmethod
    def of(cls, store: Store, settings: Config) -> Watch:
        """Make one as it is configured."""
        return cls(store=store, stuck_after=settings.stuck_after, keep_completed=settings.keep_completed)

    def look(self, lease: Lease, now: float, ledgers: Iterable[Ledger]) -> None:
        """Look if it is time to; ``now`` is monotonic, in seconds."""
        if now < self._next:
            return
        self._next = now + min(LOOK_SECONDS, self.stuck_after or LOOK_SECONDS)
        self._look_for_stuck(lease, now, list(ledgers))
        self._look_at_failures(lease)
        if self.keep_completed is not None:
            before = from_us(self.store.clock()) - timedelta(seconds=self.keep_completed)
            gone = self.store.jobs.forget(before=before, status=[Status.COMPLETED, Status.CANCELLED])
            if gone:
                files, size = self.store.dead_letters.vacuum()
                logger.info("removed %d old jobs, %d files, %d bytes", gone, files, size)

    def _look_for_stuck(self, lease: Lease, now: float, ledgers: list[Ledger]) -> None:
        self._stuck &= {ledger.job.id for ledger in ledgers}
        for ledger in ledgers:
            silent = now - ledger.heard_at
            if self.stuck_after is None or not ledger.running or silent < self.stuck_after:
                self._stuck.discard(ledger.job.id)
            elif ledger.job.id not in self._stuck:
                self._stuck.add(ledger.job.id)
                with self.store.tasks.fenced(lease, "normal"):
                    self.store.jobs.event(ledger.job.id, "stuck", "service", f"no sign of life for {silent:,.0f} s")

    def _look_at_failures(self, lease: Lease) -> None:
        since = from_us(self.store.clock()) - FAILURE_WINDOW
        ended, failed, last = self.store.jobs.failures_since(lease.cluster, since)
        failing = ended >= FAILURE_LEAST and failed / ended > FAILURE_SHARE
        if failing and not self._failing and last is not None:
            hours = FAILURE_WINDOW.total_seconds() / 3600
            text = f"{failed} of the {ended} jobs that ended within {hours:g} h failed"
            logger.warning("%s", text)
            with self.store.tasks.fenced(lease, "normal"):
                self.store.jobs.event(last, "failure rate", "service", text)
        self._failing = failing
