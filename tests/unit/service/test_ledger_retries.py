"""What the books do with failed tasks: calls wait as a whole, items of a map alone, crashes are narrowed down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ledger_cases import job

from jobnb.job import Status
from jobnb.retry import Retry
from jobnb.service.ledger import Ledger
from jobnb.service.spans import count
from jobnb.store.tasks import TaskRow

PASSING = {"code": "NETWORK_ERROR", "bases": "ConnectionError OSError"}
LASTING = {"code": "USER_ERROR", "bases": "ValueError"}
CRASH = {"code": "CHILD_CRASHED"}
NOW = 1_000_000


def ledger(kind: str, items: int = 1, retry: Retry | None = None) -> Ledger:
    return Ledger.of(job(items, kind, options={"retry": (retry or Retry(jitter=False)).to_json()}), [])


def hand_out(books: Ledger) -> int:
    handed = books.hand_out(1)
    assert handed is not None
    return handed[0]


def test_a_single_call_waits_as_a_whole() -> None:
    books = ledger("single")
    due = books.failed_task(hand_out(books), PASSING, now=NOW, drawn=0.0)
    assert due == NOW + 120_000_000
    ending = books.outcome()
    assert ending is not None
    assert (ending.status, ending.retry_at) == (Status.RETRYING, due)


def test_what_fails_for_good_fails_the_job() -> None:
    books = ledger("single")
    assert books.failed_task(hand_out(books), LASTING, now=NOW, drawn=0.0) is None
    ending = books.outcome()
    assert ending is not None
    assert ending.status is Status.FAILED


def test_an_item_of_a_map_waits_alone_and_the_rest_goes_on() -> None:
    books = ledger("map", 10)
    task = hand_out(books)
    due = books.failed_task(task, PASSING, now=NOW, drawn=0.0)
    assert due is not None
    assert books.pending == [(1, 10)]
    books.completed(hand_out(books), stop=10, failed=0, seconds=1.0, summary=None)
    assert books.outcome() is None
    assert not books.wake(due - 1)
    assert books.wake(due)
    books.completed(hand_out(books), stop=1, failed=0, seconds=1.0, summary=None)
    ending = books.outcome()
    assert ending is not None
    assert ending.status is Status.COMPLETED


def test_retries_of_one_item_are_counted_for_it_alone() -> None:
    books = ledger("map", 2, Retry(max_retries=1, delay=0, jitter=False, max_delay=1))
    first = books.failed_task(hand_out(books), PASSING, now=NOW, drawn=0.0)
    second = books.failed_task(hand_out(books), PASSING, now=NOW, drawn=0.0)
    assert first is not None
    assert second is not None
    books.wake(NOW)
    assert books.failed_task(hand_out(books), PASSING, now=NOW, drawn=0.0) is None


@given(st.integers(2, 300), st.data())
def test_a_crash_is_narrowed_down_to_its_item_and_costs_no_other(items: int, data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, items - 1))
    books = ledger("map", items)
    crashes = 0
    while books.outcome() is None:
        task = hand_out(books)
        out = books.running[task]
        if out.start <= culprit < out.stop:
            crashes += 1
            books.failed_task(task, CRASH, now=NOW, drawn=0.0)
        else:
            books.completed(task, stop=out.stop, failed=0, seconds=0.001, summary=None)
        assert books.done + count(books.pending) + sum(o.stop - o.start for o in books.running.values()) == items
    ending = books.outcome()
    assert ending is not None
    assert ending.status is Status.FAILED
    assert crashes <= 10


def test_a_successor_knows_what_waits() -> None:
    job = ledger("map", 10).job

    def row(task: int, start: int, stop: int, state: str, retry_at: int | None = None) -> TaskRow:
        error = PASSING if state == "failed" else None
        return TaskRow(
            task=task, start=start, stop=stop, attempt=1, epoch=1, state=state, error=error, retry_at=retry_at
        )

    books = Ledger.of(job, [row(0, 0, 1, "failed", NOW), row(1, 1, 5, "completed"), row(2, 5, 6, "failed", NOW + 9)])
    assert books.pending == [(6, 10)]
    assert books.delayed == {0: NOW, 5: NOW + 9}
    assert books.failures == {0: 1, 5: 1}
    assert books.ending is None
    over = Ledger.of(job, [row(0, 0, 1, "failed", NOW), row(1, 0, 10, "completed")])
    assert over.outcome() is not None
    assert over.delayed == {}
