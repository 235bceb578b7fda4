"""The panel on a real kernel: it moves by itself, cancels, retries, and leaves nothing behind."""

import re
from itertools import pairwise

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("service")]

JOBS = """
import os, time
import jobnb

def stuck():
    while True:
        pass

def gate(path):
    if not os.path.exists(path):
        raise ValueError("no gate yet")
    return 42
"""


def panel_html(kernel):
    """Return the HTML of the newest panel's widget."""
    found = [s["value"] for s in kernel.models().values() if 'jn-panel" aria-label' in str(s.get("value", ""))]
    return found[-1] if found else ""


def row(kernel, job_id):
    """Return what the panel says of a job, without markup."""
    found = re.search(rf'<tr[^>]*><td[^>]*><code title="{job_id}">.*?</tr>', panel_html(kernel))
    return re.sub(r"<[^>]*>", " ", found[0]) if found else ""


def countdowns(kernel):
    """Return the clocks that the cards of retrying jobs have shown."""
    values = [s.get("value", "") for model in list(kernel.models()) for _, s in kernel.updates(model)]
    return [found[1] for v in values if (found := re.search(r"failed, next in <b>((?:9|10):\d\d)</b>", str(v)))]


def choose(kernel, job_id):
    """Choose a job in the list that has it, as the page does; return the id of the button beside it."""
    short = job_id[:4]
    models = kernel.models()
    for box in models.values():
        parts = [c.removeprefix("IPY_MODEL_") for c in box.get("children", ())]
        for chooser, button in pairwise(parts):
            labels = models[chooser].get("_options_labels", ())
            at = next((i for i, label in enumerate(labels) if label.startswith(short)), None)
            if at is not None:
                data = {"method": "update", "state": {"index": at}, "buffer_paths": []}
                message = kernel.client.session.msg("comm_msg", {"comm_id": chooser, "data": data})
                kernel.client.shell_channel.send(message)
                return button
    raise AssertionError(f"{short} cannot be chosen")


@pytest.fixture
def panel(kernel):
    """A panel on show, in a kernel where the jobs' functions are defined."""
    assert kernel.run(JOBS).ok
    ran = kernel.run("%job panel")
    assert ran.ok, ran.error
    (shown,) = ran.displays
    assert {"text/html", "text/plain"} < set(shown["data"])
    return kernel


def test_it_moves_and_cancels(panel, store):
    assert panel.run("%job submit stuck() -o j").ok
    job_id = panel.value("j.id").strip("'")
    panel.until(lambda: "running" in row(panel, job_id), what="the panel to show the job")
    panel.click(choose(panel, job_id))
    panel.until(lambda: store.record(job_id).status == "cancelled", what="the job to end")
    panel.until(lambda: "cancelled" in row(panel, job_id), what="the panel to show the end")


def test_dead_letters_and_a_retry_of_one(panel, store, tmp_path):
    path = tmp_path / "gate"
    assert panel.run(f"k, j = (jobnb.options(retry=False).submit(gate, {str(path)!r}).wait() for _ in range(2))").ok
    job_id, other_id = panel.value("j.id").strip("'"), panel.value("k.id").strip("'")
    panel.until(lambda: "failed" in row(panel, job_id), what="the panel to show the failure")
    (table,) = panel.run("%job dlq").displays
    assert re.search(rf"{job_id[:4]} .*gate .*USER_ERROR +ValueError: no gate yet +1 ", table["data"]["text/plain"])
    path.touch()
    panel.click(choose(panel, job_id))

    def again(old):
        return next((r for r in store.records() if r.rerun_of == old), None)

    def completed(old):
        return lambda: (made := again(old)) is not None and made.status == "completed"

    panel.until(completed(job_id), what="the retry to complete")
    panel.until(lambda: "completed" in row(panel, again(job_id).id), what="the panel to show it")
    ran = panel.run("%job dlq retry")
    assert ran.ok, ran.error
    panel.until(completed(other_id), what="the other retry to complete")
    assert "no dead letters" in panel.run("%job dlq").displays[0]["data"]["text/plain"]


def test_a_retrying_job_is_due_at_the_press_of_its_card(panel, store, tmp_path):
    path = tmp_path / "gate"
    retry = "jobnb.Retry(delay=600, jitter=False, on=ValueError)"
    assert panel.run(f"jobnb.options(retry={retry}).submit(gate, {str(path)!r})").ok
    job_id = store.records()[0].id
    panel.until(lambda: countdowns(panel), what="the countdown")
    assert "next in" in panel.until(lambda: "retrying" in row(panel, job_id) and row(panel, job_id))
    panel.until(lambda: len(set(countdowns(panel))) >= 3, what="the clock to go on")
    path.touch()
    panel.click(panel.button("Retry now"))
    panel.until(lambda: store.record(job_id).status == "completed", what="the second attempt")
    assert store.record(job_id).attempt == 2


def test_close_leaves_html_and_no_widget_of_its_own(panel):
    before = set(panel.models())
    assert panel.run("p = jobnb.panel(5)").ok
    made = set(panel.models()) - before
    assert len(made) > 8
    assert panel.run("p.close()").ok
    panel.until(lambda: not made & set(panel.models()), what="the widgets to go")
    final = panel.updated_displays()[-1]["data"]
    assert set(final) == {"text/html", "text/plain"}
    assert "jn-panel" in final["text/html"]
