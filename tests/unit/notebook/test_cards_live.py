"""The life of a card: with a clock of the test's own, no thread and no sleep."""

import gc
import re
from datetime import timedelta

import comm
import examples
import ipywidgets
import pytest

from jobnb.errors import JobnbError
from jobnb.job import Job, Progress, Status
from jobnb.notebook import cards, delivery, ui
from jobnb.notebook import face as face_module
from jobnb.notebook.budget import Budget


class FakeFace:
    def __init__(self, on_cancel=None, on_retry=None):
        self.done = []
        self.html = ""
        self.model_id = "m"

    def __getattr__(self, name):
        return lambda *args: self.done.append((name, *args))

    def draw(self, html):
        self.html = html
        self.done.append(("draw", html))

    def offer_retry(self, offered):
        self.retry = offered

    def settle(self, html):
        self.html = html
        self.done.append(("settle", html))

    def count(self, what):
        return sum(d[0] == what for d in self.done)


class FakeHandle:
    def __init__(self):
        self.updates = []

    def update(self, data, **kwargs):
        self.updates.append((data, kwargs))


@pytest.fixture(autouse=True)
def plenty(monkeypatch):
    """Whatever other tests have sent."""
    monkeypatch.setattr(cards, "_budget", Budget())
    cards._unseen.clear()
    cards._cell_runs.clear()


def card(manager, job, after=0.5):
    made = cards.Card(manager, job.id, after=after, handle=FakeHandle(), face=FakeFace())
    return made, made._face, made._handle


def advance(manager, clock, seconds):
    clock.now += seconds
    manager.pass_time(seconds)


def test_nothing_shows_for_a_job_that_ends_at_once(manager, thread, clock):
    job = manager.put()
    one, face, handle = card(manager, job)
    thread.add(one)
    for _ in range(4):
        thread.tick()
        advance(manager, clock, 0.06)
    assert face.done == []
    manager.end(job)
    thread.tick()
    assert [d[0] for d in face.done] == ["settle"]
    assert "completed" in face.html
    assert len(handle.updates) == 1
    assert thread.live == 0


def test_a_card_appears_after_progress_after_without_any_change(manager, thread, clock):
    one, face, _ = card(manager, manager.put())
    thread.add(one)
    thread.tick()
    advance(manager, clock, 0.51)
    thread.tick()
    assert [d[0] for d in face.done] == ["reveal", "draw"]


def test_at_most_four_updates_a_second_whatever_the_store_does(manager, thread, clock):
    job = manager.put(plan={"items": 1000})
    one, face, _ = card(manager, job, after=0.0)
    thread.add(one)
    times = []
    for i in range(200):
        manager.change(job, progress=Progress(current=i, total=1000))
        before = face.count("draw")
        thread.tick()
        if face.count("draw") > before:
            times.append(clock.now)
        advance(manager, clock, 0.05)
    assert 35 <= len(times) <= 41  # ten seconds
    for start in times:
        assert sum(start <= t < start + 1.0 - 1e-6 for t in times) <= 4


def test_the_last_change_is_drawn_even_when_nothing_follows(manager, thread, clock):
    job = manager.put(plan={"items": 1000})
    one, face, _ = card(manager, job, after=0.0)
    thread.add(one)
    thread.tick()
    manager.change(job, progress=Progress(current=777, total=1000))
    advance(manager, clock, 0.06)
    thread.tick()
    assert "777" not in face.html
    for _ in range(5):
        advance(manager, clock, 0.06)
        thread.tick()
    assert "777" in face.html


def test_only_the_clock_ticks_while_nothing_happens(manager, thread, clock):
    one, face, _ = card(manager, manager.put(), after=0.0)
    thread.add(one)
    views = []
    real = manager.view
    manager.view = lambda *a, **k: views.append(1) or real(*a, **k)
    for _ in range(50):
        thread.tick()
        advance(manager, clock, 0.1)
    assert face.count("draw") <= 7
    assert len(views) <= 12  # five seconds; the store is not read in between


def test_cancel_is_a_wish_that_the_thread_carries_out(manager, thread, clock):
    job = manager.put()
    one, face, _ = card(manager, job, after=0.0)
    thread.add(one)
    thread.tick()
    one.on_cancel()
    assert manager.asked("cancel") == []
    advance(manager, clock, 0.06)
    thread.tick()
    assert manager.asked("cancel") == [("cancel", job.id)]
    assert face.count("press") >= 1
    advance(manager, clock, 0.3)
    thread.tick()
    assert "cancelling" in face.html
    manager.end(job, Status.CANCELLED, cancelled_by="you")
    thread.tick()
    assert "cancelled by you" in face.html


def retrying(manager, seconds=100.0, **changes):
    due = manager.now + timedelta(seconds=seconds)
    return manager.put(status=Status.RETRYING, attempt=2, run_at=due, options={"max_attempts": 4}, **changes)


def test_a_retrying_card_counts_down_each_second(manager, thread, clock):
    one, face, _ = card(manager, retrying(manager, 3.3), after=0.0)
    thread.add(one)
    said = []
    for _ in range(50):
        thread.tick()
        left = re.search(r"next (?:in <b>([\d:]+)</b>|is (due))", face.html)
        if (left[1] or left[2]) not in said:
            said.append(left[1] or left[2])
        advance(manager, clock, 0.1)
    assert said == ["0:04", "0:03", "0:02", "0:01", "due"]
    assert face.count("draw") <= 12


def test_retry_now_is_offered_only_while_the_job_waits_for_its_next_attempt(manager, thread, clock, notebook):
    job = manager.put()
    cards.show(job)
    face = thread._watchers[0]._face
    advance(manager, clock, 1.0)
    thread.tick()
    assert face._retry.layout.display == "none"
    manager.change(job, status=Status.RETRYING, run_at=manager.now + timedelta(seconds=60))
    advance(manager, clock, 1.0)
    thread.tick()
    assert face._retry.layout.display is None
    assert "jn-b2" in face._html.value
    manager.change(job, status=Status.RUNNING)
    advance(manager, clock, 1.0)
    thread.tick()
    assert face._retry.layout.display == "none"
    assert "jn-b1" in face._html.value


def test_retry_now_is_a_wish_that_the_thread_carries_out(manager, thread, clock):
    job = retrying(manager)
    one, _, _ = card(manager, job, after=0.0)
    thread.add(one)
    thread.tick()
    one.on_retry()
    assert manager.asked("retry") == []
    thread.tick()
    assert manager.asked("retry") == [("retry", job.id)]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED, Status.COMPLETED])
def test_a_late_press_of_retry_now_submits_nothing(manager, thread, status):
    job = retrying(manager)
    one, _, _ = card(manager, job, after=0.0)
    thread.add(one)
    thread.tick()
    one.on_retry()
    manager.change(job, status=status)
    thread.tick()
    assert manager.asked("retry") == []


def test_a_taken_unique_key_is_said_on_that_card_and_stays(manager, thread, clock, notebook):
    job = manager.put(unique="nightly")
    cards.show(Job(job.id, manager, duplicate=True))
    cards.show(Job(job.id, manager))
    for_duplicate, for_first = (data["text/html"] for data, _ in notebook)
    assert "unique key &#x27;nightly&#x27; is taken by this job" in for_duplicate
    assert "unique key" not in for_first
    faces = [w._face for w in thread._watchers]
    manager.end(job)
    thread.tick()
    assert "is taken by this job" in faces[0]._html.value
    assert "is taken by this job" not in faces[1]._html.value


def test_a_terminal_says_a_taken_unique_key_too(manager, shell, capsys):
    job = manager.put(unique="nightly")
    cards.show(Job(job.id, manager, duplicate=True))
    assert "unique key 'nightly' is taken by this job" in capsys.readouterr().out


def test_both_the_widget_and_the_display_keep_the_end(manager, thread):
    job = manager.put()
    one, face, handle = card(manager, job)
    thread.add(one)
    manager.end(job)
    thread.tick()
    data, kwargs = handle.updates[-1]
    assert kwargs == {"raw": True, "metadata": {"jobnb": {"job": job.id}}}
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/html"].startswith("<style>")
    assert face.html in data["text/html"]
    assert "<style>" not in face.html  # the sheet is a widget of its own


def test_a_card_that_cannot_be_drawn_says_so_and_the_thread_lives_on(manager, thread, clock, caplog):
    broken_job, good_job = manager.put(), manager.put()
    other = type(manager)()
    other.rows = manager.rows
    broken, broken_face, _ = card(manager, broken_job, after=0.0)
    good, good_face, _ = card(other, good_job, after=0.0)
    thread.add(broken)
    thread.add(good)
    manager.view_error = OSError("disk <gone>")
    thread.tick()
    assert "disk &lt;gone&gt;" in broken_face.html
    assert "running" in good_face.html
    manager.view_error = None
    manager.count += 1
    advance(manager, clock, 1.0)
    thread.tick()
    assert "running" in broken_face.html
    assert thread.live == 2


def test_a_service_that_does_not_start_is_told_on_the_card(manager, thread, clock):
    one, face, _ = card(manager, manager.put(), after=0.0)
    thread.add(one)
    thread.tick()
    assert len(manager.asked("ensure_service")) == 1

    def fail():
        raise RuntimeError("no ports <left>")

    manager.ensure_service = fail
    advance(manager, clock, 2.1)
    thread.tick()
    assert "the service cannot be started: no ports &lt;left&gt;" in face.html
    manager.ensure_service = lambda: None
    advance(manager, clock, 2.1)
    thread.tick()
    advance(manager, clock, 0.3)
    thread.tick()
    assert "cannot be started" not in face.html


def test_the_service_is_looked_after_every_two_seconds(manager, thread, clock):
    one, _, _ = card(manager, manager.put())
    thread.add(one)
    for _ in range(100):
        thread.tick()
        advance(manager, clock, 0.1)
    assert len(manager.asked("ensure_service")) == 5


def test_an_update_is_no_change_of_the_pulse(manager, thread, clock):
    job = manager.put(plan={"items": 10})
    one, face, _ = card(manager, job, after=0.0)
    thread.add(one)
    thread.tick()
    first = face.html
    manager.count += 1  # something else in the store has changed
    advance(manager, clock, 0.3)
    thread.tick()
    assert face.html is first


def test_the_real_thread_sleeps_and_ends(manager):
    made = ui.Ui()
    job = manager.put()
    manager.end(job)
    one, face, _ = card(manager, job)
    made.add(one)
    assert made.catch_up(timeout=5)
    assert face.count("settle") == 1
    assert made.live == 0
    assert made._thread.is_alive()
    made.stop()
    assert not made._thread.is_alive()
    assert made.catch_up() is True


class Counted(comm.base_comm.BaseComm):
    """A comm that goes nowhere and counts."""

    sent = []  # noqa: RUF012

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        Counted.sent.append((msg_type, data))


@pytest.fixture
def comms(monkeypatch):
    Counted.sent = []
    monkeypatch.setattr(comm, "create_comm", Counted)
    monkeypatch.setattr(face_module, "_ended", type(face_module._ended)())
    return Counted.sent


@pytest.fixture
def notebook(shell, monkeypatch, comms):
    """A shell that says it is a kernel's, and what is displayed in it."""
    shown = []
    monkeypatch.setattr(cards, "in_notebook", lambda: True)
    import IPython.display

    def display(data, **kwargs):
        shown.append((data, kwargs))
        return FakeHandle()

    monkeypatch.setattr(IPython.display, "display", display)
    return shown


def test_one_update_is_one_message(manager, thread, clock, notebook, comms):
    job = manager.put(plan={"items": 1000})
    cards.show(job)
    advance(manager, clock, 1.0)
    thread.tick()
    before = len(comms)
    for i in range(80):
        manager.change(job, progress=Progress(current=i, total=1000))
        thread.tick()
        advance(manager, clock, 0.05)
    assert len(comms) - before <= 17  # four seconds
    assert all(len(str(data)) < 3000 for _, data in comms[before:])  # without the style sheet


def test_what_is_displayed(manager, notebook):
    job = manager.put()
    cards.show(job)
    data, kwargs = notebook[0]
    assert set(data) == {"text/html", "text/plain", cards.WIDGET_VIEW}
    assert kwargs["metadata"] == {"jobnb": {"job": job.id}}
    assert kwargs["display_id"] is True
    assert "<button" not in data["text/html"]


def test_an_ended_job_is_plain_html(manager, notebook, thread, comms):
    job = manager.put()
    manager.end(job)
    cards.show(job)
    data, kwargs = notebook[0]
    assert set(data) == {"text/html", "text/plain"}
    assert kwargs["metadata"] == {"jobnb": {"job": job.id}}
    assert thread.live == 0
    assert comms == []


def test_nothing_leaks_at_the_end(manager, thread, notebook, comms, monkeypatch):
    monkeypatch.setattr(face_module, "KEEP_ENDED", 0)
    registry = ipywidgets.widgets.widget._instances
    before = set(registry)
    job = manager.put()
    cards.show(job)
    assert len(set(registry) - before) > 5
    manager.end(job)
    thread.tick()
    gc.collect()
    assert set(registry) - before == set()


def test_ended_widgets_stay_for_a_reload_but_not_the_buttons(manager, thread, notebook):
    before = set(ipywidgets.widgets.widget._instances)
    job = manager.put()
    cards.show(job)
    manager.end(job)
    thread.tick()
    left = [w for i, w in ipywidgets.widgets.widget._instances.items() if i not in before]
    assert not any(isinstance(w, ipywidgets.Button) for w in left)
    assert any("completed" in str(getattr(w, "value", "")) for w in left)
    face_module._ended[0].close()


def test_without_ipywidgets_the_display_itself_moves(manager, thread, clock, notebook, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    job = manager.put()
    cards.show(job)
    data, _ = notebook[0]
    assert cards.WIDGET_VIEW not in data
    assert data["text/html"] == ""  # nothing flashes
    handle = thread._watchers[0]._handle
    advance(manager, clock, 1.0)
    thread.tick()
    assert "running" in handle.updates[-1][0]["text/html"]
    manager.end(job)
    thread.tick()
    assert "completed" in handle.updates[-1][0]["text/html"]


def test_a_card_is_drawn_once_in_a_cell(manager, notebook, shell):
    job = manager.put()
    cards.show(job)
    cards.show(job)
    assert len(notebook) == 1
    cards.show(job, again=True)
    assert len(notebook) == 2
    shell.execution_count += 1
    cards.show(job)
    assert len(notebook) == 3


def test_a_button_answers_on_any_shell(manager, notebook, monkeypatch, comms):
    """The way round ipykernel 7.4; without the private method nothing is touched."""
    monkeypatch.setattr(Counted, "_reply_subshell_for", lambda self, data, default: "main", raising=False)
    face = face_module.Face(lambda _: None, lambda _: None)
    assert face._cancel.comm._reply_subshell_for({}, "here") == "here"
    face.close()


def test_in_a_terminal_it_is_text(manager, shell, capsys):
    job = manager.put(name="my job")
    cards.show(job)
    assert "my job" in capsys.readouterr().out
    cards.show(job)
    assert capsys.readouterr().out.startswith("<Job ")


def test_without_ipython_it_is_text_too(manager, capsys, monkeypatch):
    monkeypatch.setattr(cards, "shell", lambda: None)
    cards.show(manager.put(name="my job"))
    assert "my job" in capsys.readouterr().out


def test_results_of_a_cell_come_home_when_it_ends(manager, thread):
    job = manager.put()
    space = {}
    delivery.deliver(job, ("a", "b"), space)
    thread.tick()
    assert space == {}
    manager.values[job.id] = {"a": 1, "b": 2}
    manager.end(job)
    thread.tick()
    assert space == {"a": 1, "b": 2}
    assert thread.live == 0


def test_a_failed_cell_assigns_nothing(manager, thread):
    job = manager.put()
    space = {"a": "old"}
    delivery.deliver(job, ("a",), space)
    manager.end(job, Status.FAILED)
    thread.tick()
    assert space == {"a": "old"}
    assert thread.live == 0


def test_results_that_cannot_come_home_are_told_on_the_card(manager, thread, caplog):
    job = manager.put()
    delivery.deliver(job, ("a",), {})
    one, face, _ = card(manager, job)
    thread.add(one)
    manager.end(job)  # there is no value: KeyError
    thread.tick()
    assert "a could not be brought back: KeyError" in face.html


def test_waiting_for_results_that_cannot_come_home_is_an_error(manager, thread, monkeypatch):
    monkeypatch.setattr(delivery, "_deliveries", [])
    job = manager.put()
    delivery.deliver(job, ("a",), {})
    manager.end(job)
    with pytest.raises(KeyError):
        delivery.settle(job.id)
    with pytest.raises(JobnbError, match="a could not be brought back"):
        delivery.settle(job.id)


def test_a_hundred_ends_at_once_do_not_flood_the_server(manager, thread, clock, monkeypatch):
    monkeypatch.setattr(cards, "_budget", Budget())
    made = []
    for _ in range(100):
        job = manager.put(kind="backtest", summary=examples.backtest_summary())
        one = card(manager, job)
        thread.add(one[0])
        made.append(one)
        manager.end(job)
    sent = []
    for _ in range(300):
        thread.tick()
        size = sum(len(html) for _, face, _ in made for what, *html in face.done for html in html if what == "settle")
        sent.append((clock.now, size * 2))
        advance(manager, clock, 0.06)
    assert thread.live == 0
    for at, size in sent:
        before = [s for t, s in sent if t <= at - 3.0]
        assert size - (before[-1] if before else 0) < 3_000_000


def test_what_ends_between_two_cells_is_told_again_in_the_next(manager, thread, monkeypatch):
    """nbclient and papermill record only what belongs to a running cell."""
    during, between = manager.put(), manager.put()
    first, second = card(manager, during), card(manager, between)
    thread.add(first[0])
    thread.add(second[0])
    cards.cell_begins()
    manager.end(during)
    thread.tick()
    cards.cell_ends()
    manager.end(between)
    thread.tick()
    assert len(second[2].updates) == 1
    cards.cell_begins()
    cards.cell_ends()
    cards.cell_begins()
    cards.cell_ends()
    assert len(first[2].updates) == 1
    assert len(second[2].updates) == 2
    assert second[2].updates[0] == second[2].updates[1]


def test_the_budget():
    budget = Budget(rate=10, burst=100)
    assert budget.take(100, 0.0)
    assert not budget.take(1, 0.0)
    assert budget.take(10, 1.0)
    assert budget.take(50, 1.0, force=True)
    assert not budget.take(10, 5.0)
    assert budget.take(1000, 60.0)  # more than all of it goes alone


def test_the_store_is_read_now_and_then_even_if_its_version_stands_still(manager, thread, clock):
    job = manager.put()
    one, face, _ = card(manager, job)
    thread.add(one)
    thread.tick()
    manager.end(job)
    manager.count -= 1
    advance(manager, clock, 5.1)
    thread.tick()
    assert "completed" in face.html


def test_examples_are_whole():
    assert len(examples.views()) == 21
