"""A kernel that dies takes no job with it, and two kernels see one store."""

import pytest

pytestmark = pytest.mark.kernel

GATED = """
import os, time, jobnb

def steps(path):
    for i in jobnb.track(range(10)):
        if i == 4:
            while not os.path.exists(path):
                time.sleep(0.01)
    return i
"""


def test_a_killed_kernel_loses_nothing(kernels, store, tmp_path):
    gate = tmp_path / "gate"
    first = kernels()
    assert first.run("%load_ext jobnb").ok
    first.run(GATED)
    assert first.run(f"%job submit steps({str(gate)!r}) --name walk -o j").ok
    job_id = first.value("j.id").strip("'")
    first.until(lambda: store.record(job_id).progress.current == 4, what="the job to be in the middle")
    first.kill()

    second = kernels()
    assert second.run("%load_ext jobnb").ok
    assert store.record(job_id).status == "running"
    listed = second.run("%job list").displays[0]["data"]
    assert job_id[:4] in listed["text/plain"]
    assert "running" in listed["text/plain"]

    # A live card again: it moves, and it ends as plain HTML.
    assert second.run(f"%job show {job_id}").ok
    second.until(lambda: 'aria-valuenow="40"' in second.card_html(), what="the new card to show the middle")
    assert second.button("Cancel") is not None
    gate.touch()
    second.run("import jobnb")
    assert second.run(f"jobnb.get({job_id!r}).result()").displays[-1]["data"]["text/plain"] == "9"
    second.until(second.updated_displays, what="the final card")
    assert "completed" in second.card_html()


def test_two_kernels_see_each_others_jobs(kernels, store, tmp_path):
    gate = tmp_path / "gate"
    one, two = kernels(), kernels()
    for kernel in (one, two):
        assert kernel.run("%load_ext jobnb").ok
    one.run(GATED)
    assert one.run(f"%job submit steps({str(gate)!r}) --name walk -o j").ok
    job_id = one.value("j.id").strip("'")
    assert two.run("%job show walk").ok
    two.until(lambda: 'aria-valuenow="40"' in two.card_html(), what="the other kernel's card to move")
    assert two.run("%job cancel walk").ok
    one.until(lambda: "cancelled" in one.card_html(), what="the submitter's card to say cancelled")
    two.until(lambda: "cancelled" in two.card_html(), what="the other card to say cancelled")
    assert store.record(job_id).cancelled_by
