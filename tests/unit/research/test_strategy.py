import pickle

import cloudpickle
import numpy as np
import pytest

from jobnb.errors import DataError, UnknownName, UsageProblem
from jobnb.research.engine import PositionsError
from jobnb.research.options import EngineOptions
from jobnb.research.strategy import Strategy, check_params


def test_parameters_are_the_annotated_attributes_inherited_ones_too(sma_cross):
    class Stopped(sma_cross):
        fast = 7
        stop: float = 0.1
        _secret: int = 1
        note = "no parameter"

    assert Stopped.parameters == {"fast": 7, "slow": 30, "stop": 0.1}
    assert Stopped(slow=99).params == {"fast": 7, "slow": 99, "stop": 0.1}
    assert repr(Stopped()) == "Stopped(fast=7, slow=30, stop=0.1)"
    assert Stopped.name == "Stopped"


def test_a_name_of_its_own():
    class Named(Strategy):
        name = "golden cross"

    assert Named.name == "golden cross"
    assert Named.parameters == {}


def test_an_unknown_parameter_names_the_nearest(sma_cross):
    with pytest.raises(UnknownName, match=r"unknown parameter 'fsat' of SmaCross. Did you mean 'fast'"):
        sma_cross(fsat=3)


def test_a_plain_attribute_is_no_parameter_and_says_how_to_make_it_one():
    class Plain(Strategy):
        window = 5

    with pytest.raises(UsageProblem, match=r"annotate it: `window: int = 5`"):
        Plain(window=3)


@pytest.mark.parametrize("name", ["commission", "initial_capital", "conventions", "slippage"])
def test_names_of_engine_options_are_refused_when_the_class_is_defined(name):
    with pytest.raises(UsageProblem, match=f"{name!r}, which is an engine option"):
        type("Bad", (Strategy,), {"__annotations__": {name: float}, name: 1.0})


@pytest.mark.parametrize("name", ["trades", "positions", "data", "params"])
def test_names_strategy_needs_are_refused(name):
    with pytest.raises(UsageProblem, match=r"which Strategy needs"):
        type("Bad", (Strategy,), {"__annotations__": {name: float}, name: 1.0})


def test_a_parameter_needs_a_default():
    with pytest.raises(UsageProblem, match=r"'fast' of Bad has no default; write `fast: int = 10`"):
        type("Bad", (Strategy,), {"__annotations__": {"fast": int}})


def test_kinds_of_values(sma_cross):
    assert check_params(sma_cross, {"fast": np.int64(3), "slow": 20.0}) == {"fast": 3, "slow": 20}
    assert type(check_params(sma_cross, {"fast": np.int64(3)})["fast"]) is int
    with pytest.raises(UsageProblem, match=r"fast of SmaCross must be a number like 10, not 'x'"):
        sma_cross(fast="x")


def test_direct_use_as_in_the_seed(sma_cross, google):
    strategy = sma_cross(fast=5, slow=20)
    assert strategy.load_data(google) is strategy
    trades = strategy.backtest(commission=0.001)
    assert set(trades.to_dict()) >= {"entry_time", "pnl", "return_"}
    assert strategy.get_performance_metrics() == trades.get_performance_metrics()
    assert strategy.equity_curve.iloc[-1] == trades.final_equity
    assert len(strategy.trades) == trades.trades.shape[0] == trades.get_performance_metrics()["trades"]


def test_what_is_missing_is_said(sma_cross, google):
    with pytest.raises(UsageProblem, match=r"has no data yet; call load_data"):
        sma_cross().backtest()
    with pytest.raises(UsageProblem, match=r"has not been run yet"):
        sma_cross().load_data(google).equity_curve  # noqa: B018
    with pytest.raises(UnknownName, match=r"unknown engine option 'comission'. Did you mean 'commission'"):
        sma_cross().load_data(google).backtest(comission=0.1)
    with pytest.raises(DataError):
        sma_cross().load_data([1, 2, 3])
    with pytest.raises(UsageProblem, match=r"no positions\(self, bars\)"):
        Strategy().load_data(google).backtest()


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        (lambda b: None, "returned nothing"),
        (lambda b: b.close[:-1] > 0, r"the shape \(499,\); return one value for each of the 500 bars"),
        (lambda b: 1.0, r"the shape \(\)"),
        (lambda b: np.where(b.sma(20) > 0, 1.0, np.nan), "nan at 2015-01-01 00:00:00 and in 19 bars"),
        (lambda b: np.full(500, np.inf), "is inf at"),
        (lambda b: np.full(500, 3), "is 3 at 2015-01-01.*fractions of the equity must be floats"),
        (lambda b: np.full(500, 100.0), "reaches 100 times the equity"),
        (lambda b: np.full(500, "long"), "values of type <U4"),
        (lambda b: np.full(500, None), "values of type object"),
    ],
)
def test_unusable_positions_are_refused(daily, positions, says):
    class Bad(Strategy):
        def positions(self, bars):
            return positions(bars)

    with pytest.raises(PositionsError, match=says):
        Bad().load_data(daily).backtest()


@pytest.mark.parametrize(
    "shape", [lambda x: x, lambda x: x.astype(int), lambda x: x.astype(np.float32), lambda x: x.tolist()]
)
def test_all_shorthands_mean_the_same(daily, shape):
    class Same(Strategy):
        def positions(self, bars):
            return shape(bars.sma(5) > bars.sma(20))

    class Series(Strategy):
        def positions(self, bars):
            close = bars.frame["close"]
            return close.rolling(5).mean() > close.rolling(20).mean()

    expected = Series().load_data(daily).backtest().get_performance_metrics()
    assert Same().load_data(daily).backtest().get_performance_metrics() == expected


def test_a_strategy_of_a_notebook_travels(daily):
    scope = {"Strategy": Strategy, "__name__": "__main__"}
    exec(
        "class Cell(Strategy):\n fast: int = 3\n name = 'of a cell'\n"
        " def positions(self, bars):\n  return bars.sma(self.fast) > bars.sma(20)",
        scope,
    )
    again = pickle.loads(cloudpickle.dumps(scope["Cell"]))
    assert again.parameters == {"fast": 3}
    assert again.name == "of a cell"
    assert again(fast=4).load_data(daily).backtest().params == {"fast": 4}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"commission": 1}, "commission must be a fraction from 0 to below 0.5, not 1; write 0.1 % as 0.001"),
        ({"commission": -0.1}, "not -0.1"),
        ({"slippage": "a"}, "not 'a'"),
        ({"slippage": float("nan")}, "not nan"),
        ({"initial_capital": 0}, "initial_capital must be a number above 0, not 0"),
        ({"initial_capital": True}, "not True"),
        ({"conventions": "next_opne"}, "Did you mean 'next_open'"),
        ({"conventions": "backtesting"}, "Did you mean 'backtesting.py'"),
        ({"finalize_trades": True}, "belongs to conventions='backtesting.py'"),
        ({"finalize_trades": 3}, "must be True or False, not 3"),
    ],
)
def test_engine_options_are_checked(given, says):
    with pytest.raises(UsageProblem) as caught:
        EngineOptions.parse(given)
    assert says in caught.value.message


def test_engine_options_in_words():
    assert EngineOptions().texts == ["no costs", "fills at next open"]
    options = EngineOptions(commission=0.001, slippage=0.0005, conventions="close")
    assert options.texts == ["commission 0.1 %", "slippage 0.05 %", "fills at the same close"]
    assert EngineOptions.parse(options.to_dict()) == options
