"""How often a worker of our own cluster says that it lives, and how it feels.

Runs in the Dask worker, on its event loop. Dask has a few workers say so twice a second, which costs worker and
scheduler more than all else while nothing runs. Nobody here reads what they say, and that a worker is gone is seen by
its connection, at once.
"""

from __future__ import annotations

from distributed import Worker, WorkerPlugin

BEAT_SECONDS = 5.0


class SeldomHeartbeats(WorkerPlugin):
    """Has a worker's heart beat every five seconds, whatever the scheduler answers it."""

    name = "jobnb-heartbeat"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Put the pause right after each beat."""
        heart = worker.periodic_callbacks["heartbeat"]

        async def beat() -> None:
            await worker.heartbeat()
            heart.callback_time = 1e3 * BEAT_SECONDS

        heart.callback = beat
