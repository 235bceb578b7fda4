"""The pre-save hook: what it replaces in a notebook, what it leaves alone, and that it never stops a save."""

import copy
import logging

import pytest

from jobnb.errors import StoreError, UnknownName
from jobnb.job import ErrorRecord, JobRecord, JobView, Progress, Status, utcnow
from jobnb.server.saved import FinalCards

WIDGET = "application/vnd.jupyter.widget-view+json"
ID = "0123abcd"


class Shelf:
    """A manager with one job, or with a reason not to show any."""

    def __init__(self, status=Status.COMPLETED, error=None, **changes):
        self.error = error
        self.asked = []
        self.job = JobRecord(
            **{
                "id": ID,
                "name": "walk",
                "kind": "job",
                "status": status,
                "cluster": "local",
                "created_at": utcnow(),
                **changes,
            }
        )

    def view(self, job_id, log_lines=8):
        self.asked.append(job_id)
        if self.error is not None:
            raise self.error
        if job_id != ID:
            raise UnknownName(f"job {job_id} is not in the store any more.")
        return JobView(job=self.job, now=utcnow())


def card(job_id=ID, **more):
    return {
        "output_type": "display_data",
        "data": {WIDGET: {"model_id": "m"}, "text/html": "old", "text/plain": "old"},
        "metadata": {"jobnb": {"job": job_id}},
        **more,
    }


def saved(*outputs, manager=None):
    """Run the hook on a notebook with these outputs; give what is saved of them."""
    cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": list(outputs)}
    model = {"type": "notebook", "content": {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}}
    FinalCards(manager or Shelf())(model, "a.ipynb", object())
    return model["content"]["cells"][0]["outputs"]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_the_card_of_an_ended_job_becomes_plain_html(status):
    error = ErrorRecord(code="USER_ERROR", type="ValueError", message="no") if status is Status.FAILED else None
    manager = Shelf(status)
    manager.job = JobRecord(**{**vars(manager.job), "error": error, "finished_at": utcnow()})
    (output,) = saved(card(), manager=manager)
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert str(status) in output["data"]["text/html"]
    assert str(status) in output["data"]["text/plain"]
    assert output["metadata"] == {"jobnb": {"job": ID}}


def test_a_running_job_keeps_its_widget_and_says_how_far_it_is():
    manager = Shelf(Status.RUNNING, started_at=utcnow(), progress=Progress(current=3, total=10))
    (output,) = saved(card(), manager=manager)
    assert output["data"][WIDGET] == {"model_id": "m"}
    assert 'aria-valuenow="30"' in output["data"]["text/html"]
    assert "running" in output["data"]["text/plain"]


def test_an_unknown_job_stays_as_it_is(caplog):
    (output,) = saved(card("ffffffff"))
    assert output == card("ffffffff")
    assert not caplog.records


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "stream", "name": "stdout", "text": "hello"},
        {"output_type": "display_data", "data": {WIDGET: {"model_id": "theirs"}}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/html": "final"}, "metadata": {"jobnb": {"job": ID}}},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
    ],
)
def test_what_is_not_a_live_card_is_not_touched(output):
    manager = Shelf()
    assert saved(copy.deepcopy(output), manager=manager) == [output]
    assert manager.asked == []


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        "jobnb",
        {"jobnb": None},
        {"jobnb": ID},
        {"jobnb": {}},
        {"jobnb": {"job": None}},
        {"jobnb": {"job": 12345678}},
        {"jobnb": {"job": ["0123abcd"]}},
        {"jobnb": {"job": "../../etc"}},
        {"jobnb": {"job": ID + "\n"}},
        {"jobnb": {"job": "last"}},
    ],
)
def test_malformed_metadata_names_no_job(metadata):
    manager = Shelf()
    output = card(metadata=metadata)
    assert saved(copy.deepcopy(output), manager=manager) == [output]
    assert manager.asked == []


@pytest.mark.parametrize("content", [None, [], {}, {"cells": None}, {"cells": [None, 1]}, {"cells": [{"outputs": 3}]}])
def test_what_is_no_notebook_is_left_alone(content):
    model = {"type": "notebook", "content": content}
    FinalCards(Shelf())(model, "a.ipynb")
    assert model == {"type": "notebook", "content": content}


def test_files_and_folders_are_left_alone():
    model = {"type": "file", "content": "text"}
    FinalCards(Shelf())(model, "a.txt", contents_manager=None)
    assert model == {"type": "file", "content": "text"}


def test_what_a_user_named_is_escaped():
    manager = Shelf(name="<script>alert(1)</script>")
    (output,) = saved(card(), manager=manager)
    assert "<script" not in output["data"]["text/html"]
    assert "&lt;script&gt;" in output["data"]["text/html"]


@pytest.mark.parametrize(
    "error", [StoreError("damaged"), OSError("no disk"), ValueError("what is that"), KeyError("plan")]
)
def test_a_store_that_cannot_be_read_does_not_stop_a_save(error, caplog):
    with caplog.at_level(logging.WARNING, logger="jobnb.server.saved"):
        outputs = saved(card(), card(), manager=Shelf(error=error))
    assert outputs == [card(), card()]
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    assert f"a.ipynb: the card of job {ID} stays as it is" in caplog.records[0].getMessage()


def test_one_damaged_card_does_not_keep_the_others_from_being_saved(monkeypatch):
    manager = Shelf()
    good = manager.view

    def view(job_id, log_lines=8):
        if job_id == "ffffffff":
            raise RuntimeError("damaged")
        return good(job_id)

    manager.view = view
    first, second = saved(card("ffffffff"), card(), manager=manager)
    assert first == card("ffffffff")
    assert WIDGET not in second["data"]


def test_the_real_store_is_read(tmp_path):
    from jobnb.manager import JobManager
    from jobnb.store.jobs import NewJob

    manager = JobManager(home=tmp_path / "home")
    try:
        job_id = manager.store.jobs.add(
            NewJob(name="walk", kind="job", cluster="local", payload="", plan={"type": "single", "items": 1}, who="me")
        )
        manager.cancel(job_id)
        (output,) = saved(card(job_id), manager=manager)
    finally:
        manager.close()
    assert "walk" in output["data"]["text/html"]


def test_a_home_that_cannot_be_used_does_not_stop_a_save(tmp_path):
    from jobnb.manager import JobManager

    (tmp_path / "file").write_text("in the way")
    (output,) = saved(card(), manager=JobManager(home=tmp_path / "file" / "home"))
    assert output == card()
