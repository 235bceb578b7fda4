import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from jobnb.errors import UsageProblem
from jobnb.research import door, fold_door, report
from jobnb.research.adapters.outcome import ForeignResult
from jobnb.research.bars import Bars
from jobnb.research.fold_result import load_folds
from jobnb.research.optimize import load_sweep
from jobnb.research.report.parts import Cell, esc, table
from jobnb.research.sample import gbm
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import SweepWork

EVIL = "<script>alert('x')</script>\"&$a$"


class Cross(Strategy):
    fast: int = 5
    slow: int = 20
    mode: str = "both"

    def positions(self, bars):
        return np.where(bars.sma(self.fast) > bars.sma(self.slow), 1.0, -1.0 if self.mode == "both" else 0.0)


class Evil(Cross):
    name = EVIL


VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Reads a page: its tags, its text, whether each tag is closed, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.bad = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            far = name in ("src", "href", "xlink:href", "srcset", "data") and not (value or "").startswith(
                ("#", "data:image/png;base64,")
            )
            if far or name.startswith("on") or "url(" in (value or "").replace("url(#", ""):
                self.bad.append((tag, name, value))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(text):
    page = Page(text)
    assert not page.bad
    assert not {"script", "iframe", "object", "embed", "link"} & set(page.tags)
    assert "@import" not in text
    assert "http" not in re.sub(r"http://www\.w3\.org/(2000/svg|1999/xlink)", "", text).replace("http-equiv", "")
    return page


@pytest.fixture
def result(google):
    return Cross(fast=12, slow=50).load_data(google).backtest(commission=0.001)


def searched(stored, space, strategy=Cross, **more):
    work = SweepWork.build(strategy, ParameterSpace.parse(strategy, space), stored, **more)
    return load_sweep(work.meta(), [work.run(0, work.count, None, lambda done: None).result])


@pytest.fixture
def search(stored):
    return searched(stored, {"fast": range(3, 12), "slow": range(15, 40, 3)})


@pytest.fixture
def folded(tmp_path):
    def run(method, strategy=Cross, **said):
        bars = Bars.from_frame(gbm(500, seed=6), EVIL if strategy is Evil else "prices")
        path = tmp_path / "folds.npy"
        path.write_bytes(bars.to_bytes())
        plan = fold_door.planned(method, None, said)
        search = door.sweep_work(
            strategy, bars, {"fast": range(3, 8), "slow": [10, 20]}, lambda: str(path), method=plan.search,
            n_trials=None, seed=None, objective="sharpe_ratio", engine={},
        )  # fmt: skip
        work, _ = fold_door.fold_work(*search, plan, bars)
        return load_folds(work.meta(), [work.run(0, work.count, None, lambda done: None).result])

    return run


# The page of a run


def test_a_run(result, tmp_path):
    path = result.report(tmp_path / "x.html")
    assert path == tmp_path / "x.html"
    text = path.read_text()
    page = read(text)
    assert len(text) < 400_000
    for said in (
        "Cross", "fast 12 slow 50", "commission 0.1 % · fills at next open", "GOOG · 2004-08-19 to 2008-10-14",
        "total return", "Returns of months and years", "Rolling Sharpe ratio", "Distribution of returns",
        "Worst drawdowns", "Best 8 of", "All numbers", "As backtesting.py defines them",
    ):  # fmt: skip
        assert said in page.text, said
    assert page.tags.count("svg") == 3
    # What the result says is what the page says.
    assert f"{100 * result.total_return:.1f} %".replace("-", "−") in page.text
    assert f"{result.sharpe_ratio:.2f}".replace("-", "−") in page.text
    year = result.monthly_returns["Year"].iloc[1]
    assert f"{100 * year:.1f}".replace("-", "−") in page.text


def test_every_statistic_is_there_once(result):
    text = report.page(result)
    rows = re.findall(r'<section class="group">(.*?)</section>', text, re.DOTALL)
    assert sum(row.count("<tr>") for row in rows) == len(result.statistics())
    assert "More" not in re.findall(r'<section class="group"><h2>(.*?)</h2>', text)


def test_the_same_result_gives_the_same_bytes(result, search, folded):
    for made in (result, search, folded("walk-forward", train=150, test=50), folded("cpcv", n_groups=4)):
        again = pickle.loads(pickle.dumps(made))
        assert report.page(made) == report.page(again)


def test_the_same_bytes_in_another_process(google, tmp_path):
    code = (
        "from jobnb.research.bars import Bars\nfrom jobnb.research.sample import goog\n"
        "from jobnb.research.strategy import Strategy\n"
        "class Hold(Strategy):\n    def positions(self, bars):\n        return bars.close > 0\n"
        "r = Hold().load_data(Bars.from_frame(goog(), 'GOOG')).backtest()\n"
        "import sys\nr.report(sys.argv[1])"
    )
    paths = [tmp_path / "a.html", tmp_path / "b.html"]
    for path, seed in zip(paths, "12", strict=True):
        env = dict(os.environ, PYTHONHASHSEED=seed)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=env, timeout=120)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_users_text_is_text(google, stored):
    made = Evil(mode="</style><img src=x onerror=alert(1)>").load_data(
        Bars(google.block, {**google.meta, "name": EVIL})
    )
    page = read(report.page(made.backtest()))
    assert EVIL in page.text
    assert "</style><img" in page.text
    found = searched(stored, {"mode": ["<b>x</b>", EVIL], "fast": [3, 4]}, Evil)
    page = read(report.page(found, {"<i>Job</i>": "<u>1</u>"}))
    assert "<b>x</b>" in page.text
    assert "<i>Job</i>: <u>1</u>" in page.text


def test_five_hundred_trades_and_more_stay_small(daily):
    class Busy(Strategy):
        def positions(self, bars):
            return np.where(np.arange(len(bars)) % 3 < 2, 1.0, -1.0)

    made = Busy().load_data(Bars.from_frame(gbm(6000, seed=5), "long")).backtest(commission=0.0001)
    assert len(made.trades) > 2000
    text = report.page(made)
    assert len(text.encode()) < 1_000_000
    assert f"Best 8 of {len(made.trades):,} trades" in read(text).text


def test_a_run_without_trades_and_one_of_two_bars(google, frame):
    class Never(Strategy):
        def positions(self, bars):
            return np.zeros(len(bars))

    page = read(report.page(Never().load_data(google).backtest()))
    assert "There was none." in page.text
    assert "Best" not in page.text
    read(report.page(Cross(fast=2, slow=3).load_data(Bars.from_frame(frame.iloc[:2], "two")).backtest()))


def test_another_engine_with_and_without_equity(result):
    data = {"name": "x", "bars": 1047, "start": "2004-08-19", "end": "2008-10-14"}
    made = ForeignResult(
        name="Theirs", params={"n": 1}, conventions=["as it says"], data=data,
        numbers={"total_return": 0.25, "own <number>": 3.0}, equity=result.equity_curve,
    )  # fmt: skip
    page = read(report.page(made))
    assert page.tags.count("svg") == 3
    assert "own <number>" in page.text
    assert "25.0 %" in page.text
    without = replace(made, equity=pd.Series([1.0, 2.0, 1.5]))
    assert read(report.page(without)).tags.count("svg") == 1
    with pytest.raises(UsageProblem, match="has no times"):
        without.plot_monthly()
    bare = ForeignResult(name="Theirs", params={}, conventions=[], data=data, numbers={"value": 1.5})
    page = read(report.page(bare))
    assert "svg" not in page.tags
    assert "1.5" in page.text


# The page of a search


def test_a_search(search):
    page = read(report.page(search))
    assert "Is it luck?" in page.text
    assert search.luck.line in page.text
    assert page.tags.count("svg") == 2
    assert f"Best 15 of {len(search)} runs" in page.text
    assert f"{search.best_value:.2f}" in page.text
    assert "The best run" not in page.text


def test_a_search_with_its_best_run(search, daily):
    from jobnb.research.report.search import search_page

    best = Cross(**search.best_params).load_data(daily).backtest()
    page = read(search_page(search, {}, best))
    assert "The best run" in page.text
    assert "Worst drawdowns" in page.text
    # What it says of the best run is what the search says of it.
    assert best.sharpe_ratio == pytest.approx(search.best_value)


def test_a_result_that_knows_its_job_has_its_best_run_done_again(search, daily):
    asked = []

    class Job:
        def result(self, timeout=None):
            return Cross(**search.best_params).load_data(daily).backtest()

    def run(number, point, params):
        asked.append(params)
        return Job()

    search.bind(run)
    assert "The best run" in read(report.page(search)).text
    assert asked == [search.best_params]
    assert "The best run" not in read(report.page(search, best=False)).text
    assert len(asked) == 1


def test_searches_of_one_three_and_no_good_parameters(stored):
    one = read(report.page(searched(stored, {"fast": range(3, 12)})))
    assert one.tags.count("svg") == 1
    three = searched(stored, {"fast": range(3, 6), "slow": [20, 30], "mode": ["both", "long"]})
    assert "Of the other parameters each cell shows the best." in read(report.page(three)).text

    class Broken(Cross):
        def positions(self, bars):
            raise ValueError("<no>")

    page = read(report.page(searched(stored, {"fast": [3, 4]}, Broken)))
    assert "2 runs failed" in page.text
    assert "<no>" in page.text


def test_a_function_of_the_users_says_its_own_terms(stored):
    def score(data, n=3):
        return {"score": float(n)}

    page = read(report.page(searched(stored, {"n": [3, 4]}, score, objective="score")))
    assert "costs and fills as the strategy itself says" in page.text
    assert "no costs" not in page.text


def test_several_objectives_have_their_front(stored):
    goals = [("sharpe_ratio", True), ("max_drawdown", True)]
    found = searched(stored, {"fast": range(3, 12), "slow": range(15, 40, 3)})
    found.goals = tuple(goals)
    page = read(report.page(found))
    assert f"Pareto front, {len(found.pareto)} runs" in page.text


# The page of folds


def test_a_walk_forward(folded):
    found = folded("walk-forward", train=150, test=50)
    page = read(report.page(found))
    for said in (
        "Walk-forward",
        "sharpe ratio out of sample",
        "rank correlation",
        "Stability of the parameters",
        f"{len(found)} folds",
    ):
        assert said in page.text
    assert "Out of sample, stitched to one account" in page.text
    assert f"{found.backtest.sharpe_ratio:.2f}".replace("-", "−") in page.text


@pytest.mark.parametrize(("method", "more"), [("purged-kfold", {"n_splits": 4}), ("cpcv", {"n_groups": 4})])
def test_a_cross_validation(folded, method, more):
    page = read(report.page(folded(method, **more)))
    assert "ross-validation" in page.text or "cross-validation" in page.text
    assert "Paths" in page.text


def test_text_of_users_in_folds(folded):
    assert EVIL in read(report.page(folded("walk-forward", Evil, train=150, test=50))).text


# The file


def test_the_file_is_whole_or_not_at_all(result, tmp_path, monkeypatch):
    path = tmp_path / "x.html"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(UsageProblem, match="cannot be written: No space left on device"):
            result.report(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x.html"]
    assert result.report(path) == path
    assert os.listdir(tmp_path) == ["x.html"]
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_a_place_that_is_none(result, tmp_path):
    with pytest.raises(UsageProblem, match=r"is a folder; name a file in it: .*report\.html"):
        result.report(tmp_path)
    with pytest.raises(UsageProblem, match="there is no folder"):
        result.report(tmp_path / "no" / "x.html")


def test_anything_else_has_no_report(tmp_path):
    with pytest.raises(UsageProblem, match="no report of a dict; there is one of backtests"):
        report.write({}, tmp_path / "x.html")
    assert os.listdir(tmp_path) == []


def test_cells_are_escaped_and_html_is_not_twice():
    assert esc(esc("<&")) == "&lt;&amp;"
    assert "&lt;b&gt;" in table(["<b>"], [[Cell(text="<b>", hint='"<')]])
    assert table(["a"], []) == ""
    assert "&quot;&lt;" in table(["a"], [[Cell(text="x", hint='"<')]])


def test_loading_it_does_not_load_pyplot():
    code = (
        "import sys, jobnb.research.report.run, jobnb.research.report.search, jobnb.research.report.folds\n"
        "import jobnb.research.plots.equity\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_times_of_intraday_bars(minutes):
    made = Cross().load_data(minutes).backtest()
    text = read(report.page(made)).text
    entry = made.trades["entry_time"].loc[made.trades["return_"].idxmax()]
    assert f"{entry:%Y-%m-%d %H:%M}" in text
    assert not pd.isna(entry)


# Several instruments

SEVERAL = {name: gbm(300 + 20 * i, seed=i) for i, name in enumerate(("AAA", "BBB", EVIL))}


@pytest.fixture
def several(tmp_path):
    from jobnb.research import instrument_door
    from jobnb.research.instruments_result import load_instruments

    def keep(bars):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        path.write_bytes(bars.to_bytes())
        return str(path)

    def run(strategy, **params):
        asked = instrument_door.backtest(strategy, SEVERAL, params, keep)
        return load_instruments(asked.plan["meta"], [asked.work.run(0, 3, None, lambda done: None).result])

    return run


def test_several_instruments(several):
    found = several(Cross, commission=0.001)
    page = read(report.page(found))
    for said in ("3 instruments", EVIL, "equal shares", "Returns of months and years", "Worst drawdowns"):
        assert said in page.text, said
    assert f"{100 * found['BBB'].total_return:.1f} %".replace("-", "−") in page.text
    years = 1.0 + found.monthly_returns["Year"]
    assert years.prod() - 1.0 == pytest.approx(found.combined["total_return"])
    assert report.page(found) == report.page(pickle.loads(pickle.dumps(found)))


def test_functions_on_several_instruments_have_no_curve(several):
    page = read(report.page(several(lambda data: {"gain": 0.5})))
    assert "no combined curve" in page.text
    assert "svg" not in page.tags


def test_a_portfolio():
    from jobnb.research import portfolio
    from jobnb.research.options import EngineOptions
    from jobnb.research.universe import Universe

    class Best(Strategy):
        name = EVIL

        def weights(self, bars):
            return bars.close.pct_change(20, fill_method=None).rank(axis=1, ascending=False) <= 1

    bars = Universe({symbol: Bars.from_frame(frame, symbol) for symbol, frame in SEVERAL.items()})
    made = portfolio.run(Best(), bars, EngineOptions(commission=0.001), data_name="<i>")
    page = read(report.page(made))
    for said in (EVIL, "<i>", "Account and weights", "3 instruments", "mean weight", "Worst drawdowns"):
        assert said in page.text, said
    assert f"{made.by_instrument['pnl'].max():,.2f}".replace("-", "−") in page.text
    assert report.page(made) == report.page(pickle.loads(pickle.dumps(made)))


# The job


def record(**changes):
    from datetime import UTC, datetime

    from jobnb.job import JobRecord, Status

    plain = {
        "id": "a1", "name": "<n>", "kind": "backtest", "status": Status.COMPLETED, "cluster": "embedded",
        "created_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "plan": {"type": "single"},
    }  # fmt: skip
    return JobRecord(**{**plain, **changes})


@pytest.mark.parametrize("changes", [{"plan": {"type": "map"}, "kind": "map"}, {"kind": "cell"}])
def test_a_job_without_a_report_is_refused_before_anybody_waits(changes):
    with pytest.raises(UsageProblem, match=f"job a1 .* is a {changes['kind']} and has no report"):
        report.check(record(**changes))


def test_the_foot_says_where_it_is_from(result):
    job = record(
        snapshot={
            "seed": 7,
            "versions": {"python": "3.13"},
            "git": {"commit": "abc", "dirty": True},
            "data": {"name": "GOOG", "fingerprint": "f00"},
        }
    )
    report.check(job)
    text = read(report.page(result, report.about(job))).text
    for said in ("a1 · <n> · 2026-01-02 03:04 UTC", "GOOG · f00", "Seed: 7", "abc with changes", "python 3.13"):
        assert said in text, said
    bare = report.about(record())
    assert [name for name, said in bare.items() if said] == ["Job"]
