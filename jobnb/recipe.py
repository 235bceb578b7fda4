"""Jobs that are only described: ``jobnb.deferred.backtest(…)`` makes nothing but a recipe, and a schedule cooks by it.

Run by front doors. Prices may be a function, which every run calls anew; then a job that fetches them comes before the
run, so that all of it, and whoever does it again, has the same. A report is written by a job that follows the run.
(Not ``deferred.py``: a submodule of that name would hide ``jobnb.deferred``.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from jobnb import submission
from jobnb.errors import UsageProblem
from jobnb.job import Job, JobType
from jobnb.manager import JobManager
from jobnb.option import Options
from jobnb.store.chains import Link
from jobnb.store.jobs import NewJob

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.data.origin import DataSource
    from jobnb.research import given
    from jobnb.work import Work

#: Where the job that fetches prices and, after it, the run stand among the jobs of a run.
_FETCHED, _RUN = 0, 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A job that is described, and made by whoever takes the recipe; see `Recipes`.

    Attributes
    ----------
    kind : str
        For example ``backtest``.
    make : callable
        ``make(drafts, options)``: hands its job, or its jobs, in at a manager that keeps them.
    report : path or None
        Where the tear sheet of each run goes.
    """

    kind: str
    make: Callable[[Drafts, Options], object] = field(repr=False)
    report: str | os.PathLike[str] | None = None

    def jobs(self, manager: JobManager, options: Options, tz: str = "UTC") -> Jobs:
        """Make the rows of its jobs; nothing is handed in."""
        drafts = Drafts(manager, tz)
        self.make(drafts, options)
        made = Jobs(rows=drafts.drafts, place=drafts.place)
        return made if self.report is None else _reported(manager, made, self.report, options, tz)


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """The rows of the jobs that make up a run, and which of them is the run itself."""

    rows: Sequence[NewJob]
    place: int = 0


class Drafts(JobManager):
    """A manager that hands nothing in: it keeps the rows. Prices may be a function here."""

    def __init__(self, manager: JobManager, tz: str = "UTC") -> None:
        super().__init__(home=manager.home)
        self.tz = tz
        self._store = manager.store
        self._cluster = manager.cluster
        self.drafts: list[NewJob] = []
        self.place = 0

    def hand_in_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Keep the rows; the jobs have no id."""
        self.drafts += jobs
        return [Job("", self) for _ in jobs]

    def backtest(
        self, strategy: Any, data: Any, params: Any = None, options: Any = None, *, data_name: str | None = None
    ) -> Job:
        """Draft a backtest; of prices that are a function, with the job that fetches them."""
        if not is_late(data):
            return super().backtest(strategy, data, params, options, data_name=data_name)
        from jobnb.worker.whole import WholeWork

        name = data_name or _called(data)
        what = _checked_backtest(strategy, params or {}, name)
        work = WholeWork(
            what="backtest",
            args=(strategy,),
            said=dict(params or {}),
            options=_few(options or Options()),
            name=name,
        )
        return self._with_prices(data, name, work, "backtest", options, what, strategy)

    def optimize(
        self, strategy: Any, data: Any, space: Any, options: Any = None, *, data_name: str | None = None, **said: Any
    ) -> Job:
        """Draft a search; of prices that are a function, with the job that fetches them."""
        if not is_late(data):
            return super().optimize(strategy, data, space, options, data_name=data_name, **said)
        from jobnb.durations import seconds
        from jobnb.research import fold_door, instrument_door
        from jobnb.research.given import GivenBars
        from jobnb.research.sweep import SweepWork
        from jobnb.worker.whole import WholeWork

        options = options or Options()
        name = data_name or _called(data)
        # Whatever can be found wrong without the prices is found wrong now, on two bars of nothing.
        settings = {k: v for k, v in said.items() if k not in _OF_SEARCH}
        folds = fold_door.planned(said.get("method", "grid"), said.get("cv"), settings)
        asked = instrument_door.asked_of(strategy, settings if folds is None else folds.rest)
        checked = _Checked()
        checked.optimize(strategy, _two_bars(name), space, options, **_of_one(said, folds, asked))
        what = {**checked.what, "data": {"name": name}}
        one = folds is None and not asked.portfolio and asked.across is None and not isinstance(data, Mapping)
        if one and isinstance(checked.work, SweepWork):
            late = replace(checked.work, data=cast(Any, GivenBars(name=name, place=_FETCHED)))
            most = said.get("max_time")
            plan = late.plan(None if most is None else seconds(most, "max_time"))
            seeded = options if late.trials.seed is None else options.merge(seed=late.trials.seed)
            return self._with_prices(data, name, late, "optimize", seeded, what, strategy, plan)
        whole = WholeWork(what="optimize", args=(strategy, space), said=said, options=_few(options), name=name)
        kind = "optimize" if folds is None else _kind_of(folds.cv)
        return self._with_prices(data, name, whole, kind, options, what, strategy)

    def extract(self, symbols: Any, options: Any = None, **said: Any) -> Job:
        """Draft an extraction whose span is that of each run."""
        from jobnb.data import door
        from jobnb.research.given import since
        from jobnb.store.jobs import from_us
        from jobnb.worker.whole import WholeWork

        options = options or Options()
        now = from_us(self.store.clock())
        asked = {"home": self.store.home, **_EXTRACTION, **said}
        checked = {**asked, "start": since(asked["start"], now), "end": asked["end"] or now}
        work, what, _ = door.extract_work(symbols, **checked, on_error=options.on_error)
        what = {**{k: v for k, v in what.items() if k not in ("end", "chunks")}, "start": str(asked["start"])}
        whole = WholeWork(what="extract", args=(symbols,), said=asked, place=None, options=_few(options))
        name = f"{', '.join(symbols) if not isinstance(symbols, str) else symbols} {what['interval']}"
        source = door.code_of(work.extract.source)
        return self._accept(whole, JobType.DATA_EXTRACTION.value, options, name=name, params=what, source=source)

    def _with_prices(
        self,
        data: Any,
        name: str,
        work: Work,
        kind: str,
        options: Options | None,
        what: Mapping[str, Any],
        strategy: Any,
        plan: Mapping[str, Any] | None = None,
    ) -> Job:
        from jobnb.research.given import FetchWork, takes_moment

        said = options or Options()
        several = isinstance(data, Mapping)
        for each in data.values() if several else [data]:
            if callable(each):
                takes_moment(each)
        titled = said if said.name else said.merge(name=f"{what['strategy']} on {name}")
        fetch = submission.new_job(
            self.store, self.cluster, FetchWork(fetch=dict(data) if several else data, name=name),
            JobType.DATA_EXTRACTION.value, replace(titled, name=f"{titled.name}: prices"[:200], hooks=None), name=name,
            params={"prices": name}, source=None if several else _code_of(data),
        )  # fmt: skip
        run = submission.new_job(
            self.store, self.cluster, work, kind, titled, name=titled.name, params=what, plan=plan, source=strategy,
        )  # fmt: skip
        self.place = _RUN
        return self.hand_in_all([fetch, given_to(run, [Link(parent=_FETCHED, given=True)])])[-1]


class Recipes:
    """``jobnb.deferred``: the submitting functions as recipes, which do nothing until a schedule takes them.

    Where prices are asked for, a function does as well: of no argument, or of the moment that the run is for. It is
    called anew by every run. With ``report="sheets/{fire_at:%Y-%m-%d}.html"`` each run's tear sheet is written there.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Recipe:
        """Describe ``fn(*args, **kwargs)``; see `jobnb.submit`."""
        return Recipe(kind="job", make=lambda drafts, options: drafts.submit(fn, args, kwargs, options))

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Recipe:
        """Describe a function over many items; see `jobnb.map`."""
        listed = list(items)
        return Recipe(kind="map", make=lambda drafts, options: drafts.map(fn, listed, options))

    def backtest(
        self,
        strategy: Callable[..., Any],
        data: Any,
        *,
        report: str | os.PathLike[str] | None = None,
        **params: Any,
    ) -> Recipe:
        """Describe a backtest; see `jobnb.backtest`.

        Parameters
        ----------
        strategy
        data : DataFrame, mapping, or callable
            Prices; or what fetches them, as it is, or one for each of several instruments.
        report : path, optional
            With ``{fire_at:%Y-%m-%d}`` and ``{name}``.
        **params
        """
        return Recipe(
            kind="backtest",
            report=report,
            make=lambda drafts, options: drafts.backtest(strategy, data, params, options),
        )

    def optimize(
        self,
        strategy: Callable[..., Any],
        data: Any,
        space: Mapping[str, Any],
        *,
        report: str | os.PathLike[str] | None = None,
        **said: Any,
    ) -> Recipe:
        """Describe a search; see `jobnb.optimize`, and `backtest` for ``data`` and ``report``."""
        return Recipe(
            kind="optimize",
            report=report,
            make=lambda drafts, options: drafts.optimize(strategy, data, space, options, **said),
        )

    def extract(self, symbols: str | Iterable[str], *, start: object, **said: Any) -> Recipe:
        """Describe an extraction up to the moment of each run; see `jobnb.extract`.

        ``start`` is a date, or so long before that moment: ``"30d"``, ``"1y"``.
        """
        listed = symbols if isinstance(symbols, str) else list(symbols)
        return Recipe(kind="extract", make=lambda drafts, options: drafts.extract(listed, options, start=start, **said))

    def run_notebook(
        self,
        path: str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        to: str | os.PathLike[str] | None = None,
    ) -> Recipe:
        """Describe a notebook that is run from top to bottom; see `jobnb.run_notebook`."""
        from jobnb import paper

        return Recipe(
            kind="notebook",
            make=lambda drafts, options: paper.run_notebook(drafts, path, parameters, options, to=to, tz=drafts.tz),
        )

    def prices(
        self,
        symbol: str,
        *,
        start: object,
        interval: str = "1d",
        source: str | DataSource | Callable[..., pd.DataFrame] = "yfinance",
    ) -> given.Prices:
        """Describe prices up to the moment that a run is for; see `jobnb.data.get`.

        Parameters
        ----------
        symbol : str
        start : str, date or datetime
            A date, or so long before that moment: ``"3y"``, ``"6M"``, ``"90d"``.
        interval, source
        """
        from datetime import UTC, datetime

        from jobnb.data.interval import Interval
        from jobnb.data.origin import source as named
        from jobnb.research import given

        Interval.of(interval)
        named(source)
        given.since(start, datetime.now(UTC))
        return given.Prices(symbol=symbol, start=start, interval=interval, source=source)

    def __repr__(self) -> str:
        return "<jobnb.deferred: backtest, optimize, extract, run_notebook, submit, map and prices as recipes>"


deferred = Recipes()

#: What of `jobnb.optimize` is about the search, and not about the engine or the folds.
_OF_SEARCH = ("objective", "method", "n_trials", "seed", "max_time", "constraint", "maximize", "cv")
_EXTRACTION: Mapping[str, Any] = {
    "end": None, "interval": "1d", "source": None, "to": None, "chunk": None, "refresh": False, "overwrite": False,
}  # fmt: skip


def is_late(data: object) -> bool:
    """Tell whether prices are to be fetched by each run: a function, or functions by symbol."""
    if isinstance(data, Mapping):
        return any(is_late(each) for each in data.values())
    return callable(data) and not hasattr(data, "columns") and not isinstance(data, type)


def given_to(new: NewJob, links: Sequence[Link]) -> NewJob:
    """Return the row of a job that is given what others before it gave."""
    return replace(new, parents=links, options={**new.options, "given": True})


def _reported(manager: JobManager, made: Jobs, path: str | os.PathLike[str], options: Options, tz: str) -> Jobs:
    """Add the job that writes the tear sheet of a run."""
    from jobnb.dated import DatedPath
    from jobnb.research.report.written import ReportWork

    run = made.rows[made.place]
    target = DatedPath.parse(path, ".html", name=options.name or run.name, tz=tz)
    if run.kind not in _REPORTED:
        raise UsageProblem(f"there is no report of a {run.kind}; there is one of backtests and searches.")
    is_search = run.plan.get("type") in ("grid", "random", "tpe")
    content = None
    if is_search:
        content = run.content if run.content is not None else manager.store.payloads.get(run.payload)
    links = [Link(parent=i, given=True) for i in range(len(made.rows))]
    work = ReportWork(path=target, place=made.place, search=content)
    said = Options(name=f"{options.name or run.name}: report"[:200], priority=options.priority, tags=options.tags)
    row = submission.new_job(
        manager.store, manager.cluster, work, "job", said, name=said.name, params={"report": target.template},
        blobs=run.blobs,
    )  # fmt: skip
    # The surroundings of the run are those in which its result can be unpickled.
    row = given_to(replace(row, snapshot=run.snapshot), links)
    return replace(made, rows=[*made.rows, row])


_REPORTED = ("backtest", "optimize", "walk_forward", "cross_validation")


def _kind_of(cv: object) -> str:
    return "walk_forward" if getattr(cv, "kind", "") == "walk-forward" else "cross_validation"


def _few(options: Options) -> Options:
    """Return the options that a work asks for: others may hold what cannot be sent."""
    return Options(on_error=options.on_error, seed=options.seed)


def _called(data: Any) -> str:
    if isinstance(data, Mapping):
        names = list(map(str, data))
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    fn = getattr(data, "func", data)
    name = str(getattr(fn, "__name__", None) or type(fn).__name__)
    return "data" if name == "<lambda>" else name


def _code_of(data: Any) -> Callable[..., Any] | None:
    fn = getattr(data, "func", data)
    return fn if hasattr(fn, "__code__") else None


def _two_bars(name: str) -> Any:
    import pandas as pd

    from jobnb.research.bars import Bars

    index = pd.date_range("2024-01-01", periods=2, freq="D")
    return Bars.from_frame(pd.DataFrame({k: [1.0, 1.0] for k in ("open", "high", "low", "close")}, index=index), name)


def _of_one(said: Mapping[str, Any], folds: Any, asked: Any) -> dict[str, Any]:
    """Return what is said of a search as it is for one instrument, without how the bars are split."""
    kept = {k: v for k, v in said.items() if k in _OF_SEARCH and k != "cv"}
    rest = dict(asked.rest)
    if asked.portfolio:
        rest["portfolio"] = True
    return {**kept, **rest} if folds is None else {**kept, "method": folds.search, **rest}


def _checked_backtest(strategy: Any, params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """See that the parameters are right; return what the card says of the run."""
    drafts = _Checked()
    drafts.backtest(strategy, _two_bars(name), dict(params))
    return {**drafts.what, "data": {"name": name}}


class _Checked(JobManager):
    """A manager that only looks whether what it is told makes sense."""

    def __init__(self) -> None:
        super().__init__()
        self.what: Mapping[str, Any] = {}
        self.work: Work | None = None

    def _keep_bars(self, bars: Any) -> str:
        return ""

    def _accept(self, work: Work, kind: str, options: Options, **more: Any) -> Job:
        self.work, self.what = work, more["params"]
        return Job("", self)
