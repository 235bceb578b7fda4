"""jobnb: research jobs from Jupyter on a Dask cluster. The public names, nothing else.

Names are imported when they are first used, so that ``%load_ext jobnb`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobnb import data as data
    from jobnb import overfitting as overfitting
    from jobnb.api import backtest as backtest
    from jobnb.api import chain as chain
    from jobnb.api import client as client
    from jobnb.api import connect as connect
    from jobnb.api import cron as cron
    from jobnb.api import daily_at as daily_at
    from jobnb.api import dead_letters as dead_letters
    from jobnb.api import enqueue as enqueue
    from jobnb.api import every_minutes as every_minutes
    from jobnb.api import extract as extract
    from jobnb.api import get as get
    from jobnb.api import handlers as handlers
    from jobnb.api import job_handler as job_handler
    from jobnb.api import jobs as jobs
    from jobnb.api import map as map  # noqa: A004
    from jobnb.api import market as market
    from jobnb.api import on as on
    from jobnb.api import optimize as optimize
    from jobnb.api import options as options
    from jobnb.api import panel as panel
    from jobnb.api import parallel as parallel
    from jobnb.api import purge as purge
    from jobnb.api import run_notebook as run_notebook
    from jobnb.api import schedule as schedule
    from jobnb.api import schedules as schedules
    from jobnb.api import stats as stats
    from jobnb.api import step as step
    from jobnb.api import submit as submit
    from jobnb.breaking import StaleValue as StaleValue
    from jobnb.errors import BreakerOpen as BreakerOpen
    from jobnb.errors import JobCancelled as JobCancelled
    from jobnb.errors import JobFailed as JobFailed
    from jobnb.errors import JobnbError as JobnbError
    from jobnb.guard import breaker as breaker
    from jobnb.guard import breakers as breakers
    from jobnb.guard import rate_limit as rate_limit
    from jobnb.guard import rate_limits as rate_limits
    from jobnb.job import Job as Job
    from jobnb.job import JobType as JobType
    from jobnb.job import Priority as Priority
    from jobnb.job import Progress as Progress
    from jobnb.job import Status as Status
    from jobnb.manager import JobManager as JobManager
    from jobnb.manager import get_job_manager as get_job_manager
    from jobnb.notifying import notices as notices
    from jobnb.notifying import notify as notify
    from jobnb.option import Hooks as Hooks
    from jobnb.queueing import queue as queue
    from jobnb.queueing import queues as queues
    from jobnb.recipe import deferred as deferred
    from jobnb.research.adapters.optimizer import StrategyOptimizer as StrategyOptimizer
    from jobnb.research.bars import Bars as Bars
    from jobnb.research.cross_validation import CombinatorialPurgedCV as CombinatorialPurgedCV
    from jobnb.research.cross_validation import PurgedKFold as PurgedKFold
    from jobnb.research.indicators import crossover as crossover
    from jobnb.research.interval import integers as integers
    from jobnb.research.interval import log_uniform as log_uniform
    from jobnb.research.interval import uniform as uniform
    from jobnb.research.stops import atr as atr
    from jobnb.research.strategy import Strategy as Strategy
    from jobnb.research.walk_forward import WalkForward as WalkForward
    from jobnb.retry import GiveUp as GiveUp
    from jobnb.retry import Retry as Retry
    from jobnb.retry import RetryLater as RetryLater
    from jobnb.roster import ScheduleType as ScheduleType
    from jobnb.roster import configure_schedules as configure_schedules
    from jobnb.roster import job_scheduler as job_scheduler
    from jobnb.worker.context import JobContext as JobContext
    from jobnb.worker.context import current as current
    from jobnb.worker.context import progress as progress
    from jobnb.worker.context import track as track

__version__ = "0.1.0"

_HOMES = {
    "jobnb.api": (
        "job_handler",
        "handlers",
        "enqueue",
        "schedules",
        "schedule",
        "market",
        "every_minutes",
        "daily_at",
        "cron",
        "backtest",
        "chain",
        "client",
        "connect",
        "dead_letters",
        "extract",
        "get",
        "jobs",
        "map",
        "on",
        "optimize",
        "options",
        "panel",
        "parallel",
        "purge",
        "run_notebook",
        "stats",
        "step",
        "submit",
    ),
    "jobnb.breaking": ("StaleValue",),
    "jobnb.errors": ("BreakerOpen", "JobCancelled", "JobFailed", "JobnbError"),
    "jobnb.guard": ("breaker", "breakers", "rate_limit", "rate_limits"),
    "jobnb.job": ("Job", "JobType", "Priority", "Progress", "Status"),
    "jobnb.manager": ("JobManager", "get_job_manager"),
    "jobnb.notifying": ("notices", "notify"),
    "jobnb.option": ("Hooks",),
    "jobnb.queueing": ("queue", "queues"),
    "jobnb.recipe": ("deferred",),
    "jobnb.research.adapters.optimizer": ("StrategyOptimizer",),
    "jobnb.research.bars": ("Bars",),
    "jobnb.research.cross_validation": ("CombinatorialPurgedCV", "PurgedKFold"),
    "jobnb.research.indicators": ("crossover",),
    "jobnb.research.interval": ("integers", "log_uniform", "uniform"),
    "jobnb.research.stops": ("atr",),
    "jobnb.research.strategy": ("Strategy",),
    "jobnb.research.walk_forward": ("WalkForward",),
    "jobnb.retry": ("GiveUp", "Retry", "RetryLater"),
    "jobnb.roster": ("ScheduleType", "configure_schedules", "job_scheduler"),
    "jobnb.worker.context": ("JobContext", "current", "progress", "track"),
}
#: Public names that are modules.
_MODULES = {"data": "jobnb.data", "overfitting": "jobnb.overfitting"}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*sorted([*_HOME_OF, *_MODULES]), "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'jobnb' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%job`` and ``%%job``; called by ``%load_ext jobnb``."""
    from jobnb.notebook import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Take ``%job`` away again; called by ``%unload_ext jobnb``."""
    from jobnb.notebook import unload

    unload(ipython)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jobnb.server"}]
