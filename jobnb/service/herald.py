"""Sends the notices of the outbox: a thread of the service that may wait for slow addresses, and holds up nobody.

A notice is claimed under the lease, sent, and marked. So one service sends it, the next one if that dies, and twice
only where it died between sending and marking. What cannot be sent is tried ever more rarely, then given up, and the
channel says why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from jobnb import channel as channels
from jobnb import sender
from jobnb.channel import Channel, Message
from jobnb.errors import HomeNotWritable, JobnbError, LeaseLost, NotSent
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.store import Store
from jobnb.store.jobs import from_us

logger = logging.getLogger(__name__)

#: Seconds between two looks at the store's version.
POLL_SECONDS = 0.2
#: Seconds after a message was not taken until the channel is tried again: after the first time, the second, ….
PAUSES = (2.0, 15.0, 60.0, 300.0, 1800.0)
#: How often a notice is tried.
TRIES = len(PAUSES) + 1
#: What was claimed is under way for at most so long: nobody else sends it meanwhile.
SENDING_SECONDS = 30.0
#: How long a service that leaves waits for a message that is under way, so that it need not be sent again.
CLOSE_SECONDS = sender.TIMEOUT + 2
#: After an error that nobody has thought of.
_SHY_SECONDS = 30.0


def pause(failures: int) -> float:
    """Return how many seconds a channel is left alone after it has failed so often in a row.

    Examples
    --------
    >>> pause(1), pause(2), pause(99)
    (2.0, 15.0, 1800.0)
    """
    return PAUSES[min(failures, len(PAUSES)) - 1]


@dataclass(kw_only=True)
class Herald:
    """Sends the notices about the jobs of one cluster.

    Attributes
    ----------
    store, keeper
        What it reads and writes, and what it may claim by.
    send : callable
        Sends a message to an address, or raises `NotSent`.
    """

    store: Store
    keeper: LeaseKeeper
    send: Callable[[str, Message], None] = sender.send
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Send from now on, from a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="jobnb-herald", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send no more; what waits is sent by the next service."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def step(self) -> int:
        """Send what is due, a message to each channel; return how many notices were sent."""
        cluster = self.keeper.lease.cluster
        sent = 0
        for one in self.store.notices.due(cluster):
            if self._stop.is_set():
                break
            sent += self._tell(one, cluster)
        return sent

    def _tell(self, one: Channel, cluster: str) -> int:
        notices, after = self.store.notices, pause(self.store.notices.failures(one.name) + 1)
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            claimed = notices.claim(one, cluster, tries=TRIES, pause=max(after, SENDING_SECONDS))
        if not claimed:
            return 0
        try:
            self.send(one.url, channels.message(claimed, from_us(self.store.clock())))
        except NotSent as error:
            lost = notices.failed(one.name, cluster, error.message, tries=TRIES, pause=after)
            logger.warning("channel %s: %s%s", one.name, error.message, f"; {lost} notices given up" if lost else "")
            return 0
        notices.sent(one.name, claimed)
        return len(claimed)

    def _run(self) -> None:
        try:
            self.store.notices.tidy()
            self._loop()
        except (LeaseLost, HomeNotWritable):
            pass  # Another service is in charge, or the store is gone.
        except Exception:
            logger.exception("notices are sent no more")
        finally:
            self.store.close()

    def _loop(self) -> None:
        seen: tuple[int, int] | None = None
        due: int | None = None
        wait = 0.0
        while not self._stop.wait(wait):
            wait = POLL_SECONDS
            if self.keeper.lost.is_set():
                return
            try:
                version = self.store.version()
                if version == seen and (due is None or due > self.store.clock()):
                    continue
                self.step()
                seen, due = version, self.store.notices.next_due(self.keeper.lease.cluster)
            except (LeaseLost, HomeNotWritable):
                raise
            except JobnbError as error:
                logger.warning("notices cannot be sent now: %s", error)
            except Exception:
                logger.exception("notices cannot be sent now")
                wait = _SHY_SECONDS
