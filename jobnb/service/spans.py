"""Spans ``[start, stop)`` of a job's items: which are still to do. Pure functions on sorted, disjoint spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[int, int]


def missing(items: int, done: Iterable[Span]) -> list[Span]:
    """Return what is left of ``[0, items)`` without the spans that are done.

    Examples
    --------
    >>> missing(10, [(2, 4), (7, 10)])
    [(0, 2), (4, 7)]
    """
    left: list[Span] = []
    at = 0
    for start, stop in sorted(done):
        if min(start, items) > at:
            left.append((at, min(start, items)))
        at = max(at, stop)
    if at < items:
        left.append((at, items))
    return left


def take(spans: Sequence[Span], size: int) -> tuple[Span, list[Span]]:
    """Take up to ``size`` items off the first span; return them and what is left.

    Examples
    --------
    >>> take([(0, 10), (20, 30)], 4)
    ((0, 4), [(4, 10), (20, 30)])
    """
    (start, stop), *rest = spans
    cut = min(stop, start + max(1, size))
    return (start, cut), [(cut, stop), *rest] if cut < stop else rest


def even(length: int, size: int) -> int:
    """Return how many of ``length`` items to take at a time so that it is about ``size`` and no small rest is left.

    Examples
    --------
    >>> even(100, 30), even(40, 30), even(10, 30)
    (34, 40, 10)
    """
    return -(-length // max(1, round(length / size)))


def put_back(spans: Sequence[Span], span: Span) -> list[Span]:
    """Return the spans with one more, neighbours joined; an empty one changes nothing.

    Examples
    --------
    >>> put_back([(0, 2), (6, 9)], (2, 6))
    [(0, 9)]
    """
    joined: list[Span] = []
    for start, stop in sorted([*spans, span]):
        if start >= stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def count(spans: Iterable[Span]) -> int:
    """Return how many items the spans hold."""
    return sum(stop - start for start, stop in spans)
