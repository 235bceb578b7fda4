import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research import digest, luck
from jobnb.research.cscv import block_sums, from_sums, probability_of_backtest_overfitting


def slow(returns, blocks, criterion):
    """The paper's procedure word for word: submatrices, joined, compared trial by trial."""
    periods, trials = returns.shape
    cuts = [b * periods // blocks for b in range(blocks + 1)]
    rows = [range(cuts[b], cuts[b + 1]) for b in range(blocks)]

    def performance(half, k):
        values = [float(returns[t, k]) for b in half for t in rows[b]]
        mean = math.fsum(values) / len(values)
        if criterion == "return":
            return mean
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        return mean / deviation if deviation else 0.0

    logits = []
    for half in itertools.combinations(range(blocks), blocks // 2):
        other = [b for b in range(blocks) if b not in half]
        inside = [performance(half, k) for k in range(trials)]
        outside = [performance(other, k) for k in range(trials)]
        mine = outside[inside.index(max(inside))]
        rank = (sum(v < mine for v in outside) + sum(v <= mine for v in outside) + 1) / 2
        logits.append(math.log(rank / (trials + 1 - rank)))
    return logits


@pytest.mark.parametrize("criterion", ["sharpe_ratio", "return"])
@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_it_is_the_papers_procedure(blocks, criterion):
    returns = np.random.default_rng(blocks).normal(0.0002, 0.01, (101, 7))
    returns[:, 3] = 0.0
    returns[60:, 4] = 0.0
    expected = slow(returns, blocks, criterion)
    found = probability_of_backtest_overfitting(returns, blocks=blocks, criterion=criterion)
    assert sorted(found.logits) == pytest.approx(sorted(expected))
    assert found.probability == np.mean(np.array(expected) <= 0)
    assert float(found) == found.probability
    assert (found.trials, found.of, found.blocks) == (7, 7, blocks)


def test_skill_is_not_overfit_and_reversal_is():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 0.01, (1000, 40))
    skilled = noise.copy()
    skilled[:, 7] += 0.004
    found = probability_of_backtest_overfitting(skilled)
    assert len(found.logits) == 12_870
    assert found.probability == 0.0
    assert found.loss == 0.0
    # Whoever gains in one half gives it back in the other: the better, the worse.
    even = noise - noise.mean(axis=0)
    found = probability_of_backtest_overfitting(even, blocks=10)
    assert found.probability > 0.95
    assert found.loss == 1.0
    assert found.slope < 0.0
    assert "overfitting probability" in repr(found)


def test_chance_gives_about_one_half():
    rng = np.random.default_rng(1)
    found = [probability_of_backtest_overfitting(rng.normal(size=(400, 20)), blocks=6).probability for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 12),
    st.sampled_from([2, 4, 6]),
    st.sampled_from(["sharpe_ratio", "return"]),
)
def test_the_card_says_the_same_without_numpy(seed, trials, blocks, criterion):
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.0005, 0.01, (60, trials))
    # Runs that trade seldom, and runs that are the same.
    returns[rng.random(returns.shape) < 0.5] = 0.0
    returns[:, rng.integers(trials)] = returns[:, rng.integers(trials)]
    sums = block_sums(returns, blocks).astype(np.float32)
    packed = digest.packed(np.arange(trials), sums, len(returns))
    found = luck.overfitting(packed["sums"], blocks, criterion)
    assert found == pytest.approx(from_sums(sums.astype(np.float64), len(returns), criterion=criterion).probability)


def test_one_run_is_no_choice():
    packed = digest.packed(np.arange(1), np.zeros((1, 4, 2)), 40)
    assert math.isnan(luck.overfitting(packed["sums"], 4, "return"))


@pytest.mark.parametrize("blocks", [0, 3, 22, 4.0])
def test_blocks_that_cannot_be(blocks):
    with pytest.raises(UsageProblem, match="even number from 2 to 20"):
        probability_of_backtest_overfitting(np.zeros((100, 3)), blocks=blocks)


def test_what_is_refused():
    with pytest.raises(UsageProblem, match="30 returns are too few for 16 blocks"):
        probability_of_backtest_overfitting(np.zeros((30, 3)))
    with pytest.raises(UsageProblem, match="at least two trials"):
        probability_of_backtest_overfitting(np.zeros((100, 1)))
    with pytest.raises(UsageProblem, match="finite numbers"):
        probability_of_backtest_overfitting(np.full((100, 3), np.nan))
    with pytest.raises(UnknownName, match="Did you mean 'return'"):
        probability_of_backtest_overfitting(np.zeros((100, 3)), criterion="returns")
    with pytest.raises(UsageProblem, match="at least two trials"):
        from_sums(np.zeros((1, 4, 2)), 40)
