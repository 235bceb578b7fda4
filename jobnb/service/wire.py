"""Says something to one worker's process, without waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def run_on(client: Any, worker: str, fn: Callable[..., object], *args: object) -> None:
    """Have Dask call a function in the process of a worker, on its event loop; from any thread, which it does not hold.

    Nothing says whether it was called: who needs it asks again.

    Parameters
    ----------
    client : distributed.Client
    worker : str
        Its address.
    fn : callable
        Must not block.
    *args
        Plain values.
    """

    async def tell() -> None:
        try:
            # On the client's own loop this call is a coroutine; nobody waits for it, because a worker that is gone is
            # only given up after Dask's time-out.
            await client.run(fn, *args, workers=[worker], on_error="ignore")
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds when a worker or the scheduler goes
            logger.debug("%s did not hear %s: %r", worker, fn.__name__, error)

    try:
        asyncio.run_coroutine_threadsafe(tell(), client.loop.asyncio_loop)
    except (RuntimeError, AttributeError) as error:
        logger.debug("the client is closed: %r", error)
