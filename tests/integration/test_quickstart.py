"""The quickstart notebook from top to bottom, as nbclient runs it: without a page, in a home of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01-quickstart.ipynb"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with the outputs of a run in a fresh home; nothing runs any more when the tests are over."""
    import nbformat

    from jobnb.manager import JobManager

    folder = tmp_path_factory.mktemp("quickstart")
    home, copy = folder / "home", folder / NOTEBOOK.name
    shutil.copy(NOTEBOOK, copy)
    env = dict(os.environ, JOBNB_HOME=str(home), IPYTHONDIR=str(folder / "ipython"))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(NOTEBOOK.parents[1]), env.get("PYTHONPATH"))))
    # A process of its own: nbclient leaves sockets to the garbage collector, which this suite counts as errors.
    main = "from nbclient.cli import NbClientApp; NbClientApp.launch_instance()"
    ran = subprocess.run(
        [sys.executable, "-c", main, str(copy), "--inplace", "--timeout=120"],
        env=env,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    try:
        assert ran.returncode == 0, ran.stderr
        yield nbformat.read(copy, as_version=4)
    finally:
        manager = JobManager(home=home)
        manager.daemon.stop()
        manager.close()


def cards(notebook):
    """Return the outputs that are cards, in order."""
    return [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "jobnb" in output.get("metadata", {})
    ]


def test_the_quickstart_runs_and_keeps_its_outcomes(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o for o in outputs if o["output_type"] == "stream" and o["name"] == "stderr"]

    found = cards(executed)
    assert len({c["metadata"]["jobnb"]["job"] for c in found}) == 4
    for card in found:
        assert WIDGET_VIEW not in card["data"], card["data"]["text/plain"]
        assert "<section" in card["data"]["text/html"]
    by_job = {c["metadata"]["jobnb"]["job"]: c["data"]["text/html"] for c in found}
    backtest, sweep, simulation, endless = by_job.values()
    assert "jn-plot" in backtest
    assert 'class="jn-heat"' in sweep
    assert "Is it luck?" in sweep
    assert "mean of 1000 paths" in simulation
    assert "jn-cancelled" in endless


def test_the_saved_notebook_holds_what_the_page_shows(executed):
    import nbformat

    text = nbformat.writes(executed)
    # Neither a script nor anything from elsewhere.
    for html in (c["data"]["text/html"] for c in cards(executed)):
        assert "<script" not in html
        assert "src=" not in html
        assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    assert len(text) < 2_000_000
