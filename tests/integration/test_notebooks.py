"""Every tutorial from top to bottom, as nbclient runs it: without a page, in a home of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Seconds for a whole notebook: on a busy machine the first import of another engine alone takes half a minute.
PATIENCE = 400

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(PATIENCE + 30)]

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a notebook with the outputs of a run in a fresh home, each run once; nothing goes on running after it."""
    done = {}

    def run(name):
        if name not in done:
            done[name] = execute(NOTEBOOKS[name], tmp_path_factory.mktemp(name))
        return done[name]

    return run


def execute(notebook, folder):
    import nbformat

    from jobnb.manager import JobManager

    home, copy = folder / "home", folder / notebook.name
    shutil.copy(notebook, copy)
    env = dict(os.environ, JOBNB_HOME=str(home), IPYTHONDIR=str(folder / "ipython"))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(notebook.parents[1]), env.get("PYTHONPATH"))))
    # A process of its own: nbclient leaves sockets to the garbage collector, which this suite counts as errors.
    main = "from nbclient.cli import NbClientApp; NbClientApp.launch_instance()"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", main, str(copy), "--inplace", f"--timeout={PATIENCE}"],
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        manager = JobManager(home=home)
        manager.daemon.stop()
        manager.close()
    assert ran.returncode == 0, ran.stderr
    return nbformat.read(copy, as_version=4)


def cards(notebook):
    """Return the outputs that are cards, in order."""
    return [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "jobnb" in output.get("metadata", {})
    ]


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_there_are_tutorials():
    assert "01-quickstart" in NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_without_outputs(name):
    import nbformat

    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    assert not outputs(notebook)
    assert not [cell for cell in notebook.cells if cell.get("execution_count")]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_keeps_its_outcomes(executed, name):
    import nbformat

    notebook = executed(name)
    assert not [o for o in outputs(notebook) if o["output_type"] == "error"]
    assert not [o for o in outputs(notebook) if o["output_type"] == "stream" and o["name"] == "stderr"]
    found = cards(notebook)
    assert found
    for card in found:
        html = card["data"]["text/html"]
        assert WIDGET_VIEW not in card["data"], card["data"]["text/plain"]
        assert "<section" in html
        # The saved notebook holds what the page shows: neither a script nor anything from elsewhere.
        assert "<script" not in html
        assert "src=" not in html
        assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    assert len(nbformat.writes(notebook)) < 2_000_000


def test_the_quickstart(executed):
    found = cards(executed("01-quickstart"))
    by_job = {c["metadata"]["jobnb"]["job"]: c["data"]["text/html"] for c in found}
    assert len(by_job) == 4
    backtest, sweep, simulation, endless = by_job.values()
    assert "jn-plot" in backtest
    assert 'class="jn-heat"' in sweep
    assert "Is it luck?" in sweep
    assert "mean of 1000 paths" in simulation
    assert "jn-cancelled" in endless


def test_bring_your_own_engine(executed):
    notebook = executed("04-bring-your-own-engine")
    by_job = {c["metadata"]["jobnb"]["job"]: c["data"]["text/html"] for c in cards(notebook)}
    function, own_class, executor, *others = by_job.values()
    assert 'class="jn-heat"' in function
    assert "jn-plot" in own_class
    assert "metrics by the class itself" in own_class
    assert "completed" in executor
    said = "".join(o.get("text", "") for o in outputs(notebook) if o["output_type"] == "stream")
    # The search of scikit-learn and the fit of its best; vectorbt.
    for package, jobs, words in (("sklearn", 2, "2 jobs; the best guesses"), ("vectorbt", 1, "Omega ratio")):
        if os.environ.get("JOBNB_REQUIRE_PEERS") == "1" or importlib.util.find_spec(package):
            assert words in said
            assert len(others) >= jobs
    if os.environ.get("JOBNB_REQUIRE_PEERS") == "1" or importlib.util.find_spec("backtesting"):
        assert "the same trades, another formula" in said


def test_walk_forward_and_luck(executed):
    notebook = executed("03-walk-forward-and-luck")
    by_job = {c["metadata"]["jobnb"]["job"]: c["data"]["text/html"] for c in cards(notebook)}
    walk, combinatorial, noise, google, *_ = by_job.values()
    assert "jn-plot" in walk
    assert "total return out of sample" in walk
    for card in (walk, combinatorial):
        assert "<b>Out of sample:</b> Median Sharpe" in card
    assert "5 % to 95 % of 5 paths" in combinatorial
    assert "Is it luck?" in noise
    assert "more than luck" not in noise
    assert "buy and hold" in google
    said = "".join(o.get("text", "") for o in outputs(notebook) if o["output_type"] == "stream")
    assert said.count("bars choose") == 5
    assert "White's reality check: p-value" in said
    assert "Hansen's SPA: p-value" in said
    assert "months needed to be 95 % sure" in said


def test_schedules(executed):
    notebook = executed("05-schedules")
    said = {cell.source.splitlines()[-1]: cell.outputs for cell in notebook.cells if cell.get("outputs")}
    text = {line: out[-1].get("data", {}).get("text/plain", "") for line, out in said.items()}
    assert "only=is_quarter_end said no" in text["quarterly.when, quarterly.ticks(1)[0].why, quarterly.runs"]
    assert "Fri 27 Nov 12:50" in "".join(text.values())
    assert text["run.parents[0].name, run.name, sheet.name, Path(sheet.result()).exists()"].endswith("True)")
    assert "{'positions': 1}" in text.values()
    assert "no schedules" in text["jobnb.schedules()"]
