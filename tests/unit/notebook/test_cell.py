import ast
import sys

import pytest

from jobnb.errors import UsageProblem
from jobnb.notebook import cell


def reads(source):
    return cell.read_names(ast.parse(source))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("y = x + 1", ["x"]),
        ("x = 1\ny = x", []),
        ("x += 1", ["x"]),
        ("def f(a):\n    return a + k\nf(1)", ["k"]),
        ("import numpy as np\nnp.ones(n)", ["n"]),
        ("[i for i in xs]", ["xs"]),
        ("y = [x for x in x]", ["x"]),
        ("df = load()\ndf.head()", ["load"]),
        ("if c:\n    v = 1\nprint(v)", ["c", "v"]),
        ("class A(Base):\n    k = K\n    def f(self): return self.k", ["Base", "K"]),
        ("print(len(x))", ["x"]),
        ("a, b = pair\na + b", ["pair"]),
        ("del x", ["x"]),
        ("lambda q: q + z", ["z"]),
        ("v: int = w", ["w"]),
        ("await fetch(u)", ["fetch", "u"]),
        ("f'{name!r}'", ["name"]),
        ("global_later()\ndef helper(): return other()", ["global_later", "other"]),
    ],
)
def test_what_a_cell_reads(source, names):
    assert reads(source) == names


def test_capture_takes_what_is_there():
    tree = cell.check("y = x + missing")
    assert cell.capture(tree, {"x": 1, "unused": 2}) == {"x": 1}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("%time f()", "magics and shell lines"),
        ("!ls", "magics and shell lines"),
        ("x = = 1", "line 1"),
    ],
)
def test_what_cannot_be_a_job(source, words):
    with pytest.raises(UsageProblem, match=words):
        cell.check(source)


def test_a_result_that_the_cell_never_sets():
    with pytest.raises(UsageProblem, match="prices"):
        cell.check("prices = 1", wanted=["price"])
    cell.check("for a in range(3): pass\nimport os\ndef f(): pass", wanted=["a", "os", "f"])


def test_running_brings_the_wanted_names_back(capsys):
    got = cell.run_cell("y = x * 2\nz = 3\ny", {"x": 21}, ("y", "z"), "<t1>")
    assert got == {"y": 42, "z": 3}
    assert capsys.readouterr().out == "42\n"


def test_running_without_names_gives_the_last_value():
    assert cell.run_cell("x + 1", {"x": 1}, (), "<t2>") == 2
    assert cell.run_cell("y = 1", {}, (), "<t3>") is None


def test_functions_of_a_cell_see_its_names():
    source = "def f(n):\n    return 1 if n == 0 else n * f(n - 1)\nk = 3\ndef g(): return f(k)\ng()"
    assert cell.run_cell(source, {}, (), "<t4>") == 6


def test_top_level_await_works():
    source = "import asyncio\nasync def f(): \n    await asyncio.sleep(0)\n    return 7\nv = await f()\nawait f() + v"
    assert cell.run_cell(source, {}, (), "<t5>") == 14


def test_a_wanted_name_that_was_not_set_is_an_error():
    with pytest.raises(NameError, match="without setting 'y'"):
        cell.run_cell("if False:\n    y = 1", {}, ("y",), "<t6>")


def test_tracebacks_show_the_lines_of_the_cell():
    import traceback

    try:
        cell.run_cell("a = 1\nb = a / 0  # here", {}, (), "<t7>")
    except ZeroDivisionError:
        assert "b = a / 0  # here" in traceback.format_exc()


def test_display_prints(capsys):
    cell.run_cell("display(1, 'a')", {}, (), "<t8>")
    assert capsys.readouterr().out == "1\n'a'\n"


def test_the_title_is_the_first_line_of_code():
    assert cell.title("# load\n\nprices = load()") == "prices = load()"
    assert len(cell.title("x" * 100)) == 40
    assert cell.title("# nothing") == "cell"


def test_the_module_is_light():
    assert "numpy" not in cell.__dict__
    assert "IPython" not in {name.partition(".")[0] for name in cell.__dict__}
    assert sys.modules[cell.__name__] is cell
