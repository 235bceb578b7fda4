"""Which works may have a child without the heavy libraries."""

import json
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from jobnb.work import CallWork, Handled, HandlerCall, MapWork
from jobnb.worker import late_seed
from jobnb.worker.weight import Weights, reads_light


def packed(fn, *args) -> bytes:
    return cloudpickle.dumps(CallWork(fn=fn, args=args))


def by_value(source: str):
    space = {"__name__": "__main__"}
    exec(source, space)
    return space["f"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x",
        "import json, math\ndef f(x): return json.dumps(math.sin(x))",
        "def f(x):\n    import collections.abc, re\n    return re.sub('a', 'b', x)",
        "import jobnb\ndef f(x):\n    for i in jobnb.track(range(x)): jobnb.progress(i)",
        "class A:\n    def g(self): return 1\ndef f(): return A().g()",
        "async def f(): return 1",
    ],
)
def test_plain_python_is_light(source):
    assert reads_light(packed(by_value(source), 1))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\ndef f(x): return np.sin(x)",
        "def f(x):\n    import pandas as pd\n    return pd.Series(x)",
        "def f(x):\n    from sklearn.linear_model import Ridge\n    return Ridge()",
        "from jobnb.research.strategy import Strategy\ndef f(x): return Strategy",
        "import hypothesis\ndef f(x): return hypothesis.given",
    ],
)
def test_research_is_heavy(source):
    assert not reads_light(packed(by_value(source), 1))


def test_functions_of_modules():
    assert reads_light(packed(json.dumps, {"a": 1}))
    # Nobody knows what an installed or local module imports.
    assert not reads_light(packed(pytest.approx, 1))


def test_arguments_count():
    assert not reads_light(packed(len, np.arange(3)))
    assert not reads_light(packed(len, pd.Series([1])))
    assert reads_light(packed(len, {"deep": [("a", 1.5), {"b"}]}))
    assert reads_light(cloudpickle.dumps(MapWork(fn=len, items=["a"])))


def test_a_work_within_a_work_counts():
    def handled(fn) -> bytes:
        return cloudpickle.dumps(Handled(code=cloudpickle.dumps(HandlerCall(fn=fn)), args={"a": 1}))

    assert reads_light(handled(by_value("def f(a): return a")))
    assert not reads_light(handled(by_value("import numpy as np\ndef f(a): return np.sin(a)")))


def test_what_cannot_be_read_is_heavy():
    assert not reads_light(b"")
    assert not reads_light(b"no pickle")
    assert not reads_light(packed(len, "x" * 100_000))
    assert not reads_light(pickle.dumps(json.dumps, protocol=2))


def test_nothing_in_it_is_run():
    class Bomb:
        def __reduce__(self):
            return print, ("boom",)

    assert reads_light(packed(len, Bomb()))


def test_a_name_is_remembered():
    weights = Weights()
    assert weights.light("f", packed(len))
    weights.was_heavy("f")
    assert not weights.light("f", packed(len))
    assert weights.light("g", packed(len))


def test_the_watch_for_numpy_is_not_kept_where_it_is_loaded():
    import sys

    before = list(sys.meta_path)
    late_seed.install()
    assert sys.meta_path == before
