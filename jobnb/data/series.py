"""The bars that are kept of one source, symbol and interval: Parquet files whose names say what they cover.

The folder's listing is the manifest: a file appears whole, by a rename, or not at all, so any number of processes may
add at once without a lock, and a kill at any moment loses at most what was being fetched. Used by front doors and
children of extraction jobs; the store knows nothing of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobnb.data.codec import decode, empty, encode, within, write_atomic
from jobnb.data.interval import Interval
from jobnb.data.span import Span, union
from jobnb.errors import StoreError, UsageProblem

#: An answer without any bar may be an outage: it counts for this long only.
EMPTY_SECONDS = 86_400.0
#: A file system's clock may be so far behind the process's.
CLOCK_SECONDS = 0.02
#: More files than this of one series are merged.
MOST_SEGMENTS = 64
#: Bars of a merged file: larger ones are slow to read a few days from.
MERGED_ROWS = 200_000
_NAME = re.compile(r"(-?\d+)_(-?\d+)_(\d+)_([0-9a-f]{16})\.parquet")
#: A file that a killed process left behind is removed after this time.
_LEFT_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One file: the bars of ``[start, stop)`` (µs), as they were fetched at one time."""

    path: Path
    start: int
    stop: int
    rows: int
    sha: str
    #: Seconds since 1970.
    written: float

    @property
    def span(self) -> Span:
        """What it covers."""
        return self.start, self.stop


class Damaged(Exception):
    """A kept file is gone or its content is not what its name says; it has been removed."""


class Series:
    """The kept bars of one source, symbol and interval.

    Parameters
    ----------
    root : Path
        The folder ``datasets`` of a home.
    source, symbol : str
        Any text: they become names of folders safely.
    interval : Interval
    """

    def __init__(self, root: Path, source: str, symbol: str, interval: Interval) -> None:
        self.root = root
        self.source, self.symbol, self.interval = source, symbol, interval
        self.folder = root / slug(source) / slug(symbol) / str(interval)

    def segments(self, fresh: float | None = None) -> list[Segment]:
        """Return the files, oldest first: where they overlap, the later one is right.

        Parameters
        ----------
        fresh : float, optional
            Seconds since 1970: only those that were written since.
        """
        found: list[Segment] = []
        try:
            with os.scandir(self.folder) as listing:
                entries = list(listing)
        except FileNotFoundError:
            return []
        for entry in entries:
            said = _NAME.fullmatch(entry.name)
            if said is None:
                continue
            with contextlib.suppress(FileNotFoundError):  # merged or dropped meanwhile
                found.append(
                    Segment(
                        path=Path(entry.path), start=int(said[1]), stop=int(said[2]), rows=int(said[3]), sha=said[4],
                        written=entry.stat().st_mtime,
                    )
                )  # fmt: skip
        if fresh is not None:
            found = [s for s in found if s.written >= fresh - CLOCK_SECONDS]
        return _by_age(found)

    def covered(self, since: float | None = None, *, listed: Sequence[Segment] | None = None) -> list[Span]:
        """Return what is kept.

        Parameters
        ----------
        listed : sequence of Segment, optional
            What `segments` has returned; asked again by default.
        since : float, optional
            Seconds since 1970: spans without bars count if fetched after this; within the last day by default.
        """
        oldest = time.time() - EMPTY_SECONDS if since is None else since
        found = self.segments() if listed is None else listed
        return union(s.span for s in found if s.rows or s.written >= oldest)

    def add(self, span: Span, frame: Any, tz: str | None) -> Segment:
        """Keep the bars of a span; they are on the disk when this returns.

        Parameters
        ----------
        span : (int, int)
            µs, half-open.
        frame : pandas.DataFrame
            Tidy bars of the span, perhaps none.
        tz : str or None
            The zone in which they are shown; None for dates.

        Raises
        ------
        StoreError
            The disk is full or the folder cannot be written.
        """
        content = encode(frame, {"tz": tz or "", "source": self.source, "symbol": self.symbol})
        sha = hashlib.sha256(content).hexdigest()[:16]
        target = self.folder / f"{span[0]}_{span[1]}_{len(frame)}_{sha}.parquet"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            written = write_atomic(target, content)
        except OSError as error:
            raise StoreError(
                f"prices could not be written to {self.folder} ({error.strerror or error}). Free some space, or set "
                "JOBNB_HOME to another disk."
            ) from error
        return Segment(path=target, start=span[0], stop=span[1], rows=len(frame), sha=sha, written=written)

    def load(self, span: Span, *, listed: Sequence[Segment] | None = None) -> tuple[Any, str | None]:
        """Return the kept bars of a span (µs) as a tidy frame, and their zone.

        A listing that is made while another process merges may show neither the old nor the new file: who claims that
        the bars are complete has to have found so in the very listing that is read here.

        Raises
        ------
        Damaged
            A file was; it is not counted as kept any more. Fetch what is missing and load again.
        """
        import pandas as pd

        parts, zones = [], []
        for segment in _by_age(self.segments() if listed is None else listed):
            if segment.stop <= span[0] or segment.start >= span[1] or not segment.rows:
                continue
            frame, about = self._read(segment)
            # A file may not speak for moments that its name does not claim.
            parts.append(within(frame, (max(span[0], segment.start), min(span[1], segment.stop))))
            zones.append(about.get("tz") or None)
        if not parts:
            return empty(), None
        whole = pd.concat(parts)
        if len(parts) > 1:
            whole = whole[~whole.index.duplicated(keep="last")].sort_index()
        return whole, zones[-1]

    def drop(self, segments: Iterable[Segment]) -> None:
        """Forget files."""
        for segment in segments:
            segment.path.unlink(missing_ok=True)

    def merge(self, most: int = MOST_SEGMENTS) -> None:
        """Make one file of each run of files that touch, when there are too many; clean up after killed processes."""
        found = self.segments()
        now = time.time()
        for left in self.folder.glob(".new-*"):
            with contextlib.suppress(FileNotFoundError):
                if now - left.stat().st_mtime > _LEFT_SECONDS:
                    left.unlink()
        if len(found) <= most:
            return
        for inside in _runs([s for s in found if s.rows]):
            span = min(s.start for s in inside), max(s.stop for s in inside)
            try:
                frame, tz = self.load(span, listed=inside)
            except Damaged:
                continue
            # Between the two steps both are there, and say the same.
            made = self.add(span, frame, tz)
            # As old as its oldest part: what another process adds meanwhile has the last word, and nothing looks fresh
            # that is not.
            oldest = min(s.written for s in inside)
            with contextlib.suppress(FileNotFoundError):
                os.utime(made.path, (oldest, oldest))
            self.drop(s for s in inside if s.path != made.path)

    def _read(self, segment: Segment) -> tuple[Any, dict[str, str]]:
        try:
            content = segment.path.read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{segment.path.name} is gone") from None
        if hashlib.sha256(content).hexdigest()[:16] != segment.sha:
            segment.path.unlink(missing_ok=True)
            raise Damaged(f"{segment.path.name} was damaged")
        return decode(content)


def _by_age(segments: Iterable[Segment]) -> list[Segment]:
    return sorted(segments, key=lambda s: (s.written, s.path.name))


def _runs(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Return the groups of files to be merged: those that touch, up to a size; those that overlap stay together."""
    groups: list[list[Segment]] = []
    stop = rows = 0
    for segment in sorted(segments, key=lambda s: s.span):
        touches = bool(groups) and segment.start == stop and rows + segment.rows <= MERGED_ROWS
        if groups and (touches or segment.start < stop):
            groups[-1].append(segment)
            stop, rows = max(stop, segment.stop), rows + segment.rows
        else:
            groups.append([segment])
            stop, rows = segment.stop, segment.rows
    return [group for group in groups if len(group) > 1]


def slug(text: str) -> str:
    """Return a name of a folder for any text, a different one for each.

    Raises
    ------
    UsageProblem
        The text is empty or too long.

    Examples
    --------
    >>> slug("BTC/USDT"), slug(".."), slug("^GSPC")
    ('BTC%2FUSDT', '%2E%2E', '%5EGSPC')
    """
    made = urllib.parse.quote(text, safe="")
    if made.startswith("."):
        made = made.replace(".", "%2E")
    if not made or len(made) > 200:
        raise UsageProblem(f"a symbol or source needs 1 to 200 characters, not {text[:60]!r}.")
    return made


def unslug(name: str) -> str:
    """Return the text of a folder's name."""
    return urllib.parse.unquote(name)


def kept(root: Path) -> Sequence[Series]:
    """Return every series of a folder ``datasets``."""
    found: list[Series] = []
    for folder in sorted(root.glob("*/*/*")):
        if folder.is_dir():
            source, symbol, interval = folder.parts[-3:]
            with contextlib.suppress(UsageProblem):
                found.append(Series(root, unslug(source), unslug(symbol), Interval.of(interval)))
    return found
