"""Fetches what is missing of a series, page by page, and keeps it: each page is durable before the next is asked for.

Runs in the notebook's process (`jobnb.data.get`) and in the children of extraction jobs. A bar that is not over yet is
never kept.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobnb.data.codec import empty, within
from jobnb.data.interval import Interval, moment, text
from jobnb.data.limit import Limiter, SharedLimiter, pause_after
from jobnb.data.origin import DataSource, Terms, terms_of
from jobnb.data.series import Damaged, Segment, Series, slug
from jobnb.data.span import Span, missing, pages
from jobnb.errors import DataError, SourceBusy

logger = logging.getLogger(__name__)

#: Bars of a kept neighbour that are fetched again from a source that restates its past, to see whether it has.
OVERLAP_BARS = 5
#: Relative difference up to which two prices count as the same: vendors round.
SAME = 1e-5
_PASSING = frozenset({"NETWORK_ERROR", "API_ERROR", "SOURCE_BUSY"})


@dataclass(kw_only=True)
class Fetcher:
    """A source with everything that is needed to ask it politely.

    Attributes
    ----------
    source : DataSource
    limiter : Limiter or None
        Asked before each call.
    clock, sleep, draw : callable
        Seconds since 1970; how to wait; a random number from 0 to 1.
    calls, bars : int
        How often the source was asked and how many bars it gave, so far.
    """

    source: DataSource
    limiter: Limiter | None = None
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    calls: int = field(default=0, init=False)
    bars: int = field(default=0, init=False)

    @classmethod
    def of(cls, source: DataSource, root: Any) -> Fetcher:
        """Return a fetcher whose rate limit is shared by all processes that use the folder ``root``."""
        rate = terms_of(source).rate
        limiter = None if rate is None else SharedLimiter(path=root / f".rate-{slug(source.name)}", limit=rate)
        return cls(source=source, limiter=limiter)

    @property
    def terms(self) -> Terms:
        """What the source declares."""
        return terms_of(self.source)

    def page(self, symbol: str, span: Span, interval: Interval) -> tuple[Any, str | None]:
        """Ask once for a span (µs), again where that may help; return tidy bars as UTC, and their zone.

        Raises
        ------
        DataError
            The answer cannot be used.
        SourceBusy
            The source asks to wait longer than this process should.
        Exception
            Whatever else the source raises.
        """
        tries = 0
        while True:
            tries += 1
            if self.limiter is not None:
                self.limiter.acquire()
            self.calls += 1
            try:
                answer = self.source.fetch(symbol, moment(span[0]), moment(span[1]), str(interval))
                break
            except Exception as error:
                passing, asked = _says(error)
                pause = pause_after(
                    tries=tries, most=self.terms.tries, passing=passing, asked=asked, drawn=self.draw(),
                    patience=self.terms.patience,
                )  # fmt: skip
                if pause is None:
                    if asked is not None and asked > self.terms.patience:
                        raise SourceBusy(
                            f"source {self.source.name} asks to wait {asked:,.0f} s before it gives {symbol} ({error})",
                            after=asked,
                        ) from error
                    raise
                logger.warning(
                    "%s %s: %s: %s; try %d of %d in %.1f s", self.source.name, symbol, type(error).__name__, error,
                    tries + 1, self.terms.tries, pause,
                )  # fmt: skip
                self.sleep(pause)
        frame, tz = canonical(answer, f"{self.source.name}'s answer for {symbol}", interval)
        frame = within(frame, span)
        self.bars += len(frame)
        return frame, tz


def _says(error: Exception) -> tuple[bool, float | None]:
    """Return whether a failure may pass by itself, and how many seconds the source asks to wait."""
    from jobnb.kind import code_of, retry_of

    said = retry_of(error)
    if said == "never":
        return False, None
    if said and said != "later":
        return True, float(said)
    return bool(said) or code_of(error) in _PASSING, None


def canonical(answer: object, name: str, interval: Interval) -> tuple[Any, str | None]:
    """Return a source's answer as tidy bars whose times are UTC without a zone, and the zone they are shown in.

    Bars of days and longer become dates: the date on the wall clock of the answer's own zone.

    Raises
    ------
    DataError
        The answer is no frame of bars.
    """
    from jobnb.data.frame import tidy
    from jobnb.research.checks import PRICES

    if answer is None or getattr(answer, "shape", (1,))[0] == 0:
        return empty(), None
    frame = tidy(answer, name)
    # A row without any price is a vendor's way to say that there was no bar.
    frame = frame.dropna(subset=list(PRICES), how="all")
    index: Any = frame.index
    if not interval.intraday:
        frame.index = index.tz_localize(None).normalize()
        if frame.index.has_duplicates:
            raise DataError(f"{name} has several bars of one day for the interval {interval}.")
        return frame, None
    zone = "UTC" if index.tz is None else str(index.tz)
    if index.tz is not None:
        frame.index = index.tz_convert("UTC").tz_localize(None)
    return frame, zone


def fill(
    series: Series, fetcher: Fetcher, span: Span, *, since: float | None = None, fresh: float | None = None
) -> tuple[Any, str | None]:
    """Return the final bars of a span (µs), fetching and keeping what is missing of them.

    Parameters
    ----------
    series : Series
    fetcher : Fetcher
    span : (int, int)
        It must not go beyond what is final.
    since : float, optional
        See `Series.covered`.
    fresh : float, optional
        Seconds since 1970: what was fetched before then does not count.

    Returns
    -------
    frame, tz
        As `canonical` gives them.
    """
    if not fetcher.terms.cache:
        return join([fetcher.page(series.symbol, p, series.interval) for p in _pages(span, fetcher, series)])
    for _ in range(5):
        _fetch_missing(series, fetcher, span, since, fresh)
        listed = series.segments(fresh)
        if missing(span, series.covered(since, listed=listed)):
            continue
        try:
            found = series.load(span, listed=listed)
        except Damaged as error:
            logger.warning("%s %s: %s; fetched again", series.source, series.symbol, error)
            continue
        series.merge()
        return found
    raise DataError(
        f"the kept prices of {series.symbol} in {series.folder} are damaged or removed again and again. "
        "Does something else write there?"
    )


def retire(series: Series, fetcher: Fetcher, span: Span, fresh: float) -> None:
    """Forget what was fetched before ``fresh`` (seconds since 1970), once the span has been fetched anew.

    What reaches beyond the span stays, unless its prices may be on another basis by now.
    """
    young = {s.path for s in series.segments(fresh)}
    series.drop(
        s
        for s in series.segments()
        if s.path not in young and (fetcher.terms.restates or (span[0] <= s.start and s.stop <= span[1]))
    )


def _pages(span: Span, fetcher: Fetcher, series: Series) -> list[Span]:
    return pages(span, series.interval, fetcher.terms.page)


def _fetch_missing(series: Series, fetcher: Fetcher, span: Span, since: float | None, fresh: float | None) -> None:
    # Twice at most: bars that were dropped because their source has restated them are missing, too.
    for restated in (False, True):
        before = series.segments(fresh)
        gaps = missing(span, series.covered(since, listed=before))
        if not gaps:
            return
        for gap in gaps:
            for page in _pages(gap, fetcher, series):
                wider = _widened(page, before, series.interval) if fetcher.terms.restates and not restated else page
                frame, tz = fetcher.page(series.symbol, wider, series.interval)
                if wider != page and _differs(series, frame, before):
                    logger.warning(
                        "%s has restated %s (a dividend or a split): the kept bars are fetched again",
                        series.source, series.symbol,
                    )  # fmt: skip
                    series.drop(before)
                    before = []
                series.add(page, within(frame, page), tz)


def _widened(page: Span, there: list[Segment], interval: Interval) -> Span:
    """Return a page with a few bars of its kept neighbours."""
    more = OVERLAP_BARS * interval.step_us
    if interval.unit == "d":
        more += 4 * interval.step_us  # weekends and holidays
    start, stop = page
    if any(s.rows and s.start < start <= s.stop for s in there):
        start = interval.floor(start - more)
    if any(s.rows and s.start <= stop < s.stop for s in there):
        stop = interval.ceil(stop + more)
    return start, stop


def _differs(series: Series, fresh: Any, before: list[Segment]) -> bool:
    """Tell whether fresh bars differ from kept ones of the same moments."""
    if fresh.empty or not before:
        return False
    low, high = (int(t) // 1000 for t in fresh.index.as_unit("ns").asi8[[0, -1]])
    try:
        old, _ = series.load((low, high + 1), listed=before)
    except Damaged:
        return True
    both = fresh.index.intersection(old.index)
    if both.empty:
        return False
    a, b = fresh.loc[both, "close"], old.loc[both, "close"]
    return bool(((a - b).abs() > SAME * b.abs()).any())


def join(parts: list[tuple[Any, str | None]]) -> tuple[Any, str | None]:
    """Return canonical bars of several spans as one frame, and their zone."""
    import pandas as pd

    frames = [frame for frame, _ in parts if len(frame)]
    zones = [tz for frame, tz in parts if len(frame)]
    if not frames:
        return empty(), None
    return (pd.concat(frames).sort_index() if len(frames) > 1 else frames[0]), zones[-1]


def shown(frame: Any, tz: str | None) -> Any:
    """Return canonical bars as people want them: with their zone, or as plain dates."""
    made = frame.copy()
    made.index = made.index.as_unit("ns").rename("date")
    if tz is not None:
        made.index = made.index.tz_localize("UTC").tz_convert(tz)
    return made


def described(symbol: str, span: Span, interval: Interval) -> str:
    """Return a series and its span in a few words."""
    return f"{symbol} {interval} from {text(span[0], interval)} to {text(span[1], interval)}"
