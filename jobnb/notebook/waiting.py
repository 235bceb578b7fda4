"""Waiting for jobs in the foreground: a live card in a notebook, one updating line in a terminal.

Runs in the kernel's main thread. Ctrl-C stops the waiting and never the job, and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from jobnb.job import Job
from jobnb.notebook import card_text, cards, delivery, words
from jobnb.notebook.eta import Eta

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Seconds between two drawings of the line.
_LINE_SECONDS = 0.25


def wait(manager: JobManager, jobs: Sequence[Job], *, timeout: float | None, draw: bool = True) -> None:
    """Block until the jobs have ended and bring home what they bring.

    Parameters
    ----------
    manager : JobManager
    jobs : sequence of Job
    timeout : float or None
        Seconds to wait at most.
    draw : bool, default True
        Show the jobs while they run.

    Raises
    ------
    TimeoutError
        After ``timeout`` seconds; the jobs go on.
    UsageError
        Ctrl-C; the jobs go on.
    """
    ids = [job.id for job in jobs]
    try:
        if cards.in_notebook() or not draw:
            if draw:
                for job in jobs:
                    cards.show(job)
            manager.wait(ids, timeout=timeout)
        else:
            _wait_in_terminal(manager, jobs, timeout)
    except KeyboardInterrupt:
        alive = [i for i in ids if not manager.record(i).status.final]
        if not alive:
            raise
        named, who = " ".join(alive), "the job goes" if len(alive) == 1 else "the jobs go"
        raise UsageError(f"stopped waiting; {who} on. Stop with: %job cancel {named}") from None
    for job_id in ids:
        delivery.settle(job_id)


def _wait_in_terminal(manager: JobManager, jobs: Sequence[Job], timeout: float | None) -> None:
    tty = sys.stdout.isatty()
    left = timeout
    for job in jobs:
        pace: Eta | None = None
        while True:
            span = _LINE_SECONDS if left is None else min(_LINE_SECONDS, max(left, 0.0))
            try:
                manager.wait([job.id], timeout=span)
                break
            except TimeoutError:
                if left is not None:
                    left -= span
                    if left <= 0:
                        raise
            if tty:
                view = manager.view(job.id, log_lines=0)
                pace = words.pace(view, pace)
                line = card_text.status_line(view, pace=pace, colour=True, width=cards.terminal_width())
                sys.stdout.write(f"\r\x1b[2K{line}")
                sys.stdout.flush()
        if tty:
            sys.stdout.write("\r\x1b[2K")
        cards.show(job, again=True)
