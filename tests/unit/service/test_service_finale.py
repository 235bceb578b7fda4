"""A plan with a finale: its last item waits for all others and is told what they left."""

from hypothesis import given
from hypothesis import strategies as st
from ledger_cases import job

from jobnb.job import Status
from jobnb.service import plans
from jobnb.service.ledger import Ledger


def books(items):
    return Ledger.of(job(items, "walk_forward", plan={"finale": True}), [])


@given(items=st.integers(1, 30), slots=st.integers(1, 4), data=st.data())
def test_the_last_item_goes_out_alone_when_all_others_are_done(items, slots, data):
    ledger = books(items)
    done = set()
    while ledger.outcome() is None:
        while (handed := ledger.hand_out(slots)) is not None:
            _, (start, stop), _ = handed
            if stop == items:
                assert (start, len(done)) == (items - 1, items - 1)
                assert plans.needs_others(ledger.job.plan, stop)
            else:
                assert not plans.needs_others(ledger.job.plan, stop)
        task = data.draw(st.sampled_from(sorted(ledger.running)))
        out = ledger.running[task]
        if out.stop < items and data.draw(st.booleans()):
            ledger.lost_task(task, "SERVICE_LOST", "gone")
            continue
        stop = data.draw(st.integers(out.start + 1, out.stop))
        ledger.completed(task, stop=stop, failed=0, seconds=0.1, summary=None)
        done |= set(range(out.start, stop))
    assert done == set(range(items))
    assert ledger.outcome().status is Status.COMPLETED


def test_other_plans_are_told_nothing():
    assert not plans.needs_others({"type": "grid", "items": 10}, 10)
    assert plans.needs_others({"type": "tpe", "items": 100, "generation": 16}, 32)
