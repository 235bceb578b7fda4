"""Notices in a real kernel: a line comes by itself, from the UI thread, and once more for who runs the next cell."""

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("service")]


def lines(content):
    return content["data"].get("text/plain", "")


def updated(kernel, text):
    return [c for c in kernel.updated_displays() if text in lines(c) and "jobnb-notice" in c["data"]["text/html"]]


def test_a_channel_of_the_notebook(kernel):
    asked = kernel.run("import jobnb\ndef f():\n    return 1\nchannel = jobnb.notify('notebook', on='completed')")
    assert asked.ok, asked.error
    (place,) = [d for d in asked.displays if d["data"] == {"text/html": "", "text/plain": ""}]
    assert kernel.run("j = jobnb.submit(f)").ok
    # It comes while no cell runs, under the cell that asked for it.
    (shown,) = kernel.until(lambda: updated(kernel, "f completed"), 60, "the notice")
    assert shown["transient"]["display_id"] == place["transient"]["display_id"]
    ran = kernel.run("6 * 7")
    assert [lines(d) for d in ran.displays][-1] == "42"
    assert "f completed" in lines(ran.displays[0])
    assert [lines(d) for d in kernel.run("6 * 7").displays] == ["42"]
    # Nothing was printed anywhere.
    assert not [m for m in kernel.messages if m["msg_type"] == "stream"]


def test_a_job_that_tells_the_notebook(kernel):
    assert kernel.run("import jobnb\ndef g():\n    raise ValueError('no')").ok
    asked = kernel.run("j = jobnb.options(notify=True, retry=0).submit(g)")
    assert asked.ok, asked.error
    kernel.until(lambda: updated(kernel, "g failed · USER_ERROR: ValueError: no"), 60, "the notice")
    assert kernel.run("k = jobnb.options(retry=0).submit(g).wait()").ok
    assert kernel.value("len(jobnb.notices()[0].history())") == "1"
