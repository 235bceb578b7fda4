"""jobnb.parallel in a notebook: the cell is busy meanwhile, and its card lives; both ways to stop it work."""

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("service")]

SETUP = """
import os, time
from joblib import Parallel, delayed
import jobnb

class Oops(Exception):
    def __init__(self, what, more):
        super().__init__(what)

def wait(gate, i):
    while not os.path.exists(gate):
        time.sleep(0.01)
    return i

def fail(i):
    raise Oops("from the job", 2)
"""


@pytest.fixture
def shell(kernel):
    """A subshell, made while the kernel is free; None where there are none."""
    return kernel.subshell()


@pytest.fixture
def waiting(kernel, shell, store, tmp_path):
    """A cell that waits for a Parallel, whose job runs and whose card is drawn; gives the cell, the job, the gate."""
    gate = tmp_path / "gate"
    assert kernel.run(SETUP).ok
    cell = kernel.start(
        f"with jobnb.parallel():\n    found = Parallel()(delayed(wait)({str(gate)!r}, i) for i in range(3))\nfound"
    )
    (job,) = kernel.until(lambda: store.jobs(status="running"), 60, what="the job to run")
    kernel.until(lambda: "running" in kernel.card_html(), what="the card to say so during the cell")
    return cell, job, gate


def test_the_card_lives_while_the_cell_is_busy(kernel, waiting):
    cell, job, gate = waiting
    gate.touch()
    ran = kernel.finish(cell)
    assert ran.displays[-1]["data"]["text/plain"] == "[0, 1, 2]"
    assert ran.displays[0]["metadata"]["jobnb"]["job"] == job.id
    kernel.until(lambda: "completed" in kernel.card_html(), what="the card to say so")
    # An exception of a class of the notebook comes back as one of that very class.
    ran = kernel.run(
        "try:\n    with jobnb.parallel():\n        Parallel()(delayed(fail)(i) for i in range(2))\n"
        "except Oops as error:\n    print('caught', error, error.__cause__.job_id)"
    )
    assert ran.ok, ran.error
    assert "caught from the job" in ran.stdout


def test_the_stop_button_of_the_notebook_cancels_the_job(kernel, store, waiting):
    cell, job, _ = waiting
    kernel.interrupt()
    assert kernel.finish(cell).reply["content"]["ename"] == "KeyboardInterrupt"
    kernel.until(lambda: store.record(job.id).status.final, what="the job to end")
    assert store.record(job.id).status == "cancelled"


def test_the_cards_own_button_ends_the_cell(kernel, shell, store, waiting):
    cell, job, _ = waiting
    if shell is None:
        pytest.skip("this ipykernel has no subshells")
    kernel.click(kernel.button("Cancel"), shell)
    ran = kernel.finish(cell)
    assert ran.reply["content"]["ename"] == "JobCancelled"
    assert store.record(job.id).status == "cancelled"
