"""`SweepWork`: a span of a parameter grid, run in a child, many rows per kernel call.

A front door builds it; a child runs it on one span after the other, with its bars and indicators warm. One
failing combination is a row of NaN with its message, never the end of the sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research.bars import Bars
from jobnb.research.container import SweepPart
from jobnb.research.data import DataRef
from jobnb.research.digest import digest
from jobnb.research.engine import Evaluator, Targets, targets
from jobnb.research.foreign import is_foreign, name_of, run_foreign
from jobnb.research.metrics import METRICS, check_objective, maximized
from jobnb.research.options import EngineOptions
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy, maker
from jobnb.work import Part, Report

Floats = npt.NDArray[np.float64]

#: Rows of targets given to one kernel call, and the memory they may take.
BLOCK_ROWS = 64
BLOCK_BYTES = 8 * 2**20
REPORT_SECONDS = 0.05
#: Longest message kept of a failed run, and how many different ones a part keeps.
MESSAGE_LENGTH = 300
MESSAGE_KINDS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepWork:
    """The runs of an optimization; item i is the i-th (allowed) combination.

    Attributes
    ----------
    strategy : type or callable
        A `Strategy` class, or ``f(data, **params)``, or a class with the protocol.
    space : ParameterSpace
    indices : array of int64, optional
        The allowed combinations, from `ParameterSpace.allowed`; all if None.
    options : EngineOptions
    data : DataRef
    objective : str
    maximize : bool
    """

    strategy: Callable[..., object]
    space: ParameterSpace
    indices: npt.NDArray[np.int64] | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    data: DataRef
    objective: str = "sharpe_ratio"
    maximize: bool = True

    @classmethod
    def build(
        cls,
        strategy: Callable[..., object],
        space: ParameterSpace,
        data: DataRef,
        *,
        indices: npt.NDArray[np.int64] | None = None,
        options: EngineOptions | None = None,
        objective: str = "sharpe_ratio",
        maximize: bool | None = None,
    ) -> SweepWork:
        """Check the objective, and fill in what the caller left open.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: a `Strategy` is optimized for something that is no metric.
        """
        if not is_foreign(strategy):
            check_objective(objective)
        if indices is not None and len(indices) == space.count:
            indices = None
        return cls(
            strategy=strategy,
            space=space,
            indices=indices,
            options=options or EngineOptions(),
            data=data,
            objective=objective,
            maximize=maximized(objective) if maximize is None else maximize,
        )

    @property
    def count(self) -> int:
        """Number of items."""
        return self.space.count if self.indices is None else len(self.indices)

    def meta(self) -> dict[str, object]:
        """Return what `load_sweep` needs beside the parts, JSON-able and small."""
        return {
            "strategy": name_of(self.strategy),
            "space": self.space.to_json(),
            "objective": self.objective,
            "maximize": self.maximize,
            "runs": self.count,
            "combinations": self.space.count,
            "options": self.options.to_dict(),
            "data": {"name": str(self.data.meta.get("name", "data")), "bars": self.data.meta.get("bars")},
        }

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run the combinations ``[start, stop)``, fewer if the budget is used up; at least one."""
        bars = self.data.load()
        clock = _Clock(budget, report)
        sweep = _run_foreign if is_foreign(self.strategy) else _run_strategy
        errors: dict[int, str] = {}
        columns, values = sweep(self, bars, start, stop, clock, errors)
        done = len(values)
        indices = None if self.indices is None else self.indices[start : start + done]
        part = SweepPart(start=start, columns=columns, values=values, indices=indices, errors=errors)
        return Part(stop=start + done, result=part.to_bytes(), summary=digest(self, part), failed=len(errors))

    def each(self, start: int, stop: int) -> Iterator[dict[str, object]]:
        """Yield the parameters of the items ``[start, stop)``."""
        return self.space.each(range(start, stop) if self.indices is None else self.indices[start:stop])


class _Clock:
    """When to stop and when to report."""

    def __init__(self, budget: float | None, report: Report) -> None:
        now = time.monotonic()
        self._ends = float("inf") if budget is None else now + budget
        self._report = report
        self._next = now + REPORT_SECONDS
        self._due = min(self._next, self._ends)

    def tick(self, done: int) -> bool:
        """Report now and then; say whether the time is used up."""
        now = time.monotonic()
        if now < self._due:
            return False
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self._due = min(self._next, self._ends)
            self._report(done)
        return now >= self._ends


class _Block:
    """Rows of targets that wait for the kernel."""

    def __init__(self, evaluator: Evaluator, dtype: type[np.int8 | np.float64], out: Floats) -> None:
        bars = len(evaluator.bars)
        rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (bars * np.dtype(dtype).itemsize)))
        self._evaluator = evaluator
        self._targets = cast(Targets, np.empty((rows, bars), dtype=dtype))
        self._metrics = np.empty((rows, len(METRICS)))
        self._places: list[int] = []
        self._room = rows
        self._out = out

    def add(self, place: int, row: Targets) -> None:
        places = self._places
        self._targets[len(places)] = row
        places.append(place)
        if len(places) == self._room:
            self.flush()

    def flush(self) -> None:
        rows = len(self._places)
        if rows:
            self._evaluator.rows(self._targets, rows, self._metrics)
            self._out[self._places] = self._metrics[:rows]
            self._places.clear()


def _run_strategy(
    work: SweepWork, bars: Bars, start: int, stop: int, clock: _Clock, errors: dict[int, str]
) -> tuple[tuple[str, ...], Floats]:
    strategy = cast(type[Strategy], work.strategy)
    evaluator = Evaluator(bars, work.options)
    # Not filled: a span may be far longer than the budget, and pages never written take no memory.
    out = np.empty((stop - start, len(METRICS)))
    blocks: dict[str, _Block] = {}
    make, name = maker(strategy), strategy.name
    done = 0
    for place, params in enumerate(work.each(start, stop)):
        try:
            row = targets(make(params).positions(bars), bars, name)
        except Exception as error:  # noqa: BLE001 - whatever a user's strategy raises is that run's outcome
            _note(errors, place, error)
            out[place] = np.nan
        else:
            kind = row.dtype.char
            block = blocks.get(kind)
            if block is None:
                block = blocks[kind] = _Block(evaluator, np.int8 if kind == "b" else np.float64, out)
            block.add(place, row)
        done = place + 1
        if clock.tick(done):
            break
    for block in blocks.values():
        block.flush()
    return METRICS, out[:done]


def _run_foreign(
    work: SweepWork, bars: Bars, start: int, stop: int, clock: _Clock, errors: dict[int, str]
) -> tuple[tuple[str, ...], Floats]:
    rows: list[dict[str, float]] = []
    columns: dict[str, None] = {}
    for place, params in enumerate(work.each(start, stop)):
        row: dict[str, float] = {}
        try:
            row = dict(run_foreign(work.strategy, bars, params, work.objective).metrics)
        except Exception as error:  # noqa: BLE001 - see above
            _note(errors, place, error)
        else:
            if work.objective not in row:
                raise unknown("objective", work.objective, row, of=name_of(work.strategy))
        columns.update(dict.fromkeys(row))
        rows.append(row)
        if clock.tick(place + 1):
            break
    names = tuple(columns) or (work.objective,)
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows], dtype=np.float64)
    return names, values.reshape(len(rows), len(names))


def _note(errors: dict[int, str], place: int, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}" if not isinstance(error, UsageProblem) else str(error)
    text = text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"
    kinds = set(errors.values())
    if text not in kinds and len(kinds) >= MESSAGE_KINDS:
        text = f"{type(error).__name__} (not kept: more than {MESSAGE_KINDS} different messages)"
    errors[place] = text
