"""What a `StrategyOptimizer` gives back, in the words of the seed systems: trials, and the best of them.

Made where the search runs; plain values only, so that it can be pickled and turned into JSON. It never runs anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobnb.errors import UsageProblem
from jobnb.research.text import number


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One combination and what came of it.

    Attributes
    ----------
    params : dict
    value : float
        The objective; NaN where it failed.
    metrics : dict of str to float
    error : str
        Why it failed; empty if it did not.
    """

    params: Mapping[str, object]
    value: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        made: dict[str, object] = {"params": dict(self.params), "value": self.value, "metrics": dict(self.metrics)}
        return {**made, "error": self.error} if self.error else made


@dataclass(frozen=True, kw_only=True)
class Optimized:
    """What a `StrategyOptimizer` found.

    Attributes
    ----------
    name, objective : str
    maximize : bool
    all_results : list of Trial
        In the order in which they were tried.
    """

    name: str
    objective: str
    maximize: bool
    all_results: list[Trial]

    @property
    def n_combinations(self) -> int:
        """How many were tried."""
        return len(self.all_results)

    @property
    def best(self) -> Trial:
        """The best trial; of equal ones the first.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: no trial has a finite objective.
        """
        finite = [trial for trial in self.all_results if math.isfinite(trial.value)]
        if not finite:
            why = next((f"; the first error: {trial.error}" for trial in self.all_results if trial.error), "")
            raise UsageProblem(f"none of the {self.n_combinations:,} runs has a finite {self.objective}{why}")
        return max(finite, key=lambda trial: trial.value if self.maximize else -trial.value)

    @property
    def best_params(self) -> dict[str, object]:
        """The parameters of the best trial."""
        return dict(self.best.params)

    @property
    def best_value(self) -> float:
        """The objective of the best trial."""
        return self.best.value

    @property
    def convergence(self) -> list[float]:
        """The best value so far after each trial; NaN before there is one."""
        better = max if self.maximize else min
        made: list[float] = []
        for trial in self.all_results:
            before = made[-1] if made else math.nan
            values = [value for value in (before, trial.value) if math.isfinite(value)]
            made.append(better(values) if values else math.nan)
        return made

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "best_params": self.best_params,
            "best_value": self.best_value,
            "all_results": [trial.to_dict() for trial in self.all_results],
        }

    def __repr__(self) -> str:
        best = self.best
        at = " ".join(f"{name}={value}" for name, value in best.params.items())
        value = number(self.objective, best.value)
        return f"<{self.name}: best {self.objective} {value} at {at}, of {self.n_combinations:,}>"
