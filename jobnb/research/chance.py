"""`Chance`: what an optimize result says of how much its winner owes to luck.

Runs where a result is looked at. What the sweep has kept is answered at once; what needs the returns of the runs is
asked of a job that makes them once more, never computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem, unknown
from jobnb.research import luck as luck_
from jobnb.research.sharpe import Moments

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.job import Job
    from jobnb.research.cscv import Overfitting
    from jobnb.research.reality_check import RealityCheck

#: Returns that travel back at most: more than that nobody looks at in a notebook.
MOST_RETURNS = 10_000_000


class Ask(Protocol):
    """Asks a question about some runs of the result's search in a job."""

    def __call__(
        self,
        what: str,
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        points: npt.NDArray[np.float64] | None,
        terms: Mapping[str, Any],
    ) -> Job:
        """Hand the job in and return it; see `jobnb.research.question.QuestionWork`."""
        ...


class Chance:
    """The part of `OptimizeResult` that tells skill from luck."""

    objective: str
    maximize: bool
    indices: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64] | None
    errors: dict[int, str]
    planned: int
    _tracks: dict[str, Any]
    _ask: Ask | None = None

    if TYPE_CHECKING:

        @property
        def best_index(self) -> int | None: ...  # noqa: D102

        def __len__(self) -> int: ...

    @cached_property
    def luck(self) -> luck_.Luck | None:
        """How much of the winner is luck, as the card says it; None if there was nothing to choose from.

        Its `~jobnb.research.luck.Luck.line` is the line below the title. `deflated_sharpe` and `overfitting` say
        what its numbers are and where they come from.
        """
        if self.best_index is None:
            return None
        return luck_.of(
            {
                **self._tracks,
                "moments": self._winner,
                "runs": len(self),
                "failed": len(self.errors),
                "best": {"index": self.best_index},
                "objective": self.objective,
                "maximize": self.maximize,
            }
        )

    @property
    def _winner(self) -> Mapping[str, Any] | None:
        return next((m for m in self._tracks.get("moments", ()) if m["index"] == self.best_index), None)

    @property
    def deflated_sharpe(self) -> float:
        """The deflated Sharpe ratio of the best run: the probability that its true Sharpe ratio is above 0.

        All runs with a Sharpe ratio count as independent trials, which is strict; their variance is that of this
        search. To count correlated runs as fewer:

        >>> from jobnb.overfitting import deflated_sharpe_ratio, effective_trials  # doctest: +SKIP
        >>> trials = effective_trials(result.daily_returns(), trials=len(result))  # doctest: +SKIP
        >>> deflated_sharpe_ratio(result.moments, trials=trials, variance=result.sharpe_variance)  # doctest: +SKIP

        NaN where the returns of the runs are not known (a function that gives numbers only).

        References
        ----------
        See `jobnb.overfitting.deflated_sharpe_ratio`.
        """
        return math.nan if self.luck is None else self.luck.deflated

    @property
    def moments(self) -> Moments:
        """Length, Sharpe ratio per day, skewness and kurtosis of the daily returns of the best run.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: they are not known.
        """
        known = self._winner
        if known is None:
            raise UsageProblem("the daily returns of the best run are not known: there is none, or it tells no equity")
        return Moments(**{name: known[name] for name in ("count", "sharpe", "skewness", "kurtosis")})

    @property
    def sharpe_variance(self) -> float:
        """Variance of the Sharpe ratios of the runs, per period as `moments`; NaN where they are not known."""
        known = self._winner
        return math.nan if known is None else luck_.variance_of(self._tracks.get("sharpe")) / known["per_year"]

    def overfitting(
        self,
        *,
        all: bool = False,  # noqa: A002 - the word for it
        blocks: int | None = None,
        criterion: str | None = None,
        timeout: float | None = None,
    ) -> Overfitting:
        """Return the probability of backtest overfitting of this search, with its logits.

        Parameters
        ----------
        all : bool, default False
            Over all runs, which are made once more by a job; by default over the sample that the search has kept
            (up to 256 runs, evenly spread), as the card says it.
        blocks : int, optional
            Blocks that the history is cut into, even. Default 10, or 16 with ``all=True``. Any other number than 10
            needs a job as well.
        criterion : {"sharpe_ratio", "return"}, optional
            What the runs are ranked by; default ``"return"`` if the objective is a return, else
            ``"sharpe_ratio"``, whatever the objective is.
        timeout : float, optional
            Seconds to wait for the job at most.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the returns of the runs are not known, or there are too few of them.

        References
        ----------
        See `jobnb.overfitting.probability_of_backtest_overfitting`.
        """
        import base64

        from jobnb.research import cscv

        rule = criterion or luck_.criterion_of(self.objective)
        if rule not in cscv.CRITERIA:
            raise unknown("criterion", rule, cscv.CRITERIA)
        alive = len(self) - len(self.errors)
        kept = self._tracks.get("sample")
        if all or kept is None or blocks not in (None, kept["blocks"]):
            rows = self._alive() if all else self._sampled()
            terms = {"blocks": blocks or 16, "criterion": rule, "of": alive}
            found: Overfitting = self._answer("overfitting", rows, terms, timeout)
            return found
        sums = np.frombuffer(base64.b64decode(kept["sums"]), dtype="<f4").astype(np.float64)
        return cscv.from_sums(
            sums.reshape(len(kept["index"]), kept["blocks"], 2), kept["periods"], criterion=rule, of=alive
        )

    def reality_check(
        self,
        benchmark: npt.ArrayLike | str = 0.0,
        *,
        block: float | None = None,
        resamples: int = 1000,
        seed: int = 0,
        timeout: float | None = None,
    ) -> RealityCheck:
        """Test whether the best of all runs has a higher mean return than a benchmark; White's reality check.

        All runs are made once more, by a job.

        Parameters
        ----------
        benchmark : float, array_like or "hold", default 0.0
            Daily returns to beat; ``"hold"`` are those of the asset itself.
        block, resamples, seed
            See `jobnb.overfitting.reality_check`.
        timeout : float, optional
            Seconds to wait for the job at most.

        Returns
        -------
        RealityCheck
            Its ``best`` is a row of `trials`.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the returns of the runs are not known.
        """
        return self._check("reality check", benchmark, block, resamples, seed, timeout)

    def spa(
        self,
        benchmark: npt.ArrayLike | str = 0.0,
        *,
        block: float | None = None,
        resamples: int = 1000,
        seed: int = 0,
        timeout: float | None = None,
    ) -> RealityCheck:
        """Test like `reality_check`, each run by its own risk; Hansen's test, see `jobnb.overfitting.spa`."""
        return self._check("SPA", benchmark, block, resamples, seed, timeout)

    def daily_returns(self, rows: Sequence[int] | None = None, *, timeout: float | None = None) -> pd.DataFrame:
        """Return the daily returns of some runs, which are made once more, by a job.

        Parameters
        ----------
        rows : sequence of int, optional
            Rows of `trials`; by default the evenly spread sample that `overfitting` is estimated from.
        timeout : float, optional
            Seconds to wait for the job at most.

        Returns
        -------
        pandas.DataFrame
            One row per day from the second on, one column per run, called by its row in `trials`.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: no such row, a failed run, or too many returns to send back.
        """
        chosen = self._sampled() if rows is None else np.asarray(list(rows), dtype=np.int64)
        for row in chosen.tolist():
            if not 0 <= row < len(self) or int(self.indices[row]) in self.errors:
                raise UsageProblem(f"row {row} is not one of the runs that ended well")
        found: pd.DataFrame = self._answer("returns", chosen, {}, timeout)
        return found

    def _check(
        self,
        what: str,
        benchmark: npt.ArrayLike | str,
        block: float | None,
        resamples: int,
        seed: int,
        timeout: float | None,
    ) -> RealityCheck:
        if isinstance(benchmark, str):
            if benchmark != "hold":
                raise unknown("benchmark", benchmark, ("hold",))
        else:
            benchmark = np.asarray(benchmark, dtype=np.float64)
        terms = {"benchmark": benchmark, "block": block, "resamples": resamples, "seed": seed}
        found: RealityCheck = self._answer(what, self._alive(), terms, timeout)
        return found

    def ask_with(self, ask: Ask) -> None:
        """Tell the result how questions about its runs are asked; the manager does."""
        self._ask = ask

    def __getstate__(self) -> dict[str, Any]:
        # Who answers is not part of the result.
        return {**self.__dict__, "_ask": None}

    def _alive(self) -> npt.NDArray[np.int64]:
        failed = np.isin(self.indices, list(self.errors))
        return np.flatnonzero(~failed).astype(np.int64)

    def _sampled(self) -> npt.NDArray[np.int64]:
        from jobnb.research.tracks import sampled

        kept = self._tracks.get("sample")
        if kept is not None:
            return np.flatnonzero(np.isin(self.indices, kept["index"])).astype(np.int64)
        alive = self._alive()
        return np.asarray(alive[sampled(alive.size)])

    def _answer(self, what: str, rows: npt.NDArray[np.int64], terms: Mapping[str, Any], timeout: float | None) -> Any:
        if not self._tracks.get("moments") and not self._tracks.get("sample"):
            raise UsageProblem(
                "the returns of these runs are not known: the strategy gives numbers only. Give its class an attribute "
                "equity_curve with one value for each bar, or call jobnb.overfitting with returns of your own"
            )
        if not rows.size:
            raise UsageProblem("there is no run that ended well")
        known = self._tracks.get("moments")
        if what == "returns" and known and rows.size * known[0]["count"] > MOST_RETURNS:
            raise UsageProblem(
                f"{rows.size:,} runs of {known[0]['count']:,} returns are too many to send back; ask for fewer rows"
            )
        if self._ask is None:
            raise UsageProblem("this result does not know its job any more; take it from job.result()")
        points = None if self.points is None else self.points[rows]
        return self._ask(what, rows, self.indices[rows], points, terms).result(timeout)
