"""The child's main loop: take a task, run the user's function, send back what came of it; again, for one job.

Runs in the child process and nowhere else. Whatever the user's code does short of killing the process ends in a
message to the supervisor; this module must never let an exception out of a task.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, NoReturn

from jobnb import desk, handover
from jobnb.errors import JobnbError
from jobnb.work import Part, Work, unwrapped
from jobnb.worker import asking, blobs, context, failure, late_seed, orphan, preload, surroundings
from jobnb.worker.channel import ChildChannel
from jobnb.worker.prctl import die_with_parent
from jobnb.worker.request import TaskError
from jobnb.worker.weight import TELLTALE

#: Dask's and msgpack's own limits are near 4 GiB; a result this large belongs into a file.
_LARGEST_RESULT_BYTES = 2 << 30

#: How long a child may take to leave by itself after the supervisor has hung up.
_LEAVE_SECONDS = 1.0


def main(sock_fd: int, out_fd: int, err_fd: int, parent: int, *, watchdog: bool = False) -> NoReturn:
    """Be a child until the supervisor hangs up; `surroundings.prepare` was called here or in the parent.

    Parameters
    ----------
    sock_fd, out_fd, err_fd
        This end of the channel, and the pipes to write output to.
    parent
        The process to die with.
    watchdog
        Whether to watch the channel from a thread, where nobody else would end this process when the worker is
        gone. A forked child has its fork server, and stays free of threads: jobs like to fork.
    """
    surroundings.own_group()
    orphan.mark()
    die_with_parent(parent)
    surroundings.reset_signals()
    surroundings.own_descriptors(out_fd, err_fd)
    surroundings.be_expendable()
    surroundings.give_way()
    # What the parent registered is not for a child to run.
    atexit._clear()
    child = Child(ChildChannel(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock_fd)))
    if watchdog:
        threading.Thread(target=_watch, args=(sock_fd,), name="jobnb-watchdog", daemon=True).start()
    # A process that the job forks must neither write into the channel nor keep it open.
    os.register_at_fork(before=child.quiet, after_in_child=child.disown)
    status = 0
    try:
        child.serve()
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # noqa: BLE001
        # Anything else is jobnb's own mistake: the supervisor sees the death and finds this in the log.
        traceback.print_exc()
        status = 70
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def spawned(sock_fd: int, out_fd: int, err_fd: int, parent: int) -> NoReturn:
    """Be a child that was started afresh instead of forked."""
    preload.load()
    preload.warm_kernel()
    surroundings.prepare()
    main(sock_fd, out_fd, err_fd, parent, watchdog=True)


def _watch(sock_fd: int) -> None:
    """Wait for the supervisor to hang up; what does not leave by itself soon after is killed with its group."""
    poll = select.poll()
    poll.register(sock_fd, 0)  # hang-ups and errors are always reported
    # In turns, because a descriptor stays open, also for the supervisor, for as long as a thread waits on it.
    while not poll.poll(1000):
        pass
    time.sleep(_LEAVE_SECONDS)
    os.killpg(0, signal.SIGKILL)


class Child:
    """The loop and what it remembers between tasks of its job."""

    def __init__(self, channel: ChildChannel) -> None:
        self._channel = channel
        self._work: Work | None = None
        self._payload_hash: str | None = None
        self._meter: context.Meter | None = None
        self._owner = os.getpid()
        self._fresh = True

    def quiet(self) -> None:
        """Have no thread of ours run: the job is about to fork."""
        if self._meter is not None:
            self._meter.quiet()

    def disown(self) -> None:
        """Cut this copy of the child off from the supervisor."""
        context.enter(None)
        desk.use(None)
        if self._meter is not None:
            self._meter.abandon()
        self._channel.close()

    def serve(self) -> None:
        """Run tasks until the supervisor hangs up."""
        self._channel.send({"k": "ready", "pid": os.getpid()})
        while (message := self._channel.receive()) is not None:
            end = self._task(message)
            if os.getpid() != self._owner:
                os._exit(0)  # the user's code forked and the copy came back here
            self._channel.send(end)

    def _task(self, message: dict[str, Any]) -> dict[str, Any]:
        about: dict[str, Any] = message["request"]
        cpu_before = _cpu_seconds()
        meter = self._meter = context.Meter(self._channel.send)
        end: dict[str, Any] = {"state": "failed", "stop": about["start"]}
        try:
            try:
                part = self._run(message, about, meter)
            finally:
                context.enter(None)
                desk.use(None)
                self._channel.forget_questions()
            if isinstance(part, TaskError):
                end["error"] = part.as_map()
            elif part.refused:
                end.update(refused=True, error=TaskError(code="SKIPPED", message=part.refused).as_map())
            else:
                end.update(
                    state="completed",
                    stop=int(part.stop),
                    result=part.result,
                    summary=None if part.summary is None else dict(part.summary),
                    failed=int(part.failed),
                    carry=part.carry,
                )
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
            end["error"] = failure.describe(error, cwd=about["cwd"]).as_map()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a job may have closed or replaced them
                stream.flush()
        surroundings.flush_c_stdio()
        meter.close()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "k": "end",
            **end,
            "done": meter.done,
            "progress": meter.plain(),
            "cpu": _cpu_seconds() - cpu_before,
            "heavy": any(name in sys.modules for name in TELLTALE),
            "rss": used * (1 if sys.platform == "darwin" else 1024),
        }

    def _run(self, message: dict[str, Any], about: dict[str, Any], meter: context.Meter) -> Part | TaskError:
        mine = failure.versions() if about["versions"] else {}
        theirs = str(about["versions"].get("python", ""))
        if theirs and theirs.split(".")[:2] != mine["python"].split(".")[:2]:
            return failure.version_mismatch(theirs, mine["python"])
        said = surroundings.enter_folder(about["cwd"])
        if said:
            sys.stderr.write(said + "\n")
        surroundings.extend_path(about["sys_path"], fresh=self._fresh)
        self._fresh = False
        blobs.use(message["paths"])
        handover.use(about.get("given") or b"")
        seed = surroundings.task_seed(about["seed"])
        surroundings.seed_random(seed)
        late_seed.use(seed)
        here = context.JobContext(about, meter, self._channel.send, message["cluster"], enough=self._channel.enough)
        context.enter(here)
        desk.use(asking.ChildDesk(self._channel.ask, self._channel.send))
        if message["payload"] is not None:
            self._work = None
            try:
                self._work = pickle.loads(message["payload"])
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - unpickling runs user code
                return failure.unreadable_payload(error, dict(about["versions"]), mine)
            self._payload_hash = about["payload_hash"]
        work = self._work
        if work is None or self._payload_hash != about["payload_hash"]:
            raise JobnbError("the child was asked to run work that it was not given.")
        if type(unwrapped(work)).__module__.startswith("jobnb.research."):
            # Done already in the server that this process was forked from, unless that has only just started.
            preload.warm_kernel()
        try:
            part = work.run(about["start"], about["stop"], about["budget"], meter.report)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            kind = _unpicklable(error)
            if kind is None:
                raise
            return failure.unpicklable_result(error, kind)
        # After a failure this process goes home, and its connections with it.
        here.close()
        if len(part.result) > _LARGEST_RESULT_BYTES:
            return TaskError(
                code="RESULT_TOO_LARGE",
                message=f"the result has {len(part.result) >> 20} MiB; "
                f"at most {_LARGEST_RESULT_BYTES >> 20} MiB travel back.",
                hint="Write large results to a file and return its path.",
            )
        return part


def _unpicklable(error: BaseException) -> str | None:
    """Return the type of the value that could not be pickled, or None when the error is of another kind.

    A Work pickles its values itself, so the error comes from a frame of ``cloudpickle.dumps`` which jobnb.work
    called; an error of the user's own pickling passes through other frames first.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    for (outer, _), (inner, _) in itertools.pairwise(frames):
        if (
            outer.f_globals.get("__name__") == "jobnb.work"
            and inner.f_globals.get("__name__", "").startswith("cloudpickle")
            and inner.f_code.co_name == "dumps"
        ):
            value = inner.f_locals.get("obj")
            return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return None


def _cpu_seconds() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
