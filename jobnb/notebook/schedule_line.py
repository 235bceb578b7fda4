"""``%job schedule … -- backtest …``: what stands after the dashes, as what a schedule takes. Runs in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem
from jobnb.notebook import grammar, namespace

if TYPE_CHECKING:
    from jobnb.option import Options
    from jobnb.recipe import Drafts, Recipe

#: What ``%job schedule`` hands on as it is.
_PLAIN = ("tz", "missed", "catch_up", "overlap", "jitter", "max_runs", "pause_after")
_COUNTS = ("max_runs", "pause_after")


@dataclass(frozen=True, kw_only=True)
class Drafting:
    """The manager and the options by which a command makes a job, while it only describes one."""

    manager: Drafts
    options: Options


def settings(space: dict[str, Any], said: grammar.Parsed) -> dict[str, Any]:
    """Return what a line says of a schedule, by the names of `jobnb.schedule`; options of its jobs are left out."""
    found: dict[str, Any] = {key: said.flags[key] for key in _PLAIN if key in said.flags}
    for key in _COUNTS:
        if key in found:
            found[key] = grammar.count(str(found[key]), f"--{key.replace('_', '-')}")
    for key in ("only", "skip"):
        if (text := said.text(key)) is not None:
            found[key] = namespace.setting(space, f"--{key} ", grammar.value(text, f"--{key}")) if "@" in text else text
    market = said.text("market")
    if market is not None:
        from jobnb.triggers.market import Market

        found["only"] = [*([found["only"]] if "only" in found else []), Market(market).days]
    return found


def recipe(inner: grammar.Parsed, report: str | None, draft: Callable[[grammar.Parsed, Drafting], object]) -> Recipe:
    """Return the job of an inner command as a recipe.

    Parameters
    ----------
    inner : Parsed
    report : str or None
        Where each run's tear sheet goes.
    draft : callable
        Does the command with the manager and the options that it is given.
    """
    from jobnb.recipe import Recipe

    if inner.text("o") is not None:
        raise UsageProblem("-o keeps one job, and a schedule has many: its last one is schedule.last_run.")
    return Recipe(
        kind=inner.command,
        report=report,
        make=lambda drafts, options: draft(inner, Drafting(manager=drafts, options=options)),
    )
