"""What may be typed after ``%job``: the commands, their options, and pure parsing of a line into plain values.

Runs in the kernel. It evaluates nothing and knows no namespace; it must never enqueue, print or import anything heavy.
Bad input is a `UsageProblem` of one line that names the nearest right word.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobnb.errors import UsageProblem, unknown


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option such as ``--priority high``."""

    name: str
    #: Several of it may be given.
    many: bool = False
    #: It stands alone, without a value.
    bare: bool = False
    help: str = ""

    @property
    def key(self) -> str:
        """The option's name in Python."""
        return self.name.lstrip("-").replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A word that may follow ``%job``."""

    name: str
    usage: str
    help: str
    flags: tuple[Flag, ...] = ()
    #: At least this many plain words, and at most (None: any number).
    least: int = 0
    most: int | None = 0
    #: ``name=value`` words are settings, not plain words.
    settings: bool = False


_OUT = Flag(name="-o", help="NAME: keep the job (of a cell: its results) in that variable")
_JOB = (
    Flag(name="--name", help="what the card calls the job"),
    Flag(name="--priority", help="low, normal, high or critical"),
    Flag(name="--timeout", help="seconds, or 30s, 5m, 1h30m"),
    Flag(name="--memory-limit", help="such as 500MB or 2GiB"),
    Flag(name="--tag", many=True, help="a word to find the job by; may be repeated"),
    Flag(name="--queue", help="the queue to wait in"),
    Flag(name="--run-at", help="not before this moment (2026-11-04T09:30) or delay (30m)"),
    Flag(name="--seed", help="seed of random and numpy in the job"),
    Flag(name="--retry", help="how often a failed attempt is repeated; 0 for never"),
    Flag(name="--deadline", help="the job has to have ended after this long, waiting included"),
    Flag(name="--expires-at", help="a job that has not begun by this moment or after this delay never does"),
    Flag(name="--unique", help="a key: while a job of it is live, another submit returns that one"),
    Flag(name="--needs", many=True, help="a jobnb.breaker: while it is open the job waits; may be repeated"),
    Flag(name="--notify", many=True, help="whom to tell of its end: notebook, desktop, a channel, an address"),
    Flag(name="--after", many=True, help="a job to wait for: id, name or variable; several with commas, or repeated"),
    Flag(name="--after-on", help="which end of it: success, failure (failed or cancelled) or any"),
    Flag(name="--on-parent-failure", help="run: also when a job waited for fails; cancel by default"),
    Flag(name="--condition", help="@function of the results of the jobs waited for, which decides whether it runs"),
)
_DATA = Flag(name="--data", help="the variable that holds the prices")
_FOLDS = (
    Flag(name="--train", help="walk-forward: the bars that choose, as a number or 3y, 6M, 90d"),
    Flag(name="--test", help="walk-forward: the bars that judge, which follow them"),
    Flag(name="--anchored", bare=True, help="walk-forward: every train window begins at the first bar"),
    Flag(name="--n-splits", help="purged-kfold: how many folds"),
    Flag(name="--n-groups", help="cpcv: how many groups"),
    Flag(name="--n-test-groups", help="cpcv: how many of them are a test set"),
    Flag(name="--horizon", help="bars that a label or a holding looks ahead; they are left out before a test"),
    Flag(name="--embargo", help="bars, or a fraction of all, that are left out after a test"),
    Flag(name="--search", help="how to search in each fold: grid, random or tpe"),
)
#: The options that say how each of these methods parts the data, by their names in Python.
FOLD_METHODS: Mapping[str, tuple[str, ...]] = {
    "walk-forward": ("train", "test", "anchored", "horizon", "search"),
    "purged-kfold": ("n_splits", "horizon", "embargo", "search"),
    "cpcv": ("n_groups", "n_test_groups", "horizon", "embargo", "search"),
}
_QUEUE = (
    Flag(name="--max-concurrent", help="jobs of it that run at once; none for no limit"),
    Flag(name="--max-tasks", help="tasks of its jobs that are out at once; none for no limit"),
    Flag(name="--priority", help="of its jobs that say nothing else: low, normal, high or critical"),
    Flag(name="--timeout", help="the same: 30s, 5m, 1h30m; with drain: stop waiting after this long"),
    Flag(name="--memory-limit", help="the same: such as 500MB or 2GiB"),
    Flag(name="--max-retries", help="the same: how often a failed attempt is repeated"),
    Flag(name="--retry-delay", help="the same: how long to wait before the first repetition"),
    Flag(name="--deadline", help="the same: ended after this long, waiting included"),
    Flag(name="--tag", many=True, help="the same: a word to find the job by; may be repeated"),
)
#: The commands that make a job, also again and again: after the dashes of ``%job schedule``.
SUBMITTING = ("backtest", "optimize", "extract", "notebook", "submit")
#: What may follow ``%job queue NAME``.
QUEUE_WORDS = ("pause", "resume", "drain", "remove")
_TIMEOUT = Flag(name="--timeout", help="stop waiting after this long; the job goes on")

#: Keys of the options that `jobnb.option.Options` takes.
OPTION_KEYS = {
    "name": "name",
    "priority": "priority",
    "timeout": "timeout",
    "memory_limit": "memory_limit",
    "tag": "tags",
    "queue": "queue",
    "run_at": "run_at",
    "seed": "seed",
    "retry": "retry",
    "deadline": "deadline",
    "expires_at": "expires_at",
    "unique": "unique",
    "needs": "needs",
    "notify": "notify",
    "after": "after",
    "after_on": "after_on",
    "on_parent_failure": "on_parent_failure",
    "condition": "condition",
}

COMMANDS: Mapping[str, Command] = {
    c.name: c
    for c in (
        Command(
            name="backtest", usage="STRATEGY --data NAME [fast=10 …] [commission=0.001 …] [-o NAME]",
            help="run a strategy once", flags=(_DATA, *_JOB, _OUT), least=1, most=1, settings=True,
        ),
        Command(
            name="optimize",
            usage="STRATEGY --data NAME fast=5:50 slow=10:200:2 [--objective sharpe_ratio] [-o NAME]",
            help="search parameters: all combinations, a random sample, or one that learns",
            flags=(
                _DATA,
                Flag(name="--objective", help="the metric to make best, several with commas, or a function @name"),
                Flag(name="--constraint", help='which combinations to keep: "p.fast < p.slow"'),
                Flag(name="--minimize", bare=True, help="lower is better"),
                Flag(name="--maximize", bare=True, help="higher is better"),
                Flag(name="--method", help="grid, random or tpe; by folds: walk-forward, purged-kfold, cpcv"),
                Flag(name="--n-trials", help="how many runs, of a random or tpe search"),
                Flag(name="--max-time", help="complete with the runs there are after this long"),
                *_FOLDS,
                *_JOB,
                _OUT,
            ),
            least=1, most=1, settings=True,
        ),
        Command(name="submit", usage="f(x, y=2) [-o NAME]", help="run any function", flags=(*_JOB, _OUT), most=None),
        Command(
            name="notebook",
            usage="FILE.ipynb [name=value …] [--to FILE.ipynb] [-o NAME]",
            help="run a notebook from top to bottom, with parameters",
            settings=True,
            flags=(Flag(name="--to", help="where it is written as it came out"), *_JOB, _OUT),
            least=1, most=1,
        ),
        Command(
            name="extract",
            usage="SYMBOL … --start 2020-01-01 [--end DAY] [--interval 1d] [--source NAME] [--to PATH] [-o NAME]",
            help="fetch prices, keep them, write them to Parquet",
            flags=(
                Flag(name="--start", help="the first day or moment; without a zone it is UTC"),
                Flag(name="--end", help="the end, left out itself; now by default"),
                Flag(name="--interval", help="1m, 5m, 1h, 1d, 1w, 1mo; 1d by default"),
                Flag(name="--source", help="yfinance, ccxt:binance, one of yours by name or variable"),
                Flag(name="--to", help="a folder, or a file that ends in .parquet"),
                Flag(name="--chunk", help="bars per chunk"),
                Flag(name="--refresh", bare=True, help="fetch what is kept, too"),
                Flag(name="--overwrite", bare=True, help="replace files of another kind"),
                *_JOB,
                _OUT,
            ),
            least=1, most=None,
        ),
        Command(
            name="list", usage="[--status S] [--kind K] [--tag T] [--limit N]", help="the last jobs, newest first",
            flags=(Flag(name="--status"), Flag(name="--kind"), Flag(name="--tag"), Flag(name="--limit")),
        ),
        Command(name="show", usage="[ID …]", help="draw a job's card, live while it runs", most=None),
        Command(
            name="wait", usage="[ID …] [--timeout 5m]", help="wait until jobs have ended", flags=(_TIMEOUT,), most=None
        ),
        Command(name="cancel", usage="[ID …]", help="stop jobs", most=None),
        Command(name="finish", usage="[ID …]", help="end a search with the runs it has", most=None),
        Command(
            name="logs", usage="[ID] [--tail N]", help="what a job printed and logged", flags=(Flag(name="--tail"),),
            most=1,
        ),
        Command(
            name="result", usage="[ID] [--timeout 5m] [--partial]", help="wait for a job and return its value",
            flags=(_TIMEOUT, Flag(name="--partial", bare=True), _OUT), most=1,
        ),
        Command(
            name="report", usage="[ID] FILE.html [--timeout 5m] [--partial]",
            help="write a tear sheet: one HTML file, complete in itself",
            flags=(_TIMEOUT, Flag(name="--partial", bare=True)), most=2,
        ),
        Command(name="retry", usage="[ID]", help="run a failed job again", flags=(_OUT,), most=1),
        Command(
            name="rerun", usage="[ID] [--priority high …]", help="submit the same work again", flags=(*_JOB, _OUT),
            most=1,
        ),
        Command(
            name="dlq", usage="[retry [ID …] | purge [ID …]] [--code C] [--kind K]",
            help="failed jobs that nobody has retried or purged; of all or some of them", most=None,
            flags=(Flag(name="--code"), Flag(name="--kind")),
        ),
        Command(
            name="panel", usage="[--limit N]", help="the recent jobs as a table that moves, with Cancel and Retry",
            flags=(Flag(name="--limit", help="how many jobs; 20 by default"),),
        ),
        Command(
            name="schedule", usage='NAME "0 8 * * 1-5" [--tz ZONE] [--market XNYS] -- f(x, y=2) | backtest … | …',
            help="run a job again and again", least=2, most=2,
            flags=(
                Flag(name="--tz", help="time zone of the times; UTC by default"),
                Flag(name="--market", help="an exchange: only on its trading days"),
                Flag(name="--only", help="weekdays, mon,wed, an exchange (while it trades), or @function"),
                Flag(name="--skip", help="the same, left out"),
                Flag(name="--missed", help="ticks while no service ran: coalesce, all, skip"),
                Flag(name="--catch-up", help="a tick older than this is missed"),
                Flag(name="--overlap", help="while the run before goes on: skip, queue, cancel_previous"),
                Flag(name="--jitter", help="runs start later than their tick by up to this"),
                Flag(name="--max-runs", help="over after so many runs"),
                Flag(name="--pause-after", help="paused after so many failures in a row"),
                Flag(name="--report", help="where each run's tear sheet goes: sheets/{fire_at:%Y-%m-%d}.html"),
                *_JOB,
            ),
        ),
        Command(name="notices", usage="", help="who is told of what, and how that goes; jobnb.notify(…) makes one"),
        Command(name="schedules", usage="", help="what runs again and again, and when next"),
        Command(name="pause", usage="NAME", help="a schedule fires no more, until it is resumed", least=1, most=1),
        Command(name="resume", usage="NAME", help="a paused schedule goes on", least=1, most=1),
        Command(name="run", usage="NAME", help="start a run of a schedule now", flags=(_OUT,), least=1, most=1),
        Command(name="unschedule", usage="NAME", help="remove a schedule; its jobs stay", least=1, most=1),
        Command(name="queues", usage="", help="the queues: their limits, what waits and runs in them"),
        Command(
            name="queue", usage="NAME [--max-concurrent 2 …] [pause | resume | drain | remove]", least=1, most=2,
            help="define or change a queue: what holds for all of its jobs", flags=_QUEUE,
        ),
        Command(
            name="status", usage="[--days 7]", help="the service, what waits, runs and has run: counts, rates, times",
            flags=(Flag(name="--days", help="how far back runs are counted; 7 by default"),),
        ),
        Command(name="connect", usage="[ADDRESS]", help="use the cluster at tcp://… or tls://…; the local one", most=1),
        Command(name="help", usage="", help="this page"),
    )
}  # fmt: skip

#: ``%%job``: the cell is the work.
CELL = Command(name="%%job", usage="[--name NAME] [-o a,b]", help="run the cell as a job", flags=(*_JOB, _OUT))


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A line, taken apart: plain words, ``name=value`` settings, and options by their key in Python."""

    command: str
    words: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str | bool | tuple[str, ...]] = field(default_factory=dict)
    #: ``submit`` and ``schedule`` only: the call, as it was typed.
    call: str = ""
    #: ``schedule`` only: the command that makes its jobs, where it is no call.
    inner: Parsed | None = None

    def text(self, key: str) -> str | None:
        """Return the value of an option, or None."""
        value = self.flags.get(key)
        return value if isinstance(value, str) else None

    def job_options(self) -> dict[str, object]:
        """Return the options that say how the job is run, by their names in `jobnb.option.Options`."""
        return {name: self.flags[key] for key, name in OPTION_KEYS.items() if key in self.flags}


def parse(line: str) -> Parsed:
    """Take a line apart.

    Parameters
    ----------
    line : str
        What stands after ``%job``.

    Raises
    ------
    UsageProblem
        The line cannot be understood; `UnknownName` with the nearest right word where there is one.
    """
    line = _uncomment(line).strip()
    if not line:
        return Parsed(command="help")
    name, _, rest = line.partition(" ")
    if name in ("-h", "--help", "?"):
        name = "help"
    command = COMMANDS.get(name)
    if command is None:
        raise unknown("command", name, COMMANDS, **{"in": "%job"})
    if name == "submit":
        return _parse_submit(command, rest)
    if name == "schedule":
        when, dashes, call = rest.partition(" -- ")
        if not dashes or not call.strip():
            raise UsageProblem(f"after -- say what is to run: %job schedule {command.usage}")
        parsed, word = _parse_words(command, _split(when)), call.split()[0]
        if word in SUBMITTING:
            return replace(parsed, inner=parse(call))
        if word in COMMANDS:
            raise UsageProblem(f"%job {word} makes no job; after -- stands f(x), or one of {', '.join(SUBMITTING)}.")
        return replace(parsed, call=call.strip())
    return _parse_words(command, _split(rest))


def queue_settings(said: Parsed) -> dict[str, object]:
    """Return what a line says of a queue, by the names of `jobnb.queue`; ``none`` takes a setting back.

    Examples
    --------
    >>> queue_settings(parse("queue collection --max-concurrent 2 --timeout none --tag night"))
    {'max_concurrent': '2', 'timeout': None, 'tags': ('night',)}
    """
    named = {"tags" if key == "tag" else key: value for key, value in said.flags.items()}
    return {key: None if value in ("none", ("none",)) else value for key, value in named.items()}


def parse_cell(line: str) -> Parsed:
    """Take the line of ``%%job`` apart: options only."""
    words = _split(_uncomment(line))
    if words and words[0] in COMMANDS:
        raise UsageProblem(f"%%job runs the cell itself; write %job {words[0]} … on a line of its own.")
    return _parse_words(CELL, words)


def _uncomment(line: str) -> str:
    """Cut a trailing ``# comment``, as a line of Python would."""
    at = _scan(line, lambda i: line[i] == "#" and (i == 0 or line[i - 1].isspace()))
    return line if at is None else line[:at]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageProblem(f"{str(error).lower()} in: {text.strip()}") from None


def _parse_words(command: Command, words: Sequence[str]) -> Parsed:
    flags, plain = _flags(command, words)
    settings: dict[str, str] = {}
    rest: list[str] = []
    for word in plain:
        name, equals, value = word.partition("=")
        if command.settings and equals and name.isidentifier():
            if name in settings:
                raise UsageProblem(f"{name} is given twice.")
            if not value:
                raise UsageProblem(f"{name}= has no value. Write {name}=10, without blanks around the sign.")
            settings[name] = value
        else:
            rest.append(word)
    if len(rest) < command.least:
        what = "a strategy" if command.settings else "a symbol" if command.name == "extract" else "a name"
        what = "a file" if command.name == "notebook" else what
        what += " and a time" if command.name == "schedule" else ""
        raise UsageProblem(f"%job {command.name} needs {what}: %job {command.name} {command.usage}")
    if command.most is not None and len(rest) > command.most:
        extra = rest[command.most]
        hint = f" Write {extra}=… for a parameter." if command.settings and extra.isidentifier() else ""
        shown = command.name if command is CELL else f"%job {command.name}"
        raise UsageProblem(f"{shown} does not take {extra!r}.{hint} Usage: {shown} {command.usage}".rstrip())
    return Parsed(command=command.name, words=tuple(rest), settings=settings, flags=flags)


def _flags(command: Command, words: Sequence[str]) -> tuple[dict[str, str | bool | tuple[str, ...]], list[str]]:
    known = {flag.name: flag for flag in command.flags}
    found: dict[str, str | bool | tuple[str, ...]] = {}
    plain: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            plain.append(word)
            continue
        name, equals, value = word.partition("=")
        flag = known.get(name)
        if flag is None and name == "--out":
            flag = known.get("-o")
        if flag is None:
            where = command.name if command is CELL else f"%job {command.name}"
            raise unknown("option", name, known, of=where)
        if flag.bare:
            if equals:
                raise UsageProblem(f"{flag.name} stands alone, without a value.")
            found[flag.key] = True
            continue
        if not equals:
            if not queue or queue[0] in known:
                raise UsageProblem(f"{flag.name} needs a value.")
            value = queue.pop(0)
        while flag is _OUT and value.endswith(",") and queue:
            value += queue.pop(0)  # -o a, b
        if flag.many:
            before = found.get(flag.key, ())
            found[flag.key] = (*(before if isinstance(before, tuple) else ()), value)
        elif flag.key in found:
            raise UsageProblem(f"{flag.name} is given twice.")
        else:
            found[flag.key] = value
    return found, plain


def _parse_submit(command: Command, rest: str) -> Parsed:
    """Options may stand before or after the call; the call itself is kept as it was typed."""
    text = rest.strip()
    front: list[str] = []
    known = {flag.name: flag for flag in command.flags}
    while re.match(r"--?[A-Za-z]", text):
        word, text = _next_word(text)
        front.append(word)
        flag = known.get(word.partition("=")[0])
        if flag is not None and not flag.bare and "=" not in word and text:
            value, text = _next_word(text)
            front.append(value)
    cut = _scan(
        text,
        lambda i: text[i] == "-" and i > 0 and text[i - 1].isspace() and bool(re.match(r"--[A-Za-z]|-o\b", text[i:])),
    )
    call, back = (text, "") if cut is None else (text[:cut], text[cut:])
    flags, plain = _flags(command, [*front, *_split(back)])
    if plain:
        raise UsageProblem(f"%job submit takes one call; {plain[0]!r} is left over.")
    call = call.strip()
    if not call:
        raise UsageProblem("%job submit needs a call: %job submit f(x, y=2)")
    return Parsed(command="submit", flags=flags, call=call)


def _next_word(text: str) -> tuple[str, str]:
    """Cut one shell word, quotes removed, off the front of a text."""
    found = re.match(r"""(?:[^\s"']|"(?:[^"\\]|\\.)*"|'[^']*')+""", text)
    if found is None:
        raise UsageProblem(f"no closing quotation in: {text}")
    return "".join(_split(found[0])), text[found.end() :].lstrip()


def _scan(text: str, wanted: Callable[[int], bool]) -> int | None:
    """Return the first position outside quotes and brackets at which ``wanted`` is true, or None."""
    depth = 0
    quote = ""
    i = 0
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\":
                i += 1
            elif text.startswith(quote, i):
                i += len(quote) - 1
                quote = ""
        elif char in "\"'":
            quote = char * 3 if text.startswith(char * 3, i) else char
            i += len(quote) - 1
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif depth <= 0 and wanted(i):
            return i
        i += 1
    return None


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A value written ``@name``: the caller's variable of that name."""

    name: str


def value(text: str, name: str = "") -> object:
    """Return the value of a setting: a Python literal, ``@variable``, or else the text itself.

    Examples
    --------
    >>> value("10"), value("0.001"), value("True"), value("close"), value("1e-3"), value("@fee")
    (10, 0.001, True, 'close', 0.001, Variable(name='fee'))
    """
    if text.startswith("@"):
        if not text[1:].isidentifier():
            raise UsageProblem(f"{name + '=' if name else ''}{text} is no variable: write @name.")
        return Variable(name=text[1:])
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return found


_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(?::({_NUMBER}))?")
_LOG_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):log")


#: Methods that need no list of values.
SAMPLERS = ("random", "tpe")


def folds(said: Parsed) -> dict[str, object]:
    """Return what a line says of how to part the data, by the names of `jobnb.optimize`.

    Raises
    ------
    UsageProblem
        An option that belongs to another method.

    Examples
    --------
    >>> folds(parse("optimize S --data prices --method walk-forward --train 3y --test 125 --anchored"))
    {'train': '3y', 'test': 125, 'anchored': True}
    """
    made: dict[str, object] = {}
    for flag in _FOLDS:
        given = said.flags.get(flag.key)
        if given is None:
            continue
        if flag.key not in FOLD_METHODS.get(said.text("method") or "", ()):
            owners = " or ".join(method for method, keys in FOLD_METHODS.items() if flag.key in keys)
            raise UsageProblem(f"{flag.name} is for --method {owners}.")
        made[flag.key] = value(given, flag.name) if isinstance(given, str) else given
    return made


def candidates(
    text: str, name: str = "", *, continuous: bool = False
) -> Sequence[object] | Mapping[str, object] | Variable | None:
    """Return the values to try that a setting of ``optimize`` names, or None where it is a single value.

    ``a:b`` and ``a:b:step`` are Python's ranges, the stop left out, with fractions where there is a step;
    ``x,y,z`` and ``[x, y, z]`` are lists. ``a:b:log`` is a range on a log scale, and with ``continuous`` a range of
    fractions without a step is any number between; both as a description that `jobnb.optimize` takes.

    Raises
    ------
    UsageProblem
        The range is empty, has no step where it needs one, or cannot be read.

    Examples
    --------
    >>> candidates("5:50"), candidates("0.1:0.5:0.1"), candidates("1,2,5"), candidates("10")
    (range(5, 50), [0.1, 0.2, 0.3, 0.4], [1, 2, 5], None)
    >>> candidates("0.1:0.5", continuous=True)
    {'type': 'float', 'min': 0.1, 'max': 0.5, 'log': False}
    """
    found = _RANGE.fullmatch(text)
    if found and found[3] is None and continuous and not _whole(found[1], found[2]):
        return _between(found[1], found[2], log=False)
    if found:
        return _range(text, name, *found.groups())
    logarithmic = _LOG_RANGE.fullmatch(text)
    if logarithmic:
        return _between(logarithmic[1], logarithmic[2], log=True)
    if re.fullmatch(r"[^'\"\[({]*:[^'\"\])}]*", text) and re.match(r"[-+.\d]", text):
        raise UsageProblem(f"{name}={text} is no range. Write {name}=5:50 or {name}=5:50:5.")
    if text.startswith("@"):
        got = value(text, name)
        return got if isinstance(got, Variable) else None
    single = value(text, name)
    if isinstance(single, (list, tuple)):
        return _filled(list(single), text, name)
    if isinstance(single, str) and "," in text and not text.startswith(("'", '"')):
        return _filled([value(part.strip()) for part in text.split(",") if part.strip()], text, name)
    return None


def _whole(*numbers: str) -> bool:
    return all(re.fullmatch(r"[-+]?\d+", n) for n in numbers)


def _between(low: str, high: str, *, log: bool) -> dict[str, object]:
    if _whole(low, high):
        return {"type": "int", "min": int(low), "max": int(high) - 1, "log": log}
    return {"type": "float", "min": float(low), "max": float(high), "log": log}


def _filled(values: list[object], text: str, name: str) -> list[object]:
    if not values:
        raise UsageProblem(f"{name}={text} holds no value.")
    return values


def _range(text: str, name: str, start: str, stop: str, step: str | None) -> Sequence[object]:
    numbers = [start, stop, step or "1"]
    if _whole(*numbers):
        low, high, by = (int(n) for n in numbers)
        if by == 0:
            raise UsageProblem(f"{name}={text} has a step of 0.")
        whole = range(low, high, by)
        if not whole:
            raise UsageProblem(f"{name}={text} is empty: the stop {high} is left out, as in range({low}, {high}).")
        return whole
    if step is None:
        raise UsageProblem(f"{name}={text} needs a step, such as {name}={text}:0.1, or --method random")
    first, last, by_ = (float(n) for n in numbers)
    if by_ == 0:
        raise UsageProblem(f"{name}={text} has a step of 0.")
    # A hair less than the stop, or 0.1:0.4:0.1 would end with 0.4000000000000001 on one machine and not another.
    count = max(0, -int(-((last - first) / by_ - 1e-9) // 1))
    if not count:
        raise UsageProblem(f"{name}={text} is empty: the stop {stop} is left out.")
    if count > 10_000_000:
        raise UsageProblem(f"{name}={text} has {count:,d} values; that is no range to search.")
    return [round(first + i * by_, 12) for i in range(count)]


def call(text: str) -> ast.Call:
    """Return the call that ``submit`` was given.

    Raises
    ------
    UsageProblem
        It is something else.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise UsageProblem(f"cannot read {text!r}: {error.msg}. Write %job submit f(x, y=2)") from None
    node = tree.body
    if isinstance(node, ast.Call):
        return node
    if isinstance(node, (ast.Name, ast.Attribute)):
        raise UsageProblem(f"{text} is not a call. Write %job submit {text}() with its arguments.")
    raise UsageProblem(f"{text!r} is not a call. Write %job submit f(x, y=2)")


def names(text: str, what: str = "-o") -> tuple[str, ...]:
    """Return the variable names of ``-o a,b``.

    Raises
    ------
    UsageProblem
        One of them is no name.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in found:
        if not name.isidentifier():
            raise UsageProblem(f"{what} {name!r} is no variable name.")
    if not found:
        raise UsageProblem(f"{what} needs a variable name.")
    return found


def count(text: str, what: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise UsageProblem(f"{what} must be a whole number of at least 1, not {text!r}.")
    return int(text)


def page() -> str:
    """Return the help, one line for each command."""
    lines = [f"  %job {c.name:<9} {c.usage}\n  {'':<14} {c.help}" for c in COMMANDS.values() if c.name != "help"]
    return "\n".join([*lines, f"  %%job          {CELL.usage}", f"  {'':<14} {CELL.help}"])
