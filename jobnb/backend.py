"""The joblib backend: each call of a `joblib.Parallel` becomes one map job, with its card, progress and cancel.

Runs in the process that calls `Parallel`: it collects the calls, hands in the job, and a thread of its own gives the
results to joblib as the tasks come back. It never runs a call itself; inside a job it steps aside.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from joblib import parallel_config
from joblib.parallel import FallbackToBackend, ParallelBackendBase, SequentialBackend, register_parallel_backend

from jobnb import delegate
from jobnb.errors import UsageProblem
from jobnb.follower import Batch, Follower, Raised
from jobnb.job import Job
from jobnb.option import Options
from jobnb.retry import Retry

if TYPE_CHECKING:
    from jobnb.manager import JobManager

NAME = "jobnb"
#: How long the end of a call waits for the thread that has just given it the last result.
LEAVE_SECONDS = 5.0
#: Calls of one job. Joblib takes endless generators; a job has to know what it is.
CALLS = 1_000_000
#: Cards drawn for the calls of one ``with`` block: some estimators make a hundred calls.
CARDS = 5


@dataclass(kw_only=True)
class Block:
    """What the calls of one ``with jobnb.parallel()`` share: where they go, how they are run, and their jobs so far."""

    manager: JobManager
    options: Options = field(default_factory=Options)
    jobs: list[Job] = field(default_factory=list)


class JobnbBackend(ParallelBackendBase):  # type: ignore[misc]  # joblib ships no types
    """Runs the calls of `joblib.Parallel` as jobs; see `jobnb.parallel`.

    Parameters
    ----------
    nesting_level : int, optional
        Joblib's.
    block : Block, optional
        The ``with`` block it belongs to; one of its own on the default manager otherwise.
    **said
        Options of the jobs, without a block: ``joblib.parallel_config("jobnb", priority="high")``.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, nesting_level: int | None = None, block: Block | None = None, **said: Any) -> None:
        super().__init__(nesting_level=nesting_level)
        if block is None:
            from jobnb.manager import get_job_manager

            block = Block(manager=get_job_manager(), options=Options().merge(**said))
        self._block = block
        #: Joblib gives one backend to every Parallel of a ``with`` block; each needs a state of its own.
        self._bound = False
        self._calls: list[delegate.Call] = []
        self._batches: list[Batch] = []
        self._follower: Follower | None = None

    # What joblib asks

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at once: 1 only where one was asked for, and then joblib runs them itself."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs == 1:
            return 1
        places = max(2, _places(self._block.manager))
        return max(2, places + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Prepare a Parallel; inside a job it runs its calls one after the other."""
        from jobnb.worker.context import current

        if current() is not None:
            # Whoever waits inside a job for another one keeps a place that the other may need.
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if not self._bound:
            own = type(self)(nesting_level=self.nesting_level, block=self._block)
            own._bound = True
            raise FallbackToBackend(own)
        self.parallel = parallel
        # A job says how many items it has when it is handed in: the calls are collected first.
        parallel.pre_dispatch = "all"
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:
        """Forget the call before."""
        self._calls, self._batches, self._follower = [], [], None

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Future[Any]:
        """Collect some calls; the job begins in `retrieval_context`."""
        items = list(func.items)
        start = len(self._calls)
        self._calls += items
        if len(self._calls) > CALLS:
            raise UsageProblem(
                f"Parallel was given more than {CALLS:,} calls, and one Parallel is one job. "
                "Cut them into several, or let each call do more."
            )
        batch = Batch(start=start, stop=len(self._calls), tell=callback, future=Future(), left=len(items))
        self._batches.append(batch)
        return batch.future

    #: What joblib before 1.5 calls it.
    apply_async = submit

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Hand in the job: joblib enters this when it has given all calls, and waits for results inside."""
        if getattr(self.parallel, "_aborting", False):
            # The iterable of calls has raised. Joblib looks for that only while calls are out, and none is.
            self.parallel._raise_error_fast()
        elif self._batches and self._follower is None:
            self._begin()
        yield

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the values of a batch, or raise what its job ended with."""
        if isinstance(out, Raised):
            raise out.error
        return out

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the job: a call raised, joblib's own timeout passed, or the caller was interrupted."""
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()
            self._block.manager.cancel(follower.job.id)
        self._calls, self._batches = [], []

    def stop_call(self) -> None:
        """Let the thread of an ended call leave."""
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()
            follower.join(LEAVE_SECONDS)

    def get_nested_backend(self) -> tuple[Any, None]:
        """Return what a Parallel inside a call uses: one call after the other, all places being busy already."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def _begin(self) -> None:
        block = self._block
        options = block.options
        if options.retry is None:
            # Whoever waits at Parallel wants to hear of an exception now, not after minutes of further attempts.
            options = replace(options, retry=Retry(max_retries=0))
        first = _function(self._calls[0])
        work = delegate.Delegate(nesting_level=(self.nesting_level or 0) + 1)
        job = block.manager.map(work, self._calls, replace(options, on_error="fail"), source=first)
        block.jobs.append(job)
        self._follower = Follower(block.manager, job, self._batches)
        if len(block.jobs) <= CARDS:
            _show(job)
        self._follower.start()


@contextlib.contextmanager
def parallel(manager: JobManager, options: Options, n_jobs: int = -1) -> Iterator[list[Job]]:
    """Run joblib's calls as jobs of a manager; see `jobnb.parallel`."""
    register()
    block = Block(manager=manager, options=options)
    with parallel_config(backend=JobnbBackend(block=block), n_jobs=n_jobs):
        yield block.jobs


def register() -> None:
    """Make ``joblib.parallel_config("jobnb")`` work."""
    register_parallel_backend(NAME, JobnbBackend)


def _places(manager: JobManager) -> int:
    """Return how many calls the cluster runs at once, as far as that is known before it runs."""
    from jobnb import config

    lease = manager.store.leases.live(manager.cluster)
    slots = lease.info.get("slots") if lease is not None else None
    return int(slots or config.load(manager.home).workers)


def _function(call: delegate.Call) -> Callable[..., Any]:
    """Return the function of a call; scikit-learn wraps it."""
    fn = call[0]
    inner = getattr(fn, "function", None)
    return inner if callable(inner) else fn


def _show(job: Job) -> None:
    """Draw the job's card, in a notebook."""
    if "IPython" not in sys.modules:
        return
    from jobnb.notebook import cards

    if cards.in_notebook():
        cards.show(job)
