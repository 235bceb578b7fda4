"""`SweepWork`: a span of the trials of a search, run in a child, many rows per kernel call; `search`: all of them.

A front door builds it; a child runs it on one span after the other, with its bars and indicators warm. One
failing combination is a row of NaN with its message, never the end of the sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from jobnb.allowance import Allowance
from jobnb.errors import UsageProblem, unknown
from jobnb.research.bars import Bars
from jobnb.research.container import SweepPart
from jobnb.research.data import DataRef
from jobnb.research.digest import best, digest
from jobnb.research.engine import Evaluator, Targets, Wanted, targets
from jobnb.research.foreign import is_foreign, name_of, run_foreign
from jobnb.research.goal import Goal, Objective, goals, scored
from jobnb.research.limits import Orders
from jobnb.research.metrics import METRICS
from jobnb.research.options import EngineOptions
from jobnb.research.recount import Run, runner
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy, maker
from jobnb.research.tpe import Past
from jobnb.research.tracks import Arrays, EquityTracks, TargetTracks, Whole
from jobnb.work import Part, Report, Work, item_seeder

Floats = npt.NDArray[np.float64]

_BOOL = np.dtype(np.bool_)

#: Rows of targets given to one kernel call, and the memory they may take: more of it is too far from the processor,
#: most of all where another child works beside this one.
BLOCK_ROWS = 64
BLOCK_BYTES = 4 * 2**20
REPORT_SECONDS = 0.2
#: Longest message kept of a failed run, and how many different ones a part keeps.
MESSAGE_LENGTH = 300
MESSAGE_KINDS = 50


class Kept(Protocol):
    """What is kept of the runs of a part beside their metrics."""

    def arrays(self, index: Whole, best: int | None, again: Callable[[int], Floats | None]) -> Arrays:
        """Return it by name; see `Tracks.arrays`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepWork:
    """The runs of an optimization; item i is the i-th trial.

    Attributes
    ----------
    strategy : type or callable
        A `Strategy` class, or ``f(data, **params)``, or a class with the protocol.
    trials : Search
        What is tried.
    options : EngineOptions
    data : DataRef
    goals : tuple of Goal
        What is made best; the first one chooses the best run.
    """

    strategy: Callable[..., object]
    trials: Search
    options: EngineOptions = field(default_factory=EngineOptions)
    data: DataRef
    goals: tuple[Goal, ...]

    @classmethod
    def build(
        cls,
        strategy: Callable[..., object],
        trials: Search | ParameterSpace,
        data: DataRef,
        *,
        indices: npt.NDArray[np.int64] | None = None,
        options: EngineOptions | None = None,
        objective: Objective = "sharpe_ratio",
        maximize: bool | Sequence[bool | None] | None = None,
    ) -> SweepWork:
        """Check the objective, and fill in what the caller left open.

        Parameters
        ----------
        strategy, data, options
            See `SweepWork`.
        trials : Search or ParameterSpace
            A space means all its combinations, or those of ``indices``.
        objective, maximize
            See `jobnb.research.goal.goals`.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: a `Strategy` is optimized for something that is no metric.
        """
        return cls(
            strategy=strategy,
            trials=Search.of(trials, indices) if isinstance(trials, ParameterSpace) else trials,
            options=options or EngineOptions(),
            data=data,
            goals=goals(objective, maximize, foreign=is_foreign(strategy)),
        )

    @property
    def count(self) -> int:
        """Number of items."""
        return self.trials.count

    @property
    def space(self) -> ParameterSpace:
        """What the parameters may be."""
        return self.trials.space

    @property
    def objective(self) -> str:
        """Name of the objective that chooses the best run."""
        return self.goals[0].name

    @property
    def maximize(self) -> bool:
        """Whether more of it is better."""
        return self.goals[0].maximize

    def meta(self) -> dict[str, object]:
        """Return what `load_sweep` needs beside the parts, JSON-able and small."""
        return {
            "strategy": name_of(self.strategy),
            "space": self.space.to_json(),
            "method": self.trials.method,
            "seed": self.trials.seed,
            "objective": self.objective,
            "maximize": self.maximize,
            "goals": [[goal.name, goal.maximize] for goal in self.goals],
            "runs": self.count,
            "combinations": None if self.space.continuous else self.space.count,
            # What another engine assumes is not said by these.
            "options": {} if is_foreign(self.strategy) else self.options.to_dict(),
            "data": {"name": str(self.data.meta.get("name", "data")), "bars": self.data.meta.get("bars")},
        }

    def plan(self, max_time: float | None = None) -> dict[str, object]:
        """Return how the service cuts the job: see `jobnb.service.plans`.

        Parameters
        ----------
        max_time : float, optional
            Seconds after which the search ends with what it has.
        """
        said = {"generation": self.trials.generation, "max_time": max_time}
        more = {name: value for name, value in said.items() if value is not None}
        return {"type": self.trials.method, "items": self.count, **more, "meta": self.meta()}

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run the trials ``[start, stop)``, fewer if the budget is used up; at least one."""
        stop = self.trials.end(start, stop)
        points = self.trials.chosen(start, stop, self.goals, _carried)
        # From here on: choosing the trials is no reason to run fewer of them.
        clock = _Clock(budget, report, stop - start)
        errors: dict[int, str] = {}
        columns, values, tracks = self.evaluate(start, stop, points, clock.tick, errors)
        columns, values = scored(self.goals, columns, values, partial(note, errors))
        done = len(values)
        numbers = self.trials.numbers
        part = SweepPart(
            start=start,
            columns=columns,
            values=values,
            indices=None if numbers is None else numbers[start : start + done],
            errors=errors,
            points=None if points is None else points[:done],
        )
        value = values[:, columns.index(self.objective)]
        found = best(value, 1, maximize=self.maximize, number=part.index)
        again = self._again(start, points)
        part = replace(part, arrays=tracks.arrays(part.index, found[0] if found else None, again))
        carry: bytes | None = None
        if self.trials.generation is not None and points is not None:
            carry = Past(start=start, points=points[:done], values=_objectives(self.goals, columns, values)).to_bytes()
        summary = digest(self, part)
        return Part(stop=start + done, result=part.to_bytes(), summary=summary, failed=len(errors), carry=carry)

    def bars(self) -> Bars:
        """Return the prices."""
        return self.data.load()

    def runner(self, bars: Bars) -> Run:
        """Return what makes a run once more, as it was, and gives its equity; see `recount.runner`."""
        return runner(self.strategy, bars, self.options)

    def single(self, params: Mapping[str, Any]) -> Work:
        """Return the work of one run with these parameters."""
        from jobnb.research.single import BacktestWork

        return BacktestWork(strategy=self.strategy, params=params, options=self.options, data=self.data)

    def evaluate(
        self, start: int, stop: int, points: Floats | None, full: Callable[[int], bool], errors: dict[int, str]
    ) -> tuple[tuple[str, ...], Floats, Kept]:
        """Run the trials ``[start, stop)`` until ``full(done)``.

        Returns
        -------
        columns, values
            The metrics, one row per run.
        kept
            Says by ``arrays(index, best, again)`` what else the part keeps, see `Tracks.arrays`.
        """
        bars = self.bars()
        params = self.trials.each(start, stop, points)
        if is_foreign(self.strategy):
            equities = EquityTracks(bars, self.count, start, stop)
            params = seeded(params, start)
            return *_run_foreign(self.strategy, bars, params, self.goals, full, errors, equities), equities
        evaluator = Evaluator(bars, self.options)
        own = cast(type[Strategy], self.strategy)
        tracks = TargetTracks(evaluator, self.count, start, stop)
        made = _run_strategy(own, bars, params, stop - start, evaluator, None, full, errors, tracks)
        return *made, tracks

    def _again(self, start: int, points: Floats | None) -> Callable[[int], Floats | None]:
        """Return what makes a run once more for its equity, by its place from ``start`` on."""

        def again(place: int) -> Floats | None:
            at = start + place
            one = self.trials.each(at, at + 1, None if points is None else points[place : place + 1])
            try:
                return self.runner(self.bars())(next(iter(one)), at)
            except Exception:  # noqa: BLE001 - a user's strategy that fails the second time has no equity
                return None

        return again


def seeded(trials: Iterable[Mapping[str, object]], first: int) -> Iterator[Mapping[str, object]]:
    """Yield trials, the global random generators seeded for each by its number, so that its task does not matter."""
    seed = item_seeder()
    for number, params in enumerate(trials, first):
        seed(number)
        yield params


def _carried() -> Past:
    from jobnb.worker.context import carried

    return Past.from_bytes(carried())


def _objectives(goals: Sequence[Goal], columns: Sequence[str], values: Floats) -> Floats:
    """Return the columns of the goals; NaN for one that no run has."""
    places = [columns.index(goal.name) if goal.name in columns else None for goal in goals]
    return np.stack([np.full(len(values), np.nan) if i is None else values[:, i] for i in places], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What `search` found.

    Attributes
    ----------
    trials : Search
    goals : tuple of Goal
    columns : tuple of str
        The metrics.
    values : array (trials, len(columns))
        In the order of the trials; NaN in failed ones.
    errors : dict
        Number of the trial to message, of the failed ones.
    points : array or None
        What was tried, if not a grid; see `ParameterSpace`.
    """

    trials: Search
    points: Floats | None = None
    goals: tuple[Goal, ...]
    columns: tuple[str, ...]
    values: Floats
    errors: dict[int, str]

    def column(self, metric: str) -> Floats:
        """Return one metric of all trials."""
        if metric not in self.columns:
            raise unknown("metric", metric, self.columns)
        return np.asarray(self.values[:, self.columns.index(metric)])

    @property
    def best(self) -> int | None:
        """Number of the best trial, of equal ones the first combination; None if none has a finite objective."""
        goal = self.goals[0]
        if goal.name not in self.columns:
            return None
        found = best(self.column(goal.name), 1, maximize=goal.maximize, number=self.trials.numbers)
        return found[0] if found else None

    def params(self, i: int) -> dict[str, object]:
        """Return the parameters of a trial."""
        points = None if self.points is None else self.points[i : i + 1]
        return dict(next(iter(self.trials.each(i, i + 1, points))))


def search(
    strategy: Callable[..., object],
    bars: Bars,
    trials: Search,
    *,
    objective: Objective = "sharpe_ratio",
    maximize: bool | Sequence[bool | None] | None = None,
    options: EngineOptions | None = None,
    window: slice | None = None,
    evaluator: Evaluator | None = None,
) -> Found:
    """Run a whole search here and now.

    Parameters
    ----------
    strategy : type or callable
    bars : Bars
        What ``positions`` is called with, so that indicators have their warm-up.
    trials : Search
    objective, maximize
        See `jobnb.research.goal.goals`.
    options : EngineOptions, optional
    window : slice, optional
        The bars on which the runs are valued; all by default. A foreign function gets only these.
    evaluator : Evaluator, optional
        For the bars of the window, where the caller has one already.
    """
    # What is proposed here depends on these bars and this window, and is nothing for the next search.
    trials = replace(trials, asked={})
    wanted = goals(objective, maximize, foreign=is_foreign(strategy))
    within = bars if window is None else bars.cut(window)
    if not is_foreign(strategy):
        evaluator = evaluator or Evaluator(within, options or EngineOptions())
    chosen: list[Floats] = []
    parts: list[tuple[tuple[str, ...], Floats]] = []
    errors: dict[int, str] = {}

    def past() -> Past:
        values = [_objectives(wanted, columns, values) for columns, values in parts]
        return Past(points=np.concatenate(chosen), values=np.concatenate(values))

    at = 0
    while at < trials.count:
        stop = trials.end(at, trials.count)
        points = trials.chosen(at, stop, wanted, past)
        params = trials.each(at, stop, points)
        wrong: dict[int, str] = {}
        if evaluator is None:
            part = _run_foreign(strategy, within, params, wanted, _forever, wrong)
        else:
            own = cast(type[Strategy], strategy)
            part = _run_strategy(own, bars, params, stop - at, evaluator, window, _forever, wrong)
        parts.append(scored(wanted, *part, partial(note, wrong)))
        errors.update({at + place: message for place, message in wrong.items()})
        if points is not None:
            chosen.append(points)
        at = stop
    names = tuple(dict.fromkeys(name for columns, _ in parts for name in columns))
    values = np.full((trials.count, len(names)), np.nan)
    at = 0
    for columns, part_values in parts:
        values[at : at + len(part_values), [names.index(name) for name in columns]] = part_values
        at += len(part_values)
    points = np.concatenate(chosen) if chosen else None
    return Found(trials=trials, points=points, goals=wanted, columns=names, values=values, errors=errors)


def _forever(done: int) -> bool:
    return False


class _Clock:
    """When to stop and when to report."""

    def __init__(self, budget: float | None, report: Report, count: int) -> None:
        self._allowance = Allowance(budget, count)
        self._report = report
        self._next = time.monotonic() + REPORT_SECONDS
        self._due = min(self._next, self._allowance.due)

    def tick(self, done: int) -> bool:
        """Report now and then; say whether the time is used up."""
        if done >= self._allowance.most:
            return True
        now = time.monotonic()
        if now < self._due:
            return False
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self._report(done)
        used = self._allowance.used(done)
        self._due = min(self._next, self._allowance.due)
        return used


class _Block:
    """Rows of targets that wait for the kernel."""

    def __init__(self, evaluator: Evaluator, like: Wanted, out: Floats) -> None:
        row = like.targets if isinstance(like, Orders) else like
        # The kernel takes eight at a time: that many where memory allows it at all.
        rows = min(BLOCK_ROWS, max(8, BLOCK_BYTES // like.nbytes // 8 * 8), max(1, 2 * BLOCK_BYTES // like.nbytes))
        self._evaluator = evaluator
        self._targets = cast(Targets, np.empty((rows, len(row)), dtype=np.int8 if row.dtype == _BOOL else row.dtype))
        # A third of the time of an assignment to a row of the array.
        flat: Any = self._targets.reshape(-1).view(row.dtype)
        self._flat = memoryview(flat)
        self._bars = len(row)
        self._limits = None
        self._own = isinstance(like, Orders) and not like.shared
        if isinstance(like, Orders):
            self._limits = like.limits[None] if like.shared else np.empty((rows, *like.limits.shape))
        self._metrics = np.empty((rows, len(METRICS)))
        self._places: list[int] = []
        self._room = rows
        self._out = out

    def add(self, place: int, row: Wanted) -> None:
        places = self._places
        if self._own:
            assert isinstance(row, Orders)
            assert self._limits is not None
            self._limits[len(places)] = row.limits
        # Older typing does not know arrays as buffers.
        plain: Any = row.targets if isinstance(row, Orders) else row
        at = len(places) * self._bars
        self._flat[at : at + self._bars] = plain
        places.append(place)
        if len(places) == self._room:
            self.flush()

    def flush(self) -> None:
        rows = len(self._places)
        if rows:
            self._evaluator.rows(self._targets, rows, self._metrics, self._limits)
            self._out[self._places] = self._metrics[:rows]
            self._places.clear()


def _run_strategy(
    strategy: type[Strategy],
    bars: Bars,
    trials: Iterable[Mapping[str, object]],
    count: int,
    evaluator: Evaluator,
    window: slice | None,
    full: Callable[[int], bool],
    errors: dict[int, str],
    tracks: TargetTracks | None = None,
) -> tuple[tuple[str, ...], Floats]:
    """Run one trial after the other until ``full(done)``; the targets of a window are cut from those of all bars."""
    # Not filled: a span may be far longer than the budget, and pages never written take no memory.
    out = np.empty((count, len(METRICS)))
    blocks: dict[str, _Block] = {}
    make, name, most = maker(strategy), strategy.name, evaluator.most
    plain = evaluator.plain(strategy)
    whole = evaluator if window is None else Evaluator(bars, evaluator.options)
    shape = bars.close.shape
    row: Any
    done = 0
    # They are the instance's own from here on.
    given = cast(Iterable[dict[str, object]], trials)
    for place, own_params in enumerate(given):
        try:
            one = make(own_params)
            if plain:
                made = one.positions(bars)
                # The most common kind needs no further look.
                usual = type(made) is np.ndarray and made.dtype is _BOOL and made.shape == shape
                row = made if usual else targets(made, bars, name, most)
            else:
                row = whole.wants(one)
        except Exception as error:  # noqa: BLE001 - whatever a user's strategy raises is that run's outcome
            note(errors, place, error)
            out[place] = np.nan
        else:
            if tracks is None or place < tracks.due or not tracks.see(place, row):
                kind = row.kind if isinstance(row, Orders) else row.dtype.char
                if window is not None:
                    row = row[window]
                block = blocks.get(kind)
                if block is None:
                    block = blocks[kind] = _Block(evaluator, row, out)
                block.add(place, row)
        done = place + 1
        if full(done):
            break
    for block in blocks.values():
        block.flush()
    if tracks is not None:
        tracks.finish(out)
    return METRICS, out[:done]


def _run_foreign(
    strategy: Callable[..., object],
    bars: Bars,
    trials: Iterable[Mapping[str, object]],
    goals: Sequence[Goal],
    full: Callable[[int], bool],
    errors: dict[int, str],
    tracks: EquityTracks | None = None,
) -> tuple[tuple[str, ...], Floats]:
    named = [goal.name for goal in goals if goal.fn is None]
    alone = named[0] if named else "value"
    rows: list[dict[str, float]] = []
    columns: dict[str, None] = {}
    for place, params in enumerate(trials):
        row: dict[str, float] = {}
        try:
            made = run_foreign(strategy, bars, params, alone)
            row = dict(made.metrics)
        except Exception as error:  # noqa: BLE001 - see above
            note(errors, place, error)
        else:
            for name in named:
                if name not in row:
                    raise unknown("objective", name, row, of=name_of(strategy))
            if tracks is not None:
                tracks.see(place, made.equity)
        columns.update(dict.fromkeys(row))
        rows.append(row)
        if full(place + 1):
            break
    names = tuple(columns) or (alone,)
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows], dtype=np.float64)
    return names, values.reshape(len(rows), len(names))


def note(errors: dict[int, str], place: int, error: Exception) -> None:
    """Keep why the run at this place failed."""
    text = f"{type(error).__name__}: {error}" if not isinstance(error, UsageProblem) else str(error)
    text = text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"
    kinds = set(errors.values())
    if text not in kinds and len(kinds) >= MESSAGE_KINDS:
        text = f"{type(error).__name__} (not kept: more than {MESSAGE_KINDS} different messages)"
    errors[place] = text
