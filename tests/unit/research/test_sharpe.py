import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UsageProblem
from jobnb.research.sharpe import (
    Moments,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_track_record_length,
    moments,
    normal,
    probabilistic_sharpe_ratio,
    quantile,
)

# Bailey and López de Prado (2012), the hedge fund of section 5: two years of monthly returns.
FUND = Moments(count=24, sharpe=0.458, skewness=-2.448, kurtosis=10.164)


def test_the_probabilities_of_the_paper():
    assert probabilistic_sharpe_ratio(FUND) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe_ratio(Moments(count=24, sharpe=0.458)) == pytest.approx(0.982, abs=5e-4)


@pytest.mark.parametrize(
    ("per_year", "skewness", "kurtosis", "years"),
    [(252, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_track_records_of_the_paper(per_year, skewness, kurtosis, years):
    """A Sharpe ratio of 2 a year against 1, at 95 %."""
    of = Moments(count=2, sharpe=2 / per_year**0.5, skewness=skewness, kurtosis=kurtosis)
    needed = minimum_track_record_length(of, benchmark=1 / per_year**0.5)
    assert needed / per_year == pytest.approx(years, abs=5e-3)


def test_the_deflated_sharpe_ratios_of_the_paper():
    """Bailey and López de Prado (2014): an annual Sharpe ratio of 2.5 in five years, the best of some trials."""
    best = Moments(count=1250, sharpe=2.5 / 250**0.5, skewness=-3.0, kurtosis=10.0)
    variance = 0.5 / 250
    assert expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe_ratio(best, trials=100, variance=variance) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe_ratio(best, trials=46, variance=variance) == pytest.approx(0.9505, abs=5e-5)
    as_if_normal = Moments(count=1250, sharpe=2.5 / 250**0.5)
    assert deflated_sharpe_ratio(as_if_normal, trials=88, variance=variance) == pytest.approx(0.9505, abs=5e-5)


def test_the_expected_maximum_is_what_simulation_gives():
    draws = np.random.default_rng(1).normal(0.0, 0.3, (4000, 200)).max(axis=1)
    assert expected_maximum_sharpe(200, 0.09) == pytest.approx(draws.mean(), abs=0.02)
    assert expected_maximum_sharpe(1, 0.09) == 0.0


def test_moments_are_those_of_scipy_and_the_kernels_sharpe_ratio(sma_cross, google):
    from scipy import stats

    result = sma_cross().load_data(google).backtest()
    returns = result.equity_curve.pct_change()
    found = moments(returns)
    assert found.count == 1046
    assert found.sharpe * 252**0.5 == pytest.approx(result.sharpe_ratio, rel=1e-9)
    assert found.skewness == pytest.approx(stats.skew(returns.dropna()), rel=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns.dropna(), fisher=False), rel=1e-9)


def test_the_probability_holds_in_simulation():
    """Of skewed returns whose true Sharpe ratio is the benchmark, the probability is about evenly spread."""
    rng = np.random.default_rng(2)
    draws = rng.exponential(1.0, (3000, 250)) - 0.9
    probabilities = [probabilistic_sharpe_ratio(row, benchmark=0.1) for row in draws]
    for level in (0.05, 0.5, 0.95):
        assert np.mean(np.array(probabilities) < level) == pytest.approx(level, abs=0.03)


@given(st.lists(st.floats(-0.5, 0.5, allow_subnormal=False), min_size=3, max_size=50))
def test_no_returns_break_the_formulas(returns):
    found = moments(returns)
    assert math.isnan(found.sharpe) or found.kurtosis >= 1.0 + found.skewness**2 - 1e-6
    probability = probabilistic_sharpe_ratio(found)
    assert math.isnan(probability) or 0.0 <= probability <= 1.0
    length = minimum_track_record_length(found)
    assert math.isnan(length) or length >= 1.0
    if length < math.inf and found.error > 0.0:
        # At that length, and not before, the probability reaches the confidence.
        at = Moments(count=2, sharpe=found.sharpe, skewness=found.skewness, kurtosis=found.kurtosis)
        z = at.sharpe / at.error * math.sqrt(length - 1.0)
        assert normal(z) == pytest.approx(0.95, abs=1e-6)


@given(st.floats(1.0, 1e7), st.floats(1.0, 1e7), st.floats(0.0, 10.0))
def test_more_trials_never_leave_more(a, b, variance):
    few, many = sorted((a, b))
    assert expected_maximum_sharpe(few, variance) <= expected_maximum_sharpe(many, variance) + 1e-12
    of = Moments(count=500, sharpe=0.1)
    less = deflated_sharpe_ratio(of, trials=many, variance=variance)
    assert less <= deflated_sharpe_ratio(of, trials=few, variance=variance) + 1e-12


@given(st.floats(1e-9, 1 - 1e-9))
def test_the_quantile_is_the_inverse(p):
    assert normal(quantile(p)) == pytest.approx(p, rel=1e-9)


def test_what_is_refused():
    with pytest.raises(UsageProblem, match="one series of numbers"):
        moments([[0.1, 0.2]])
    with pytest.raises(UsageProblem, match="there are 1 returns"):
        moments([0.1, math.nan])
    with pytest.raises(UsageProblem, match="at least one trial"):
        expected_maximum_sharpe(0, 1.0)
    with pytest.raises(UsageProblem, match="at least one trial"):
        expected_maximum_sharpe(3, -1.0)
    with pytest.raises(UsageProblem, match="confidence must be between 0 and 1, not 95"):
        minimum_track_record_length(FUND, confidence=95)


def test_returns_that_do_not_vary_say_nothing():
    still = [0.01] * 20
    assert math.isnan(moments(still).sharpe)
    assert math.isnan(probabilistic_sharpe_ratio(still))
    assert math.isnan(minimum_track_record_length(still))
    assert minimum_track_record_length([-0.01, 0.0, 0.005]) == math.inf


def test_importing_it_does_not_import_numpy():
    code = "import sys, jobnb.research.sharpe, jobnb.research.luck; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
