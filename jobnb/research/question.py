"""`QuestionWork`: what only the daily returns of a search's runs can answer; the runs are made once more for them.

A front door builds it from the stored work of the search, which it never unpickles; a child runs it. The returns
are taken some runs at a time, so that ten thousand runs fit into memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research import cscv, reality_check
from jobnb.work import Part, Report, unwrapped

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.bars import Bars
    from jobnb.research.sweep import SweepWork

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionWork:
    """A question about the runs of a search: a job of one item.

    Attributes
    ----------
    search : bytes
        The pickled work of the search.
    what : {"returns", "overfitting", "reality check", "SPA"}
    rows : array (k,) of int64
        The runs asked about, as rows of the result's `trials`.
    numbers : array (k,) of int64
        Their numbers, see `OptimizeResult.indices`.
    points : array (k, parameters), optional
        Of a search that is no grid; see `jobnb.research.space.ParameterSpace`.
    terms : mapping
        What `cscv.from_sums` or `reality_check.check` takes; a benchmark may be ``"hold"``.
    """

    search: bytes
    what: str
    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    points: Floats | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Make the runs and answer; the result is a table of returns, an `Overfitting` or a `RealityCheck`."""
        from jobnb.research import daily

        search = cast("SweepWork", unwrapped(pickle.loads(self.search)))
        bars = search.bars()
        ends = daily.day_ends(bars)
        made = self._answer(self._chunks(search, bars, ends), bars, ends)
        return Part(stop=1, result=pickle.dumps(made))

    def _answer(
        self, chunks: Iterator[Floats], bars: Bars, ends: npt.NDArray[np.int64]
    ) -> pd.DataFrame | cscv.Overfitting | reality_check.RealityCheck:
        periods = ends.size - 1
        if self.what == "returns":
            import pandas as pd

            return pd.DataFrame(np.hstack(list(chunks)), index=bars.index[ends[1:]], columns=self.rows.tolist())
        terms = dict(self.terms)
        if self.what == "overfitting":
            blocks = terms.pop("blocks")
            cscv.check_blocks(blocks, periods)
            sums = np.concatenate([cscv.block_sums(chunk, blocks) for chunk in chunks])
            return cscv.from_sums(sums, periods, **terms)
        if isinstance(terms.get("benchmark"), str):
            close = bars.close[ends]
            terms["benchmark"] = close[1:] / close[:-1] - 1.0
        answer = reality_check.check(self.what, chunks, periods, **terms)
        return replace(answer, best=int(self.rows[answer.best]))

    def _chunks(self, search: SweepWork, bars: Bars, ends: npt.NDArray[np.int64]) -> Iterator[Floats]:
        from jobnb.research import daily
        from jobnb.worker import context

        run = search.runner(bars)
        total = len(self.numbers)
        for at in range(0, total, reality_check.CHUNK):
            columns: list[Floats] = []
            for i in range(at, min(at + reality_check.CHUNK, total)):
                params = search.space.params(int(self.numbers[i])) if self.points is None else self._point(search, i)
                equity = run(params, search.trials.place(int(self.numbers[i])))
                if equity is None:
                    raise UsageProblem(
                        f"the run of row {self.rows[i]} ({params}) gives no equity for each bar, so it has no returns"
                    )
                columns.append(daily.daily_returns(equity, ends))
                context.progress(i + 1, total)
            yield np.stack(columns, axis=1)

    def _point(self, search: SweepWork, i: int) -> dict[str, object]:
        assert self.points is not None
        return search.space.at(self.points[i].tolist())
