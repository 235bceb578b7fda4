"""``jobnb demo``: one backtest and an optimization of 10,000 runs on real prices, shown in the terminal.

Run by the command line. It uses the same front door as everybody, and ends the service if it was the one who
started it.
"""

from __future__ import annotations

import sys

import numpy.typing as npt

from jobnb.job import Job
from jobnb.manager import JobManager
from jobnb.notebook import card_text, words
from jobnb.research.bars import Bars
from jobnb.research.sample import goog
from jobnb.research.strategy import Strategy

COMMISSION = 0.001
FAST, SLOW = range(5, 55), range(60, 260)
DRAW_SECONDS = 0.05

NEXT = """Try next
  in Jupyter      %load_ext jobnb
                  %job?                        the help
                  notebooks/01-quickstart.ipynb
  in a shell      jobnb list · jobnb show · jobnb status · jobnb doctor
  in Python       import jobnb; job = jobnb.submit(print, "hello"); job.wait(); job.logs()"""


class SmaCross(Strategy):
    """In the market while the fast moving average is above the slow one."""

    fast: int = 10
    slow: int = 30

    def positions(self, bars: Bars) -> npt.ArrayLike:
        """Return True where the fast average is above the slow one."""
        return bars.sma(self.fast) > bars.sma(self.slow)


def demo(manager: JobManager) -> int:
    """Run the demonstration; return the exit code."""
    ours = manager.daemon.lease() is None
    try:
        print(
            "starting the service (a scheduler and one worker per core) …" if ours else "using the service that runs …"
        )
        manager.connect()
        prices = goog()
        job = manager.backtest(SmaCross, prices, {"fast": 10, "slow": 30, "commission": COMMISSION}, data_name="GOOG")
        _watch(manager, job)
        print(f"{job.result()}\n")
        space = {"fast": FAST, "slow": SLOW}
        job = manager.optimize(SmaCross, prices, space, commission=COMMISSION, data_name="GOOG")
        _watch(manager, job)
        best = job.result()
        shown = " ".join(f"{name}={value}" for name, value in best.best_params.items())
        print(f"best parameters   {shown}   {best.objective} {best.best_value:.4g}\n")
    finally:
        if ours:
            manager.daemon.stop()
    print(NEXT)
    print(f"\nBoth jobs are kept in {manager.store.home}" + ("; nothing is left running." if ours else "."))
    return 0


def _watch(manager: JobManager, job: Job) -> None:
    """Draw one updating line while the job runs, and its card when it has ended."""
    tty = sys.stdout.isatty()
    pace = None
    while True:
        try:
            manager.wait([job.id], timeout=DRAW_SECONDS)
            break
        except TimeoutError:
            if tty:
                view = manager.view(job.id, log_lines=0)
                pace = words.pace(view, pace)
                sys.stdout.write(f"\r\x1b[2K{card_text.status_line(view, colour=True, pace=pace)}")
                sys.stdout.flush()
    if tty:
        sys.stdout.write("\r\x1b[2K")
    print(card_text.render(manager.view(job.id), colour=tty))
