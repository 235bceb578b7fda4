"""The service process: takes the lease, brings up or joins the cluster, dispatches, and leaves when idle.

Started by front doors (`jobnb.daemon`) or by hand: ``python -m jobnb.service --home FOLDER``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from jobnb import config
from jobnb.daemon import EMBEDDED
from jobnb.errors import JobnbError
from jobnb.service.run import serve

logger = logging.getLogger("jobnb.service")


def main(argv: list[str] | None = None) -> int:
    """Run the service until it is idle, stopped, or replaced."""
    parser = argparse.ArgumentParser(prog="python -m jobnb.service", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the store's folder")
    parser.add_argument("--cluster", default=EMBEDDED, help="'local' for its own cluster, or a Dask address")
    parser.add_argument("--stay", action="store_true", help="never leave for want of work; follow a service that goes")
    said = parser.parse_args(argv)
    logging.basicConfig(
        level=os.environ.get("JOBNB_LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("distributed", "asyncio", "tornado"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    settings = config.load(said.home)
    config.make_home(settings.home)
    os.chdir(settings.home)
    logger.info("pid %d on %s serves %s for %s", os.getpid(), socket.gethostname(), said.home, said.cluster)
    try:
        reason = serve(settings, said.cluster, stop, stay=said.stay)
    except JobnbError as error:
        logger.error("%s: %s", error.code, error.message)
        return 1
    except Exception:
        logger.exception("the service failed")
        return 1
    logger.info("left: %s", reason)
    return 0


if __name__ == "__main__":
    # LocalCluster's workers are spawned and import this module under another name.
    sys.exit(main())
