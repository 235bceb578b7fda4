import numpy as np
import pytest

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.goal import goals
from jobnb.research.optimize import load_sweep
from jobnb.research.space import ParameterSpace
from jobnb.research.sweep import SweepWork


def net(metrics):
    if metrics.trades == 0:
        raise ValueError("no trades")
    return metrics["annual_return"] - metrics.turnover / 1000


def volatility(metrics):
    return 1


@pytest.mark.parametrize(
    ("objective", "maximize", "names", "ways"),
    [
        ("sharpe_ratio", None, ["sharpe_ratio"], [True]),
        ("volatility", None, ["volatility"], [False]),
        (net, None, ["net"], [True]),
        (lambda m: 1, False, ["objective"], [False]),
        (["sharpe_ratio", "volatility", net], None, ["sharpe_ratio", "volatility", "net"], [True, False, True]),
        (("volatility", "max_drawdown"), [True, None], ["volatility", "max_drawdown"], [True, True]),
    ],
)
def test_ways_to_say_an_objective(objective, maximize, names, ways):
    made = goals(objective, maximize)
    assert [goal.name for goal in made] == names
    assert [goal.maximize for goal in made] == ways


@pytest.mark.parametrize(
    ("objective", "maximize", "says"),
    [
        ([], None, "there is no objective"),
        (["sharpe_ratio", "sharpe_ratio"], None, "given twice"),
        (volatility, None, "which is a metric; rename it"),
        (["sharpe_ratio", "trades"], [True], "1 values for 2 objectives"),
        (3.5, None, "name of a metric or a function"),
    ],
)
def test_objectives_that_are_none(objective, maximize, says):
    with pytest.raises(UsageProblem, match=says):
        goals(objective, maximize)
    with pytest.raises(UnknownName, match="Did you mean 'sharpe_ratio'"):
        goals("sharp_ratio")


def test_a_function_of_the_metrics(sma_cross, stored):
    space = ParameterSpace.parse(sma_cross, {"fast": [3, 9], "slow": [20, 30, 10_000]})
    work = SweepWork.build(sma_cross, space, stored, objective=net)
    part = work.run(0, 6, None, lambda done: None)
    result = load_sweep(work.meta(), [part.result])
    table = result.trials
    expected = (table["annual_return"] - table["turnover"] / 1000).where(table["trades"] > 0)
    np.testing.assert_array_equal(table["net"], expected)
    assert result.best_value == expected.max()
    assert part.failed == 2
    assert set(table["error"].dropna()) == {"ValueError: no trades"}
    assert table["final_equity"].notna().all()


def test_a_wrong_name_in_a_function_says_which(sma_cross, stored):
    work = SweepWork.build(
        sma_cross, ParameterSpace.parse(sma_cross, {"fast": [3]}), stored, objective=lambda m: m.shape
    )
    part = work.run(0, 1, None, lambda done: None)
    assert part.summary["errors"][0]["error"].startswith("unknown metric 'shape'")
