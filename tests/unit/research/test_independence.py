import math

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.independence import effective_trials


def slow_effective(returns, trials, method):
    """Pair by pair, from pandas."""
    correlation = pd.DataFrame(returns).corr().to_numpy()
    k = len(correlation)
    if method == "spread":
        eigen = np.linalg.eigvalsh(correlation)
        return eigen.sum() ** 2 / (eigen**2).sum()
    average = np.mean([correlation[i, j] for i in range(k) for j in range(k) if i != j])
    return average + (1 - average) * trials


@pytest.mark.parametrize("method", ["average", "spread"])
@pytest.mark.parametrize("shape", [(300, 20), (30, 50)])
def test_effective_trials_pair_by_pair(method, shape):
    rng = np.random.default_rng(3)
    returns = rng.normal(size=shape) + rng.normal(size=(shape[0], 1))
    expected = slow_effective(returns, 1000, method)
    assert effective_trials(returns, 1000, method=method) == pytest.approx(expected, rel=1e-9)
    with_idle = np.column_stack([returns, np.zeros(shape[0])])
    assert effective_trials(with_idle, 1000, method=method) == pytest.approx(expected, rel=1e-9)


def test_copies_of_a_few_trials_count_as_few():
    few = np.random.default_rng(4).normal(size=(5000, 4))
    copies = np.repeat(few, 25, axis=1)
    assert effective_trials(copies, method="spread") == pytest.approx(4.0, abs=0.05)
    assert effective_trials(copies[:, :25], method="average") == pytest.approx(1.0)
    assert math.isnan(effective_trials(np.zeros((10, 3))))


def test_what_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'average'"):
        effective_trials(np.eye(3), method="averag")
    with pytest.raises(UsageProblem, match="table of finite numbers"):
        effective_trials([1.0, 2.0])
