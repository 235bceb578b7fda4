"""How much of a sweep's winner is luck, told from the small summary of the sweep, in one line.

Pure Python, run by whoever draws a card or a result. It must never import numpy, because the service and the cards
load it; `cscv` computes the same with numpy for researchers.
"""

from __future__ import annotations

import base64
import itertools
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jobnb.research.sharpe import Moments, deflated_sharpe_ratio, expected_maximum_sharpe

#: Annual Sharpe ratios are summed as whole numbers of this, so that the sum is the same in any order.
UNIT = 2**-30
#: Beyond this an annual Sharpe ratio says only that the returns hardly vary.
MOST_SHARPE = 100.0
#: Objectives that are the return by another name.
RETURNS = frozenset({"total_return", "annual_return", "final_equity"})
#: From here on the deflated Sharpe ratio is beyond what luck explains, at the usual level of confidence.
CONFIDENT = 0.95

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Luck:
    """What is known of how much luck made the winner; NaN where it is not known.

    Attributes
    ----------
    runs : int
        Runs that did not fail.
    sharpe : float
        The winner's Sharpe ratio, per year.
    hold : float
        The Sharpe ratio of the asset itself, per year.
    chance : float
        The Sharpe ratio that the best of so many worthless runs has on average, per year.
    deflated : float
        `deflated_sharpe_ratio` of the winner, all runs counted as independent.
    overfitting : float
        `probability_of_backtest_overfitting`.
    sampled : int
        How many runs `overfitting` is estimated from. Of 256 of 10,011 moving-average crossings its standard error
        is 0.06 to 0.13; ``result.overfitting(all=True)`` is exact.
    criterion : str
        What those are ranked by, ``"sharpe_ratio"`` or ``"return"``.
    objective : str
    maximize : bool
    known : bool
        Whether the returns of the runs are known.
    """

    runs: int
    sharpe: float = math.nan
    hold: float = math.nan
    chance: float = math.nan
    deflated: float = math.nan
    overfitting: float = math.nan
    sampled: int = 0
    criterion: str = "sharpe_ratio"
    objective: str = "sharpe_ratio"
    maximize: bool = True
    known: bool = False

    @property
    def verdict(self) -> str:
        """The answer in some words, or an empty string where nothing is known."""
        if math.isnan(self.deflated) and math.isnan(self.overfitting):
            return ""
        chosen_by_luck = self.overfitting >= 0.5
        if self.sharpe <= self.hold:
            return "no better than buying and holding"
        if self.deflated >= CONFIDENT and chosen_by_luck:
            return "more than luck, but which of the runs is best is luck"
        if self.deflated >= CONFIDENT and not self.overfitting >= 0.1:
            return "more than luck explains"
        if self.deflated < 0.5 or chosen_by_luck:
            return "luck is enough to explain it"
        return "luck may explain it"

    @property
    def text(self) -> str:
        """The line as a result shows it."""
        return f"{self.line} ({self.verdict})" if self.verdict else self.line

    @property
    def line(self) -> str:
        """One line: what was found, what chance gives, and what is left."""
        runs = f"{self.runs:,} runs"
        said: list[str] = []
        if math.isnan(self.sharpe):
            head = f"best of {runs}"
        elif self.objective == "sharpe_ratio":
            head = f"best Sharpe {_two(self.sharpe)} of {runs}"
        else:
            head = f"best {self.objective.replace('_', ' ')} of {runs} has Sharpe {_two(self.sharpe)}"
        if not math.isnan(self.hold):
            head += f", buy and hold {_two(self.hold)}"
        if not math.isnan(self.chance):
            head += f": chance alone would give about {_two(self.chance)}"
        if not math.isnan(self.deflated):
            said.append(f"deflated Sharpe {_share(self.deflated)}")
        if not math.isnan(self.overfitting):
            by = " by Sharpe" if self.criterion == "sharpe_ratio" != self.objective else ""
            share = _share(self.overfitting)
            if self.sampled < self.runs:
                share = f"{_about(self.overfitting)}, from {self.sampled:,} of {runs}"
            said.append(f"overfitting probability{by} {share}")
        if said:
            return f"{head}; {' · '.join(said)}"
        far = "highest of so many is high" if self.maximize else "lowest of so many is low"
        why = (
            "its returns do not vary, which leaves nothing"
            if self.known
            else "without the runs' returns there is no way"
        )
        return f"{head}: the {far} by chance alone, and {why} to tell by how much"


def of(summary: Mapping[str, Any]) -> Luck | None:
    """Return what a sweep's summary says about luck; None if there was nothing to choose from."""
    best = summary.get("best")
    runs = int(summary.get("runs") or 0) - int(summary.get("failed") or 0)
    if runs < 2 or not isinstance(best, Mapping):
        return None
    objective = str(summary.get("objective") or "value")
    criterion = criterion_of(objective)
    share, sampled = math.nan, 0
    # Whoever looks for the least of something has not chosen what these rank.
    if (found := summary.get("sample")) and summary.get("maximize", True):
        sampled = len(found["index"])
        share = overfitting(found["sums"], found["blocks"], criterion)
    sharpe = hold = chance = deflated = math.nan
    known, spread = summary.get("moments"), summary.get("sharpe")
    if isinstance(known, Mapping):
        of = Moments(
            count=known["count"], sharpe=known["sharpe"], skewness=known["skewness"], kurtosis=known["kurtosis"]
        )
        year = math.sqrt(known["per_year"])
        sharpe = of.sharpe * year
        hold = math.nan if known.get("hold") is None else known["hold"] * year
        variance = variance_of(spread)
        if spread and not math.isnan(variance):
            trials, daily = spread["count"], variance / known["per_year"]
            chance = expected_maximum_sharpe(trials, daily) * year
            deflated = deflated_sharpe_ratio(of, trials=trials, variance=daily)
    return Luck(
        runs=runs,
        sharpe=sharpe,
        hold=hold,
        chance=chance,
        deflated=deflated,
        overfitting=share,
        sampled=sampled,
        criterion=criterion,
        objective=objective,
        maximize=bool(summary.get("maximize", True)),
        known=spread is not None,
    )


def criterion_of(objective: str) -> str:
    """Return what runs are ranked by for the probability of overfitting: "return" or "sharpe_ratio"."""
    return "return" if objective in RETURNS else "sharpe_ratio"


def variance_of(spread: Mapping[str, int] | None) -> float:
    """Return the variance (ddof 1) of annual Sharpe ratios of which count, sum and sum of squares are known."""
    if not spread or spread["count"] < 2:
        return math.nan
    count, total, square = spread["count"], spread["sum"], spread["square"]
    return max((square * UNIT - (total * UNIT) ** 2 / count) / (count - 1), 0.0)


def fold_spread(a: Mapping[str, int] | None, b: Mapping[str, int] | None) -> Json | None:
    """Add up counts and sums of two parts."""
    if a is None or b is None:
        return dict(a or b or {}) or None
    return {name: a[name] + b[name] for name in a}


def fold_sample(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Json | None:
    """Put the samples of two parts together, by the runs' numbers."""
    if a is None or b is None:
        return dict(a or b or {}) or None
    rows = {index: row for part in (a, b) for index, row in zip(part["index"], _rows(part), strict=True)}
    index = sorted(rows)
    return {**a, "index": index, "sums": base64.b64encode(b"".join(rows[i] for i in index)).decode()}


def _rows(part: Mapping[str, Any]) -> list[bytes]:
    raw = base64.b64decode(part["sums"])
    size = len(raw) // max(len(part["index"]), 1)
    return [raw[i * size : (i + 1) * size] for i in range(len(part["index"]))]


@lru_cache(maxsize=64)
def overfitting(sums: str, blocks: int, criterion: str) -> float:
    """Return the probability of backtest overfitting from packed sums; NaN of fewer than two runs.

    Parameters
    ----------
    sums : str
        Base64 of little-endian float32: Σr and Σr² of each block, run after run.
    blocks : int
    criterion : {"sharpe_ratio", "return"}

    References
    ----------
    See `jobnb.research.cscv.probability_of_backtest_overfitting`, which it equals.
    """
    values = array("f", base64.b64decode(sums))
    if values.itemsize != 4:  # pragma: no cover - C says only that it is at least so long
        return math.nan
    width = 2 * blocks
    trials = len(values) // width
    if trials < 2:
        return math.nan
    # Sums over all subsets of the first blocks and of the rest: any half is then one addition.
    low = blocks // 2
    parts = ((0, low), (low, blocks))
    totals = [_subsets([values[2 * b :: width] for b in range(*part)]) for part in parts]
    squares = [_subsets([values[2 * b + 1 :: width] for b in range(*part)]) for part in parts]
    overfit = splits = 0
    for half in itertools.combinations(range(blocks), blocks // 2):
        here = sum(1 << b for b in half)
        there = (1 << blocks) - 1 - here
        mine, other = (
            _performance(
                totals[0][mask & ((1 << low) - 1)],
                totals[1][mask >> low],
                squares[0][mask & ((1 << low) - 1)],
                squares[1][mask >> low],
                criterion,
            )
            for mask in (here, there)
        )
        chosen = other[mine.index(max(mine))]
        below = sum([value < chosen for value in other])
        rank = below + 0.5 * (other.count(chosen) + 1)
        overfit += rank <= 0.5 * (trials + 1)
        splits += 1
    return overfit / splits


def _subsets(blocks: Sequence[Sequence[float]]) -> list[list[float]]:
    made = [[0.0] * len(blocks[0])]
    for block in blocks:
        made += [[a + b for a, b in zip(row, block, strict=True)] for row in made]
    return made


def _performance(s: list[float], t: list[float], q: list[float], p: list[float], criterion: str) -> list[float]:
    """Return what ranks as the performance does: Σr, or Σr |Σr| / Σr², which grows with the Sharpe ratio."""
    if criterion == "return":
        return [a + b for a, b in zip(s, t, strict=True)]
    both = zip(s, t, q, p, strict=True)
    return [(a + b) * abs(a + b) / (c + d) if c + d > 0.0 else 0.0 for a, b, c, d in both]


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _about(value: float) -> str:
    """Return a probability that is estimated from a sample: another 256 of 10,011 runs move it by 0.1."""
    if value < 0.05:
        return "below 0.1"
    return "above 0.9" if value > 0.95 else f"about {value:.1f}"


def _share(value: float) -> str:
    """Return a probability with two digits, and never 1.00 for what is not certain."""
    if value > 0.995:
        return "above 0.99"
    return "below 0.01" if value < 0.005 else f"{value:.2f}"
