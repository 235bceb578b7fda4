"""Turns what a child writes to its two pipes into numbered lines, and recognises progress bars among them.

Runs in the supervisor. It keeps a bounded number of lines whatever the child writes, counts what it lets go,
and must be much faster than the child can print.
"""

from __future__ import annotations

import re
import time
from collections import deque

from jobnb.worker.request import LogLine, ProgressValue

MAX_LINES = 500
MAX_CHARACTERS = 2_000
#: A line longer than this is cut while it is still being written.
_MAX_PARTIAL_BYTES = 4 * MAX_CHARACTERS

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(
    r"^\s*(?:(?P<message>.*?):\s*)?\d+%\|[^|]*\|\s*(?P<n>\d[\d.]*[kMGTP]?)/(?P<total>\d[\d.]*[kMGTP]?)\S*\s*\["
)
_COUNT = re.compile(r"^(?:(?P<message>.*?):\s+)?(?P<n>\d[\d.]*[kMGTP]?)\s*\S*\s\[\d+:\d\d(?::\d\d)?, .*\]\s*$")
_POWERS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def _number(text: str) -> float:
    power = _POWERS.get(text[-1])
    return float(text[:-1]) * power if power else float(text)


def parse_bar(text: str) -> ProgressValue | None:
    """Return the progress that a line of tqdm shows, or None when the line is no progress bar.

    Examples
    --------
    >>> parse_bar("load:  30%|███       | 3/10 [00:01<00:02,  2.9it/s]")
    (3.0, 10.0, 'load')
    >>> parse_bar("12it [00:01,  9.8it/s]")
    (12.0, None, '')
    """
    for pattern in (_BAR, _COUNT):
        found = pattern.match(text)
        if found:
            groups = found.groupdict()
            try:
                total = groups.get("total")
                return (
                    _number(groups["n"]),
                    _number(total) if total else None,
                    (groups.get("message") or "").strip(),
                )
            except ValueError:
                return None
    return None


class LogRing:
    """The last lines of a task's output, numbered from 1 without gaps."""

    def __init__(self, *, max_lines: int = MAX_LINES) -> None:
        self._lines: deque[LogLine] = deque(maxlen=max_lines)
        self.count = 0

    def add(self, stream: str, text: str, t_us: int) -> None:
        """Add one line; the oldest is let go when there are too many."""
        self.count += 1
        if len(text) > MAX_CHARACTERS:
            text = text[: MAX_CHARACTERS - 1] + "…"
        self._lines.append((self.count, t_us, stream, text))

    def skip(self, lines: int) -> None:
        """Count lines that came and went unread."""
        self.count += lines

    @property
    def room(self) -> int:
        """How many lines are kept."""
        return self._lines.maxlen or 0

    @property
    def dropped(self) -> int:
        """How many lines were let go."""
        return self.count - len(self._lines)

    def lines(self) -> tuple[LogLine, ...]:
        """Return the lines that are kept."""
        return tuple(self._lines)

    def cut(self, stream: str, prefix: str) -> list[str]:
        """Take out the lines of a stream from the last one that begins with ``prefix`` on, and return their texts."""
        lines = list(self._lines)
        starts = [i for i, line in enumerate(lines) if line[2] == stream and line[3].startswith(prefix)]
        if not starts:
            return []
        taken = [line[3] for line in lines[starts[-1] :] if line[2] == stream]
        kept = lines[: starts[-1]] + [line for line in lines[starts[-1] :] if line[2] != stream]
        self.count -= len(taken)
        self._lines.clear()
        self._lines.extend(kept)
        return taken

    def since(self, seq: int, limit: int) -> list[LogLine]:
        """Return the last lines after number ``seq``, at most ``limit``."""
        found: list[LogLine] = []
        for line in reversed(self._lines):
            if line[0] <= seq or len(found) >= limit:
                break
            found.append(line)
        return found[::-1]


class Stream:
    """One pipe of the child: bytes in, lines into the ring, bars into `bar`."""

    def __init__(self, name: str, ring: LogRing) -> None:
        self._name = name
        self._ring = ring
        self._partial = b""
        self._cut = False
        self._bars: dict[tuple[str, float | None], str] = {}
        self.bar: ProgressValue | None = None

    def feed(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        now = time.time_ns() // 1000
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            lines = (self._partial + whole).split(b"\n")
            # A flood: only the last lines can be kept, so the others are counted and not even decoded.
            extra = len(lines) - self._ring.room
            if extra > 0:
                self._ring.skip(extra)
                lines = lines[extra:]
                self._cut = False
            for line in lines:
                self._line(line, now)
                self._cut = False
            self._partial = b""
        self._grow(rest)

    def _grow(self, data: bytes) -> None:
        if not data:
            return
        state = data.rstrip(b"\r")
        if b"\r" in state:
            # Only the newest state of a line that is drawn over and over counts.
            state = state.rpartition(b"\r")[2]
            # A bar that leaves nothing behind overwrites itself with blanks.
            state = state if state.strip() else b""
            self._partial = b""
        elif state and self._partial.endswith(b"\r"):
            self._partial = b""
        if len(self._partial) < _MAX_PARTIAL_BYTES:
            self._partial += state[:_MAX_PARTIAL_BYTES]
        if data.endswith(b"\r") and not self._partial.endswith(b"\r"):
            # What comes next is drawn over it.
            self._partial += b"\r"
        text = self._decode(self._partial)
        if "[" in text:
            bar = parse_bar(text)
            if bar is not None:
                self.bar = bar

    def _decode(self, line: bytes) -> str:
        line = line.rstrip(b"\r").rpartition(b"\r")[2]
        text = line[:_MAX_PARTIAL_BYTES].decode("utf-8", "replace")
        return _ANSI.sub("", text) if "\x1b" in text else text

    def _line(self, line: bytes, now: int) -> None:
        text = self._decode(line)
        if "[" in text:
            bar = parse_bar(text)
            if bar is not None:
                self.bar = bar
                name = (bar[2], bar[1])
                if bar[1] is not None and bar[0] < bar[1]:
                    # Nested bars end each redraw of the outer one with a newline: keep its newest state only.
                    self._bars[name] = text
                    return
                self._bars.pop(name, None)
        elif not text and b"\r" in line:
            return
        self._ring.add(self._name, text, now)

    def flush(self) -> None:
        """The task is over: what stands without a newline is a line too."""
        now = time.time_ns() // 1000
        partial, self._partial = self._partial, b""
        if self._decode(partial):
            self._line(partial, now)
        for text in self._bars.values():
            self._ring.add(self._name, text, now)
        self._bars.clear()
