"""``%job`` and ``%%job``: a skin that parses a line, calls the manager, draws the card and returns the job.

Runs in the kernel. Bad input is IPython's ``UsageError`` of one line and nothing is enqueued. Loading this module must
import nothing heavy; the manager is asked for when a command needs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from jobnb.errors import JobFailed, JobnbError, UnknownName, Unpicklable, UsageProblem, unknown
from jobnb.job import Job
from jobnb.notebook import grammar, namespace

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jobnb.manager import JobManager
    from jobnb.notebook.schedule_line import Drafting
    from jobnb.option import Options

_PLAIN = frozenset({UsageProblem.code, UnknownName.code})
#: The variable that always holds the last job.
LAST = "_job"


@magics_class
class JobMagics(Magics):
    """The magic and what it knows of the notebook."""

    #: Set while a command describes the jobs of a schedule.
    _drafting: Drafting | None = None

    @no_var_expand  # braces and dollars belong to the user's Python
    @line_cell_magic
    def job(self, line: str, cell: str | None = None) -> object:
        """Run long work as jobs that outlive this kernel.

        %job backtest SmaCross --data prices fast=10 slow=30 commission=0.001 -o bt
        %job optimize SmaCross --data prices fast=5:50 slow=10:200:2 --objective sharpe_ratio
        %job submit my_function(a, b=2) --priority high --timeout 60
        %job extract AAPL MSFT --start 2015-01-01 --to prices/
        %job notebook report.ipynb symbol=AAPL --to out.ipynb
        %%job --name load -o prices          the cell runs as a job, its results come back

        %job list --status running           %job logs ID --tail 20
        %job show ID                         %job result ID
        %job wait ID --timeout 5m            %job retry ID
        %job cancel ID                       %job rerun ID --priority high
        %job finish ID                       %job status
        %job panel                           %job report ID report.html
        %job dlq                             %job connect tcp://host:8786
        %job dlq retry ID                    %job dlq purge ID
        %job schedule NAME "0 8 * * 1-5" --tz America/New_York --market XNYS -- f(x)
        %job schedule NAME 1h --only @quiet -- backtest SmaCross --data latest fast=10
        %job notices                         who is told of what: jobnb.notify("slack://…", on="failed")
        %job schedules                       %job pause | resume | run | unschedule NAME
        %job queue NAME --max-concurrent 2   %job queue NAME pause | resume | drain | remove
        %job queues

        A job command returns at once with the Job, draws its card, and keeps the job in `_job` (and in NAME with
        `-o NAME`; `bt = %job …` works too). ID is an id, the beginning of one, a name, or a variable that holds a job;
        without an ID the last job is meant.

        Values: fast=10, mode=close, size="two words", and cost=@fee for the value of a variable. To search:
        fast=5:50 and slow=10:200:2 are Python ranges (stop left out), risk=0.1:0.5:0.1 works with fractions,
        fast=5,10,20 is a list. --constraint "p.fast < p.slow" leaves combinations out. --method random or tpe tries
        --n-trials of them; there risk=0.1:0.5 is any number between, and risk=0.001:1:log any order of magnitude.
        --max-time 10m ends a search with what it has, as `%job finish` does.

        To judge on bars that the search has not seen: --method walk-forward --train 3y --test 6M (or bars: 500, 125)
        [--anchored]; --method purged-kfold --n-splits 5 or cpcv --n-groups 6 --n-test-groups 2, with --embargo 0.01
        and --horizon 5; each with --search random or tpe in place of a grid.

        Options of all jobs: --name --priority (low, normal, high, critical) --timeout 5m --memory-limit 2GiB --tag
        --queue --run-at 2026-11-04T09:30 --seed --retry 3 --deadline 2h --expires-at 30m --unique KEY -o
        --notify notebook (or desktop, a channel, an address) --needs yahoo (waits while jobnb.breaker("yahoo") is open)
        A deadline counts waiting and retries; a job not begun by --expires-at never begins; while a job of a unique
        key is live, a submit of the same key returns it. Failed jobs stay in `%job dlq` until retried or purged.

        --after ID (a,b or repeated) waits for other jobs and is cancelled when one of them fails; --after-on failure
        or any, --on-parent-failure run, --condition @enough. A job among the arguments, `%job submit g(job_a, 2)`, is
        waited for and replaced by its result.

        What is scheduled: a call, or backtest, optimize, extract, notebook, submit as above; --data may then name a
        function, which each run calls for its prices, and --report sheets/{fire_at:%Y-%m-%d}.html keeps tear sheets.

        The variables a %%job cell reads are taken by value. Those named by -o are set when the job has completed;
        after `%job wait` they surely are.
        """
        try:
            if cell is not None:
                return self._cell(grammar.parse_cell(line), cell)
            parsed = grammar.parse(line)
            run: Callable[[grammar.Parsed], object] = getattr(self, f"_{parsed.command}")
            return run(parsed)
        except UsageProblem as error:
            # A wrong word needs no code; what can be searched for has one.
            code = "" if error.code in _PLAIN else f"{error.code}: "
            raise UsageError(_line(f"{code}{error.message}")) from None
        except JobFailed:
            # It shows the job's own traceback.
            raise
        except JobnbError as error:
            raise UsageError(_line(f"{error.code}: {error.message}")) from None
        except TimeoutError as error:
            raise UsageError(_line(str(error))) from None

    # Commands that make jobs

    def _backtest(self, said: grammar.Parsed) -> Job:
        space = self._space
        strategy = namespace.strategy(space, said.words[0])
        data = namespace.prices(space, said.text("data"), "backtest", late=self._drafting is not None)
        _known_settings(strategy, said)
        params: dict[str, Any] = {
            name: namespace.setting(space, name, grammar.value(text, name)) for name, text in said.settings.items()
        }
        for name, text in said.settings.items():
            if isinstance(params[name], str) and ":" in text:
                raise UsageProblem(f"{name}={text} is a range; a backtest takes one value. Use %job optimize.")
        options, out = self._options(said), self._out(said)
        made: Any = strategy
        frame: Any = data
        job = self._manager.backtest(made, frame, params, options, data_name=_data_name(data, said))
        return self._made(job, out)

    def _optimize(self, said: grammar.Parsed) -> Job:
        from jobnb.research.options import ENGINE_OPTIONS, PORTFOLIO_OPTIONS

        space = self._space
        strategy = namespace.strategy(space, said.words[0])
        data = namespace.prices(space, said.text("data"), "optimize", late=self._drafting is not None)
        _known_settings(strategy, said)
        search: dict[str, Any] = {}
        engine: dict[str, Any] = {}
        for name, text in said.settings.items():
            if (name in ENGINE_OPTIONS or name in PORTFOLIO_OPTIONS) and name not in namespace.parameters(strategy):
                engine[name] = namespace.setting(space, name, grammar.value(text, name))
                continue
            sampled = (said.text("search") or said.text("method")) in grammar.SAMPLERS
            several = grammar.candidates(text, name, continuous=sampled)
            value = namespace.setting(space, name, grammar.value(text, name) if several is None else several)
            search[name] = value
        if not search:
            names = namespace.parameters(strategy)
            hint = " ".join(f"{n}=5:50" for n in names[:2]) or "fast=5:50"
            raise UsageProblem(f"%job optimize needs parameters to try, such as {hint}")
        if said.flags.get("minimize") and said.flags.get("maximize"):
            raise UsageProblem("--minimize and --maximize cannot both be meant.")
        more: dict[str, Any] = {k: v for k in ("method", "max_time") if (v := said.text(k)) is not None}
        for key, said_of_it in grammar.folds(said).items():
            more[key] = namespace.setting(space, f"--{key} ", said_of_it)
        if (wanted := said.text("objective")) is not None:
            more["objective"] = self._objective(wanted)
        if (kept := said.text("constraint")) is not None:
            more["constraint"] = namespace.constraint(space, kept)
        if (trials := said.text("n_trials")) is not None:
            more["n_trials"] = grammar.count(trials, "--n-trials")
        if said.flags.get("minimize") or said.flags.get("maximize"):
            more["maximize"] = bool(said.flags.get("maximize"))
        options, out = self._options(said), self._out(said)
        made: Any = strategy
        frame: Any = data
        more["data_name"] = _data_name(data, said)
        job = self._manager.optimize(made, frame, search, options, **more, **engine)
        return self._made(job, out)

    def _objective(self, text: str) -> object:
        """Return the objective, or the list of them, that a text names: metrics, and ``@name`` for a function."""
        named = [grammar.value(part, "--objective") if part[:1] == "@" else part for part in text.split(",")]
        found = [namespace.setting(self._space, "--objective ", one) for one in named]
        return found if len(found) > 1 else found[0]

    def _extract(self, said: grammar.Parsed) -> Job:
        symbols = namespace.symbols(self._space, said.words)
        if (start := said.text("start")) is None:
            raise UsageProblem("%job extract needs --start, such as --start 2020-01-01")
        more: dict[str, Any] = {k: v for k in ("end", "interval", "to") if (v := said.text(k)) is not None}
        if (name := said.text("source")) is not None:
            more["source"] = namespace.source(self._space, name)
        if (bars := said.text("chunk")) is not None:
            more["chunk"] = grammar.count(bars, "--chunk")
        more |= {k: bool(said.flags.get(k)) for k in ("refresh", "overwrite")}
        options, out = self._options(said), self._out(said)
        return self._made(self._manager.extract(symbols, options, start=start, **more), out)

    def _notebook(self, said: grammar.Parsed) -> Job:
        from jobnb import paper

        given = {
            name: namespace.setting(self._space, name, grammar.value(text, name))
            for name, text in said.settings.items()
        }
        options, out = self._options(said), self._out(said)
        tz = self._drafting.manager.tz if self._drafting is not None else "UTC"
        job = paper.run_notebook(self._manager, said.words[0], given, options, to=said.text("to"), tz=tz)
        return self._made(job, out)

    def _submit(self, said: grammar.Parsed) -> Job:
        fn, args, kwargs = namespace.evaluate(self._space, said.call)
        options, out = self._options(said), self._out(said)
        return self._made(self._manager.submit(fn, args, kwargs, options), out)

    def _cell(self, said: grammar.Parsed, source: str) -> Job:
        from jobnb.notebook import cell, delivery

        wanted = grammar.names(text) if (text := said.text("o")) is not None else ()
        tree = cell.check(source, wanted)
        reads = cell.capture(tree, self._space)
        for name, value in reads.items():
            if isinstance(value, Job):
                raise UsageProblem(
                    f"the cell reads {name}, a Job. Take its value first: {name}_value = {name}.result()"
                )
        options = self._options(said)
        if not options.name:
            options = options.merge(name=cell.title(source))
        # The number in the cell's prompt: newer IPython counts on before the cell runs, older after it.
        filename = f"<job cell {self.shell.displayhook.prompt_count}>"
        shown = {"reads": ", ".join(reads), "results": ", ".join(wanted)}
        try:
            job = self._manager.submit(
                cell.run_cell,
                (source, reads, wanted, filename),
                {},
                options,
                kind="cell",
                params={k: v for k, v in shown.items() if v},
            )
        except Unpicklable as error:
            raise Unpicklable(_culprit(reads) or error.message) from None
        self._made(job, ())
        if wanted:
            delivery.deliver(job, wanted, self._space)
        return job

    def _retry(self, said: grammar.Parsed) -> Job:
        out = self._out(said)
        return self._made(self._manager.retry(self._one(said).id), out)

    def _rerun(self, said: grammar.Parsed) -> Job:
        out = self._out(said)
        changes = self._said(said)
        self._options(said)  # refuses a bad value before anything is submitted
        return self._made(self._manager.rerun(self._one(said).id, **changes), out)

    # Commands that look at jobs

    def _list(self, said: grammar.Parsed) -> object:
        from jobnb.job import utcnow
        from jobnb.notebook.outputs import JobTable

        limit = grammar.count(text, "--limit") if (text := said.text("limit")) else 20
        records = self._manager.records(
            status=said.text("status"), kind=said.text("kind"), tag=said.text("tag"), limit=limit
        )
        return JobTable([Job(r.id, self._manager) for r in records], records, utcnow())

    def _show(self, said: grammar.Parsed) -> Job:
        from jobnb.notebook import cards

        jobs = self._several(said)
        for job in jobs:
            cards.show(job, again=True)
        return jobs[-1]

    def _wait(self, said: grammar.Parsed) -> Job:
        from jobnb.notebook import waiting

        jobs = self._several(said)
        waiting.wait(self._manager, jobs, timeout=self._timeout(said))
        return jobs[-1]

    def _cancel(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        lines = []
        for job in self._several(said):
            asked = self._manager.cancel(job.id)
            record = self._manager.record(job.id)
            how = "cancelling" if asked else f"had ended already ({record.status})"
            lines.append(f"{record.id} {record.name}: {how}")
        return Text("\n".join(lines))

    def _finish(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        lines = []
        for job in self._several(said):
            asked = self._manager.finish(job.id)
            record = self._manager.record(job.id)
            how = "finishing with what it has" if asked else f"had ended already ({record.status})"
            lines.append(f"{record.id} {record.name}: {how}")
        return Text("\n".join(lines))

    def _logs(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        tail = grammar.count(text, "--tail") if (text := said.text("tail")) else None
        lines = self._manager.log(self._one(said).id, tail=tail)
        return Text("\n".join(line.text for line in lines))

    def _result(self, said: grammar.Parsed) -> object:
        from jobnb.notebook import waiting

        out = self._out(said)
        job = self._one(said)
        partial = bool(said.flags.get("partial"))
        if not partial:
            waiting.wait(self._manager, [job], timeout=self._timeout(said), draw=False)
        value = self._manager.result(job.id, timeout=self._timeout(said), partial=partial)
        for name in out:
            self._space[name] = value
        return None if out else value

    def _report(self, said: grammar.Parsed) -> object:
        from pathlib import Path

        from jobnb.notebook import waiting
        from jobnb.notebook.outputs import Text

        path = said.words[-1] if said.words else ""
        # A name with neither a folder nor an ending is rather the job, and the file was forgotten.
        if not Path(path).suffix and "/" not in path:
            raise UsageProblem(f"%job report needs a file, such as: %job report {path or 'ID'} report.html")
        job = self._find(said.words[0]) if len(said.words) > 1 else self._last()
        partial = bool(said.flags.get("partial"))
        if not partial:
            waiting.wait(self._manager, [job], timeout=self._timeout(said), draw=False)
        return Text(str(self._manager.report(job.id, path, partial=partial)))

    def _dlq(self, said: grammar.Parsed) -> object:
        from jobnb.job import utcnow
        from jobnb.notebook import job_table
        from jobnb.notebook.completion import DEAD_LETTER_WORDS
        from jobnb.notebook.outputs import JobTable, Text

        what = said.words[:1]
        if what and what[0] not in DEAD_LETTER_WORDS:
            raise unknown("command", what[0], DEAD_LETTER_WORDS, **{"in": "%job dlq"})
        chosen = [self._find(word) for word in said.words[1:]]
        kind, code = said.text("kind"), said.text("code")
        manager = self._manager
        if not what:
            jobs = manager.dead_letters(kind=kind, code=code)
            return JobTable(
                jobs, [job.record for job in jobs], utcnow(), job_table.DEAD_LETTERS, empty="no dead letters"
            )
        if what[0] == "retry":
            again = [manager.retry(job.id) for job in chosen] if chosen else manager.retry_dead(kind=kind, code=code)
            return JobTable(again, [job.record for job in again], utcnow())
        if code is not None and not chosen:
            chosen = manager.dead_letters(-1, kind=kind, code=code)
            if not chosen:
                return Text("purged 0 jobs")
        return Text(f"purged {manager.purge(*chosen, kind=kind)} jobs")

    def _panel(self, said: grammar.Parsed) -> object:
        from jobnb.notebook import panel

        limit = grammar.count(text, "--limit") if (text := said.text("limit")) else panel.LIMIT
        return panel.panel(self._manager, limit)

    def _schedule(self, said: grammar.Parsed) -> object:
        from jobnb.notebook import schedule_line

        name, when = said.words
        more = {**schedule_line.settings(self._space, said), **self._said(said)}
        if said.inner is not None:
            more |= self._said(said.inner)
        if "name" in more:
            raise UsageProblem(f"--name is not for a schedule: its jobs are called {name}, as it is.")
        if said.inner is None:
            fn, args, kwargs = namespace.evaluate(self._space, said.call)
            if said.text("report") is not None:
                raise UsageProblem("--report is of backtest and optimize; a function writes what it likes.")
            return self._manager.schedule(name, fn, when, args=args, kwargs=kwargs, **more)
        recipe = schedule_line.recipe(said.inner, said.text("report"), self._draft)
        return self._manager.schedule(name, recipe, when, **more)

    def _draft(self, inner: grammar.Parsed, drafting: Drafting) -> object:
        """Do a command that makes a job with a manager that only describes it."""
        self._drafting = drafting
        try:
            return getattr(self, f"_{inner.command}")(inner)
        finally:
            self._drafting = None

    def _schedules(self, said: grammar.Parsed) -> object:
        return self._manager.schedules()

    def _notices(self, said: grammar.Parsed) -> object:
        return self._manager.notices()

    def _pause(self, said: grammar.Parsed) -> object:
        found = self._manager.find_schedule(said.words[0])
        found.pause()
        return found

    def _resume(self, said: grammar.Parsed) -> object:
        found = self._manager.find_schedule(said.words[0])
        found.resume()
        return found

    def _run(self, said: grammar.Parsed) -> Job:
        return self._made(self._manager.find_schedule(said.words[0]).run(), self._out(said))

    def _unschedule(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        self._manager.find_schedule(said.words[0]).remove()
        return Text(f"schedule {said.words[0]} is removed; its jobs stay")

    def _queues(self, said: grammar.Parsed) -> object:
        return self._manager.queues()

    def _queue(self, said: grammar.Parsed) -> object:
        from jobnb import queueing

        name, *what = said.words
        return queueing.turned(self._manager, name, what[0] if what else "", grammar.queue_settings(said))

    def _status(self, said: grammar.Parsed) -> object:
        from jobnb.figures import DAYS
        from jobnb.notebook.outputs import Text

        days = float(grammar.count(text, "--days")) if (text := said.text("days")) else DAYS
        return Text(f"{self._manager.status_line()}\n\n{self._manager.stats(days)!r}")

    def _connect(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        self._manager.connect(cluster=said.words[0] if said.words else None)
        return Text(self._manager.status_line())

    def _help(self, said: grammar.Parsed) -> object:
        from jobnb.notebook.outputs import Text

        return Text(inspect.getdoc(JobMagics.job) or grammar.page())

    # Shared

    @property
    def _space(self) -> dict[str, Any]:
        space: dict[str, Any] = self.shell.user_ns
        return space

    @property
    def _manager(self) -> JobManager:
        from jobnb.manager import get_job_manager

        return get_job_manager() if self._drafting is None else self._drafting.manager

    def _options(self, said: grammar.Parsed) -> Options:
        from jobnb.option import Options

        return Options().merge(**self._said(said)) if self._drafting is None else self._drafting.options

    def _said(self, said: grammar.Parsed) -> dict[str, Any]:
        """Return the options of a job, with the variables that they name looked up."""
        found: dict[str, Any] = said.job_options()
        if isinstance(named := found.get("after"), tuple):
            words = [word.strip() for each in named for word in each.split(",")]
            found["after"] = [self._find(word) for word in words if word]
        if isinstance(text := found.get("condition"), str):
            word = grammar.value(text if text.startswith("@") else f"@{text}", "--condition ")
            found["condition"] = namespace.setting(self._space, "--condition ", word)
        return found

    def _out(self, said: grammar.Parsed) -> tuple[str, ...]:
        text = said.text("o")
        if text is None:
            return ()
        found = grammar.names(text)
        if len(found) > 1:
            raise UsageProblem(f"-o {text} names {len(found)} variables; there is one job to keep.")
        return found

    def _timeout(self, said: grammar.Parsed) -> float | None:
        from jobnb.durations import seconds

        text = said.text("timeout")
        return None if text is None else seconds(text, "timeout")

    def _made(self, job: Job, out: tuple[str, ...]) -> Job:
        from jobnb.notebook import cards

        if self._drafting is not None:
            return job
        self._space[LAST] = job
        for name in out:
            self._space[name] = job
        cards.show(job, again=True)
        return job

    def _one(self, said: grammar.Parsed) -> Job:
        return self._several(said)[0]

    def _several(self, said: grammar.Parsed) -> list[Job]:
        return [self._find(word) for word in said.words] or [self._last()]

    def _find(self, word: str) -> Job:
        word = word.rstrip(",")
        held = self._space.get(word)
        return held if isinstance(held, Job) else self._manager.get(word)

    def _last(self) -> Job:
        held = self._space.get(LAST)
        if isinstance(held, Job):
            return held
        newest = self._manager.jobs(limit=1)
        if not newest:
            raise UsageProblem("there is no job yet. `%job` alone shows how to make one.")
        return newest[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def _data_name(data: object, said: grammar.Parsed) -> str | None:
    """Return the variable's name, unless the frame brings a name of its own."""
    own = getattr(data, "attrs", None)
    return None if isinstance(own, dict) and own.get("name") else said.text("data")


def _known_settings(strategy: object, said: grammar.Parsed) -> None:
    """Refuse a parameter that the strategy does not declare; the manager knows best where it declares none."""
    from jobnb.research.options import ENGINE_OPTIONS, PORTFOLIO_OPTIONS

    declared = getattr(strategy, "parameters", None)
    if not hasattr(declared, "keys"):
        return
    known = [*namespace.parameters(strategy), *sorted(ENGINE_OPTIONS), *PORTFOLIO_OPTIONS]
    for name in said.settings:
        if name not in known:
            raise unknown("parameter", name, known, of=said.words[0])


def _culprit(reads: dict[str, object]) -> str:
    """Return a sentence naming the captured variable that cannot be sent, or an empty string."""
    import cloudpickle

    for name, value in reads.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:  # noqa: BLE001  (any class may raise anything when it is pickled)
            return f"the cell reads {name} ({type(value).__name__}), which cannot be sent to a job: {error}"
    return ""


def register(ipython: InteractiveShell) -> None:
    """Add ``%job`` and ``%%job`` to a shell, once."""
    if not isinstance(ipython.magics_manager.registry.get("JobMagics"), JobMagics):
        ipython.register_magics(JobMagics)


def unregister(ipython: InteractiveShell) -> None:
    """Take ``%job`` and ``%%job`` out of a shell."""
    ipython.magics_manager.registry.pop("JobMagics", None)
    for kind in ("line", "cell"):
        ipython.magics_manager.magics[kind].pop("job", None)
