import pytest
from IPython.core.completer import provisionalcompleter

from jobnb.job import ErrorRecord, Status
from jobnb.notebook import completion


class SmaCross:
    parameters = {"fast": 10, "slow": 30}  # noqa: RUF012

    def positions(self, bars):
        return bars


@pytest.fixture
def space(manager):
    import pandas as pd

    manager.put(name="overnight", unique="nightly")
    manager.put(name="wreck", status=Status.FAILED, dead=True, error=ErrorRecord(code="DATA_ERROR"))
    return {"SmaCross": SmaCross, "prices": pd.DataFrame(), "bt": manager.put(), "f": len}


@pytest.mark.parametrize(
    ("text", "fragment", "offered"),
    [
        ("%job ba", "ba", ["backtest"]),
        ("x = %job opt", "opt", ["optimize"]),
        ("  %job sh", "sh", ["show"]),
        ("%job backtest Sm", "Sm", ["SmaCross"]),
        ("%job backtest SmaCross --data p", "p", ["prices"]),
        ("%job backtest SmaCross --data=p", "--data=p", ["--data=prices"]),
        ("%job optimize SmaCross fa", "fa", ["fast="]),
        ("%job optimize SmaCross fast=5:50 s", "s", ["slow=", "sizing=", "slippage=", "stop_loss="]),
        ("%job optimize SmaCross --objective sha", "sha", ["sharpe_ratio"]),
        ("%job optimize SmaCross --obj", "--obj", ["--objective"]),
        ("%job submit f", "f", ["f("]),
        ("%job submit f(1) --pri", "--pri", ["--priority"]),
        ("%job list --status fa", "fa", ["failed"]),
        ("%job show ov", "ov", ["overnight"]),
        ("%job report ov", "ov", ["overnight"]),
        ("%job cancel b", "b", ["bt"]),
        ("%job show 01", "01", ["01aabbcc"]),
        ("%%job --na", "--na", ["--name"]),
        ("%job nothing x", "x", []),
        ("%job pan", "pan", ["panel"]),
        ("%job panel --", "--", ["--limit"]),
        ("%job dlq re", "re", ["retry"]),
        ("%job dlq --co", "--co", ["--code"]),
        ("%job dlq --code DA", "DA", ["DATA_ERROR"]),
        ("%job dlq retry wr", "wr", ["wreck"]),
        ("%job dlq purge ov", "ov", []),
        ("%job submit f(1) --un", "--un", ["--unique"]),
        ("%job submit f(1) --unique ni", "ni", ["nightly"]),
        ("%job submit f(1) --retry ", "", ["0", "1", "2", "3", "5"]),
        ("%job submit f(1) --deadline 5", "5", ["5m"]),
        ("%job submit f(1) --expires-at=1", "--expires-at=1", ["--expires-at=1h", "--expires-at=1d"]),
        ("%%job --dead", "--dead", ["--deadline"]),
    ],
)
def test_words(space, text, fragment, offered):
    assert completion.words(text, space) == (fragment, offered)


def test_priorities_come_with_the_urgent_first(space):
    found = completion.words("%job submit f(1) --priority ", space)
    assert found == ("", ["critical", "high", "normal", "low"])


@pytest.mark.parametrize("text", ["", "job ba", "%jobs x", "%job", "print('%job ba", "%job submit f(pri"])
def test_other_lines_are_left_to_others(space, text):
    assert completion.words(text, space) is None


def test_an_option_is_not_offered_twice(space):
    assert "--data" not in completion.words("%job backtest SmaCross --data prices --", space)[1]
    assert "--tag" in completion.words("%job backtest SmaCross --tag a --", space)[1]


def test_ipython_shows_them(shell):
    shell.run_cell(
        "import jobnb\nclass MyRule(jobnb.Strategy):\n    window: int = 3\n    def positions(self, bars): return 0"
    )
    for use_jedi in (False, True):
        shell.Completer.use_jedi = use_jedi
        for line, offered in (("%job backtest MyR", "MyRule"), ("x = %job backtest MyRule wi", "window=")):
            with provisionalcompleter():
                found = [c.text for c in shell.Completer.completions(line, len(line))]
            assert found == [offered]


def test_a_failing_completion_stays_quiet(shell, monkeypatch):
    def fail(*args):
        raise OSError

    monkeypatch.setattr(completion, "words", fail)
    assert shell._jobnb_matcher.complete("%job ", 0, "%job ") == {"completions": []}
