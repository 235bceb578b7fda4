"""The panel: what it says, how it moves, what its buttons do; with a clock of the test's own and no thread."""

import gc
from dataclasses import replace
from datetime import timedelta

import comm
import examples
import ipywidgets
import pytest
from test_cards_drawn import read
from test_cards_live import Counted, FakeHandle, advance

from jobnb.errors import UsageProblem
from jobnb.job import ErrorRecord, Progress, Status
from jobnb.notebook import cards, job_table, panel, panel_view, ui
from jobnb.notebook.budget import Budget


@pytest.fixture
def comms(monkeypatch):
    Counted.sent = []
    monkeypatch.setattr(comm, "create_comm", Counted)
    return Counted.sent


@pytest.fixture
def shown(shell, monkeypatch, comms):
    """What is displayed in a shell that says it is a kernel's: ``[(data, handle)]``."""
    shown = []
    monkeypatch.setattr(cards, "in_notebook", lambda: True)
    monkeypatch.setattr(cards, "_budget", Budget())
    monkeypatch.setattr(panel, "_moving", type(panel._moving)())
    import IPython.display

    def display(data, **kwargs):
        shown.append((data, FakeHandle()))
        return shown[-1][1]

    monkeypatch.setattr(IPython.display, "display", display)
    return shown


@pytest.fixture
def make(manager, shown):
    """Show a panel whose clock is the manager's."""

    def make(limit=20):
        made = panel.Panel(manager, limit, clock=lambda: manager.now)
        made.show()
        return made

    return make


def html(one):
    return one._face._html.value


def chooser(one, word):
    return {"Cancel": one._face._cancel, "Retry": one._face._retry}[word]


def offered(one, word):
    return [i for label, i in chooser(one, word)._list.options if "(over)" not in label]


def press(one, word, job=None):
    if job is not None:
        chooser(one, word)._list.value = job.id
    chooser(one, word)._button.click()


def turn(manager, thread, clock, seconds=0.5):
    advance(manager, clock, seconds)
    thread.tick()


# What it says


def test_a_panel_is_readable_without_style_and_pictures():
    said = read(panel_view.render(examples.panel()))
    assert "service running · 2 workers · 7 running · 1 retrying · 2 queued · 1 scheduled · 1 dead letter" in said
    assert "FAILURE_RATE 12 of the 14 jobs that ended within 1 h failed; the last is 9f02" in said
    assert "STUCK job 22d1: no sign of life for 600 s" in said
    assert "4,120 of 10,011 runs · Sharpe 1.31" in said
    assert "next in 1:40 · NETWORK_ERROR: ConnectionError" in said
    assert "412 of 1,000 items" in said


def test_the_terminal_says_the_same_without_what_it_would_obey():
    view = examples.panel()
    evil = replace(view, records=(examples.record(name="\x1b[31mred\nrow"),))
    said = panel_view.text(evil)
    assert "\x1b" not in said
    assert len(said.splitlines()) == 5
    assert "FAILURE_RATE 12 of the 14 jobs" in said


def test_everything_a_user_named_is_escaped():
    evil = "<script>alert(1)</script>"
    error = ErrorRecord(code=evil, message=evil)
    jobs = tuple(examples.record(name=evil, kind=evil, status=s, error=error, note=evil) for s in Status)
    view = replace(examples.panel(), records=jobs, service=evil)
    assert "<script" not in panel_view.render(view, trouble=evil)
    assert "<script" not in job_table.html(job_table.DEAD_LETTERS, jobs, examples.NOW)
    assert "<script" not in panel_view.render_trouble(evil)


def test_without_a_service_and_jobs():
    view = panel_view.PanelView(records=(), counts={}, now=examples.NOW)
    said = read(panel_view.render(view))
    assert said.startswith("jobs no service (it starts with the next job) · 0 jobs")
    assert said.endswith("no jobs yet")
    assert panel_view.text(view) == "jobs · no service (it starts with the next job) · 0 jobs"


def test_a_live_job_does_not_fall_off(manager):
    sweep = manager.put(name="long sweep")
    for _ in range(5):
        manager.end(manager.put())
    view = panel_view.read(manager, 3, manager.now)
    assert len(view.records) == 4
    assert sweep.id in [r.id for r in view.records]


def test_dead_letters_show_code_error_and_attempts(shell, manager):
    error = ErrorRecord(code="DATA_ERROR", type="ValueError", message="no <close>")
    job = manager.put(status=Status.FAILED, error=error, attempt=3, dead=True, finished_at=manager.now)
    table = shell.run_line_magic("job", "dlq")
    assert list(table) == [job]
    head, row = repr(table).splitlines()
    assert head.split() == ["id", "name", "kind", "code", "error", "attempts", "failed"]
    assert "DATA_ERROR  ValueError: no <close>         3" in row
    assert "ValueError: no &lt;close&gt;" in table._repr_html_()
    manager.change(job, dead=False)
    assert repr(shell.run_line_magic("job", "dlq")) == "no dead letters"


# How it moves


def test_it_moves_with_the_store_at_most_twice_a_second(manager, thread, clock, make, comms):
    job = manager.put(plan={"items": 1000})
    one = make()
    before, times = len(comms), []
    for i in range(100):
        manager.change(job, progress=Progress(current=i, total=1000))
        sent = len(comms)
        thread.tick()
        times += [clock.now] * (len(comms) - sent)
        advance(manager, clock, 0.06)
    assert 10 <= len(comms) - before <= 13  # six seconds
    assert all(sum(at <= t < at + 1.0 - 1e-6 for t in times) <= 2 for at in times)
    assert f"{9}" in html(one)


def test_the_last_change_is_drawn(manager, thread, clock, make):
    job = manager.put(plan={"items": 1000})
    one = make()
    turn(manager, thread, clock)
    manager.change(job, progress=Progress(current=777, total=1000))
    turn(manager, thread, clock, 0.1)
    assert "777 of" not in html(one)
    turn(manager, thread, clock, 0.5)
    assert "777 of" in html(one)


def test_nothing_is_sent_and_no_service_is_started_while_nothing_happens(manager, thread, clock, make, comms):
    manager.end(manager.put())
    make()
    thread.tick()
    before = len(comms)
    for _ in range(300):
        turn(manager, thread, clock, 0.1)
        manager.count += 1  # the service's sign of life
    assert len(comms) == before
    assert manager.asked("ensure_service") == []


def test_a_service_is_kept_while_a_job_is_live(manager, thread, clock, make):
    manager.put()
    make()
    turn(manager, thread, clock)
    assert manager.asked("ensure_service")


def test_warnings_show_as_they_come(manager, thread, clock, make):
    job = manager.put()
    one = make()
    manager.warnings = [{"job": job.id, "at": manager.now.isoformat(), "what": "stuck", "why": "no sign of life"}]
    manager.count += 1
    turn(manager, thread, clock)
    assert "STUCK" in html(one)


def test_a_panel_that_cannot_be_drawn_says_so_and_goes_on(manager, thread, clock, make, caplog):
    one = make()

    def fail(days):
        raise OSError("disk <gone>")

    manager.stats, stats = fail, manager.stats
    manager.count += 1
    turn(manager, thread, clock)
    assert "disk &lt;gone&gt;" in html(one)
    manager.stats = stats
    manager.count += 1
    turn(manager, thread, clock)
    assert "disk" not in html(one)


# What its buttons do


def test_cancel_is_a_wish_that_the_thread_carries_out(manager, thread, clock, make):
    first, second = manager.put(name="a"), manager.put(name="b")
    one = make()
    press(one, "Cancel", first)
    assert manager.asked("cancel") == []
    turn(manager, thread, clock)
    assert manager.asked("cancel") == [("cancel", first.id)]
    assert "cancelling" in html(one)
    assert "01aa: cancel was asked for" in html(one)
    assert offered(one, "Cancel") == [second.id]


def test_retry_tries_a_dead_letter_again_and_a_retrying_job_now(manager, thread, clock, make):
    dead = manager.put(status=Status.FAILED, dead=True, finished_at=manager.now)
    waits = manager.put(status=Status.RETRYING, run_at=manager.now + timedelta(seconds=60))
    manager.end(manager.put(), Status.FAILED)  # somebody has retried it: no dead letter
    one = make()
    assert offered(one, "Retry") == [waits.id, dead.id]
    press(one, "Retry", dead)
    press(one, "Retry", waits)
    turn(manager, thread, clock)
    assert manager.asked("retry") == [("retry", dead.id), ("retry", waits.id)]


def test_what_became_of_a_button_is_said_for_a_while(manager, thread, clock, make):
    job = manager.put()
    one = make()
    manager.end(job)
    one.on_cancel(job.id)
    turn(manager, thread, clock)
    assert "had ended already" in html(one)
    for _ in range(22):
        turn(manager, thread, clock)
    assert "had ended already" not in html(one)


def test_a_panel_of_a_store_at_rest_looks_twice_a_second(manager, thread, clock, make):
    job = manager.put()
    make()
    assert thread._pause() == ui.POLL_SECONDS
    manager.end(job)
    turn(manager, thread, clock)
    assert thread._pause() == ui.CALM_SECONDS


def test_a_second_press_of_retry_makes_no_second_job(manager, thread, clock, make):
    dead = manager.put(status=Status.FAILED, dead=True, finished_at=manager.now)
    one = make()
    retry = manager.retry

    def resolve(job_id):
        manager.change(dead, dead=False)
        return retry(job_id)

    manager.retry = resolve
    press(one, "Retry", dead)
    press(one, "Retry", dead)
    turn(manager, thread, clock)
    one.on_retry(dead.id)
    turn(manager, thread, clock)
    assert manager.asked("retry") == [("retry", dead.id)]
    assert "01aa is tried again as 02aa" in html(one)


def test_what_cannot_be_done_is_said(manager, thread, clock, make):
    job = manager.put()
    one = make()
    manager.end(job, Status.FAILED, dead=True)
    press(one, "Cancel", job)

    def fail(job_id):
        raise UsageProblem("that <job> cannot be retried")

    manager.retry = fail
    turn(manager, thread, clock)
    assert "01aa had ended already" in html(one)
    one.on_retry(job.id)
    turn(manager, thread, clock)
    assert "that &lt;job&gt; cannot be retried" in html(one)


def test_what_is_chosen_stays_chosen_and_nothing_takes_its_place(manager, thread, clock, make):
    """A choice comes as a place in the list, perhaps long after the list has changed: it means the same job."""
    a, b, c = (manager.put(name=n) for n in "abc")
    one = make()
    lists = chooser(one, "Cancel")._list
    assert lists.value == c.id
    lists.value = b.id
    d = manager.put(name="d")
    manager.end(c)
    turn(manager, thread, clock)
    assert lists.value == b.id
    assert [i for _, i in lists.options] == [c.id, b.id, a.id, d.id]
    assert offered(one, "Cancel") == [b.id, a.id, d.id]
    manager.end(b)
    turn(manager, thread, clock)
    assert lists.value == b.id
    press(one, "Cancel")
    turn(manager, thread, clock)
    assert "had ended already" in html(one)
    assert offered(one, "Cancel") == [a.id, d.id]


def test_a_list_of_which_all_are_over_is_replaced_and_hears_no_late_press(manager, thread, clock, make):
    registry = ipywidgets.widgets.widget._instances
    job = manager.put()
    one = make()
    old = chooser(one, "Cancel").widgets
    count = len(registry)
    manager.end(job)
    turn(manager, thread, clock)
    again = manager.put()
    turn(manager, thread, clock)
    assert offered(one, "Cancel") == [again.id]
    assert chooser(one, "Cancel")._list.value == again.id
    assert not {w.model_id for w in old if w.comm} & set(registry)
    assert len(registry) == count
    assert chooser(one, "Cancel").widgets == one._face._controls.children[:2]


def test_a_list_does_not_grow_for_ever(manager, thread, clock, make):
    one = make()
    keep = manager.put(name="keep")
    for _ in range(60):
        job = manager.put()
        turn(manager, thread, clock)
        manager.end(job)
        turn(manager, thread, clock)
        assert len(chooser(one, "Cancel")._list.options) <= 23
        assert keep.id in offered(one, "Cancel")


def test_controls_hide_while_there_is_nothing_to_choose(manager, thread, clock, make):
    job = manager.put()
    one = make()
    assert {w.layout.display for w in chooser(one, "Cancel").widgets} == {None}
    assert {w.layout.display for w in chooser(one, "Retry").widgets} == {"none"}
    manager.end(job)
    turn(manager, thread, clock)
    assert {w.layout.display for w in chooser(one, "Cancel").widgets} == {"none"}


# Where it is shown


def test_what_is_displayed(make, shown, manager):
    manager.put(name="my job")
    make()
    data, _ = shown[0]
    assert set(data) == {"text/html", "text/plain", cards.WIDGET_VIEW}
    assert "my job" in data["text/html"]
    assert "my job" in data["text/plain"]


def test_close_leaves_the_table_and_no_widget(manager, thread, make, shown):
    registry = ipywidgets.widgets.widget._instances
    before = set(registry)
    job = manager.put(name="my job")
    one = make()
    assert len(set(registry) - before) > 8
    manager.end(job)
    one.close()
    one.close()
    thread.tick()
    gc.collect()
    assert set(registry) - before == set()
    assert thread.live == 0
    data = shown[0][1].updates[-1][0]
    assert set(data) == {"text/html", "text/plain"}
    assert "completed" in data["text/html"]


def test_it_is_drawn_once_in_a_cell_and_again_in_others(make, shown, shell):
    one = make()
    one._ipython_display_()
    assert len(shown) == 1
    shell.execution_count += 1
    one._ipython_display_()
    assert len(shown) == 2
    assert shown[0][0][cards.WIDGET_VIEW] == shown[1][0][cards.WIDGET_VIEW]
    one.close()
    one.tick(0.0, False, "")
    assert len(shown[1][1].updates) == 1
    shell.execution_count += 1
    one._ipython_display_()
    assert cards.WIDGET_VIEW not in shown[2][0]


def test_several_panels_move_and_the_oldest_of_many_stops(manager, thread, clock, make):
    many = [make() for _ in range(panel._MOST + 1)]
    assert thread.live == panel._MOST + 1
    thread.tick()
    assert thread.live == panel._MOST
    assert many[0]._closed
    manager.put(name="new one")
    turn(manager, thread, clock)
    assert all("new one" in html(one) for one in many[1:])


def test_a_cell_that_runs_again_replaces_its_panel(thread, make, shell):
    class Kernel:
        def get_parent(self):
            return {"metadata": {"cellId": "c1"}}

    shell.kernel = Kernel()
    first = make()
    second = make()
    thread.tick()
    assert (first._closed, second._closed) == (True, False)


def test_without_ipywidgets_the_display_itself_moves(manager, thread, clock, make, shown, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    make()
    data, handle = shown[0]
    assert cards.WIDGET_VIEW not in data
    manager.put(name="new one")
    turn(manager, thread, clock)
    assert "new one" in handle.updates[-1][0]["text/html"]


def test_a_terminal_prints_the_table_once(shell, manager, thread, capsys):
    manager.put(name="my job")
    made = shell.run_line_magic("job", "panel --limit 5")
    assert "my job" in capsys.readouterr().out
    made._ipython_display_()
    assert capsys.readouterr().out == ""
    assert thread.live == 0
    made.close()


def test_a_bad_limit_is_refused(manager):
    for bad in (0, -1, "5", True, 2.0):
        with pytest.raises(UsageProblem, match="limit must be a whole number"):
            panel.Panel(manager, bad)
