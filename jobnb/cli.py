"""The command line: ``jobnb list | show | logs | cancel | schedules | queues | notices | service | status | stop``, ….

A thin skin over `JobManager`, like the magic: parse, call, print.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence

import jobnb
from jobnb.daemon import Daemon
from jobnb.errors import JobnbError, UsageProblem
from jobnb.manager import JobManager

STOP_SECONDS = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    said = _parser().parse_args(argv)
    try:
        code: int = said.run(JobManager(home=said.home), said)
    except JobnbError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jobnb", description="Research jobs on a Dask cluster.")
    parser.add_argument("--version", action="version", version=f"jobnb {jobnb.__version__}")
    parser.add_argument("--home", help="the store's folder (default: JOBNB_HOME or the platform's state folder)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="one backtest and a 10,000-run optimization on real prices")
    demo.set_defaults(run=_demo)

    listing = commands.add_parser("list", help="the newest jobs")
    listing.add_argument("--status", help="only jobs in this state")
    listing.add_argument("--kind", help="only jobs of this kind")
    listing.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    listing.set_defaults(run=_list)

    for name, run, text in (
        ("show", _show, "one job"),
        ("logs", _logs, "what a job printed"),
        ("cancel", _cancel, "stop a job"),
        ("finish", _finish, "end a search with the runs it has"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("job", nargs="?", default="last", help="id, beginning of an id, or name (default: last)")
        command.set_defaults(run=run)

    status = commands.add_parser("status", help="the service; what waits, runs and has run")
    status.add_argument("--days", type=float, default=7, help="how far back runs are counted (default: 7)")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)

    service = commands.add_parser("service", help="have it started by the system, or run, start and stop it by hand")
    service.add_argument("what", choices=("install", "run", "start", "stop"))
    service.add_argument("--cluster", help="a Dask address; the embedded cluster by default")
    service.add_argument("--systemd", action="store_const", const="systemd", dest="system", help="print a systemd unit")
    service.add_argument(
        "--launchd", action="store_const", const="launchd", dest="system", help="print a launchd plist"
    )
    service.add_argument("--print", action="store_true", dest="bare", help="print the file only")
    service.set_defaults(run=_service, now=False)

    stop = commands.add_parser("stop", help="end the service; jobs that are not done wait for the next one")
    stop.add_argument("--now", action="store_true", help="without letting running tasks end first")
    stop.set_defaults(run=_stop)

    dlq = commands.add_parser("dlq", help="failed jobs that nobody has retried or purged yet")
    dlq.add_argument("what", nargs="?", choices=("list", "retry", "purge"), default="list")
    dlq.add_argument("jobs", nargs="*", metavar="JOB", help="ids or names (default: all)")
    dlq.add_argument("--code", help="only jobs that failed with this code")
    dlq.add_argument("--kind", help="only jobs of this kind")
    dlq.set_defaults(run=_dlq)

    notices = commands.add_parser("notices", help="who is told of what, and how that goes; add, test or remove one")
    notices.add_argument("what", nargs="?", choices=("list", "add", "test", "remove"), default="list")
    notices.add_argument("channel", nargs="?", help="its name; to add one: notebook, desktop, https://… or apprise's")
    notices.add_argument("--name", help="what the new one is called")
    notices.add_argument("--on", help="failed,stuck,failing,paused (default), completed, dead, cancelled, …, or all")
    notices.add_argument("--kinds", default="", help="only jobs of these kinds")
    notices.add_argument("--tags", default="", help="only jobs with one of these tags")
    notices.add_argument("--longer-than", help="only of jobs that took this long: 10m")
    notices.set_defaults(run=_notices)

    schedules = commands.add_parser("schedules", help="what runs again and again, and when next")
    schedules.set_defaults(run=_schedules)

    schedule = commands.add_parser("schedule", help="pause, resume, run or remove a schedule")
    schedule.add_argument("what", choices=("pause", "resume", "run", "remove", "ticks"))
    schedule.add_argument("name")
    schedule.set_defaults(run=_schedule)

    queues = commands.add_parser("queues", help="the queues: their limits, what waits and runs in them")
    queues.set_defaults(run=_queues)

    queue = commands.add_parser("queue", help="define, change, pause, resume, drain or remove a queue")
    queue.add_argument("name")
    queue.add_argument("what", nargs="?", choices=("pause", "resume", "drain", "remove"))
    for option, text in (
        ("--max-concurrent", "jobs of it that run at once"),
        ("--max-tasks", "tasks of its jobs that are out at once"),
        ("--priority", "of its jobs that say nothing else"),
        ("--timeout", "the same"),
        ("--memory-limit", "the same"),
        ("--max-retries", "the same"),
        ("--retry-delay", "the same"),
        ("--deadline", "the same"),
    ):
        queue.add_argument(option, help=f"{text} (none: take it back)")
    queue.add_argument("--wait", metavar="FOR", nargs="?", const="", help="drain: wait until it is empty, or so long")
    queue.set_defaults(run=_queue)

    vacuum = commands.add_parser("vacuum", help="remove files that no job refers to any more")
    vacuum.set_defaults(run=_vacuum)

    doctor = commands.add_parser("doctor", help="what is wrong and how to mend it")
    doctor.set_defaults(run=_doctor)
    return parser


def _demo(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb.demo import demo

    return demo(manager)


def _list(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb.job import utcnow
    from jobnb.notebook.outputs import JobTable

    print(JobTable([], manager.records(said.status, said.kind, limit=said.limit), utcnow()))
    return 0


def _show(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb.notebook.card_text import render

    print(render(manager.view(manager.get(said.job).id), colour=sys.stdout.isatty()))
    return 0


def _logs(manager: JobManager, said: argparse.Namespace) -> int:
    for line in manager.log(manager.get(said.job).id):
        print(line.text)
    return 0


def _cancel(manager: JobManager, said: argparse.Namespace) -> int:
    job = manager.get(said.job)
    if not manager.cancel(job.id):
        print(f"{job.id} {job.name} had ended already: {job.status}")
        return 1
    manager.wait([job.id], timeout=STOP_SECONDS)
    print(f"{job.id} {job.name}: {job.status}")
    return 0


def _finish(manager: JobManager, said: argparse.Namespace) -> int:
    job = manager.get(said.job)
    if not manager.finish(job.id):
        print(f"{job.id} {job.name} had ended already: {job.status}")
        return 1
    manager.wait([job.id], timeout=STOP_SECONDS)
    print(f"{job.id} {job.name}: {job.status}, {job.record.done:,} of {job.record.items:,} runs")
    return 0


def _status(manager: JobManager, said: argparse.Namespace) -> int:
    if said.json:
        print(json.dumps(manager.stats(said.days), indent=2))
    else:
        print(f"{manager.status_line()}\n\n{manager.stats(said.days)!r}")
    return 0


def _service(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb import config
    from jobnb.unit import Unit, hints, system_here

    settings = config.load(said.home)
    # The service has a working directory of its own.
    cluster = os.path.abspath(said.cluster) if str(said.cluster).endswith(".json") else said.cluster
    daemon = Daemon(manager.store, cluster or manager.cluster)
    unit = Unit.here(settings.home, daemon.cluster, stop_grace=settings.stop_grace)
    if said.what == "stop":
        print("stopped" if daemon.stop(now=False) else "no service was running")
    elif said.what == "start":
        print(f"service running (pid {daemon.start().pid})")
    elif said.what == "run":
        manager.store.close()
        os.environ |= unit.environment
        # In place of this process, so that whoever supervises it supervises the service.
        os.execv(unit.command[0], unit.command)  # noqa: S606
    else:
        system = said.system or system_here()
        print(unit.text(system), end="")
        if not said.bare:
            more = [f"--home {shlex.quote(str(settings.home))}"] if said.home or "JOBNB_HOME" in os.environ else []
            again = " ".join(["jobnb", *more, "service install"])
            again += f" --cluster {shlex.quote(cluster)}" if cluster else ""
            steps = [f"  {command}" for command in unit.commands(system, again)]
            print(
                "\nTwo commands, and schedules survive a reboot:",
                *steps,
                *hints(system, unit),
                sep="\n",
                file=sys.stderr,
            )
    return 0


def _stop(manager: JobManager, said: argparse.Namespace) -> int:
    print("stopped" if manager.daemon.stop(now=said.now) else "no service was running")
    return 0


def _dlq(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb.job import utcnow
    from jobnb.notebook import job_table
    from jobnb.notebook.outputs import JobTable

    named = [manager.get(ref) for ref in said.jobs]
    chosen = named or manager.dead_letters(-1, kind=said.kind, code=said.code)
    if said.what == "list":
        records = [job.record for job in chosen]
        print(JobTable([], records, utcnow(), job_table.DEAD_LETTERS, "no dead letters"))
    elif said.what == "retry":
        for job in reversed(chosen):
            print(f"{job.id} {job.name} is tried again as {manager.retry(job.id).id}")
    else:
        print(f"purged {manager.purge(*chosen) if chosen else 0} jobs")
    return 0


def _notices(manager: JobManager, said: argparse.Namespace) -> int:
    if said.what == "list":
        print(manager.notices())
        return 0
    if not said.channel:
        raise UsageProblem(f"which channel? Write: jobnb notices {said.what} {'URL' if said.what == 'add' else 'NAME'}")
    if said.what == "add":
        made = manager.notify(
            said.channel, on=said.on, name=said.name, kinds=said.kinds, tags=said.tags, longer_than=said.longer_than
        )
        print(made)
        return 0
    found = manager.find_channel(said.channel)
    if said.what == "test":
        found.test()
        print(f"sent to {found.name}")
    else:
        found.remove()
        print(f"channel {said.channel} is removed")
    return 0


def _schedules(manager: JobManager, said: argparse.Namespace) -> int:
    print(manager.schedules())
    return 0


def _schedule(manager: JobManager, said: argparse.Namespace) -> int:
    found = manager.find_schedule(said.name)
    if said.what == "ticks":
        for tick in found.ticks():
            print(f"{tick.fire_at:%Y-%m-%d %H:%M:%S} UTC  {tick.verdict:9}  {tick.job or '–':8}  {tick.why}".rstrip())
    elif said.what == "run":
        print(f"run {found.run().id} of {found.name}")
    elif said.what == "remove":
        found.remove()
        print(f"schedule {said.name} is removed; its jobs stay")
    else:
        getattr(found, said.what)()
        print(found)
    return 0


def _queues(manager: JobManager, said: argparse.Namespace) -> int:
    print(manager.queues())
    return 0


def _queue(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb import queueing

    given = {name: text for name in queueing.SETTINGS if (text := getattr(said, name, None)) is not None}
    settings = {name: None if text == "none" else text for name, text in given.items()}
    found = queueing.turned(manager, said.name, said.what or "", settings)
    if said.wait is not None:
        if said.what != "drain":
            raise UsageProblem("--wait goes with drain.")
        try:
            found.drain(said.wait or None)
        except TimeoutError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"queue {said.name} is removed; its jobs stay" if said.what == "remove" else found)
    return 0


def _vacuum(manager: JobManager, said: argparse.Namespace) -> int:
    files, size = manager.vacuum()
    print(f"removed {files} files, {size / 1e6:,.1f} MB")
    return 0


def _doctor(manager: JobManager, said: argparse.Namespace) -> int:
    from jobnb.doctor import Verdict, examine, report

    findings = list(examine(manager))
    print(report(findings))
    manager.close()
    return int(any(f.verdict is Verdict.BAD for f in findings))


if __name__ == "__main__":
    sys.exit(main())
