import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.notebook import grammar
from jobnb.notebook.grammar import candidates, parse, parse_cell


def test_backtest():
    said = parse("backtest SmaCross --data prices fast=10 slow=30 commission=0.001 -o bt --tag a --tag b")
    assert said.words == ("SmaCross",)
    assert said.settings == {"fast": "10", "slow": "30", "commission": "0.001"}
    assert said.flags == {"data": "prices", "o": "bt", "tag": ("a", "b")}
    assert said.job_options() == {"tags": ("a", "b")}


def test_optimize_with_a_constraint_in_quotes():
    said = parse(
        'optimize S --data p fast=5:50 --constraint "p.fast < p.slow" --minimize --objective volatility  # try'
    )
    assert said.flags["constraint"] == "p.fast < p.slow"
    assert said.flags["minimize"] is True
    assert said.settings == {"fast": "5:50"}


def test_options_may_use_the_equals_sign():
    said = parse("list --status=running --limit=5")
    assert said.flags == {"status": "running", "limit": "5"}
    assert parse("backtest S --memory-limit=2GiB --data=d").job_options() == {"memory_limit": "2GiB"}


@pytest.mark.parametrize(
    ("line", "call", "flags"),
    [
        ("f(x, y=2)", "f(x, y=2)", {}),
        ("f('a b', y=\"c  d\") --priority high", "f('a b', y=\"c  d\")", {"priority": "high"}),
        ("--priority high --name 'two words' f(x)", "f(x)", {"priority": "high", "name": "two words"}),
        ("--timeout=60 f(x) -o r", "f(x)", {"timeout": "60", "o": "r"}),
        ("f('--name', \" --priority low\")", "f('--name', \" --priority low\")", {}),
        ("f([1, 2], {'a': -1}, a - b)", "f([1, 2], {'a': -1}, a - b)", {}),
        ("m.f(x)  # a comment", "m.f(x)", {}),
        ("f('# no comment')", "f('# no comment')", {}),
        ("f('''it's ) a''') --tag x", "f('''it's ) a''')", {"tag": ("x",)}),
        ("(lambda: 1)()", "(lambda: 1)()", {}),
        ("f(a)(b)", "f(a)(b)", {}),
        ("f(x --y)", "f(x --y)", {}),
    ],
)
def test_submit_keeps_the_call_as_it_was_typed(line, call, flags):
    said = parse(f"submit {line}")
    assert said.call == call
    assert said.flags == flags


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ()),
        ("bactest S", ("unknown command 'bactest' in %job", "'backtest'")),
        ("backtest S --dta p", ("unknown option '--dta' of %job backtest", "'--data'")),
        ("backtest", ("needs a strategy",)),
        ("extract --start 2020", ("needs a symbol", "--start 2020-01-01")),
        ("extract A --strat 2020", ("unknown option '--strat' of %job extract", "'--start'")),
        ("backtest A B", ("does not take 'B'", "B=…")),
        ("backtest S fast = 10", ("does not take 'fast'",)),
        ("backtest S fast=", ("no value",)),
        ("backtest S fast=1 fast=2", ("given twice",)),
        ("backtest S --data", ("--data needs a value",)),
        ("backtest S --data -o x", ("--data needs a value",)),
        ("backtest S --name a --name b", ("given twice",)),
        ("optimize S --minimize=1", ("stands alone",)),
        ("list extra", ("does not take 'extra'",)),
        ("submit", ("needs a call",)),
        ("submit --name x", ("needs a call",)),
        ("submit f(x) --nam y", ("'--name'",)),
        ("list 'open", ("closing quotation",)),
        ("submit --name 'open f()", ("closing quotation",)),
    ],
)
def test_bad_lines_are_told_on_one_line(line, words):
    if not line:
        assert parse(line).command == "help"
        return
    with pytest.raises(UsageProblem) as caught:
        parse(line)
    message = caught.value.message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_cell_line_takes_options_only():
    assert parse_cell("--name load -o a, b").flags == {"name": "load", "o": "a,b"}
    assert parse_cell("").flags == {}
    with pytest.raises(UsageProblem, match="runs the cell itself"):
        parse_cell("submit f(x)")
    with pytest.raises(UsageProblem, match="does not take"):
        parse_cell("something")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5:50", range(5, 50)),
        ("10:200:2", range(10, 200, 2)),
        ("50:5:-5", range(50, 5, -5)),
        ("-3:3", range(-3, 3)),
        ("0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4]),
        ("0.1:0.4:0.1", [0.1, 0.2, 0.3]),
        ("0:1:0.25", [0.0, 0.25, 0.5, 0.75]),
        ("1,2,5", [1, 2, 5]),
        ("[1, 2]", [1, 2]),
        ("a,b", ["a", "b"]),
        ("0.5,1", [0.5, 1]),
        ("10", None),
        ("close", None),
        ("@xs", grammar.Variable(name="xs")),
    ],
)
def test_candidates(text, expected):
    assert candidates(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5:50", range(5, 50)),
        ("0.1:0.5", {"type": "float", "min": 0.1, "max": 0.5, "log": False}),
        ("0.001:1:log", {"type": "float", "min": 0.001, "max": 1.0, "log": True}),
        ("1:101:log", {"type": "int", "min": 1, "max": 100, "log": True}),
        ("0:1:0.25", [0.0, 0.25, 0.5, 0.75]),
    ],
)
def test_candidates_of_a_method_that_samples(text, expected):
    assert candidates(text, "x", continuous=True) == expected


@pytest.mark.parametrize("text", ["5:5", "50:5", "1:2:0", "0.1:0.5", "5:", "5:x", "1:2:3:4", "0.5:0.1:0.1", "[]", ","])
def test_bad_ranges(text):
    with pytest.raises(UsageProblem, match="x="):
        candidates(text, "x")


@given(
    st.integers(-50, 50), st.integers(1, 60), st.sampled_from([0.1, 0.25, 0.01, 0.3, 1 / 3, 2.5]),
)  # fmt: skip
def test_fractional_ranges_are_exact_in_number(start, count, step):
    stop = start + count * step
    values = candidates(f"{float(start)!r}:{stop!r}:{step!r}", "x")
    assert len(values) == count
    assert values[0] == start
    assert all(v < stop for v in values)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_on_one_line(text):
    for line in (text, f"submit {text}", f"backtest {text}", f"list {text}"):
        with contextlib.suppress(UsageProblem):
            parse(line)
    with contextlib.suppress(UsageProblem):
        candidates(text, "x")


def test_names_and_counts():
    assert grammar.names("a, b") == ("a", "b")
    for bad in ("1a", "", "a b"):
        with pytest.raises(UsageProblem):
            grammar.names(bad)
    assert grammar.count("3", "--tail") == 3
    for bad in ("0", "-1", "x"):
        with pytest.raises(UsageProblem, match="--tail"):
            grammar.count(bad, "--tail")


@pytest.mark.parametrize(("text", "words"), [("f", "not a call"), ("f(", "never closed"), ("1 + 1", "not a call")])
def test_submit_wants_a_call(text, words):
    with pytest.raises(UsageProblem, match=words):
        grammar.call(text)


def test_every_command_is_in_the_help():
    page = grammar.page()
    assert all(f"%job {name}" in page for name in grammar.COMMANDS if name != "help")


def test_unknown_names_are_usage_problems():
    with pytest.raises(UnknownName):
        parse("shw x")
