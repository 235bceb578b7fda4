import math

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap

from jobnb.errors import UsageProblem
from jobnb.research import reality_check as module
from jobnb.research.reality_check import check, deviation, draw, reality_check, spa


def table(seed=0, periods=250, trials=30, best=0.0):
    rng = np.random.default_rng(seed)
    made = rng.standard_t(5, (periods, trials)) * 0.01 + rng.normal(0.0, 0.005, (periods, 1))
    made[:, 7] += best
    made[:, 3] -= 0.01
    return made


def arch_draws(returns, length, resamples, seed):
    """The periods that arch draws."""
    order = np.arange(len(returns), dtype=np.float64)
    found = StationaryBootstrap(length, order, seed=seed).bootstrap(resamples)
    return np.array([data[0][0] for data in found], dtype=np.int64)


@pytest.fixture
def as_arch(monkeypatch):
    """Our test on arch's own resamples: equal to the last resample, not only about equal."""

    def use(returns, length, resamples, seed):
        drawn = arch_draws(returns, length, resamples, seed)
        rows = iter(drawn)
        monkeypatch.setattr(
            module, "draw", lambda periods, length, rows_, rng: np.array([next(rows) for _ in range(rows_)])
        )

    return use


@pytest.mark.parametrize("best", [0.0, 0.0015, 0.004])
def test_the_reality_check_is_archs(as_arch, best):
    returns = table(best=best)
    theirs = SPA(np.zeros(len(returns)), -returns, block_size=10, reps=400, studentize=False, seed=5)
    theirs.compute()
    as_arch(returns, 10, 400, 5)
    ours = reality_check(returns, block=10, resamples=400)
    assert ours.p_value == ours.lower == ours.upper == theirs.pvalues["upper"]
    assert ours.statistic == pytest.approx(math.sqrt(250) * returns.mean(axis=0).max())
    assert ours.best == np.argmax(returns.mean(axis=0))


def test_the_deviations_are_archs():
    returns = table()
    theirs = SPA(np.zeros(len(returns)), -returns, block_size=10, reps=1)
    theirs.compute()
    assert deviation(returns, 10) == pytest.approx(np.sqrt(theirs._loss_diff_var), rel=1e-9)


def slow_spa(returns, length, resamples):
    """Hansen's test, resample by resample and trial by trial."""
    periods, trials = returns.shape
    mean = [math.fsum(returns[:, k]) / periods for k in range(trials)]
    omega = []
    for k in range(trials):
        away = returns[:, k] - mean[k]
        total = float(away @ away) / periods
        for i in range(1, periods):
            kappa = (periods - i) / periods * (1 - 1 / length) ** i + i / periods * (1 - 1 / length) ** (periods - i)
            total += 2 * kappa * float(away[:-i] @ away[i:]) / periods
        omega.append(math.sqrt(total))
    score = [math.sqrt(periods) * m / w for m, w in zip(mean, omega, strict=True)]
    statistic = max(0.0, *score)
    bound = -math.sqrt(2 * math.log(math.log(periods)))
    hits = [0, 0, 0]
    for drawn in resamples:
        again = returns[drawn].mean(axis=0)
        for which in range(3):
            peak = 0.0
            for k in range(trials):
                centre = (max(mean[k], 0.0), mean[k] if score[k] >= bound else 0.0, mean[k])[which]
                peak = max(peak, math.sqrt(periods) * (again[k] - centre) / omega[k])
            hits[which] += peak >= statistic
    return [hit / len(resamples) for hit in hits], statistic


@pytest.mark.parametrize("best", [-0.01, 0.0, 0.002])
def test_spa_trial_by_trial(as_arch, best):
    returns = table(seed=2, periods=60, trials=9, best=best)
    expected, statistic = slow_spa(returns, 5, arch_draws(returns, 5, 120, 1))
    as_arch(returns, 5, 120, 1)
    ours = spa(returns, block=5, resamples=120)
    assert [ours.lower, ours.p_value, ours.upper] == expected
    assert ours.statistic == pytest.approx(statistic)
    assert ours.lower <= ours.p_value <= ours.upper


def test_the_draws_are_a_stationary_bootstrap():
    drawn = draw(200, 8.0, 4000, np.random.default_rng(0))
    assert drawn.min() == 0
    assert drawn.max() == 199
    joined = np.diff(drawn, axis=1) % 200 == 1
    # A new block may begin, by chance, where the old one would have gone on.
    assert joined.mean() == pytest.approx(1 - 1 / 8 + 1 / 8 / 200, abs=2e-3)
    assert np.bincount(drawn.ravel(), minlength=200).std() < 0.15 * drawn.size / 200


@pytest.mark.parametrize("test", [reality_check, spa])
def test_without_skill_it_rejects_as_often_as_it_says(test):
    rng = np.random.default_rng(9)
    values = [test(rng.normal(size=(200, 20)), resamples=200, block=1).p_value for _ in range(200)]
    assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert test(table(best=0.006)).p_value < 0.01
    assert test(table(best=0.006), table(best=0.006)[:, 7]).p_value > 0.5


def test_bad_trials_dilute_the_one_and_not_the_other():
    good = np.random.default_rng(3).normal(0.0012, 0.01, (500, 1))
    wild = np.random.default_rng(4).normal(-0.01, 0.06, (500, 200))
    both = np.hstack([good, wild])
    assert spa(both).p_value < 0.05 < reality_check(both).p_value
    assert spa(both).upper > spa(both).p_value


def test_stretches_are_one_table():
    returns = table(trials=40)
    whole = spa(returns, resamples=100)
    parts = (returns[:, at : at + 7] for at in range(0, 40, 7))
    assert check("SPA", parts, len(returns), resamples=100) == whole
    idle = np.column_stack([np.zeros(250), returns])
    shifted = spa(idle, resamples=100)
    assert (shifted.best, shifted.trials) == (whole.best + 1, 40)
    assert (shifted.p_value, shifted.statistic) == (whole.p_value, whole.statistic)


def test_all_worse_than_the_benchmark():
    found = spa(table() - 0.1, resamples=50)
    assert found.statistic == 0.0
    assert found.p_value == 1.0
    assert float(found) == 1.0
    assert repr(found).startswith("Hansen's SPA: p-value 1.000 (from 1.000 to 1.000), 30 runs, 250 returns, 50 resamp")
    assert "White's reality check: p-value below 0.001" in repr(reality_check(table(best=0.05)))


def test_what_is_refused():
    returns = table()
    for call, text in (
        (lambda: spa(returns[:, 0]), "table of finite numbers"),
        (lambda: spa(returns[:19]), "19 returns are too few"),
        (lambda: spa(returns, returns[:9, 0]), "a number or 250 returns"),
        (lambda: spa(returns, block=0.5), "block must be from 1 to 250"),
        (lambda: spa(returns, resamples=0), "at least 1"),
        (lambda: reality_check(np.zeros((50, 3))), "no trial ever differs"),
        (lambda: reality_check(np.full((50, 3), np.nan)), "finite"),
    ):
        with pytest.raises(UsageProblem, match=text):
            call()
