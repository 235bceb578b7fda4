"""The loop at the heart of the service: read the store, hand out tasks, record outcomes. One thread.

It only reads, asks pure code (`Ledger`, `choose`, `cut`) what to do, and writes that down, each write fenced by
the lease. Dask's threads do nothing but put messages into its inbox.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobnb.errors import HomeNotWritable, LeaseLost, StoreError
from jobnb.job import Status, utcnow
from jobnb.service import ahead, enough
from jobnb.service.choice import Candidate, choose
from jobnb.service.clock import WallClock
from jobnb.service.cluster import Cluster, ClusterLost
from jobnb.service.courier import Courier, Ended, Errand, Inbox, Lost, Message
from jobnb.service.intake import Intake
from jobnb.service.lease_keeper import LeaseKeeper
from jobnb.service.ledger import Ledger
from jobnb.service.planner import Planner
from jobnb.service.plans import is_sweep
from jobnb.service.published import Published
from jobnb.service.recorder import Recorder
from jobnb.service.watch import Watch
from jobnb.store import Store

logger = logging.getLogger(__name__)

#: How long the loop sleeps at most before it looks at the store: with work out, without, and without for a while.
BUSY_POLL_SECONDS = 0.02
IDLE_POLL_SECONDS = 0.01
SLEEPY_POLL_SECONDS = 0.05
SLEEPY_AFTER_SECONDS = 5.0
#: What only time brings (what is due, late, or to be called back) is looked for this often.
LOOK_SECONDS = 0.05
#: Progress and log lines are written this often at most.
FLUSH_SECONDS = 0.2
#: The cluster's places are counted this often: with jobs, and without.
COUNT_SECONDS = 1.0
IDLE_COUNT_SECONDS = 5.0
#: The loop waits no longer than this for the scheduler's answer.
ANSWER_SECONDS = 0.2
#: After a cancel, a task of which no worker ever said that it began counts as never run.
NEVER_BEGAN_SECONDS = 0.3
#: After a cancel, beyond the grace, a task that is not reported dead is given up.
GIVE_UP_SECONDS = 5.0
#: A search that ends with what it has waits so long for the tasks that are out: one with results, and one without.
FINISH_SECONDS = 1.0
FIRST_SECONDS = 5.0
#: Pause after the store could not be written.
STORE_PAUSE_SECONDS = 0.5
_OVERDUE = {
    "code": "TIMEOUT_ERROR",
    "message": "the job had not ended by its deadline.",
    "hint": "Give it a later deadline; result(partial=True) has what was finished.",
}
_EXPIRED = {
    "code": "EXPIRED",
    "message": "the job had not begun by the time after which it must not.",
    "hint": "Run it again with a later expires_at.",
}
#: Why the loop ended.
IDLE, STOPPED, LEASE_LOST, CLUSTER_LOST = "idle", "stopped", "lease lost", "cluster lost"


@dataclass(kw_only=True)
class Dispatcher:
    """Runs the jobs of one store on one cluster, for as long as it holds the lease.

    Attributes
    ----------
    store, cluster, keeper
        What it reads and writes, where it sends tasks, and what it may write by.
    watch : Watch or None
        Warns of jobs that are stuck and removes old ones.
    idle_timeout : float or None
        Leave after this many seconds without a live job and without anybody writing to the store.
    stop_grace : float
        Seconds that running tasks have to end when the service is asked to leave.
    """

    store: Store
    cluster: Cluster
    keeper: LeaseKeeper
    watch: Watch | None = None
    idle_timeout: float | None = None
    stop_grace: float = 10.0
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._name = self.keeper.lease.cluster
        self._inbox: Inbox = queue.SimpleQueue()
        self._courier = Courier(store=self.store, cluster=self.cluster, inbox=self._inbox, published=self._published())
        self._ledgers: dict[str, Ledger] = {}
        self._recorder = Recorder(store=self.store, keeper=self.keeper, courier=self._courier, ledgers=self._ledgers)
        self._planner = Planner(store=self.store, keeper=self.keeper)
        self._intake = Intake(store=self.store, keeper=self.keeper)
        self._order = 0
        self._orders: dict[str, int] = {}
        #: Jobs of which a task came back: they go to the end of the line, behind those that are taken up now.
        self._returned: set[str] = set()
        self._wall = WallClock()
        self._slots = 0
        #: The scheduler was asked for the size of its cluster and has not answered yet.
        self._silent = False
        self._seen: int | None = None
        self._next_scheduled: int | None = None
        self._last_event = 0
        #: When to leave, once somebody has asked for it.
        self._leave_at: float | None = None

    def _published(self) -> Published | None:
        if self.cluster.shares_disk:
            return None
        family = f"jobnb-{self.store.id}/{self._name}"
        return Published(self.cluster.client, family, self.keeper.lease.epoch)

    # The loop

    def run(self, stop: threading.Event) -> str:
        """Dispatch until told to stop; return why it ended (`IDLE`, `STOPPED`, `LEASE_LOST`, `CLUSTER_LOST`)."""
        self._courier.listen()
        try:
            self._recover()
            return self._loop(stop)
        except LeaseLost:
            logger.warning("another service has taken over; leaving")
            self._courier.leave_to_successor()
            return LEASE_LOST
        finally:
            self._courier.close()

    def _loop(self, stop: threading.Event) -> str:
        flush_at = count_at = look_at = 0.0
        active_at = self.monotonic()
        batch: list[Message] = []
        while True:
            batch += self._receive(self._pause(active_at))
            if self.keeper.lost.is_set():
                raise LeaseLost
            self.keeper.alive()
            now = self.monotonic()
            try:
                if not batch and now < look_at and self._version() == self._seen:
                    continue
                look_at = now + LOOK_SECONDS
                self._follow_clock(now)
                if batch:
                    self._close_ended(self._recorder.take_in(batch))
                    batch = []
                if self._shall_leave(stop, now):
                    self._hand_back("the service was stopped; it goes on with the next one", leave=True)
                    return STOPPED
                if now >= count_at:
                    count_at = now + (COUNT_SECONDS if self._ledgers or self._intake.waiting else IDLE_COUNT_SECONDS)
                    self._count()
                    self._end_the_overdue()
                    if self.watch is not None:
                        self.watch.look(self.keeper.lease, now, self._ledgers.values())
                if self._leave_at is None and self._planner.step(self.store.version()):
                    self._seen = None
                news = self._anything_new()
                if self._ledgers or (news and self._anybody_there()):
                    active_at = now
                if news:
                    self._look_for_cancels()
                    self._look_for_finishes()
                self._wake_delayed()
                self._end_the_late(now)
                self._give_up_on_the_dead(now)
                self._recall(now)
                if self._leave_at is None:
                    self._hand_out()
                self._ask_for_places(now)
                if now >= flush_at:
                    flush_at = now + FLUSH_SECONDS
                    self._recorder.flush()
                if self._may_leave(now, active_at):
                    return IDLE
            except ClusterLost as error:
                logger.warning("%s", error)
                if self.cluster.borrowed or self._courier.published is None:
                    self._hand_back(f"{error.message} The job goes on when it is back.")
                else:
                    # The scheduler may go on with what it has.
                    self._note(f"{error.message} Waiting for it.")
                    self._courier.leave_to_successor()
                return CLUSTER_LOST
            except HomeNotWritable:
                raise  # Somebody removed the store's folder.
            except StoreError as error:
                # What was received is kept and taken in again: a settled task cannot be settled twice.
                logger.warning("the store cannot be written now: %s", error)
                self._seen = None
                stop.wait(STORE_PAUSE_SECONDS)

    def _shall_leave(self, stop: threading.Event, now: float) -> bool:
        """Tell whether it is time to stop: at once, or when what runs has ended or has had its grace."""
        if not (stop.is_set() or self.keeper.stop_requested.is_set()):
            return False
        if self._leave_at is None:
            self._leave_at = now + self.stop_grace
            self._seen = None
        runs = any(ledger.running for ledger in self._ledgers.values())
        return not runs or self.keeper.stop_now.is_set() or now >= self._leave_at

    def _pause(self, active_at: float) -> float:
        if self._ledgers:
            return BUSY_POLL_SECONDS
        sleepy = self.monotonic() - active_at > SLEEPY_AFTER_SECONDS
        return SLEEPY_POLL_SECONDS if sleepy else IDLE_POLL_SECONDS

    def _receive(self, timeout: float) -> list[Message]:
        got: list[Message] = []
        try:
            got.append(self._inbox.get(timeout=timeout))
            while True:
                got.append(self._inbox.get_nowait())
        except queue.Empty:
            return got

    def _anything_new(self) -> bool:
        version = self._version()
        due = self._next_scheduled is not None and self._next_scheduled <= self.store.clock()
        if version == self._seen and not due:
            return False
        lease = self.store.leases.get(self._name)
        if lease is not None:
            self.keeper.note(lease)
        self._next_scheduled = self.store.tasks.next_scheduled(self._name)
        if self._next_scheduled is not None and self._next_scheduled <= self.store.clock():
            with self.store.tasks.fenced(self.keeper.lease, "normal"):
                self.store.tasks.wake_scheduled(self._name)
            self._next_scheduled = self.store.tasks.next_scheduled(self._name)
        self._seen = version
        self._intake.waiting = True
        return True

    def _version(self) -> int:
        """Return a number that moves whenever somebody has written what this thread has to look at."""
        # What it has itself put off, called back or released is news as well: SQLite tells a connection of everybody's
        # writes but its own.
        return self.store.version()[0] + self.store.limits.moves + self.store.chains.moved

    def _anybody_there(self) -> bool:
        """Tell whether somebody did something to a job since the last look; a renewed lease does not count."""
        last, self._last_event = self._last_event, self.store.jobs.last_event()
        return last != self._last_event

    def _may_leave(self, now: float, active_at: float) -> bool:
        """Give the lease back if there was nothing to do for long enough; False if there is."""
        if self.idle_timeout is None or self._ledgers or now - active_at < self.idle_timeout:
            return False
        return self.store.tasks.leave_if_idle(self.keeper.lease)

    def _count(self) -> None:
        if self._courier.broken.is_set():
            raise ClusterLost(f"the connection to the Dask scheduler at {self.cluster.address} broke.")
        size = self.cluster.size(ANSWER_SECONDS)
        if size is None:
            if not self._silent:
                self._silent = True
                self._note("the Dask scheduler does not answer")
            return
        if size.slots == self._slots and self._seen is not None and not self._silent:
            return
        self._silent = False
        self.keeper.tell(slots=size.slots, workers=size.workers)
        self._note("" if size.slots else "the cluster has no worker")
        self._slots = size.slots
        self._intake.waiting = True

    def _note(self, note: str) -> None:
        """Say on every live job why it does not move."""
        with self.store.tasks.fenced(self.keeper.lease, "normal"):
            self.store.tasks.note_waiting(self._name, note)
            for job in self._ledgers:
                self.store.tasks.update(job, note=note)

    # Taking up jobs and handing out tasks

    def _recover(self) -> None:
        """Open the books of the jobs that a former service left running."""
        jobs = self.store.tasks.running(self._name)
        ledgers = [self._adopt(Ledger.of(job, self.store.tasks.of(job.id))) for job in jobs]
        followed = self._take_over(ledgers)
        for ledger in ledgers:
            job = ledger.job.id
            for task, out in list(ledger.running.items()):
                if (job, task) in followed:
                    continue
                outcome = self._courier.receipt(job, task, out.attempt)
                why = "the service that ran it has ended"
                lost = Lost(job=job, task=task, why=why, code="SERVICE_LOST")
                # One that was stopped, without anybody asking for it here, was stopped because its service went.
                usable = outcome is not None and outcome.state != "cancelled"
                self._close_ended(self._recorder.take_in([Ended(outcome=outcome) if outcome and usable else lost]))
            if job in self._ledgers:
                self._finish_if_over(self._ledgers[job])

    def _take_over(self, ledgers: list[Ledger]) -> set[tuple[str, int]]:
        """Go on with the tasks that the cluster still has of a former service; return which."""
        out = {(ledger.job.id, task): each for ledger in ledgers for task, each in ledger.running.items()}
        states = self._courier.reattach(out)
        if states:
            with self.store.tasks.fenced(self.keeper.lease):
                for job, task in states:
                    self.store.tasks.take_over(job, task, self.keeper.lease.epoch)
            logger.info("%d running tasks taken over", len(states))
        for key, state in states.items():
            if state == "processing":
                out[key].began_at = out[key].since
        return set(states)

    def _adopt(self, ledger: Ledger) -> Ledger:
        ledger.monotonic = self.monotonic
        timeout = ledger.job.options.get("timeout")
        if timeout is not None and ledger.job.plan.get("type", "single") != "single":
            # A single call is timed by its supervisor, which knows when it began.
            ledger.ends_at = self.monotonic() + float(timeout)
        if ledger.single:
            ledger.pace = self._intake.pace(ledger.job)
        most = ledger.job.plan.get("max_time")
        if most is not None:
            started = ledger.job.started_at or utcnow()
            ledger.finish_at = self.monotonic() + float(most) - (utcnow() - started).total_seconds()
        self._ledgers[ledger.job.id] = ledger
        self._order += 1
        self._orders[ledger.job.id] = self._order
        return ledger

    def _hand_out(self) -> None:
        """Fill the window: choose a job for each free place, write its task down, send it."""
        books, now = self._ledgers.values(), self.monotonic()
        out = sum(len(ledger.running) for ledger in books)
        depth = ahead.depth(books, self.cluster.window)
        free = self._slots * depth - out
        overtaking = ahead.overtaking(books, self.cluster.window, self._slots, now)
        if max(free, overtaking) <= 0 or not (self._intake.waiting or any(b.open for b in books)):
            return
        for taken in self._intake.take_up(books, slots=self._slots, free=max(free, 0), overtaking=overtaking):
            self._adopt(taken)
        for job in self._returned & self._orders.keys():
            self._order += 1
            self._orders[job] = self._order
        self._returned.clear()
        chosen: list[tuple[Ledger, int, tuple[int, int], float | None]] = []
        while max(free, overtaking) > 0:
            ledger = self._choose()
            if ledger is None:
                break
            overtakes = overtaking > 0 and not ledger.running
            if not overtakes and (free <= 0 or not ahead.has_place(ledger, books, self._slots, now)):
                break
            # A second task per place only hides the round trip; it must not make the pieces smaller.
            places = max(1, min(free, self._slots - len(ledger.running)) if ledger.pace is None else self._slots)
            handed = ledger.hand_out(places)
            if handed is None:
                break
            task, span, budget = handed
            sent = ledger.running[task]
            sent.ahead, sent.overtakes = out >= self._slots, overtakes
            if sent.ahead and is_sweep(ledger.job.plan):
                sent.behind = ahead.behind(books, now)
            chosen.append((ledger, task, span, budget))
            free, out = free - 1, out + 1
            overtaking -= overtakes
        if not chosen:
            return
        try:
            with self.store.tasks.fenced(self.keeper.lease, "normal"):
                for ledger, task, (start, stop), _ in chosen:
                    attempt = ledger.running[task].attempt
                    self.store.tasks.begin(ledger.job.id, task, start, stop, attempt, self.keeper.lease.epoch)
        except BaseException:
            for ledger, task, *_ in chosen:
                ledger.stopped(task)
            raise
        short = depth > self.cluster.window
        self._courier.send([self._errand(*each, short=short) for each in chosen])

    def _errand(self, ledger: Ledger, task: int, span: tuple[int, int], budget: float | None, *, short: bool) -> Errand:
        out = ledger.running[task]
        return Errand(
            job=ledger.job,
            task=task,
            span=span,
            attempt=out.attempt,
            budget=budget,
            overtakes=out.overtakes,
            short=short,
            ahead=out.ahead,
            behind=out.behind,
        )

    def _recall(self, now: float) -> None:
        """Call back what was sent ahead and waits behind a task that takes longer than thought."""
        for ledger, task in ahead.recalled(self._ledgers.values(), now):
            ledger.running[task].stopping_since = now
            self._courier.cancel(ledger.job.id, task)

    def _ask_for_places(self, now: float) -> None:
        """Have tasks end before their next item where others wait for their places, or share what is left of them."""
        leaving = self._leave_at is not None
        # Where nothing is sent ahead, a job waits in the queue.
        queued = self._intake.first() if self.cluster.window == 1 and self._ledgers and not leaving else None
        for ledger, task, most in enough.told(self._ledgers.values(), self._slots, now, leaving=leaving, queued=queued):
            out = ledger.running[task]
            if most:
                out.asked_at = now
            else:
                out.told_at = ledger.gave_at = now
            self._courier.enough(ledger.job.id, task, out.attempt, out.worker, most)

    def _choose(self) -> Ledger | None:
        held = self._intake.capped(self._ledgers.values())
        candidates = [
            Candidate(job=job, rank=b.job.priority.rank, out=len(b.running), order=self._orders[job])
            for job, b in self._ledgers.items()
            if b.open and (b.pace is not None or len(b.running) < self._slots) and b.job.queue not in held
        ]
        job = choose(candidates)
        return self._ledgers[job] if job else None

    # Ending jobs

    def _close_ended(self, changed: list[Ledger]) -> None:
        for ledger in changed:
            if ledger.held or (ledger.ending is not None and ledger.ending.status is Status.RETRYING):
                self._seen = None  # Its next attempt may be the next thing that is due.
            self._returned.add(ledger.job.id)
            self._conclude(ledger)

    def _follow_clock(self, now: float) -> None:
        """Where the machine's clock was set back, have what waits for its next attempt not wait that much longer."""
        back = self._wall.went_back(wall=self.store.clock(), monotonic=now)
        if not back:
            return
        logger.warning("the clock was set back by %.1f s; attempts that wait are put forward", back / 1e6)
        try:
            with self.store.tasks.fenced(self.keeper.lease):
                self.store.tasks.put_forward(self._name, by=back)
        except StoreError:
            self._wall.forget(back)
            raise
        for ledger in self._ledgers.values():
            ledger.put_forward(back)
        self._seen = None

    def _wake_delayed(self) -> None:
        if any(ledger.delayed for ledger in self._ledgers.values()):
            now = self.store.clock()
            for ledger in self._ledgers.values():
                ledger.wake(now)

    def _end_the_overdue(self) -> None:
        """End the jobs whose deadline has passed, and those that have not begun in time."""
        late = [(job, _OVERDUE) for job in self.store.tasks.overdue(self._name)]
        late += [(job, _EXPIRED) for job in self.store.tasks.expired(self._name)]
        for job, error in late:
            ledger = self._ledgers.get(job)
            if ledger is not None:
                ledger.end(Status.FAILED, error)
                self._finish_if_over(ledger)
            else:
                with self.store.tasks.fenced(self.keeper.lease):
                    self.store.tasks.finish(job, Status.FAILED, error=error)

    def _conclude(self, ledger: Ledger) -> None:
        """Close the books of a job that is over; stop the other tasks of one that is going to be."""
        if ledger.outcome() is None:
            if ledger.ending is not None and not ledger.early:
                self._stop_tasks(ledger)
            return
        self._intake.learn(ledger)
        del self._ledgers[ledger.job.id]
        del self._orders[ledger.job.id]
        self._courier.close_job(ledger.job.id)
        if not ledger.single:
            # One call has hardly anything that is worth the message.
            self._courier.over(ledger.job.id, ledger.workers)
        self._recorder.close_job(ledger.job.id)

    def _finish_if_over(self, ledger: Ledger) -> None:
        self._recorder.finish_if_over(ledger)
        self._conclude(ledger)

    def _look_for_cancels(self) -> None:
        for job in self.store.tasks.cancel_requests(self._name):
            ledger = self._ledgers.get(job)
            if ledger is not None:
                ledger.end(Status.CANCELLED)
                self._finish_if_over(ledger)

    def _look_for_finishes(self) -> None:
        for job in self.store.tasks.finish_requests(self._name):
            ledger = self._ledgers.get(job)
            if ledger is not None:
                ledger.finish_early("finish")
                self._finish_if_over(ledger)

    def _end_the_late(self, now: float) -> None:
        for ledger in list(self._ledgers.values()):
            if ledger.finish_at is not None and now > ledger.finish_at:
                if ledger.ending is None:
                    ledger.finish_early("max_time")
                    self._finish_if_over(ledger)
                elif ledger.early and now > ledger.finish_at + (FINISH_SECONDS if ledger.done else FIRST_SECONDS):
                    self._stop_tasks(ledger)
            if ledger.ends_at is not None and now > ledger.ends_at and ledger.ending is None:
                timeout = float(ledger.job.options["timeout"])
                ledger.end(
                    Status.FAILED,
                    {
                        "code": "TIMEOUT_ERROR",
                        "message": f"the job ran longer than its timeout of {timeout:g} s.",
                        "hint": "Give it a longer timeout; result(partial=True) has what was finished.",
                    },
                )
                self._finish_if_over(ledger)

    def _stop_tasks(self, ledger: Ledger) -> None:
        for task, out in ledger.running.items():
            if out.stopping_since is None:
                out.stopping_since = self.monotonic()
                self._courier.cancel(ledger.job.id, task)

    def _give_up_on_the_dead(self, now: float) -> None:
        """Settle stopped tasks of which nobody will report the end."""
        given_up: list[Message] = []
        for job, ledger in self._ledgers.items():
            grace = float(ledger.job.options.get("cancel_grace") or 0.3)
            for task, out in ledger.running.items():
                if out.stopping_since is None:
                    continue
                patience = GIVE_UP_SECONDS + grace if out.began else NEVER_BEGAN_SECONDS
                if now - out.stopping_since > patience:
                    why = "stopped; its worker did not confirm it" if out.began else "stopped before it began"
                    given_up.append(Lost(job=job, task=task, why=why))
        self._close_ended(self._recorder.take_in(given_up))

    def _hand_back(self, why: str, *, leave: bool = False) -> None:
        """Put every running job back into the queue, for later; finished tasks are kept."""
        self._courier.cancel_all()
        with self.store.tasks.fenced(self.keeper.lease):
            for job, ledger in self._ledgers.items():
                for task, out in list(ledger.running.items()):
                    error = {"code": "HANDED_BACK", "message": why}
                    self.store.tasks.settle(job, task, state="cancelled", stop=out.start, error=error)
                    ledger.stopped(task)
                if not self._recorder.write_end(ledger):
                    self.store.tasks.requeue(job, why)
            if leave:
                # At once, so that the next service need not wait for this one's cluster to close.
                self.store.leases.release(self.keeper.lease)
        self._ledgers.clear()
