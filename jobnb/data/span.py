"""Arithmetic of half-open spans ``[start, stop)``: what is there, what is missing, what is fetched at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from jobnb.data.interval import Interval

Span = tuple[int, int]


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the spans joined where they touch or overlap, in order; empty ones are left out.

    Examples
    --------
    >>> union([(5, 9), (0, 3), (3, 6), (12, 12)])
    [(0, 9)]
    """
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if stop <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def missing(wanted: Span, there: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that none of the spans covers, in order.

    Examples
    --------
    >>> missing((0, 10), [(2, 4), (6, 7)])
    [(0, 2), (4, 6), (7, 10)]
    """
    at, stop = wanted
    gaps: list[Span] = []
    for low, high in union(there):
        if high <= at:
            continue
        if low >= stop:
            break
        if low > at:
            gaps.append((at, low))
        at = max(at, high)
    if at < stop:
        gaps.append((at, stop))
    return gaps


def pages(span: Span, interval: Interval, bars: int | None) -> list[Span]:
    """Return the span cut into pieces of at most ``bars`` bars each (None: one piece), on whole days, weeks or months.

    Examples
    --------
    >>> [b - a for a, b in pages((0, 10_000_000), Interval.of("1s"), 4)]
    [4000000, 4000000, 2000000]
    """
    start, stop = span
    if bars is None or stop - start <= bars * interval.step_us:
        return [span] if stop > start else []
    made: list[Span] = []
    while start < stop:
        end = min(interval.floor(start + bars * interval.step_us), stop)
        if end <= start:
            # A page that is shorter than the grid: the next point of it.
            end = min(interval.ceil(start + 1), stop)
        made.append((start, end))
        start = end
    return made
