"""What people type: ``jobnb.submit``, ``jobnb.backtest``, ``jobnb.optimize`` and so on, on the default manager."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from jobnb.chaining import Step
from jobnb.job import Event, Job
from jobnb.manager import get_job_manager
from jobnb.option import Options

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import pandas as pd

    from jobnb.data.origin import DataSource
    from jobnb.figures import Figures
    from jobnb.filters import Filter
    from jobnb.notebook.panel import Panel
    from jobnb.recipe import Recipe
    from jobnb.research.folds import SplitsRows
    from jobnb.research.goal import Objective
    from jobnb.research.instruments import Prices
    from jobnb.store.handlers import HandlerRecord
    from jobnb.timetable import Schedule, Schedules
    from jobnb.triggers.condition import Condition
    from jobnb.triggers.market import Market
    from jobnb.triggers.trigger import Trigger

F = TypeVar("F", bound=Callable[..., Any])


def connect(cluster: Any = None, home: str | os.PathLike[str] | None = None) -> None:
    """Choose the cluster and the store; optional, the first submit connects by itself.

    Parameters
    ----------
    cluster : str, distributed.Client, distributed cluster or None
        None: the embedded cluster of this machine, in a service that outlives the kernel. Text: the address of a
        scheduler (``tcp://…``, ``tls://…``) or a scheduler file. A client or cluster object: used from a thread of
        this process.
    home : path, optional
        The store's folder.

    Raises
    ------
    ClusterUnreachable, VersionMismatch, HomeNotWritable
    """
    get_job_manager().connect(cluster, home)


def client() -> Any:
    """Return a connected `distributed.Client`, to script Dask directly."""
    return get_job_manager().client()


@dataclass(frozen=True, kw_only=True)
class Submitter:
    """The submitting functions with options said once: ``jobnb.options(priority="high").submit(f, 1)``."""

    options: Options

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``fn(*args, **kwargs)`` as a job; see `jobnb.submit`."""
        return get_job_manager().submit(fn, args, kwargs, self.options)

    def chain(self, *steps: Any) -> Job:
        """Run functions one after the other, each given what the one before it returned; see `jobnb.chain`."""
        return get_job_manager().chain(steps, self.options)

    def step(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Step:
        """Return a step of a chain with options of its own; see `jobnb.chain`."""
        return Step(fn=fn, args=args, kwargs=kwargs, options=self.options)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Job:
        """Run a function over many items as one job; see `jobnb.map`."""
        return get_job_manager().map(fn, items, self.options)

    def parallel(self, n_jobs: int = -1) -> AbstractContextManager[builtins.list[Job]]:
        """Run what joblib does in a ``with`` block as jobs; see `jobnb.parallel`."""
        from jobnb import backend

        return backend.parallel(get_job_manager(), self.options, n_jobs)

    def backtest(self, strategy: Callable[..., Any], data: Prices, **params: Any) -> Job:
        """Run one backtest as a job; see `jobnb.backtest`."""
        return get_job_manager().backtest(strategy, data, params, self.options)

    def optimize(
        self,
        strategy: Callable[..., Any],
        data: Prices,
        space: Mapping[str, Any],
        *,
        objective: Objective = "sharpe_ratio",
        method: str = "grid",
        n_trials: int | None = None,
        seed: int | None = None,
        max_time: float | str | None = None,
        constraint: Callable[[Any], bool] | None = None,
        maximize: bool | Sequence[bool | None] | None = None,
        cv: SplitsRows | None = None,
        **engine: Any,
    ) -> Job:
        """Search a strategy's parameters as one job; see `jobnb.optimize`."""
        return get_job_manager().optimize(
            strategy,
            data,
            space,
            self.options,
            objective=objective,
            method=method,
            n_trials=n_trials,
            seed=seed,
            max_time=max_time,
            constraint=constraint,
            maximize=maximize,
            cv=cv,
            **engine,
        )

    def run_notebook(
        self,
        path: str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        to: str | os.PathLike[str] | None = None,
    ) -> Job:
        """Run a notebook as a job; see `jobnb.run_notebook`."""
        from jobnb import paper

        return paper.run_notebook(get_job_manager(), path, parameters, self.options, to=to)

    def extract(
        self,
        symbols: str | Iterable[str],
        *,
        start: object,
        end: object = None,
        interval: str = "1d",
        source: str | DataSource | Callable[..., pd.DataFrame] | None = None,
        to: str | os.PathLike[str] | None = None,
        chunk: int | None = None,
        refresh: bool = False,
        overwrite: bool = False,
    ) -> Job:
        """Fetch prices as one job; see `jobnb.extract`."""
        return get_job_manager().extract(
            symbols,
            self.options,
            start=start,
            end=end,
            interval=interval,
            source=source,
            to=to,
            chunk=chunk,
            refresh=refresh,
            overwrite=overwrite,
        )


def parallel(n_jobs: int = -1) -> AbstractContextManager[builtins.list[Job]]:
    """Run what joblib does in this block as jobs: each call of a `joblib.Parallel`, scikit-learn's too, is one job.

    Parameters
    ----------
    n_jobs : int, default -1
        For those who do not say it themselves: -1 for every place of the cluster. With ``n_jobs=1`` joblib calls the
        function here, without a job. The number does not limit how many places a job uses.

    Returns
    -------
    context manager
        Yields the list of the jobs so far. Say name, priority, timeout and so on by
        ``jobnb.options(name="search").parallel()``.

    Notes
    -----
    All calls are collected before the job begins (``pre_dispatch`` and ``batch_size`` do not matter), and with
    ``return_as="generator"`` it begins when the first result is asked for. Large arrays are stored once and mapped into
    memory; what a call writes into them stays its own. A `Parallel` inside a call runs one call after the other.

    The first call that raises ends the job, and its exception is raised here, without further attempts unless
    ``retry`` says so. An interrupt here cancels the job; one that is cancelled on its card raises `JobCancelled` here.
    ``require="sharedmem"`` uses threads, as always.

    Examples
    --------
    >>> from joblib import Parallel, delayed
    >>> with parallel() as jobs:
    ...     Parallel(n_jobs=1)(delayed(abs)(x) for x in (-1, 2))
    [1, 2]
    """
    return Submitter(options=Options()).parallel(n_jobs)


def options(**said: Any) -> Submitter:
    """Say how the next job is run.

    Parameters
    ----------
    name : str
        Shown on the card.
    priority : {"critical", "high", "normal", "low"}
    timeout : float or str
        Seconds, or ``"5m"``, that one attempt may run.
    memory_limit : int or str
        Bytes, or ``"2GiB"``, that the job may use.
    cancel_grace : float or str
        Seconds between the polite interrupt and the kill; 0.3 by default.
    tags : str or sequence of str
    queue : str
        See `jobnb.queue`; its defaults hold where nothing else is said.
    run_at : datetime or str
        Not before this moment.
    seed : int
    retry : Retry, int or False
        What happens when an attempt fails; a number of retries, or False for none.
    deadline : float or str
        Seconds, or ``"2h"``, from now by which the job has to have ended, waiting and retries included.
    expires_at : datetime or str
        A job that has not begun by then never does.
    unique : str
        While a job of this key is live, another submit returns that one.
    unique_for : float or str
        How long a completed job of the key still counts.
    on_error : {"fail", "record"}
        Whether an item of a map that raises fails the job, or is recorded in its place.
    hooks : Hooks
        Functions to call in the job's process before and after each task.
    notify : bool or str, or several
        Whom to tell of the job's end, and if it is stuck: True for the open notebooks, the name of a channel, or an
        address as for `jobnb.notify`.
    after : Job or str, or several
        Jobs that have to end before this one begins, or their ids or names. A mapping says of each how:
        ``{load: "success", check: "any"}``.
    after_on : {"success", "failure", "any"}
        Which end of every parent lets the job run, by default success. ``failure``: it failed or was cancelled. A job
        that can not run any more ends ``cancelled``, its ``error`` says why, and so do those that wait for it.
    condition : callable
        ``condition(*results)`` of the parents, in the order of ``after`` and then of the arguments, asked in the job's
        own process; if it says no, the job ends ``cancelled`` without having run, and its children with it.
    on_parent_failure : {"cancel", "run"}
        With ``run`` the job runs even if a parent fails. In the place of a result that there is not, it is given a
        `jobnb.work.Failed` with ``error``, ``type`` and ``traceback``; so it is with ``after_on``.
    needs : str or sequence of str
        Outside services, by the names of their `jobnb.breaker`: while one of them has failed too often, the job is put
        off and uses no retry. One that is ``critical`` goes all the same.

    Returns
    -------
    Submitter
        With ``submit``, ``chain``, ``step``, ``map``, ``parallel``, ``backtest``, ``optimize``, ``extract`` and
        ``run_notebook``.

    Examples
    --------
    >>> import jobnb
    >>> jobnb.options(priority="high", timeout="5m").options.timeout
    300.0
    """
    return Submitter(options=Options().merge(**said))


def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
    """Run ``fn(*args, **kwargs)`` as a job on the cluster and return at once.

    Parameters
    ----------
    fn : callable
        Any function, plain or ``async``, also one defined in the notebook.
    *args, **kwargs
        Its arguments. Large arrays and data frames are stored once and mapped into the job's memory. A `Job` among
        them, also in a list or dict, is waited for and replaced by its result.

    Returns
    -------
    Job

    Raises
    ------
    Unpicklable
        The function or an argument cannot be sent to another process. Nothing is enqueued.
    """
    return Submitter(options=Options()).submit(fn, *args, **kwargs)


def chain(*steps: Any) -> Job:
    """Run functions one after the other, each as a job that is given what the one before it returned.

    Parameters
    ----------
    *steps : callable, tuple or Step
        A function, ``(fn, args)``, ``(fn, args, kwargs)``, a `functools.partial`, or ``jobnb.step(fn, …)``; options of
        one step by ``jobnb.options(timeout="5m").step(fn, …)``, those of all by ``jobnb.options(…).chain(…)``. What
        the step before returned comes first, before other arguments.

    Returns
    -------
    Job
        The last one, whose result is the chain's; its ``parents`` lead back to the first. When a step fails or is
        cancelled, those after it are cancelled.

    Raises
    ------
    UsageProblem
        A step cannot be called so. Nothing was enqueued.

    Examples
    --------
    ::

        report = jobnb.chain(load, (clean, (0.01,)), jobnb.options(retry=3).step(fit, seed=7), write_report)
        report.result()
    """
    return Submitter(options=Options()).chain(*steps)


def step(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Step:
    """Return a step of a chain: ``fn(result of the step before, *args, **kwargs)``; see `jobnb.chain`."""
    return Submitter(options=Options()).step(fn, *args, **kwargs)


def map(fn: Callable[[Any], Any], items: Iterable[Any]) -> Job:  # noqa: A001
    """Run ``fn`` on each of the items as one job; its result is the list of values, in order."""
    return Submitter(options=Options()).map(fn, items)


def backtest(strategy: Callable[..., Any], data: Prices, **params: Any) -> Job:
    """Run one backtest as a job, or one on each of several instruments.

    Parameters
    ----------
    strategy : type or callable
        A subclass of `jobnb.Strategy`; any ``f(data, **params)`` that returns a number, a dict of names to numbers or a
        ``vectorbt.Portfolio``; a class with ``load_data``, ``backtest`` and ``get_performance_metrics``; or a
        subclass of ``backtesting.Strategy``.
    data : pandas.DataFrame, or mapping of str to DataFrame
        open, high, low, close and perhaps volume over a DatetimeIndex. Other columns do not travel with the prices; a
        function may refer to them as a global. Of several instruments a dict of such frames, or one frame with columns
        (symbol, field) or (field, symbol), or rows (symbol, time). Each is an item of the job: they run side by side,
        and what is finished is kept. With ``jobnb.options(on_error="record")`` one that fails does not end the job.
    **params
        The strategy's parameters, and engine options, see `jobnb.research.options.EngineOptions`:
        ``initial_capital``, ``commission``, ``slippage``, ``conventions`` … Of several instruments also
        ``portfolio=True``: one account for all, each with an equal share of the equity for its positions. A strategy
        with ``weights(self, bars)`` for all instruments is always one; `bars` is a `jobnb.research.universe.Universe`.
        And ``rebalance``: ``"on_change"`` (the default), ``"always"``, ``"weekly"``, ``"monthly"``, ``"quarterly"``,
        ``"yearly"``. See `jobnb.research.portfolio` for the terms.

    Returns
    -------
    Job
        Its result is a `BacktestResult`; of other people's classes a `ForeignResult`, which reads alike, with the
        engine's own numbers as ``stats``; of a function what it returned; of several instruments a
        `MultiBacktestResult`, a mapping of all of these with ``metrics`` (one row per instrument) and ``equity_curve``
        (all in equal shares), or a `PortfolioResult`.

    Raises
    ------
    UnknownName
        A parameter that neither the strategy nor the engine has.
    DataError
        The data frame, or that of the instrument it names, does not hold usable prices.

    Examples
    --------
    One account for many instruments, its weights decided by all of them together::

        class Momentum(jobnb.Strategy):
            lookback: int = 120
            top: int = 3

            def weights(self, bars):               # bool: equal shares of what is held; floats: fractions of the equity
                gain = bars.close.pct_change(self.lookback)
                return gain.rank(axis=1, ascending=False) <= self.top

        jobnb.backtest(Momentum, {"AAPL": aapl, "MSFT": msft, …}, rebalance="monthly", commission=0.001)
    """
    return Submitter(options=Options()).backtest(strategy, data, **params)


def optimize(
    strategy: Callable[..., Any],
    data: Prices,
    space: Mapping[str, Any],
    *,
    objective: Objective = "sharpe_ratio",
    method: str = "grid",
    n_trials: int | None = None,
    seed: int | None = None,
    max_time: float | str | None = None,
    constraint: Callable[[Any], bool] | None = None,
    maximize: bool | Sequence[bool | None] | None = None,
    cv: SplitsRows | None = None,
    **engine: Any,
) -> Job:
    """Search a strategy's parameters as one job.

    Parameters
    ----------
    strategy, data
        As for `backtest`.
    space : mapping
        For each parameter a range, a list, a single value, or ``jobnb.integers(5, 50)``, ``jobnb.uniform(0, 1)``,
        ``jobnb.log_uniform(0.001, 1)``, or a description such as ``{"type": "float", "min": 0, "max": 1}``.
    objective : str or callable, or a list of them; default ``sharpe_ratio``
        Any metric of a backtest, or a function of a run's metrics: ``lambda m: m.annual_return - m.turnover / 100``.
        Of several the first one chooses the best run, and ``result.pareto`` has those that no other one beats.
    method : {"grid", "random", "tpe", "walk-forward", "purged-kfold", "cpcv"}
        Every combination, a random sample of them, or what a tree-structured Parzen estimator makes of the runs before
        (Optuna: ``pip install 'jobnb[tpe]'``); it is asked for 16 runs at a time.
        Or such a search in each fold, judged on bars that it has not seen: ``"walk-forward"`` with ``train="3y"`` and
        ``test="6M"`` (or bars), and perhaps ``anchored=True``; ``"purged-kfold"`` with ``n_splits``; ``"cpcv"`` with
        ``n_groups`` and ``n_test_groups``; each perhaps with ``horizon``, both of the latter with ``embargo``, and all
        with ``search="random"`` or ``"tpe"``. See `jobnb.WalkForward`, `PurgedKFold`, `CombinatorialPurgedCV`.
    n_trials : int, optional
        How many runs a random or tpe search has in all; 100 by default. Of a space of lists no combination is run
        twice, so that a smaller space is run whole. With a grid it is an error.
    seed : int, optional
        The same seed gives the same trials, for any number of workers. Drawn and recorded if not given; the order of
        a grid does not depend on it.
    max_time : float or str, optional
        Seconds, or ``"10m"``, from the job's start after which it completes with the runs it has. A run that is not
        done a second later (five seconds, while there is none at all) is ended and does not count.
    constraint : callable, optional
        ``lambda p: p.fast < p.slow``; combinations it refuses are not run.
    maximize : bool or list of bool, optional
        Known for every metric of jobnb's own; True for anything else.
    cv : splitter, optional
        The folds, as an object: one of the three, or any with scikit-learn's ``split``; ``method`` then says how to
        search in each of them.
    **engine
        Engine options, and fixed parameters of the strategy; one that is called as a setting of the folds (``horizon``)
        goes into the space, as a single value. Of several instruments also ``across="mean"`` (the default),
        ``"median"`` or ``"worst"``: what a run's metrics are of those of the instruments; or ``portfolio=True`` and
        ``rebalance``, as for `backtest`.

    Returns
    -------
    Job
        Its result is an `OptimizeResult` with ``best_params``, ``best_value``, ``trials``, ``heatmap()`` and
        ``rerun_best()``, and with ``luck``, ``deflated_sharpe``, ``overfitting()``, ``reality_check()`` and ``spa()``,
        which say how much of the best run is luck. ``job.result(partial=True)`` gives the one of the runs so far, also
        after a cancel, and ``job.finish()`` ends the search with them. Of a walk-forward it is a `WalkForwardResult`
        with ``folds``, ``equity``, ``metrics`` (all out of sample) and ``stability``, of a cross-validation a
        `CrossValidationResult` with ``folds`` and ``paths``. The `OptimizeResult` of several
        instruments has ``by_instrument`` and ``best_by_instrument`` too.

    Raises
    ------
    UnknownName
        No such parameter, objective or method.
    UsageProblem
        Options that contradict each other, or a space that cannot be searched in this way.
    MissingPackage
        ``tpe`` without Optuna.
    """
    return Submitter(options=Options()).optimize(
        strategy,
        data,
        space,
        objective=objective,
        method=method,
        n_trials=n_trials,
        seed=seed,
        max_time=max_time,
        constraint=constraint,
        maximize=maximize,
        cv=cv,
        **engine,
    )


def extract(
    symbols: str | Iterable[str],
    *,
    start: object,
    end: object = None,
    interval: str = "1d",
    source: str | DataSource | Callable[..., pd.DataFrame] | None = None,
    to: str | os.PathLike[str] | None = None,
    chunk: int | None = None,
    refresh: bool = False,
    overwrite: bool = False,
) -> Job:
    """Fetch prices of one or many symbols as one job, chunk by chunk, and write them to Parquet.

    Parameters
    ----------
    symbols : str or iterable of str
    start, end : str, date or datetime
        The bars that begin in ``[start, end)``; ``end`` is now by default. Without a zone they are UTC. A bar that is
        not over when the job is submitted is left out.
    interval : str, default ``1d``
    source : str, DataSource or callable, default ``yfinance``
        See `jobnb.data.source`.
    to : path or str, optional
        A folder (one file per symbol) or a ``.parquet`` file (all of them, with a column ``symbol``), on the disk or
        anywhere fsspec reaches. Without it the bars are only kept, where `jobnb.data.get` finds them.
    chunk : int, optional
        Bars per chunk; the source's page by default.
    refresh : bool, default False
        Fetch what is kept, too.
    overwrite : bool, default False
        Replace files that were not made by an extraction of the same symbols, source and interval.

    Returns
    -------
    Job
        Of the kind ``data``. Its result is an `ExtractResult`: ``records_processed``, ``paths``, ``gaps``, and
        ``symbols`` with bars, span, fingerprint and report of each; ``frame(symbol)`` reads one back.

    Raises
    ------
    UsageProblem, UnknownName
        The source, the interval or the target makes no sense. Nothing was enqueued.
    MissingPackage
        ``MISSING_PACKAGE``: with the command that installs it.

    Notes
    -----
    What was fetched is kept at once: a job that is killed, retried or submitted again fetches only the rest. With
    ``jobnb.options(on_error="record")`` a symbol that fails does not fail the others.
    """
    return Submitter(options=Options()).extract(
        symbols,
        start=start,
        end=end,
        interval=interval,
        source=source,
        to=to,
        chunk=chunk,
        refresh=refresh,
        overwrite=overwrite,
    )


def run_notebook(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    to: str | os.PathLike[str] | None = None,
) -> Job:
    """Run a notebook from top to bottom as one job, in a kernel of its own; needs the extra ``notebooks``.

    Parameters
    ----------
    path : path
        It is read now. Cells run in the present working directory.
    parameters : mapping, optional
        Numbers, texts, dates, and lists and dicts of them. They are set in a cell after the one with the tag
        ``parameters``, which holds the defaults, or at the top.
    to : path, optional
        Where it is written as it came out, for example ``"out/{name}-{fire_at:%Y-%m-%d}.ipynb"``. It is kept with the
        job in any case: ``job.artifacts``.

    Returns
    -------
    Job
        Its result is a `jobnb.paper.NotebookRun`. A cell that raises fails the job; the notebook is kept all the same.

    Notes
    -----
    The card says which cell runs. In a run of a schedule ``fire_at`` is set as well, the moment that the run is for.
    """
    return Submitter(options=Options()).run_notebook(path, parameters, to=to)


def jobs(
    status: str | Sequence[str] | None = None, kind: str | None = None, tag: str | None = None, limit: int = 50
) -> builtins.list[Job]:
    """Return the newest jobs, newest first."""
    return get_job_manager().jobs(status, kind, tag, limit)


def get(ref: str | Job) -> Job:
    """Return a job by its id, the beginning of its id, or its name."""
    return get_job_manager().get(ref)


def dead_letters(limit: int = 100, *, kind: str | None = None, code: str | None = None) -> builtins.list[Job]:
    """Return the failed jobs that nobody has retried or purged yet, newest first.

    Parameters
    ----------
    limit : int
    kind, code : str, optional
        Only jobs of this kind, or that failed with this error code.
    """
    return get_job_manager().dead_letters(limit, kind=kind, code=code)


def purge(*jobs: Job | str, older_than_hours: float | None = None, kind: str | None = None) -> int:
    """Remove dead letters with all that is kept of them: those named, or all that fit; return how many."""
    return get_job_manager().purge(*jobs, older_than_hours=older_than_hours, kind=kind)


def on(names: str | Iterable[str], fn: Callable[[Job, Event], object]) -> Callable[[], None]:
    """Call ``fn(job, event)`` in this process when something happens to a job; return how to end that.

    Parameters
    ----------
    names : str or iterable of str
        ``job.submitted``, ``job.started``, ``job.completed``, ``job.failed``, ``job.dead``, ``job.cancelled``,
        ``job.retrying``, ``job.stuck``, ``jobs.failing``, ``task.failed``, ``task.lost``, or a pattern
        such as ``job.*``.
    fn : callable
        Called from a thread; what it raises is logged and changes nothing.
    """
    return get_job_manager().on(names, fn)


def schedule(
    name: str,
    target: Callable[..., Any] | Job | str | Recipe,
    when: Trigger | str | float | timedelta | datetime,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    tz: str = "UTC",
    only: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
    skip: Condition | str | Filter | Iterable[Condition | str | Filter] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    **said: Any,
) -> Schedule:
    """Run something again and again; a schedule of that name is changed, its history stays.

    The service fires it, whether or not a notebook is open, each moment once however many processes share the store.
    A run knows its moment: ``jobnb.current().fire_at``, ``job.record.fire_at``.

    Parameters
    ----------
    name : str
    target : callable, Job, str or recipe
        A function, a job whose work is done again with the data that it had, the name of a handler (as it is now), or
        any other job as a recipe: ``jobnb.deferred.backtest(SmaCross, latest, report="{fire_at:%Y-%m-%d}.html")``,
        where prices may be a function that every run calls anew; ``jobnb.deferred.optimize``, ``extract``,
        ``run_notebook``.
    when : str, float, timedelta, datetime or trigger
        ``"15m"``, cron such as ``"0 8 * * 1-5"``, a moment for once, or ``jobnb.market("XNYS").close("-10m")``.
    args, kwargs
        Arguments of the function.
    tz : str, default ``UTC``
        Of cron, of days of the week, and of moments without a zone.
    only, skip : str, condition, callable, or several
        ``"weekdays"``, ``"mon,wed"``, an exchange (``"XNYS"``: while it trades), ``jobnb.market("XNYS").days``, or a
        function of the tick's moment (a datetime in ``tz``) that says yes or no. The service runs no such function:
        the run asks it first, and one that is refused ends as cancelled, its tick as skipped; it is no run.
    start, end : datetime, optional
        From when, and until when.
    missed : {"coalesce", "all", "skip"}
        Of ticks that passed while no service ran: run the newest, each, or none.
    catch_up : float or str, optional
        A tick older than that is missed.
    overlap : {"skip", "queue", "cancel_previous"}
        While the run before goes on: leave this one out, run it afterwards, or cancel the other.
    jitter : float or str
        Runs start later than their tick by up to this.
    max_runs, pause_after : int, optional
        After so many runs it is over; after so many failures in a row it pauses.
    deadline : float or str, optional
        After its tick, by when a run has to have ended.
    **said
        Options of each job, as for `jobnb.options`: ``priority``, ``timeout``, ``retry``, ``tags``, ….

    Returns
    -------
    Schedule
        With ``next_run``, ``last_run``, ``ticks()``, ``jobs()``, ``pause()``, ``resume()``, ``run()``, ``remove()``.

    Raises
    ------
    UsageProblem
        It is not understood, or never comes. Nothing was changed.
    """
    return get_job_manager().schedule(
        name, target, when, args=args, kwargs=kwargs, tz=tz, only=only, skip=skip, start=start, end=end, **said
    )


def schedules() -> Schedules:
    """Return all schedules, by name."""
    return get_job_manager().schedules()


def market(exchange: str) -> Market:
    """Return an exchange (``XNYS``, ``XLON``, ``XTKS``, …), by whose sessions schedules go; needs the extra ``market``.

    Raises
    ------
    UnknownName
        With the nearest name.
    """
    from jobnb.triggers.market import Market

    return Market(exchange)


def job_handler(name: str, **said: Any) -> Callable[[F], F]:
    """Decorate a function that is run by name: `jobnb.enqueue`, also after this kernel has gone.

    It is stored with its code. With one parameter called ``args`` it gets a dict of all arguments, else each by name;
    ``async def`` is fine.

    Parameters
    ----------
    name : str
    **said
        Options of all of its jobs, as for `jobnb.options`: ``retry``, ``timeout``, ``priority``, ``queue``, …
    """

    def decorate(fn: F) -> F:
        get_job_manager().register_handler(name, fn, **said)
        return fn

    return decorate


def enqueue(
    name: str, args: Mapping[str, Any] | None = None, *, scheduled_at: datetime | str | None = None, **said: Any
) -> Job:
    """Run a handler as a job.

    Parameters
    ----------
    name : str
        As it was registered with `jobnb.job_handler`; its newest version is run.
    args : mapping, optional
    scheduled_at : datetime or str, optional
        Not before this moment.
    **said
        Options of this job, as for `jobnb.options`; what is not said is as the handler has it.

    Raises
    ------
    UnknownName
        There is no handler of that name.
    """
    return get_job_manager().enqueue(name, args, scheduled_at=scheduled_at, **said)


def handlers() -> builtins.list[HandlerRecord]:
    """Return the newest version of each handler, by name."""
    return get_job_manager().handlers()


def every_minutes(minutes: float, **said: Any) -> Callable[[F], F]:
    """Decorate a function that runs every so many minutes, under its own name or ``name=…``; see `jobnb.schedule`."""
    return _scheduled(60.0 * minutes, said)


def daily_at(hour: int, minute: int = 0, **said: Any) -> Callable[[F], F]:
    """Decorate a function that runs once a day, at a time of ``tz=…`` (UTC by default); see `jobnb.schedule`."""
    return _scheduled(f"{minute} {hour} * * *", said)


def cron(expression: str, **said: Any) -> Callable[[F], F]:
    """Decorate a function that runs by a cron expression; see `jobnb.schedule`."""
    return _scheduled(expression, said)


def _scheduled(when: str | float, said: Mapping[str, Any]) -> Callable[[F], F]:
    more = dict(said)
    name = more.pop("name", None)

    def decorate(fn: F) -> F:
        schedule(name or getattr(fn, "__name__", "schedule"), fn, when, **more)
        return fn

    return decorate


def stats(days: float = 7) -> Figures:
    """Return statistics: queue, workers, scheduler, and the runs of the last days.

    Parameters
    ----------
    days : float, default 7
        How far back the runs are counted. A run counts by when it ended; times are in seconds, shares in percent.

    Returns
    -------
    Figures
        A dict that reads well: ``queue`` (pending by priority, scheduled, processing, dead letters), ``workers``
        (jobs processed in the window, success rate, mean time), ``scheduler``, ``runs`` (by status, percentiles of
        the duration, by kind, handler, schedule and day), ``jobs`` by state, ``errors``, ``warnings``, ``service``.
    """
    return get_job_manager().stats(days)


def panel(limit: int = 20) -> Panel:
    """Show the recent jobs as a table that moves, with buttons to cancel and to retry; a terminal prints it once.

    Parameters
    ----------
    limit : int, default 20
        How many of the newest jobs are shown; live ones are shown besides.

    Returns
    -------
    Panel
        ``close()`` ends its movement and leaves the table.
    """
    from jobnb.notebook import panel as panels

    return panels.panel(get_job_manager(), limit)
