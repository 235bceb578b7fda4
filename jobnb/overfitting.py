"""How much of a result that was chosen among many is luck: the public functions, gathered.

For returns of your own, from any engine; optimize results call the same. Run where they are called, on arrays; they
never run a strategy.
"""

from __future__ import annotations

from jobnb.research.cscv import Overfitting, probability_of_backtest_overfitting
from jobnb.research.independence import effective_trials
from jobnb.research.reality_check import RealityCheck, reality_check, spa
from jobnb.research.sharpe import (
    Moments,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_track_record_length,
    moments,
    probabilistic_sharpe_ratio,
)

__all__ = [
    "Moments",
    "Overfitting",
    "RealityCheck",
    "deflated_sharpe_ratio",
    "effective_trials",
    "expected_maximum_sharpe",
    "minimum_track_record_length",
    "moments",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "reality_check",
    "spa",
]
