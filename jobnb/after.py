"""What a job waits for: as people say it, checked, and as links to the jobs that they mean. Run by front doors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from jobnb import handover
from jobnb.errors import UnknownName, UsageProblem, did_you_mean, unknown
from jobnb.job import Job, JobRecord
from jobnb.store.chains import Link, Wanted

if TYPE_CHECKING:
    from jobnb.option import Options
    from jobnb.store import Store
    from jobnb.work import Work

ENDS = ("success", "failure", "any")


@dataclass(frozen=True, kw_only=True)
class After:
    """A parent as it was said: a job, or what names one; and which end of it is meant, where that was said, too."""

    job: Job | str
    on: Wanted | None = None


def parse(said: Any) -> tuple[After, ...]:
    """Return the parents that ``after=`` names: a job or name, several of them, or a mapping to the end that is meant.

    Raises
    ------
    UsageProblem
        It is something else.
    """
    if isinstance(said, Job | str | After):
        said = [said]
    if isinstance(said, Mapping):
        said = [After(job=job, on=end(on, "after")) for job, on in said.items()]
    if not isinstance(said, Iterable):
        raise UsageProblem(f"after takes jobs, or their ids or names, not {said!r}.")
    made = [each if isinstance(each, After) else After(job=each) for each in said]
    for each in made:
        if not isinstance(each.job, Job | str):
            raise UsageProblem(f"after takes jobs, or their ids or names, not {each.job!r}.")
    return tuple(made)


def end(said: Any, name: str) -> Wanted:
    """Return which end of a parent is meant: ``success``, ``failure`` or ``any``."""
    if said not in ENDS:
        raise unknown(name, str(said), ENDS)
    return cast("Wanted", said)


def find(store: Store, ref: Job | str) -> str:
    """Return the id of the job that ``ref`` means: an id, the beginning of one, a name, or ``last``.

    Raises
    ------
    UnknownName
        There is none, or the beginning fits several.
    """
    if isinstance(ref, Job):
        return ref.id
    jobs = store.jobs
    found = jobs.find(ref)
    if not found and ref == "last":
        newest = jobs.newest()
        found = [newest] if newest else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownName(f"job id {ref!r} fits {len(found)} jobs: {', '.join(found)}. Give more of it.")
    hint = did_you_mean(ref, jobs.names()) or " `%job list` and jobnb.jobs() show what there is."
    raise UnknownName(f"unknown job {ref!r}.{hint}")


def attach(store: Store, work: Work, options: Options, previous: Link | None = None) -> tuple[Work, tuple[Link, ...]]:
    """Return a work that asks for the results of its parents, and the links to them.

    Parents are, in this order, ``previous``, those of ``after=``, and the jobs among the arguments.

    Raises
    ------
    UsageProblem, UnknownName
        A parent cannot be found, or something was said that goes with parents, and there is none.
    """
    links: list[Link] = []
    places: dict[str | int, int] = {}

    def add(made: Link) -> int:
        place = places.setdefault(made.parent, len(links))
        if place == len(links):
            links.append(_tolerant(made, options))
        else:
            links[place] = replace(links[place], given=links[place].given or made.given)
        return place

    if previous is not None:
        add(previous)
    on = options.after_on or "success"
    for each in options.after:
        add(Link(parent=find(store, each.job), wanted=each.on or on))
    work = handover.parted(work, lambda job: add(Link(parent=job.id, wanted=on, given=True)))
    if not links:
        if options.after_on is not None:
            raise UsageProblem(f"after_on={options.after_on!r} goes with after=[…], or with a Job among the arguments.")
        if options.condition is not None:
            raise UsageProblem("condition is asked about the results of parents: say after=[…], or pass a Job.")
        return work, ()
    if options.condition is not None:
        from jobnb.work import Conditional

        work = Conditional(work, condition=options.condition, places=tuple(range(len(links))))
        links = [replace(link, given=True) for link in links]
    return work, tuple(links)


def _tolerant(link: Link, options: Options) -> Link:
    """Return the link of a parent whose failure does not matter, where that was said."""
    run = options.on_parent_failure == "run" and link.wanted == "success"
    return replace(link, wanted="any") if run else link


def again(store: Store, old: JobRecord, options: Options) -> tuple[Link, ...]:
    """Return the links of a job that does the work of an old one again.

    Its parents are those of the old job; one that ended so that the job could not run is replaced by the newest job
    that did its work again. Parents that were said anew come after them.

    Raises
    ------
    UsageProblem
        A parent stands in the way still, or the result that the job needs was removed.
    """
    links: list[Link] = []
    for each in store.chains.parents(old.id):
        link = _tolerant(
            Link(parent=each.id, wanted=each.wanted, given=each.given, ended=each.ended, why=each.why), options
        )
        named = f"{each.id} ({each.name})" if each.name else each.id
        if each.given and each.ended == "completed" and not each.kept:
            raise UsageProblem(
                f"job {old.id} needs the result of its parent {named}, which was removed. Submit both again."
            )
        if each.blocks and link.wanted == each.wanted:
            newest = store.chains.newest_retry(each.id)
            if newest == each.id:
                raise UsageProblem(
                    f"job {old.id} cannot run: its parent {each.why}. Retry that one first, or say "
                    "on_parent_failure='run'."
                )
            link = replace(link, parent=newest, ended=None, why="")
        links.append(link)
    if options.condition is not None:
        raise UsageProblem("condition is part of the work, which is done again as it was. Submit it anew instead.")
    for said in options.after:
        made = Link(parent=find(store, said.job), wanted=said.on or options.after_on or "success")
        links.append(_tolerant(made, options))
    return tuple(links)
