"""Which job gets the next free place: strict priorities, fair within one, each in its turn. Pure.

Fair means: among jobs of one priority the one with the fewest tasks out goes first, so that a sweep of ten
thousand runs does not hold up a job of one second. And among queues, where any are defined, the one with the fewest
jobs running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jobnb.store.queues import Line, Rule


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A job that has something to hand out."""

    job: str
    rank: int
    out: int
    #: Place in line, the first the smallest; whoever has had a place stands at the end again.
    order: int


def choose(candidates: Sequence[Candidate]) -> str | None:
    """Return the id of the job that gets the next place, or None if there is no candidate."""
    if not candidates:
        return None
    return min(candidates, key=lambda c: (-c.rank, c.out, c.order)).job


def merge(lines: Sequence[Line], limit: int) -> list[int]:
    """Return the jobs to begin next, by their places in the order of acceptance, at most ``limit`` of them.

    Examples
    --------
    >>> many = Line(queue="many", running=1, heads=((1, 1), (1, 2), (1, 3)))
    >>> few = Line(queue="few", running=0, heads=((1, 8), (1, 9)))
    >>> merge([many, few], 4)
    [8, 1, 9, 2]
    """
    made: list[int] = []
    taken = [0] * len(lines)
    while len(made) < limit:
        fronts = [
            ((-line.heads[taken[i]][0], line.running + taken[i], line.heads[taken[i]][1]), i)
            for i, line in enumerate(lines)
            if taken[i] < len(line.heads)
        ]
        if not fronts:
            break
        (_, _, seq), which = min(fronts)
        taken[which] += 1
        made.append(seq)
    return made


def capped(rules: Mapping[str, Rule], out: Collection[tuple[str, int]]) -> set[str]:
    """Return the queues of which no more tasks may go out now.

    Parameters
    ----------
    rules : mapping
        By queue.
    out : collection of (str, int)
        Of each job that runs its queue, and how many of its tasks are out.
    """
    limits = {name: rule.max_tasks for name, rule in rules.items() if rule.max_tasks is not None}
    if not limits:
        return set()
    sums: Counter[str] = Counter()
    for queue, count in out:
        sums[queue] += count
    return {name for name, most in limits.items() if sums[name] >= most}
