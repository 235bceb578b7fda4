import cloudpickle
import pandas as pd
import pytest

from jobnb.errors import UsageProblem
from jobnb.notebook import namespace
from jobnb.notebook.grammar import Variable


class SmaCross:
    parameters = {"fast": 10, "slow": 30}  # noqa: RUF012

    def positions(self, bars):
        return bars


class Protocol:
    def load_data(self): ...

    def backtest(self): ...


@pytest.fixture
def space():
    frame = pd.DataFrame({"close": [1.0]})
    return {"SmaCross": SmaCross, "Protocol": Protocol, "prices": frame, "n": 3, "_hidden": frame, "pd": pd, "f": len}


def test_what_there_is(space):
    assert namespace.strategies(space) == ["Protocol", "SmaCross"]
    assert namespace.frames(space) == ["prices"]
    assert namespace.frames({**space, "basket": {"A": space["prices"]}, "d": {"A": 1}}) == ["basket", "prices"]
    assert namespace.parameters(SmaCross) == ["fast", "slow"]
    assert namespace.parameters(lambda data, fast=1, *, slow=2: data) == ["fast", "slow"]


def test_a_strategy_is_found_also_in_a_module(space):
    assert namespace.strategy(space, "SmaCross") is SmaCross
    assert namespace.strategy(space, "pd.DataFrame") is pd.DataFrame


@pytest.mark.parametrize(
    ("name", "words"),
    [("SmaCros", "'SmaCross'"), ("n", "an int, not a strategy"), ("pd.nothing", "unknown strategy")],
)
def test_no_strategy(space, name, words):
    with pytest.raises(UsageProblem, match=words):
        namespace.strategy(space, name)


def test_no_strategy_at_all():
    with pytest.raises(UsageProblem, match="Define one first: class X"):
        namespace.strategy({}, "X")


@pytest.mark.parametrize(
    ("name", "words"),
    [("price", "'prices'"), (None, "--data NAME. Data frames here: prices"), ("n", "an int, not a data frame"),
     ("SmaCross", "a class, not a data frame")],
)  # fmt: skip
def test_no_prices(space, name, words):
    with pytest.raises(UsageProblem, match=words):
        namespace.prices(space, name, "backtest")


def test_a_call_is_taken_apart_but_not_made(space):
    calls = []
    space["g"] = lambda *a, **k: calls.append((a, k))
    space["more"] = {"z": 1}
    fn, args, kwargs = namespace.evaluate(space, "g(n + 1, *[1, 2], 'a b', y=prices, **more)")
    assert calls == []
    assert fn is space["g"]
    assert args == (4, 1, 2, "a b")
    assert kwargs["z"] == 1
    assert kwargs["y"] is space["prices"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g(1)", "unknown name 'g'"),
        ("f(pricez)", "unknown name 'pricez' in pricez. Did you mean 'prices'"),
        ("n(1)", "an int; it cannot be called"),
        ("f(1/0)", "1 / 0: ZeroDivisionError"),
        ("f(*3)", "not a sequence"),
        ("f(**3)", "not a mapping"),
    ],
)
def test_calls_that_cannot_be_made(space, text, words):
    with pytest.raises(UsageProblem) as caught:
        namespace.evaluate(space, text)
    assert words in caught.value.message


def test_settings_look_variables_up(space):
    assert namespace.setting(space, "fast", 3) == 3
    assert namespace.setting(space, "fast", Variable(name="n")) == 3
    with pytest.raises(UsageProblem, match="unknown variable 'm'"):
        namespace.setting(space, "fast", Variable(name="m"))


class P:
    fast, slow = 5, 10


def test_a_constraint_is_a_function_of_p(space):
    keep = namespace.constraint(space, "p.fast < p.slow and p.fast > n")
    assert keep(P()) is True
    space["gap"] = lambda p: p.slow - p.fast > 3
    assert namespace.constraint(space, "gap")(P()) is True
    assert namespace.constraint(space, "lambda q: q.fast == 5")(P()) is True


def test_a_constraint_carries_only_what_it_reads(space):
    keep = namespace.constraint({**space, "big": b"x" * 10_000_000}, "p.fast < n * 2")
    assert len(cloudpickle.dumps(keep)) < 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [("p.fast <", "invalid syntax"), ("1 < 2", "does not mention p"), ("p.fast < k", "unknown name 'k'")],
)
def test_bad_constraints(space, text, words):
    with pytest.raises(UsageProblem, match=words):
        namespace.constraint(space, text)
