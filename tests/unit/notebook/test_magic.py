import subprocess
import sys

import pytest
from IPython.core.error import UsageError

from jobnb.errors import JobFailed, ServiceUnavailable
from jobnb.job import Job, LogLine, Status
from jobnb.notebook import cards, magic, waiting


@pytest.fixture
def space(shell):
    import pandas as pd

    shell.run_cell(
        "import jobnb\n"
        "class SmaCross(jobnb.Strategy):\n"
        "    fast: int = 10\n"
        "    slow: int = 30\n"
        "    def positions(self, bars):\n"
        "        return bars.sma(self.fast) > bars.sma(self.slow)\n"
        "def f(x, y=1): return x * y\n"
    )
    shell.user_ns["prices"] = pd.DataFrame({"close": [1.0, 2.0]})
    return shell.user_ns


def refused(shell, line, cell=None):
    """Run a magic that must be refused; return the message, one line of exactly ``UsageError``."""
    run = shell.run_line_magic if cell is None else shell.run_cell_magic
    with pytest.raises(UsageError) as caught:
        run("job", line, *(() if cell is None else (cell,)))
    assert type(caught.value) is UsageError
    assert caught.value.__suppress_context__
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_backtest(shell, space, manager):
    job = shell.run_line_magic("job", "backtest SmaCross --data prices fast=5 commission=0.001 -o bt --priority high")
    call = manager.asked("backtest")[0]
    assert call[1] is space["SmaCross"]
    assert call[2] is space["prices"]
    assert call[3] == {"fast": 5, "commission": 0.001}
    assert call[4].priority.value == "high"
    assert call[5] == "prices"
    assert space["bt"] is job
    assert space["_job"] is job
    assert isinstance(job, Job)


def test_several_instruments(shell, space, manager):
    space["basket"] = {"A": space["prices"], "B": space["prices"]}
    shell.run_line_magic("job", "backtest SmaCross --data basket portfolio=True rebalance=monthly")
    call = manager.asked("backtest")[0]
    assert call[2] is space["basket"]
    assert call[3] == {"portfolio": True, "rebalance": "monthly"}
    assert call[5] == "basket"


def test_a_frame_that_brings_its_own_name(shell, space, manager):
    space["prices"].attrs["name"] = "GOOG"
    shell.run_line_magic("job", "backtest SmaCross --data prices")
    assert manager.asked("backtest")[0][5] is None


def test_optimize(shell, space, manager):
    space["many"] = [1, 2]
    shell.run_line_magic(
        "job",
        "optimize SmaCross --data prices fast=5:50 slow=@many --objective sortino_ratio "
        "--constraint 'p.fast < p.slow' --maximize commission=0.002",
    )
    _, _, _, search, _, more = manager.asked("optimize")[0]
    assert search == {"fast": range(5, 50), "slow": [1, 2]}
    assert more["objective"] == "sortino_ratio"
    assert more["maximize"] is True
    assert more["commission"] == 0.002
    assert callable(more["constraint"])
    assert "method" not in more


def test_optimize_by_sampling(shell, space, manager):
    from jobnb.research.interval import uniform

    space["share"] = uniform(0, 1)
    space["net"] = lambda metrics: metrics.annual_return
    shell.run_line_magic(
        "job",
        "optimize SmaCross --data prices fast=0.5:2.5 slow=@share --method tpe --n-trials 200 --seed 1 "
        "--max-time 10m --objective sharpe_ratio,@net",
    )
    _, _, _, search, options, more = manager.asked("optimize")[0]
    assert search == {
        "fast": {"type": "float", "min": 0.5, "max": 2.5, "log": False},
        "slow": space["share"],
    }
    assert options.seed == 1
    assert more["method"] == "tpe"
    assert more["n_trials"] == 200
    assert more["max_time"] == "10m"
    assert more["objective"] == ["sharpe_ratio", space["net"]]


def test_optimize_by_folds(shell, space, manager):
    shell.run_line_magic(
        "job",
        "optimize SmaCross --data prices fast=5:50 slow=10:20 --method walk-forward --train 3y --test 125 --anchored "
        "--search random --n-trials 50",
    )
    *_, more = manager.asked("optimize")[0]
    assert {name: more[name] for name in ("method", "train", "test", "anchored", "search", "n_trials")} == {
        "method": "walk-forward", "train": "3y", "test": 125, "anchored": True, "search": "random", "n_trials": 50,
    }  # fmt: skip
    shell.run_line_magic(
        "job",
        "optimize SmaCross --data prices fast=5:50 --method cpcv --n-groups 8 --n-test-groups 3 "
        "--horizon 5 --embargo 0.01",
    )
    *_, more = manager.asked("optimize")[1]
    assert (more["n_groups"], more["n_test_groups"], more["horizon"], more["embargo"]) == (8, 3, 5, 0.01)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--train 3y", "--train is for --method walk-forward"),
        ("--method cpcv --train 3y", "--train is for --method walk-forward"),
        ("--method walk-forward --train 500 --test 9 --embargo 5", "--embargo is for --method purged-kfold or cpcv"),
        ("--method random --search tpe", "--search is for --method walk-forward or purged-kfold or cpcv"),
    ],
)
def test_an_option_of_another_method_is_said(shell, space, manager, line, said):
    with pytest.raises(UsageError, match=said):
        shell.run_line_magic("job", f"optimize SmaCross --data prices fast=5:50 {line}")
    assert not manager.asked("optimize")


def test_finish(shell, space, manager):
    job = manager.put(name="sweep", kind="optimize")
    said = shell.run_line_magic("job", f"finish {job.id}")
    assert manager.asked("finish") == [("finish", job.id)]
    assert "finishing with what it has" in str(said)


def test_extract(shell, space, manager):
    space["tickers"] = ["MSFT", "^GSPC"]
    job = shell.run_line_magic(
        "job",
        "extract AAPL @tickers --start 2020-01-01 --interval 1h --to prices/ --chunk 500 --refresh --retry 2 -o e",
    )
    _, symbols, options, more = manager.asked("extract")[0]
    assert symbols == ["AAPL", "MSFT", "^GSPC"]
    assert options.retry.max_retries == 2
    assert more == {
        "start": "2020-01-01", "interval": "1h", "to": "prices/", "chunk": 500, "refresh": True, "overwrite": False,
    }  # fmt: skip
    assert space["e"] is job


@pytest.mark.parametrize("name", ["f", "@f"])
def test_a_source_of_prices_may_be_a_variable(shell, space, manager, name):
    shell.run_line_magic("job", f"extract AAPL --start 2020 --source {name}")
    assert manager.asked("extract")[0][3]["source"] is space["f"]


def test_a_source_that_jobnb_knows_is_never_a_variable(shell, space, manager):
    space["ccxt"] = space["yfinance"] = object()
    for name in ("yfinance", "ccxt:binance", "unknown"):
        shell.run_line_magic("job", f"extract AAPL --start 2020 --source {name}")
    assert [call[3]["source"] for call in manager.asked("extract")] == ["yfinance", "ccxt:binance", "unknown"]


def test_submit(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(prices, y='a b') --name 'my job' --timeout 60")
    _, fn, args, kwargs, options, _ = manager.asked("submit")[0]
    assert fn is space["f"]
    assert args[0] is space["prices"]
    assert kwargs == {"y": "a b"}
    assert (options.name, options.timeout) == ("my job", 60.0)
    assert job.name == "my job"


def test_braces_and_dollars_are_left_alone(shell, space, manager):
    shell.run_cell("%job submit f({'a': 1}, y='$x {y}')")
    _, _, args, kwargs, _, _ = manager.asked("submit")[0]
    assert args == ({"a": 1},)
    assert kwargs == {"y": "$x {y}"}


def test_assignment_of_a_line_magic(shell, space):
    shell.run_cell("handle = %job submit f(1)")
    assert isinstance(space["handle"], Job)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bactest x", "Did you mean 'backtest'?"),
        ("backtest SmaCros --data prices", "unknown strategy 'SmaCros'. Did you mean 'SmaCross'?"),
        ("backtest SmaCross --data price", "unknown data 'price'. Did you mean 'prices'?"),
        ("backtest SmaCross", "needs prices: --data NAME. Data frames here: prices."),
        ("backtest SmaCross --data prices fas=3", "unknown parameter 'fas' of SmaCross. Did you mean 'fast'?"),
        ("backtest SmaCross --data prices fast=5:50", "is a range"),
        ("backtest SmaCross --data prices --prio high", "Did you mean '--priority'?"),
        ("backtest SmaCross --data prices --priority hgh", "Did you mean 'high'?"),
        ("backtest SmaCross --data prices --timeout soon", "is not a duration"),
        ("backtest SmaCross --data prices -o 1x", "no variable name"),
        ("backtest SmaCross --data prices -o a,b", "there is one job to keep"),
        ("optimize SmaCross --data prices", "needs parameters to try, such as fast=5:50 slow=5:50"),
        ("optimize SmaCross --data prices fast=5:5", "is empty"),
        ("optimize SmaCross --data prices fast=5:50 --constraint p.fast<", "--constraint"),
        ("optimize SmaCross --data prices fast=5:50 --minimize --maximize", "cannot both"),
        ("extract AAPL", "needs --start"),
        ("extract @tickrs --start 2020", "unknown variable 'tickrs'"),
        ("extract @prices --start 2020 --chunk x", "--chunk must be a whole number"),
        ("extract @numbers --start 2020", "@numbers holds an int, not symbols"),
        ("submit g(1)", "unknown name 'g'"),
        ("submit f", "is not a call"),
        ("submit f(1/0)", "ZeroDivisionError"),
        ("list --limit none", "--limit must be a whole number"),
        ("show nothing", "unknown job 'nothing'"),
        ("wait --timeout soon", "there is no job yet"),
        ("logs", "there is no job yet"),
        ("rerun 01 --priority x", "unknown"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_enqueued(shell, space, manager, line, words):
    space["numbers"] = [1, 2]
    assert words in refused(shell, line)
    assert manager.rows == {}


def test_what_the_manager_refuses_is_one_line_too(shell, space, manager):
    def fail(*args, **kwargs):
        raise ServiceUnavailable("it did not\nstart")

    manager.submit = fail
    assert refused(shell, "submit f(1)") == "SERVICE_UNAVAILABLE: it did not start"


def test_ids_names_variables_and_the_last_job(shell, space, manager):
    first = shell.run_line_magic("job", "submit f(1) --name one -o kept")
    second = shell.run_line_magic("job", "submit f(2) --name two")
    shell.run_line_magic("job", f"cancel {first.id[:2]}, two")
    assert manager.asked("cancel") == [("cancel", first.id), ("cancel", second.id)]
    shell.run_line_magic("job", "cancel kept")
    shell.run_line_magic("job", "cancel")
    assert manager.asked("cancel")[2:] == [("cancel", first.id), ("cancel", second.id)]


def test_cancel_says_what_it_did(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1) --name one")
    assert repr(shell.run_line_magic("job", "cancel")) == f"{job.id} one: cancelling"
    manager.end(job)
    assert "had ended already (completed)" in shell.run_line_magic("job", "cancel")


def test_list_is_a_table_of_jobs(shell, space, manager):
    shell.run_line_magic("job", "submit f(1) --name <b>one</b>")
    table = shell.run_line_magic("job", "list --status running --kind job --tag t --limit 3")
    assert manager.asked("records")[-1] == ("records", "running", "job", "t", 3)
    assert [j.id for j in table] == list(manager.rows)
    assert "&lt;b&gt;one" in table._repr_html_()
    assert "<b>one" not in table._repr_html_()
    assert repr(table).splitlines()[0].split() == ["id", "name", "kind", "state", "progress", "time", "created"]
    manager.rows.clear()
    assert repr(shell.run_line_magic("job", "list")) == "no jobs"


def test_logs_and_status_and_connect(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1)")
    manager.lines = tuple(LogLine(at=manager.now, stream="stdout", text=f"line {i}") for i in range(5))
    assert shell.run_line_magic("job", f"logs {job.id} --tail 2") == "line 3\nline 4"
    assert "2 workers" in shell.run_line_magic("job", "status")
    assert "'days': 30.0" in shell.run_line_magic("job", "status --days 30")
    with pytest.raises(UsageError, match="days"):
        shell.run_line_magic("job", "status --days soon")
    assert shell.run_line_magic("job", "notices") == ["a channel"]
    shell.run_line_magic("job", "connect tcp://host:1")
    assert manager.asked("connect") == [("connect", "tcp://host:1")]


def test_retry_and_rerun(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1)")
    again = shell.run_line_magic("job", "retry -o second")
    assert manager.asked("retry") == [("retry", job.id)]
    assert space["second"] is again
    shell.run_line_magic("job", f"rerun {job.id} --priority high")
    assert manager.asked("rerun") == [("rerun", job.id, {"priority": "high"})]


def test_wait_and_result(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1)")
    assert "still not done" in refused(shell, "wait --timeout 0.1")
    manager.values[job.id] = 42
    manager.end(job)
    assert shell.run_line_magic("job", "wait") == job
    assert shell.run_line_magic("job", "result") == 42
    assert shell.run_line_magic("job", "result -o answer") is None
    assert space["answer"] == 42


def test_a_failed_job_shows_its_own_traceback(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1)")
    manager.end(job, Status.FAILED)

    def fail(*args, **kwargs):
        raise JobFailed("no", traceback="theirs")

    manager.result = fail
    with pytest.raises(JobFailed):
        shell.run_line_magic("job", "result")


def test_ctrl_c_stops_the_waiting_and_not_the_job(shell, space, manager):
    job = shell.run_line_magic("job", "submit f(1)")

    def interrupted(ids, timeout=None):
        raise KeyboardInterrupt

    manager.wait = interrupted
    message = refused(shell, "wait")
    assert message == f"stopped waiting; the job goes on. Stop with: %job cancel {job.id}"
    assert manager.asked("cancel") == []


def test_a_terminal_waits_with_one_line(shell, space, manager, capsys, monkeypatch):
    job = shell.run_line_magic("job", "submit f(1)")
    turns = []

    def wait(ids, timeout=None):
        turns.append(timeout)
        if len(turns) < 3:
            raise TimeoutError
        manager.end(job)

    manager.wait = wait
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    capsys.readouterr()
    waiting.wait(manager, [job], timeout=None)
    out = capsys.readouterr().out
    assert out.count("\r") == 3
    assert "completed" in out


def test_a_cell_is_a_job(shell, space, manager, thread):
    space["k"] = 3
    job = shell.run_cell_magic("job", "--name load -o total", "total = k * 2\n")
    _, fn, args, _, options, params = manager.asked("submit")[0]
    assert fn(*args) == {"total": 6}
    assert args[1] == {"k": 3}
    assert options.name == "load"
    assert params == {"reads": "k", "results": "total"}
    assert "total" not in space
    manager.values[job.id] = {"total": 6}
    manager.end(job)
    shell.run_line_magic("job", "wait")
    assert space["total"] == 6


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("-o pricez", "prices = 1", "the cell never sets 'pricez', which -o asks for. Did you mean 'prices'?"),
        ("", "%time x", "magics and shell lines"),
        ("", "x = ", "line 1"),
        ("--nme x", "1", "'--name'"),
        ("submit f(1)", "1", "runs the cell itself"),
    ],
)
def test_bad_cells(shell, space, manager, line, cell, words):
    assert words in refused(shell, line, cell)
    assert manager.rows == {}


def test_a_cell_that_reads_a_job_is_told_what_to_do(shell, space, manager):
    shell.run_line_magic("job", "submit f(1) -o j")
    assert "Take its value first" in refused(shell, "", "j.result()")


def test_what_cannot_be_sent_is_named(shell, space, manager):
    from jobnb.errors import Unpicklable

    def fail(*args, **kwargs):
        raise Unpicklable("something")

    manager.submit = fail
    space["lock"] = __import__("threading").Lock()
    message = refused(shell, "", "lock.acquire()")
    assert message.startswith("UNPICKLABLE: the cell reads lock (lock), which cannot be sent to a job:")


def test_help(shell, manager):
    assert "%job backtest SmaCross" in shell.run_line_magic("job", "")
    assert "%%job --name load" in shell.run_line_magic("job", "help")
    assert "Python ranges" in magic.JobMagics.job.__doc__


def test_loading_twice_and_unloading(shell):
    shell.run_line_magic("reload_ext", "jobnb")
    from jobnb.notebook import load

    load(shell)
    assert len([m for m in shell.Completer.custom_matchers if getattr(m, "matcher_identifier", "") == "jobnb"]) == 1
    assert len([c for c in shell.events.callbacks["post_run_cell"] if c.__module__ == "jobnb.notebook"]) == 1
    shell.run_line_magic("unload_ext", "jobnb")
    assert shell.find_line_magic("job") is None
    assert shell.find_cell_magic("job") is None
    assert shell.Completer.custom_matchers == []
    for event in ("pre_run_cell", "post_run_cell"):
        assert not [c for c in shell.events.callbacks[event] if c.__module__ == "jobnb.notebook"]
    shell.run_line_magic("load_ext", "jobnb")
    assert shell.find_line_magic("job") is not None


def test_loading_imports_nothing_heavy():
    code = (
        "import sys, IPython.core.interactiveshell as s\n"
        "ip = s.InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "ip.run_line_magic('load_ext', 'jobnb')\n"
        "heavy = {'distributed', 'dask', 'pandas', 'numpy', 'numba', 'ipywidgets', 'apsw', 'matplotlib'}\n"
        "sys.exit(str(heavy & (set(sys.modules) - before)) if heavy & (set(sys.modules) - before) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_magic_draws_once(shell, space, manager, monkeypatch):
    drawn = []
    monkeypatch.setattr(cards, "in_notebook", lambda: True)
    monkeypatch.setattr(cards, "_show_live", drawn.append)
    for cell, count in (("%job submit f(1)", 1), ("x = %job submit f(2)\nx", 2), ("x", 3), ("%job show", 4), ("1", 4)):
        shell.run_cell(cell, store_history=True)
        assert len(drawn) == count


def test_report(shell, space, manager):
    first, last = (manager.put(name=name, status=Status.COMPLETED) for name in ("first", "last"))
    space["_job"], space["one"] = last, first
    assert str(shell.run_line_magic("job", "report x.html")) == "/here/x.html"
    shell.run_line_magic("job", "report one out/x --partial")
    assert manager.asked("report") == [("report", last.id, "x.html", False), ("report", first.id, "out/x", True)]
    for line in ("report", "report one"):
        with pytest.raises(UsageError, match="needs a file, such as: %job report"):
            shell.run_line_magic("job", line)
    with pytest.raises(UsageError, match=r"does not take 'c\.html'"):
        shell.run_line_magic("job", "report a b c.html")
