"""A store: its folder, its database and its blobs, opened by home folder.

Every process opens its own `Store` on the same home; nothing is shared but the files.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobnb.config import make_home
from jobnb.job import JobView
from jobnb.store.blobs import Blobs
from jobnb.store.chains import Chains
from jobnb.store.database import Database
from jobnb.store.dead_letters import DeadLetters
from jobnb.store.handlers import Handlers
from jobnb.store.jobs import Jobs, from_us
from jobnb.store.leases import Leases
from jobnb.store.limits import Limits
from jobnb.store.notices import Notices
from jobnb.store.payloads import Payloads
from jobnb.store.queues import Queues
from jobnb.store.schedules import Schedules
from jobnb.store.statistics import Statistics
from jobnb.store.tasks import Tasks


def wall_clock() -> int:
    """Return the present moment in µs since 1970, UTC."""
    return time.time_ns() // 1000


class Store:
    """Jobs, tasks, leases and blobs of one home folder.

    Parameters
    ----------
    home : Path
        Created with mode 0700 when it is not there.
    clock : callable, optional
        The present moment in µs since 1970, UTC.

    Raises
    ------
    HomeNotWritable, StoreTooNew, StoreError
        The store cannot be used; nothing was changed.
    """

    def __init__(self, home: Path, clock: Callable[[], int] = wall_clock) -> None:
        self.home = make_home(home)
        self.clock = clock
        self.database = Database(self.home / "jobs.db")
        self.blobs = Blobs(self.home / "blobs")
        self.payloads = Payloads(self.database, self.blobs)
        self.chains = Chains(self.database, clock)
        self.queues = Queues(self.database, clock)
        self.jobs = Jobs(self.database, clock, self.payloads, self.chains, self.queues)
        self.leases = Leases(self.database, clock)
        self.dead_letters = DeadLetters(self.database, clock, self.jobs, self.blobs, self.payloads)
        self.tasks = Tasks(self.database, clock, self.jobs, self.leases, self.blobs, self.chains)
        self.handlers = Handlers(self.database, clock, self.payloads)
        self.schedules = Schedules(self.database, clock, self.jobs, self.payloads)
        self.notices = Notices(self.database, clock)
        self.statistics = Statistics(self.database, clock)
        self.limits = Limits(self.database, clock)
        self.database.version()

    @property
    def id(self) -> str:
        """A name for this store that never changes."""
        row = self.database.row("SELECT value FROM meta WHERE key = 'store'")
        if row is None:
            with self.database.writing():
                self.database.rows(
                    "INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?)", (secrets.token_hex(8),)
                )
                row = self.database.row("SELECT value FROM meta WHERE key = 'store'")
        assert row is not None
        return str(row[0])

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever anyone has written something; costs microseconds."""
        return self.database.version()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make several reads see one and the same moment."""
        with self.database.reading():
            yield

    def view(self, job_id: str, log_lines: int = 8) -> JobView | None:
        """Return everything that a card shows of a job, as of one moment."""
        with self.reading():
            job = self.jobs.get(job_id)
            if job is None:
                return None
            waits = job.status in ("queued", "retrying")
            position, length = self.jobs.place(job) if waits else (0, 0)
            return JobView(
                job=job,
                log=tuple(self.jobs.log(job_id, log_lines)) if log_lines else (),
                log_total=self.jobs.log_count(job_id),
                queue_position=position,
                queue_length=length,
                now=from_us(self.clock()),
            )

    def close(self) -> None:
        """Close this thread's connection."""
        self.database.close()
