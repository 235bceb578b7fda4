"""Tab completion after ``%job``: commands, options, strategies, data, parameters, objectives, jobs.

Runs in the kernel at each key that asks for it, so it reads little and never raises. It must never start a service.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from jobnb.job import Job, JobRecord, Priority, Status
from jobnb.notebook import grammar, namespace

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

log = logging.getLogger(__name__)

_LINE = re.compile(r"(?:\s*|.*[=;]\s*)%{1,2}job(?:\s(.*))?$")
#: What may follow ``%job dlq``.
DEAD_LETTER_WORDS = ("retry", "purge")
#: Jobs whose ids and names are offered.
_JOBS = 30


def words(text: str, space: namespace.Namespace) -> tuple[str, list[str]] | None:
    """Return the word before the cursor and what it may become; None where this is no ``%job`` line.

    Parameters
    ----------
    text : str
        The line up to the cursor.
    space : mapping
        The user's namespace.
    """
    found = _LINE.match(text.split("\n")[-1])
    if found is None or found[1] is None:
        return None
    before, _, fragment = found[1].rpartition(" ")
    if re.search(r"%%job", text):
        return fragment, _fitting(fragment, _option_words(grammar.CELL, before.split(), fragment, space, ""))
    said = before.split()
    if not said:
        return fragment, _fitting(fragment, grammar.COMMANDS)
    command = grammar.COMMANDS.get(said[0])
    if command is None:
        return fragment, []
    if command.name == "submit" and "(" in before + fragment:
        if ")" not in before + fragment:
            return None  # inside the call Python's own completion is right
        after = _option_words(command, said[1:], fragment, space, "")
        return fragment, _fitting(fragment, [w for w in after if not w.endswith("(")])
    subject = next((w for w in said[1:] if not w.startswith("-") and "=" not in w), "")
    return fragment, _fitting(fragment, _option_words(command, said[1:], fragment, space, subject))


def _fitting(fragment: str, choices: Iterable[str]) -> list[str]:
    return [c for c in dict.fromkeys(choices) if c.startswith(fragment)]


def _option_words(
    command: grammar.Command, said: list[str], fragment: str, space: namespace.Namespace, subject: str
) -> list[str]:
    last = said[-1] if said else ""
    flag = next((f for f in command.flags if f.name == last and not f.bare), None)
    if flag is not None:
        return _values(flag.name, space)
    name, equals, _ = fragment.partition("=")
    if equals and name.startswith("--"):
        return [f"{name}={v}" for v in _values(name, space)]
    flags = [f.name for f in command.flags if f.many or f.name not in said]
    if fragment.startswith("-"):
        return flags
    if command.settings and command.name != "notebook":
        if subject and subject != fragment:
            given = {w.partition("=")[0] for w in said}
            return [*(f"{p}=" for p in _settings(space, subject) if p not in given), *flags]
        return namespace.strategies(space)
    if command.name == "submit":
        return [f"{n}(" for n in namespace.functions(space)]
    if command.name in ("pause", "resume", "run", "unschedule"):
        return _schedule_names()
    if command.name == "queue":
        return [*(grammar.QUEUE_WORDS if subject and subject != fragment else _queue_names()), *flags]
    if command.name == "dlq":
        what = next((w for w in said if w in DEAD_LETTER_WORDS), "")
        return [*(_dead_words() if what else DEAD_LETTER_WORDS), *flags]
    if command.name in ("show", "wait", "cancel", "finish", "logs", "result", "report", "retry", "rerun"):
        return [*_job_words(space), *flags]
    return flags


def _settings(space: namespace.Namespace, subject: str) -> list[str]:
    from jobnb.research.options import ENGINE_OPTIONS, PORTFOLIO_OPTIONS

    try:
        strategy = namespace.dotted(space, subject)
    except KeyError:
        return [*sorted(ENGINE_OPTIONS), *PORTFOLIO_OPTIONS]
    return list(dict.fromkeys([*namespace.parameters(strategy), *sorted(ENGINE_OPTIONS), *PORTFOLIO_OPTIONS]))


def _values(flag: str, space: namespace.Namespace) -> list[str]:
    match flag:
        case "--data":
            return namespace.frames(space)
        case "--objective":
            from jobnb.research.metrics import METRICS

            return list(METRICS)
        case "--priority":
            return [p.value for p in reversed(Priority)]
        case "--status":
            return [s.value for s in Status]
        case "--source":
            from jobnb.data.origin import sources

            return sources()
        case "--interval":
            return ["1m", "5m", "15m", "1h", "1d", "1w", "1mo"]
        case "--method":
            return ["grid", "random", "tpe", *grammar.FOLD_METHODS]
        case "--search":
            return ["grid", "random", "tpe"]
        case "--train" | "--test":
            return ["250", "500", "6M", "1y", "3y"]
        case "--n-trials":
            return ["100", "200", "500"]
        case "--kind":
            return ["backtest", "optimize", "walk_forward", "cross_validation", "job", "map", "cell", "data"]
        case "--code":
            return sorted({j.error.code for j in _dead() if j.error is not None})
        case "--unique":
            return [j.unique for j in _recent() if j.unique]
        case "--queue":
            return _queue_names()
        case "--needs":
            return _breaker_names()
        case "--after":
            return _job_words(space)
        case "--after-on":
            return ["success", "failure", "any"]
        case "--on-parent-failure":
            return ["run", "cancel"]
        case "--condition":
            return [f"@{name}" for name in namespace.functions(space)]
        case "--tag":
            return [tag for j in _recent() for tag in j.tags]
        case "--retry":
            return ["0", "1", "2", "3", "5"]
        case "--timeout" | "--deadline" | "--max-time":
            return ["30s", "5m", "1h", "8h"]
        case "--run-at" | "--expires-at":
            return ["30m", "1h", "8h", "1d"]
        case _:
            return []


def _breaker_names() -> list[str]:
    from jobnb.manager import get_job_manager

    return sorted(get_job_manager().store.limits.known()[0])


def _recent() -> list[JobRecord]:
    from jobnb.manager import get_job_manager

    return get_job_manager().records(limit=_JOBS)


def _dead() -> list[JobRecord]:
    from jobnb.manager import get_job_manager

    return [job.record for job in get_job_manager().dead_letters(_JOBS)]


def _job_words(space: namespace.Namespace) -> list[str]:
    held = sorted(n for n, v in list(space.items()) if isinstance(v, Job) and n[:1] != "_")
    return [*held, *_called(_recent())]


def _dead_words() -> list[str]:
    return _called(_dead())


def _queue_names() -> list[str]:
    from jobnb.manager import get_job_manager

    return [*(q.name for q in get_job_manager().queues() if " " not in q.name), *(j.queue for j in _recent())]


def _schedule_names() -> list[str]:
    from jobnb.manager import get_job_manager

    return [schedule.name for schedule in get_job_manager().schedules() if " " not in schedule.name]


def _called(records: list[JobRecord]) -> list[str]:
    return [*(r.id for r in records), *(r.name for r in records if " " not in r.name)]


class Matcher:
    """The matcher of one shell, as IPython wants it."""

    def __init__(self, ipython: InteractiveShell) -> None:
        self._shell = ipython

        @context_matcher(priority=200, identifier="jobnb")
        def match(context: CompletionContext) -> dict[str, Any]:
            return self.complete(context.full_text, context.cursor_line, context.text_until_cursor)

        self.match = match

    def complete(self, full_text: str, cursor_line: int, until_cursor: str) -> dict[str, Any]:
        """Return IPython's matcher result."""
        none: dict[str, Any] = {"completions": []}
        try:
            found = words(until_cursor, self._shell.user_ns)
        except Exception:
            # A failing completion must not get between the user and the next key.
            log.debug("completion failed", exc_info=True)
            return none
        if found is None:
            return none
        fragment, choices = found
        return {
            "completions": [SimpleCompletion(text=choice, type="jobnb") for choice in choices],
            "matched_fragment": fragment,
            "suppress": True,
        }


_ATTRIBUTE = "_jobnb_matcher"


def register(ipython: InteractiveShell) -> None:
    """Add the completion to a shell, once."""
    if getattr(ipython, _ATTRIBUTE, None) is None and ipython.Completer is not None:
        matcher = Matcher(ipython)
        setattr(ipython, _ATTRIBUTE, matcher)
        ipython.Completer.custom_matchers.append(matcher.match)


def unregister(ipython: InteractiveShell) -> None:
    """Take the completion out of a shell."""
    matcher = getattr(ipython, _ATTRIBUTE, None)
    if matcher is not None:
        delattr(ipython, _ATTRIBUTE)
        if matcher.match in ipython.Completer.custom_matchers:
            ipython.Completer.custom_matchers.remove(matcher.match)
