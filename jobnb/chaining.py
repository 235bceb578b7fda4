"""Chains of jobs at the front door: steps that are handed in together, each given what the one before it returned.

Nothing is run here. (Not ``chain.py``: a submodule of that name would hide ``jobnb.chain(…)``.)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

from jobnb import submission
from jobnb.errors import UsageProblem
from jobnb.job import Job
from jobnb.option import Options
from jobnb.shown import shown
from jobnb.store.chains import Link
from jobnb.store.jobs import NewJob

if TYPE_CHECKING:
    from jobnb.manager import JobManager

_HOW = "Write chain(load, (clean, (0.1,)), functools.partial(fit, seed=1), jobnb.options(timeout='5m').step(report))."


@dataclass(frozen=True, kw_only=True)
class Step:
    """One job of a chain; made by `jobnb.step`, or by ``jobnb.options(…).step``."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    @property
    def name(self) -> str:
        """The function's name."""
        fn = self.fn.func if isinstance(self.fn, functools.partial) else self.fn
        return str(getattr(fn, "__name__", None) or type(fn).__name__)

    @classmethod
    def of(cls, said: Any) -> Step:
        """Return the step that was said: a function, ``(fn, args)``, ``(fn, args, kwargs)`` or a `Step`.

        Raises
        ------
        UsageProblem
            It is something else.
        """
        match said:
            case Step():
                return said
            case (fn, [*args], {**kwargs}) if callable(fn):
                return cls(fn=fn, args=tuple(args), kwargs={str(name): value for name, value in kwargs.items()})
            case (fn, [*args]) if callable(fn):
                return cls(fn=fn, args=tuple(args))
            case (fn, {**kwargs}) if callable(fn):
                return cls(fn=fn, kwargs={str(name): value for name, value in kwargs.items()})
            case (fn,) | fn if callable(fn):
                return cls(fn=fn)
        raise UsageProblem(f"{said!r} is no step of a chain. {_HOW}")

    def check(self, before: Step | None) -> None:
        """See that the function can be called with what the step before it returns."""
        given = (None, *self.args) if before is not None else self.args
        try:
            signature = inspect.signature(self.fn)
        except (TypeError, ValueError):
            return  # Of some builtins nobody knows.
        try:
            signature.bind(*given, **self.kwargs)
        except TypeError as error:
            first = f"what {before.name} returns comes first, and " if before is not None else ""
            raise UsageProblem(f"{self.name}{signature} cannot be this step: {first}{error}.") from None


#: What a chain says only of where it begins.
_FIRST = ("after", "after_on")
#: What can be said only of one step.
_OF_ONE = ("unique", "unique_for", "condition")


class Chaining:
    """``chain``, ``parents``, ``children``; mixed into `JobManager`."""

    @property
    def _chained(self) -> JobManager:
        return cast("JobManager", self)

    def chain(self, steps: Sequence[Any], options: Options | None = None) -> Job:
        """Hand in jobs of which each is given what the one before it returned; see `jobnb.chain`."""
        manager, plain = self._chained, Options()
        common = options or plain
        if not steps:
            raise UsageProblem(f"a chain needs steps. {_HOW}")
        for name in _OF_ONE:
            if getattr(common, name) != getattr(plain, name):
                raise UsageProblem(f"{name} is for one job: say it of a step, jobnb.options({name}=…).step(f).")
        made = [Step.of(each) for each in steps]
        for before, step in zip([None, *made], made, strict=False):
            step.check(before)
        jobs: list[NewJob] = []
        for place, step in enumerate(made):
            said = replace(common, **{name: getattr(plain, name) for name in _FIRST}) if place else common
            jobs.append(self._step(step, _merged(said, step), place))
        return manager.hand_in_all(jobs)[-1]

    def _step(self, step: Step, options: Options, place: int) -> NewJob:
        from jobnb.handover import Mark
        from jobnb.work import CallWork

        manager = self._chained
        args = (Mark(0), *step.args) if place else step.args
        return submission.new_job(
            manager.store,
            manager.cluster,
            CallWork(fn=step.fn, args=args, kwargs=dict(step.kwargs)),
            "job",
            options,
            name=step.name,
            params=shown(step.args, step.kwargs),
            source=step.fn.func if isinstance(step.fn, functools.partial) else step.fn,
            previous=Link(parent=place - 1, wanted=options.after_on or "success", given=True) if place else None,
        )

    def parents(self, job_id: str) -> list[Job]:
        """Return the jobs that a job waits for, or has waited for, as far as they are kept."""
        manager = self._chained
        return [Job(each.id, manager) for each in manager.store.chains.parents(job_id) if each.kept]

    def children(self, job_id: str) -> list[Job]:
        """Return the jobs that wait for a job, or have waited for it, oldest first."""
        manager = self._chained
        return [Job(each, manager) for each in manager.store.chains.children(job_id)]


def _merged(common: Options, step: Step) -> Options:
    """Return the options of a step: those of the chain, and what the step says itself."""
    plain = Options()
    own = {f.name: getattr(step.options, f.name) for f in fields(Options)}
    said = {name: value for name, value in own.items() if value != getattr(plain, name)}
    if common.name and "name" not in said:
        said["name"] = f"{common.name}: {step.name}"[:200]
    return replace(common, **said)
