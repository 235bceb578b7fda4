"""JobManager: the facade that every front door calls: notebook, script, command line, REST.

It writes requests into the store, reads what the store says, and sees to it that a service is there. It never
runs a job and holds no state that a kernel restart could lose.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobnb import after, figures, queueing, results, submission
from jobnb.chaining import Chaining
from jobnb.connection import Connection
from jobnb.coroutines import Coroutines
from jobnb.durations import seconds
from jobnb.errors import NotReproduced, UnknownName, UsageProblem, did_you_mean
from jobnb.guard import Guards
from jobnb.handling import Handling
from jobnb.job import Attempt, Event, Job, JobRecord, JobType, JobView, LogLine, Outcome, Status, utcnow
from jobnb.listener import Events
from jobnb.notifying import Notifying, look_on
from jobnb.option import Options
from jobnb.queueing import Queueing
from jobnb.shown import shown as shown_arguments
from jobnb.store.jobs import NewJob
from jobnb.timetable import Timetable
from jobnb.waiter import POLL_SECONDS, Waiter

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from jobnb.research.bars import Bars
    from jobnb.research.folds import SplitsRows
    from jobnb.research.goal import Objective
    from jobnb.research.instrument_door import Request
    from jobnb.research.instruments import Prices
    from jobnb.work import Work


class JobManager(Connection, Coroutines, Timetable, Handling, Chaining, Queueing, Notifying, Guards):
    """Submits jobs and looks after them.

    Parameters
    ----------
    max_workers : int, optional
        Worker processes of the embedded cluster, if this manager starts it; one per core by default.
    home : path, optional
        The store's folder; ``JOBNB_HOME`` or the platform's folder for user state by default.

    Notes
    -----
    Making one costs nothing: the store is opened, and the service started, when they are first needed.
    """

    # Submitting

    def submit(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Options | None = None,
        *,
        kind: str = "job",
        params: Mapping[str, Any] | None = None,
    ) -> Job:
        """Run one call of a function as a job; see `jobnb.submit`."""
        from jobnb.work import CallWork

        if not callable(fn):
            raise UsageProblem(f"{fn!r} is not a function. Write submit(f, 1, 2), not submit(f(1, 2)).")
        work = CallWork(fn=fn, args=tuple(args), kwargs=dict(kwargs or {}))
        shown = params if params is not None else shown_arguments(args, kwargs or {})
        return self._accept(work, kind, options or Options(), name=_name(fn), params=shown, source=fn)

    def map(
        self,
        fn: Callable[..., Any],
        items: Iterable[Any],
        options: Options | None = None,
        *,
        source: Callable[..., Any] | None = None,
    ) -> Job:
        """Run a function over many items as one job; see `jobnb.map`.

        ``source`` is the user's function, where ``fn`` only calls that.
        """
        from jobnb.work import MapWork

        if not callable(fn):
            raise UsageProblem(f"{fn!r} is not a function.")
        listed = list(items)
        if not listed:
            raise UsageProblem("there is nothing to map over: the items are empty.")
        return self._accept(
            MapWork(fn=fn, items=listed, on_error=(options or Options()).on_error),
            "map",
            options or Options(),
            name=_name(source or fn),
            params={"items": len(listed)},
            plan={"type": "map", "items": len(listed)},
            source=source or fn,
        )

    def backtest(
        self,
        strategy: Callable[..., Any],
        data: Prices,
        params: Mapping[str, Any] | None = None,
        options: Options | None = None,
        *,
        data_name: str | None = None,
    ) -> Job:
        """Run one backtest, or one on each of several instruments, as a job; see `jobnb.backtest`."""
        from jobnb.research import door, instrument_door

        frame, data_name = instrument_door.unwrapped(data, data_name)
        if instrument_door.several(frame, strategy, params or {}):
            said = options or Options()
            asked = instrument_door.backtest(
                strategy, frame, params or {}, self._keep_bars, data_name=data_name, on_error=said.on_error
            )
            return self._accept_request(asked, "backtest", said, strategy)
        bars = door.bars(frame, data_name)
        work, what = door.backtest_work(strategy, bars, params or {}, self._keep_data(bars))
        return self._accept(
            work,
            "backtest",
            options or Options(),
            name=f"{what['strategy']} on {bars.name}",
            params=what,
            blobs=[work.data.key],
            source=strategy,
        )

    def optimize(
        self,
        strategy: Callable[..., Any],
        data: Prices,
        space: Mapping[str, Any],
        options: Options | None = None,
        *,
        objective: Objective = "sharpe_ratio",
        method: str = "grid",
        n_trials: int | None = None,
        seed: int | None = None,
        max_time: float | str | None = None,
        constraint: Callable[[Any], bool] | None = None,
        maximize: bool | Sequence[bool | None] | None = None,
        cv: SplitsRows | None = None,
        data_name: str | None = None,
        **engine: Any,
    ) -> Job:
        """Search a strategy's parameters as one job; see `jobnb.optimize`."""
        from jobnb.research import door, fold_door, instrument_door

        options = options or Options()
        most = None if max_time is None else seconds(max_time, "max_time")
        seed = options.seed if seed is None else seed
        if (folds := fold_door.planned(method, cv, engine)) is not None:
            method, engine = folds.search, dict(folds.rest)
        if seed is None and method != "grid":
            seed = secrets.randbelow(2**32)
        frame, data_name = instrument_door.unwrapped(data, data_name)
        if instrument_door.several(frame, strategy, engine):
            if folds is not None:
                raise UsageProblem(f"{folds.cv!r} splits the bars of one instrument, and these are several.")
            asked = instrument_door.optimize(
                strategy, frame, space, self._keep_bars, objective=objective, method=method, n_trials=n_trials,
                seed=seed, constraint=constraint, maximize=maximize, max_time=most, data_name=data_name, engine=engine,
            )  # fmt: skip
            return self._accept_request(
                asked, "optimize", options if seed is None else options.merge(seed=seed), strategy
            )
        bars = door.bars(frame, data_name)
        work, what = door.sweep_work(
            strategy,
            bars,
            space,
            self._keep_data(bars),
            objective=objective,
            method=method,
            n_trials=n_trials,
            seed=seed,
            constraint=constraint,
            maximize=maximize,
            engine=engine,
        )
        options = options if seed is None else options.merge(seed=seed)
        if folds is not None:
            judged, what = fold_door.fold_work(work, what, folds, bars)
            return self._accept(
                judged,
                judged.job_kind,
                options,
                name=f"{what['strategy']} {judged.kind} on {bars.name}",
                params=what if most is None else {**what, "max_time": most},
                plan=judged.plan(most),
                blobs=[judged.data.key],
                source=strategy,
            )
        return self._accept(
            work,
            "optimize",
            options,
            name=f"{what['strategy']} sweep on {bars.name}",
            params=what if most is None else {**what, "max_time": most},
            plan=work.plan(most),
            blobs=[work.data.key],
            source=strategy,
        )

    def extract(
        self,
        symbols: str | Iterable[str],
        options: Options | None = None,
        *,
        start: object,
        end: object = None,
        interval: str = "1d",
        source: Any = None,
        to: Any = None,
        chunk: int | None = None,
        refresh: bool = False,
        overwrite: bool = False,
    ) -> Job:
        """Fetch prices as a job; see `jobnb.extract`."""
        from jobnb.data import door

        said = options or Options()
        work, what, plan = door.extract_work(
            symbols, home=self.store.home, start=start, end=end, interval=interval, source=source, to=to, chunk=chunk,
            refresh=refresh, overwrite=overwrite, on_error=said.on_error,
        )  # fmt: skip
        return self._accept(
            work,
            JobType.DATA_EXTRACTION.value,
            said,
            name=door.name_of(what),
            params=what,
            plan=plan,
            source=door.code_of(work.extract.source),
        )

    def _keep_data(self, bars: Bars) -> Callable[[], str]:
        return lambda: self._keep_bars(bars)

    def _keep_bars(self, bars: Bars) -> str:
        return self.store.blobs.put(bars.to_bytes())

    def _accept_request(self, asked: Request, kind: str, options: Options, strategy: Callable[..., Any]) -> Job:
        return self._accept(
            asked.work, kind, options, name=asked.name, params=asked.what, plan=asked.plan, blobs=asked.blobs,
            source=strategy,
        )  # fmt: skip

    def _accept(self, work: Work, kind: str, options: Options, **more: Any) -> Job:
        return self._hand_in(submission.new_job(self.store, self._cluster, work, kind, options, **more))

    def _hand_in(self, new: NewJob) -> Job:
        return self.hand_in_all([new])[0]

    def hand_in_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Accept jobs together, all of them or none, and see that they are run."""
        for each in jobs:
            look_on(self, each.options)
        made = [Job(each.id, self, duplicate=not each.new) for each in self.store.jobs.accept_all(jobs)]
        if self._thread is None:
            # A service that does not start is told to whoever looks or waits: the job itself is accepted.
            self.daemon.ensure()
        return made

    def rerun(self, job_id: str, *, verify: bool = False, **changes: Any) -> Job:
        """Submit a job's work again, all of it, as a new job linked to the old; see `Job.rerun`."""
        old = self.record(job_id)
        if verify and old.status is not Status.COMPLETED:
            raise UsageProblem(f"job {job_id} is {old.status}; only a completed job can be verified.")
        job = self._hand_in(submission.again(self.store, self._cluster, old, changes))
        if verify:
            self.result(job.id)
            if not results.same(old.plan, self.store.tasks.results(job_id), self.store.tasks.results(job.id)):
                raise NotReproduced(
                    f"job {job.id} did the work of job {job_id} again and gave another result. Does it depend on the "
                    "time, on files, or on random numbers of another source than random and numpy.random?"
                )
        return job

    def retry(self, job_id: str, **changes: Any) -> Job:
        """Try a job again that failed or was cancelled, as a new job that takes over what was finished.

        A job that waits for its next attempt gets it now. A dead letter is none any more. A search that was ended
        early goes on.
        """
        old = self.record(job_id)
        if old.status is Status.RETRYING:
            if "after" in changes:
                raise UsageProblem(f"job {job_id} has begun, and its next attempt waits for no other job.")
            self.store.jobs.retry_now(job_id, submission.who())
            return Job(job_id, self)
        unfinished = "stopped" in (old.summary or {}) and old.done < old.items
        if old.status not in (Status.FAILED, Status.CANCELLED) and not unfinished:
            raise UsageProblem(
                f"job {job_id} is {old.status}; only a failed or cancelled job can be retried. Use rerun."
            )
        job = self._hand_in(submission.again(self.store, self._cluster, old, changes, keep_finished=True))
        self.store.dead_letters.resolve(job_id, submission.who(), f"retried as {job.id}")
        return job

    # Dead letters and clean-up

    def dead_letters(self, limit: int = 100, *, kind: str | None = None, code: str | None = None) -> list[Job]:
        """Return the failed jobs that nobody has retried or purged yet, newest first."""
        return [Job(record.id, self) for record in self.store.dead_letters.select(kind=kind, code=code, limit=limit)]

    def retry_dead(self, *, kind: str | None = None, code: str | None = None) -> list[Job]:
        """Retry all dead letters, or those of a kind or an error code; return the new jobs."""
        return [self.retry(job.id) for job in reversed(self.dead_letters(-1, kind=kind, code=code))]

    def purge(self, *jobs: Job | str, older_than_hours: float | None = None, kind: str | None = None) -> int:
        """Remove dead letters with all that is kept of them: those named, or all that fit; return how many."""
        ids = [self.get(job).id for job in jobs] or None
        before = None if older_than_hours is None else utcnow() - timedelta(hours=older_than_hours)
        return self.store.dead_letters.purge(ids, before=before, kind=kind)

    def vacuum(self) -> tuple[int, int]:
        """Remove the files that no job refers to any more; return how many files and bytes."""
        return self.store.dead_letters.vacuum()

    def on(self, names: str | Iterable[str], fn: Callable[[Job, Event], object]) -> Callable[[], None]:
        """Call ``fn(job, event)`` when something happens to a job; see `jobnb.on`."""
        with self._lock:
            if self._events is None:
                self._events = Events(self)
        return self._events.on(names, fn)

    def events(self, job_id: str) -> list[Event]:
        """Return a job's history: what happened, when, by whom and why; oldest first."""
        return self.store.jobs.events(job_id)

    def finish(self, job_id: str) -> bool:
        """Have a running search end with what it has; see `Job.finish`."""
        job = self.record(job_id)
        if job.plan.get("type") not in (*results.SEARCHES, *results.FOLDS):
            raise UsageProblem(f"job {job_id} is no search of parameters: it cannot end with what it has. Use cancel.")
        if job.status.final:
            return False
        if not self.store.jobs.request_finish(job_id, submission.who()):
            raise UsageProblem(f"job {job_id} has not begun and has nothing to end with. Use cancel.")
        if self._thread is None:
            self.daemon.ensure()
        return True

    def _ask(self, job_id: str, what: str, rows: Any, numbers: Any, points: Any, terms: Mapping[str, Any]) -> Job:
        """Ask something of the runs of a search, which are made once more; see `OptimizeResult.reality_check`."""
        from jobnb.research.question import QuestionWork

        old = self.record(job_id)
        search = self.store.payloads.get(old.payload)
        work = QuestionWork(search=search, what=what, rows=rows, numbers=numbers, points=points, terms=terms)
        return self._after(old, work, "job", name=f"{what} of {old.name}", params={"runs": len(rows)})

    def _run_trial(
        self, job_id: str, number: int, point: tuple[float, ...] | None, params: Mapping[str, object]
    ) -> Job:
        """Run one trial of a search as a backtest; see `OptimizeResult.rerun`."""
        from jobnb.research.trial import TrialWork

        old = self.record(job_id)
        work = TrialWork(search=self.store.payloads.get(old.payload), number=number, point=point)
        what = {name: old.params[name] for name in ("strategy", "data", "options", "terms") if name in old.params}
        name = f"{what.get('strategy', old.name)} on {what.get('data', {}).get('name', 'data')}"
        return self._after(old, work, "backtest", name=name, params={**what, "params": shown_arguments((), params)})

    def _after(self, old: JobRecord, work: Work, kind: str, *, name: str, params: Mapping[str, Any]) -> Job:
        """Submit a work that carries the stored work of an old job, with its data and in its surroundings."""
        options, blobs = Options(seed=old.snapshot.get("seed")), self.store.jobs.blobs(old.id)
        new = submission.new_job(self.store, self._cluster, work, kind, options, name=name, params=params, blobs=blobs)
        # The surroundings of the search are those in which its work can be unpickled.
        new = replace(new, snapshot=old.snapshot, fire_at=old.fire_at)
        if old.options.get("given"):
            # It runs on what the search was given.
            new = replace(new, parents=after.again(self.store, old, options), options={**new.options, "given": True})
        return self._hand_in(new)

    # Looking

    def get(self, ref: str | Job) -> Job:
        """Return the job that ``ref`` means: an id, the beginning of one, a name, or ``last``.

        Raises
        ------
        UnknownName
            There is none, or the beginning fits several.
        """
        return Job(after.find(self.store, ref), self)

    def record(self, job_id: str) -> JobRecord:
        """Return a job's row, as of now."""
        found = self.store.jobs.get(job_id)
        if found is None:
            raise UnknownName(f"job {job_id} is not in the store any more.")
        return found

    def view(self, job_id: str, log_lines: int = 8) -> JobView:
        """Return everything that a card shows of a job, as of one moment."""
        found = self.store.view(job_id, log_lines)
        if found is None:
            raise UnknownName(f"job {job_id} is not in the store any more.")
        found = replace(found, job=queueing.explained(self, [found.job])[0])
        if found.job.status is Status.QUEUED and not found.job.note and self._thread is None:
            lease = self.store.leases.live(found.job.cluster)
            if lease is None or lease.info.get("state") == "starting":
                note = (
                    "the service did not start: run `jobnb doctor`" if self.service_gave_up() else "service is starting"
                )
                return replace(found, job=replace(found.job, note=note))
        return found

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever something in the store has; costs microseconds."""
        return self.store.version()

    def records(
        self,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        tag: str | None = None,
        limit: int = 50,
        *,
        queue: str | None = None,
    ) -> list[JobRecord]:
        """Return the rows of the newest jobs, newest first."""
        wanted = [status] if isinstance(status, str) else list(status or ())
        known = [s.value for s in Status]
        for each in wanted:
            if each not in known:
                raise UsageProblem(
                    f"unknown status {each!r}.{did_you_mean(each, known) or ' Known: ' + ', '.join(known)}"
                )
        found = self.store.jobs.select(status=wanted, kind=kind, tag=tag, queue=queue, limit=limit)
        return queueing.explained(self, found)

    def jobs(
        self,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        tag: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return the newest jobs, newest first."""
        return [Job(record.id, self) for record in self.records(status, kind, tag, limit)]

    def attempts(self, job_id: str) -> list[Attempt]:
        """Return every attempt at every task of a job."""
        return self.store.tasks.attempts(job_id)

    def artifacts(self, job_id: str) -> dict[str, bytes]:
        """Return what a job saved, by name."""
        return {name: self.store.blobs.get(sha) for name, sha in self.store.jobs.artifacts(job_id).items()}

    def log(self, job_id: str, tail: int | None = None) -> list[LogLine]:
        """Return what a job printed and logged, or the last ``tail`` lines of it."""
        return self.store.jobs.log(job_id, tail)

    def stats(self, days: float | None = figures.DAYS) -> figures.Figures:
        """Return statistics, with the runs of the last ``days``; see `jobnb.stats`. None leaves the runs out."""
        lease = self.daemon.lease()
        service = {"running": lease is not None, "cluster": self._cluster, "home": str(self.store.home)}
        if lease is not None:
            service |= {k: lease.info[k] for k in ("pid", "host", "state", "address", "workers") if k in lease.info}
        counts = self.store.jobs.counts()
        warned = self.store.jobs.warnings_since(utcnow() - timedelta(hours=1))
        made = figures.Figures(
            jobs=counts,
            total=sum(counts.values()),
            errors=self.store.jobs.error_codes(),
            dead_letters=self.store.dead_letters.count(),
            warnings=[{"job": job, "at": e.at.isoformat(), "what": e.event, "why": e.detail} for job, e in warned],
            service=service,
            **self.limit_stats(),
        )
        if days is None:
            return made
        made["notices"] = [state.to_json() for state in self.store.notices.states()]
        read, now = self.store.statistics, self.store.statistics.now()
        since = figures.window(days, now)
        with self.store.reading():
            return made.told(read.live(), read.ended(since), read.schedules(), days=days, now=now)

    def status_line(self) -> str:
        """Return one line: is there a service, how many workers, how many jobs run and wait."""
        stats = self.stats(days=None)
        service, jobs = stats["service"], stats["jobs"]
        if service["running"]:
            workers = service.get("workers")
            text = f"service {service.get('state', 'running')} (pid {service['pid']})"
            text += f", {workers} worker{'s' * (workers != 1)}" if workers is not None else ""
        else:
            text = "service not running (it starts with the next job)"
        waiting = jobs["queued"] + jobs["scheduled"] + jobs["retrying"]
        return f"{text}, {jobs['running']} running, {waiting} waiting, {jobs['failed']} failed · {service['home']}"

    # Waiting and stopping

    def wait(self, ids: Sequence[str], timeout: float | None = None) -> None:
        """Block until all of the jobs have ended.

        Raises
        ------
        TimeoutError
            After ``timeout`` seconds; the jobs go on.
        ServiceUnavailable
            No service could be started to run them.
        """
        waiter = Waiter(self, ids, timeout)
        while not waiter.over():
            time.sleep(waiter.pause())

    async def wait_async(self, job_id: str) -> Any:
        """Wait without blocking the event loop, so that buttons work meanwhile; return the job's result."""
        waiter = Waiter(self, [job_id], None)
        while not waiter.over():
            await asyncio.sleep(POLL_SECONDS * 4)
        return self.result(job_id)

    def result(self, job_id: str, timeout: float | None = None, *, partial: bool = False) -> Any:
        """Return a job's value; see `Job.result`."""
        if not partial:
            self.wait([job_id], timeout)
        job = self.record(job_id)
        results.check(job, partial=partial)
        value = results.load(job.plan, self.store.tasks.results(job_id))
        if job.plan.get("type") in results.SEARCHES:
            value.ask_with(lambda what, *asked: self._ask(job_id, what, *asked))
            value.bind(lambda number, point, params: self._run_trial(job_id, number, point, params))
        return value

    def report(
        self, job_id: str, path: str | os.PathLike[str], timeout: float | None = None, *, partial: bool = False
    ) -> Path:
        """Write the tear sheet of a job's result to an HTML file; see `Job.report`."""
        from jobnb.research import report

        report.check(self.record(job_id))
        value = self.result(job_id, timeout, partial=partial)
        return report.write(value, path, report.about(self.record(job_id)))

    def outcome(self, job_id: str) -> Outcome | None:
        """Return how a job ended in the words of the seed systems, or None while it has not."""
        job = self.record(job_id)
        if not job.status.final:
            return None
        if job.status is Status.COMPLETED:
            return Outcome(success=True, data=self.result(job_id))
        return Outcome(success=False, error=job.error.line if job.error else "cancelled")

    def cancel(self, job_id: str) -> bool:
        """Ask for a job's end; False if it had ended. A running one is dead within a second."""
        if not self.store.jobs.request_cancel(job_id, submission.who()):
            return False
        if self._thread is None and not self.record(job_id).status.final:
            # One that runs is ended by a service; the one that ran it may be gone.
            self.daemon.ensure()
        return True


def _name(fn: Any) -> str:
    return str(getattr(fn, "__name__", None) or type(fn).__name__)


_default: JobManager | None = None
_default_lock = threading.Lock()


def get_job_manager() -> JobManager:
    """Return the manager that `jobnb.submit` and ``%job`` use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = JobManager()
        return _default
