"""The books of a job: whatever happens in whatever order, every item is accounted for and the end comes once."""

import time
from typing import Any

import ledger_cases
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobnb.job import JobRecord, Status
from jobnb.retry import Retry
from jobnb.service import plans
from jobnb.service.ledger import Ledger, Running
from jobnb.service.spans import count
from jobnb.store.tasks import TaskRow


def job(items: int = 10, kind: str = "map", generation: int | None = None, **changes: Any) -> JobRecord:
    return ledger_cases.job(items, kind, plan={} if generation is None else {"generation": generation}, **changes)


def row(task: int, start: int, stop: int, state: str, code: str = "", attempt: int = 1) -> TaskRow:
    error = {"code": code, "message": "m"} if code else None
    return TaskRow(task=task, start=start, stop=stop, attempt=attempt, epoch=1, state=state, error=error)


class Life(RuleBasedStateMachine):
    """Hand out, complete, stop, lose, end, reopen from rows: in any order."""

    @initialize(items=st.integers(1, 40), generation=st.none() | st.integers(1, 12))
    def begin(self, items: int, generation: int | None) -> None:
        self.items = items
        self.generation = generation
        self.ledger = Ledger.of(job(items, generation=generation), [])
        self.rows: dict[int, TaskRow] = {}
        self.finished: set[int] = set()

    @rule(slots=st.integers(1, 4))
    def hand_out(self, slots: int) -> None:
        out = {i for r in self.ledger.running.values() for i in range(r.start, r.stop)}
        handed = self.ledger.hand_out(slots)
        if handed is None:
            assert not self.ledger.open
            return
        task, (start, stop), _ = handed
        span = set(range(start, stop))
        assert span
        assert task not in self.rows
        assert not span & out, "handed out twice at once"
        assert not span & self.finished, "a finished item is handed out again"
        if self.generation is not None:
            first = start // self.generation * self.generation
            assert stop <= first + self.generation, "a task of two generations"
            assert set(range(first)) <= self.finished, "handed out before what it is chosen from"
        self.rows[task] = row(task, start, stop, "running", attempt=self.ledger.running[task].attempt)

    def _any(self, data: Any) -> int:
        task: int = data.draw(st.sampled_from(sorted(self.ledger.running)))
        return task

    def _settle(self, task: int, state: str, code: str = "", stop: int | None = None) -> None:
        old = self.rows[task]
        self.rows[task] = row(task, old.start, old.stop if stop is None else stop, state, code, old.attempt)

    @precondition(lambda self: self.ledger.running)
    @rule(data=st.data(), seconds=st.floats(0, 2))
    def complete(self, data: Any, seconds: float) -> None:
        task = self._any(data)
        out = self.ledger.running[task]
        stop = data.draw(st.integers(out.start + 1, out.stop))
        self.ledger.completed(task, stop=stop, failed=0, seconds=seconds, summary=None)
        self.finished |= set(range(out.start, stop))
        self._settle(task, "completed", stop=stop)

    @precondition(lambda self: self.ledger.running)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        task = self._any(data)
        self.ledger.stopped(task)
        self._settle(task, "cancelled", "CANCELLED")

    @precondition(lambda self: self.ledger.running)
    @rule(data=st.data(), code=st.sampled_from(["WORKER_LOST", "SERVICE_LOST", "CLUSTER_LOST"]))
    def lose(self, data: Any, code: str) -> None:
        task = self._any(data)
        self.ledger.lost_task(task, code, "gone")
        self._settle(task, "lost", code)

    @rule(status=st.sampled_from([Status.FAILED, Status.CANCELLED]))
    def end(self, status: Status) -> None:
        before = self.ledger.ending
        self.ledger.end(status)
        assert self.ledger.ending is not None
        assert before is None or self.ledger.ending is before

    @precondition(lambda self: self.ledger.ending is None)
    @rule()
    def reopen(self) -> None:
        """The service was killed: the books are made again from the store."""
        again = Ledger.of(job(self.items, generation=self.generation), self.rows.values())
        assert again.pending == self.ledger.pending
        assert again.running.keys() == self.ledger.running.keys()
        assert (again.done, again.lost, again.losses) == (self.ledger.done, self.ledger.lost, self.ledger.losses)
        assert again.next_task == self.ledger.next_task
        self.ledger = again

    @rule()
    def draft(self) -> None:
        draft = self.ledger.draft()
        for task in list(draft.running):
            draft.lost_task(task, "WORKER_LOST", "in the draft only")

    @invariant()
    def every_item_is_somewhere(self) -> None:
        out = sum(r.stop - r.start for r in self.ledger.running.values())
        assert self.ledger.done + count(self.ledger.pending) + out == self.items
        assert self.ledger.done == len(self.finished)

    @invariant()
    def the_end_is_right(self) -> None:
        outcome = self.ledger.outcome()
        if self.ledger.running:
            assert outcome is None
        elif outcome is None:
            assert self.ledger.open
        elif outcome.status is Status.COMPLETED:
            assert len(self.finished) == self.items
        else:
            assert outcome is self.ledger.ending


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def lose(ledger: Ledger, code: str = "WORKER_LOST") -> None:
    handed = ledger.hand_out(1)
    assert handed is not None
    ledger.lost_task(handed[0], code, "out of memory")


def test_items_that_cost_too_many_workers_fail_the_job() -> None:
    ledger = Ledger.of(job(1, "single"), [])
    for _ in range(Retry().max_lost):
        lose(ledger)
        assert ledger.ending is None
    lose(ledger)
    assert ledger.ending is not None
    assert ledger.ending.error is not None
    assert ledger.ending.error["code"] == "WORKER_LOST"
    assert "out of memory" in ledger.ending.error["message"]


def test_a_job_says_how_many_workers_it_may_cost() -> None:
    ledger = Ledger.of(job(1, "single", options={"retry": Retry(max_lost=20).to_json()}), [])
    for _ in range(20):
        lose(ledger)
        assert ledger.ending is None
    lose(ledger)
    assert ledger.ending is not None


def test_a_cluster_that_comes_and_goes_does_not() -> None:
    ledger = Ledger.of(job(1, "single"), [])
    for _ in range(20):
        lose(ledger, "SERVICE_LOST")
        lose(ledger, "CLUSTER_LOST")
    assert ledger.ending is None
    assert ledger.attempt == 41


def test_many_tasks_lost_at_once_are_one_loss_each() -> None:
    ledger = Ledger.of(job(80), [])
    ledger.pace = 10.0
    for _ in range(8):
        ledger.hand_out(8)
    for task in list(ledger.running):
        ledger.lost_task(task, "WORKER_LOST", "a worker of eight threads died")
    assert ledger.ending is None


def test_losses_far_apart_do_not_add_up() -> None:
    """A sweep of days on machines that are taken away now and then."""
    ledger = Ledger.of(job(100), [])
    ledger.pace = 10.0
    for _ in range(100):
        lose(ledger)
        handed = ledger.hand_out(1)
        assert handed is not None
        ledger.completed(handed[0], stop=handed[1][1], failed=0, seconds=10, summary=None)
    outcome = ledger.outcome()
    assert outcome is not None
    assert outcome.status is Status.COMPLETED


def test_a_failed_task_decides_the_end_also_after_a_restart() -> None:
    rows = [row(0, 0, 5, "failed", "USER_ERROR"), row(1, 5, 10, "running")]
    ledger = Ledger.of(job(10), rows)
    assert ledger.ending is not None
    assert ledger.ending.error == {"code": "USER_ERROR", "message": "m"}
    assert not ledger.open
    ledger.stopped(1)
    assert ledger.outcome() is ledger.ending


def test_a_failure_of_an_earlier_attempt_does_not() -> None:
    ledger = Ledger.of(job(10, attempt=2), [row(0, 0, 5, "failed", "USER_ERROR", attempt=1)])
    assert ledger.ending is None
    assert ledger.pending == [(0, 10)]


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    ledger = Ledger.of(job(1, "single"), [])
    handed = ledger.hand_out(1)
    assert handed is not None
    ledger.end(Status.CANCELLED)
    ledger.completed(handed[0], stop=1, failed=0, seconds=1, summary=None)
    outcome = ledger.outcome()
    assert outcome is not None
    assert outcome.status is Status.COMPLETED


def test_a_search_that_is_finished_early_completes_with_what_comes_back() -> None:
    ledger = Ledger.of(job(100, "random"), [])
    tasks = [ledger.hand_out(4) for _ in range(2)]
    ledger.finish_early("max_time")
    ledger.finish_early("finish")
    ledger.end(Status.FAILED)
    assert not ledger.open
    assert ledger.outcome() is None
    for handed in tasks:
        assert handed is not None
        part = {"kind": "other", "runs": 25}
        ledger.completed(handed[0], stop=handed[1][1], failed=0, seconds=1, summary=part)
    outcome = ledger.outcome()
    assert outcome is not None
    assert outcome.status is Status.COMPLETED
    assert (ledger.done, ledger.early) == (44, "max_time")
    assert ledger.summary == {"kind": "other", "runs": 25, "trail": [], "stopped": "max_time"}


def test_one_that_is_finished_before_anything_came_back_completes_too() -> None:
    ledger = Ledger.of(job(100, "grid"), [])
    handed = ledger.hand_out(4)
    assert handed is not None
    ledger.finish_early("finish")
    ledger.stopped(handed[0])
    outcome = ledger.outcome()
    assert outcome is not None
    assert outcome.status is Status.COMPLETED
    assert ledger.summary == {"stopped": "finish"}


def test_the_last_tasks_before_the_end_of_time_are_short() -> None:
    ledger = Ledger.of(job(100), [])
    ledger.finish_at = time.monotonic() + 1000
    handed = ledger.hand_out(4)
    assert handed is not None
    assert handed[2] == plans.TASK_SECONDS
    ledger.finish_at = time.monotonic()
    handed = ledger.hand_out(4)
    assert handed is not None
    assert handed[2] == plans.LEAST_SECONDS


def test_progress_counts_what_is_under_way() -> None:
    ledger = Ledger.of(job(100), [])
    handed = ledger.hand_out(2)
    assert handed is not None
    ledger.heard(handed[0], done=7, progress=None)
    assert ledger.shown_progress()[:2] == (7.0, 100.0)
    ledger.heard(handed[0], done=10**9, progress=None)
    assert ledger.shown_progress()[0] == 50.0
    ledger.heard(99, done=5, progress=None)


def test_a_million_items_are_a_few_spans() -> None:
    ledger = Ledger.of(job(10**6), [])
    ledger.pace = 1e-6
    tasks = 0
    while (handed := ledger.hand_out(2)) is not None:
        tasks += 1
        stop = min(handed[1][1], handed[1][0] + 100_000)
        ledger.completed(handed[0], stop=stop, failed=0, seconds=1e-6 * (stop - handed[1][0]), summary=None)
        assert len(ledger.pending) <= 3
    assert ledger.done == 10**6
    assert tasks < 16


def test_the_pace_of_first_tasks_is_replaced_by_that_of_the_next() -> None:
    ledger = Ledger.of(job(10_000), [])
    first, second = ledger.hand_out(2), ledger.hand_out(2)
    assert first is not None
    assert second is not None
    ledger.completed(first[0], stop=first[1][0] + 10, failed=0, seconds=0.15, summary=None)
    third = ledger.hand_out(2)
    assert third is not None
    # The other first one comes later, and the rest is still rough.
    ledger.completed(second[0], stop=second[1][0] + 10, failed=0, seconds=0.15, summary=None)
    assert (ledger.pace, ledger.rough) == (pytest.approx(0.015), True)
    ledger.completed(third[0], stop=third[1][1], failed=0, seconds=0.001 * (third[1][1] - third[1][0]), summary=None)
    assert (ledger.pace, ledger.rough) == (pytest.approx(0.001), False)


def test_what_tasks_say_of_themselves_is_only_a_guess() -> None:
    now = 0.0
    ledger = Ledger.of(job(10_000, "grid"), [])
    ledger.monotonic = lambda: now
    first, second = ledger.hand_out(2), ledger.hand_out(2)
    assert first is not None
    assert second is not None
    now = 0.2
    ledger.heard(first[0], done=20, progress=None)
    # Most of that was its start.
    assert ledger.pace == pytest.approx(0.01)
    now = 0.4
    ledger.heard(first[0], done=200, progress=None)
    assert ledger.pace == pytest.approx(0.2 / 180)
    ledger.completed(first[0], stop=first[1][0] + 800, failed=0, seconds=0.8, summary=None)
    assert ledger.pace == pytest.approx(0.001)
    now = 0.5
    ledger.heard(second[0], done=10, progress=None)
    assert ledger.pace == pytest.approx(0.001)


@pytest.mark.parametrize(("kind", "pace"), [("grid", 0.001), ("map", 0.0014)])
def test_the_start_of_a_process_is_no_pace_of_a_sweep(kind: str, pace: float) -> None:
    now = 0.0
    ledger = Ledger.of(job(10_000, kind), [])
    ledger.monotonic = lambda: now
    handed = ledger.hand_out(1)
    assert handed is not None
    # 0.4 s of start, then a thousand a second.
    for done in (20, 40, 200, 400, 600):
        now += 0.2
        ledger.heard(handed[0], done=done, progress=None)
    assert ledger.running[handed[0]].pace == pytest.approx(0.001)
    assert ledger.running[handed[0]].seconds_left(1.0, 1.1) == pytest.approx(0.001 * (handed[1][1] - 600) - 0.1)
    ledger.completed(handed[0], stop=1000, failed=0, seconds=1.4, summary=None)
    assert ledger.pace == pytest.approx(pace)


def test_a_free_place_gets_what_makes_all_places_end_together() -> None:
    now = 100.0
    ledger = Ledger.of(job(10_000, "grid"), [])
    ledger.monotonic = lambda: now
    ledger.pace, ledger.guessed = 0.001, False
    ledger.pending = [(9_400, 10_000)]
    ledger.running[7] = Running(start=0, stop=1_000, attempt=1, budget=2.0, since=now, began_at=now)
    now += 0.8
    # 600 ms are left and the other place has 200 before it.
    handed = ledger.hand_out(2)
    assert handed is not None
    assert handed[1] == (9_400, 9_800)
    # The next one waits behind the first of them to be free, which is to be done with the other.
    handed = ledger.hand_out(2)
    assert handed is not None
    assert handed[1] == (9_800, 10_000)


def test_what_is_out_and_will_come_back_does_not_make_the_next_task_small() -> None:
    ledger = Ledger.of(job(10_000), [])
    first, second = ledger.hand_out(2), ledger.hand_out(2)
    assert first is not None
    assert second is not None
    ledger.completed(first[0], stop=first[1][0] + 400, failed=0, seconds=0.4, summary=None)
    # The second has 5,000 items, of which it does some 400 as well: 9,200 are left, and not 4,600.
    third = ledger.hand_out(2)
    assert third is not None
    assert 380 <= third[1][1] - third[1][0] <= 420
