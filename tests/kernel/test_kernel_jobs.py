"""Jobs from the cells of a real kernel: they return at once, their cards move by themselves and end as plain HTML."""

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("service")]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

STRATEGY = """
import jobnb
from jobnb.research.sample import goog
prices = goog()

class SmaCross(jobnb.Strategy):
    fast: int = 10
    slow: int = 30

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)
"""

#: A job that runs until the test lets it end.
GATED = """
import os, time, jobnb

def gated(path):
    print("at the gate")
    while not os.path.exists(path):
        time.sleep(0.01)
    return "let through"
"""


def final(kernel, job_id, timeout=60):
    """Wait for the plain card that a job leaves at its end, and return its display's content."""

    def found():
        return [c for c in kernel.updated_displays() if c["metadata"] == {"jobnb": {"job": job_id}}]

    return kernel.until(found, timeout, f"the final card of {job_id}")[-1]


def test_backtest_and_optimize_of_a_strategy_from_a_cell(kernel):
    assert kernel.run(STRATEGY).ok
    assert kernel.run("%job backtest SmaCross --data prices fast=10 slow=30 commission=0.001 -o bt").ok
    assert kernel.run("%job optimize SmaCross --data prices fast=5:9 slow=10:40:10 -o sweep").ok
    assert kernel.run("bt.result(); sweep.result()").ok
    assert "equity" in final(kernel, kernel.value("bt.id").strip("'"))["data"]["text/html"]
    assert "jn-heat" in final(kernel, kernel.value("sweep.id").strip("'"))["data"]["text/html"]
    assert int(kernel.value("len(sweep.result().trials)")) == 12
    assert kernel.value("_job.id == sweep.id") == "True"


def test_the_cell_returns_while_the_job_runs(kernel, store, tmp_path):
    gate = tmp_path / "gate"
    assert kernel.run(GATED).ok
    # The gate is closed: that the cell ends at all shows that it does not wait.
    assert kernel.run(f"%job submit gated({str(gate)!r}) -o j").ok
    job_id = kernel.value("j.id").strip("'")
    kernel.until(lambda: store.record(job_id).status == "running", what="the job to run")
    assert kernel.run("6 * 7").displays[0]["data"]["text/plain"] == "42"
    kernel.until(lambda: "at the gate" in kernel.card_html(), what="the log on the card while no cell runs")
    gate.touch()
    assert kernel.run("j.result()").displays[0]["data"]["text/plain"] == "'let through'"


def test_a_card_begins_as_a_widget_with_a_text_and_ends_as_html(kernel):
    kernel.run("def f():\n    return 1")
    ran = kernel.run("%job submit f() -o j")
    (shown,) = ran.displays
    job_id = kernel.value("j.id").strip("'")
    assert set(shown["data"]) == {WIDGET_VIEW, "text/html", "text/plain"}
    assert shown["metadata"] == {"jobnb": {"job": job_id}}
    assert shown["transient"]["display_id"]
    assert job_id[:4] in shown["data"]["text/plain"]
    ended = final(kernel, job_id)
    assert set(ended["data"]) == {"text/html", "text/plain"}
    assert ended["transient"]["display_id"] == shown["transient"]["display_id"]
    assert "completed" in ended["data"]["text/html"]
    # The widget says the same, for a page that was loaded again; its button is gone.
    assert "completed" in kernel.card_html()
    assert kernel.button("Cancel") is None


def test_a_card_takes_at_most_four_updates_a_second(kernel):
    kernel.run("import time, jobnb\ndef busy():\n    for _ in jobnb.track(range(800)):\n        time.sleep(0.002)")
    assert kernel.run("%job submit busy() -o j").ok
    final(kernel, kernel.value("j.id").strip("'"))
    (html,) = [i for i, s in kernel.models().items() if "<section" in str(s.get("value", ""))]
    times = [when.timestamp() for when, state in kernel.updates(html) if "value" in state]
    assert len(times) >= 6, "the card did not move"
    # The last one, the outcome, comes at once.
    within = max(sum(t <= u < t + 1 for u in times[:-1]) for t in times)
    # Four, and one for a message that was late and the next one that was not.
    assert within <= 5, times
    assert len(kernel.updated_displays()) == 1


def test_many_cards_leave_no_widgets_of_their_buttons_behind(kernel):
    kernel.run("def f(n):\n    return n")
    kernel.run("jobs = []\nfor n in range(5):\n    jobs.append(get_ipython().run_line_magic('job', f'submit f({n})'))")
    for i in range(5):
        final(kernel, kernel.value(f"jobs[{i}].id").strip("'"))
    kernel.run("")
    names = [s["_model_name"] for s in kernel.models().values()]
    assert "ButtonModel" not in names
    assert names.count("VBoxModel") == 5


def test_a_job_can_be_awaited_in_a_cell(kernel):
    kernel.run("def f():\n    return 'here'")
    ran = kernel.run("%job submit f() -o j\nawait j")
    assert ran.ok
    assert [d["data"]["text/plain"] for d in ran.displays][-1] == "'here'"


def test_a_cell_runs_as_a_job_and_its_result_comes_back(kernel):
    kernel.run("base = 40\nx = None")
    ran = kernel.run("%%job --name load -o x\nprint('from the cell')\nx = base + 2")
    assert ran.ok
    assert kernel.run("%job wait").ok
    assert kernel.value("x") == "42"
    assert "from the cell" in kernel.run("%job logs").displays[0]["data"]["text/plain"]
    assert "load" in kernel.run("%job list").displays[0]["data"]["text/html"]


def test_interrupting_a_wait_leaves_the_job_alone(kernel, store, tmp_path):
    gate = tmp_path / "gate"
    kernel.run(GATED)
    kernel.run(f"%job submit gated({str(gate)!r}) -o j")
    job_id = kernel.value("j.id").strip("'")
    kernel.until(lambda: store.record(job_id).status == "running")
    cell = kernel.start("%job wait j")

    def waits():
        return any(
            m["msg_type"] == "display_data" and m["parent_header"].get("msg_id") == cell for m in kernel.messages
        )

    kernel.until(waits, what="the wait to have drawn its card")
    kernel.interrupt()
    ran = kernel.finish(cell)
    assert not ran.ok
    assert ran.stdout.strip().splitlines() == [
        f"UsageError: stopped waiting; the job goes on. Stop with: %job cancel {job_id}"
    ]
    assert store.record(job_id).status == "running"
    gate.touch()
    assert kernel.run("j.result()").displays[0]["data"]["text/plain"] == "'let through'"
