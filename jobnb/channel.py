"""Where notices go and what they say: addresses that are checked and never shown whole, events, words. Pure.

Front doors check and list channels with it, the service words what it sends. Nothing is sent and nothing imported here
that could. (Not ``notices.py``: a submodule of that name would hide ``jobnb.notices()``.)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from jobnb.durations import seconds
from jobnb.errors import UsageProblem, unknown

NOTEBOOK, DESKTOP = "notebook", "desktop"

#: What can be told, and the store's word for it.
EVENTS: Mapping[str, str] = {
    "completed": "completed",
    "failed": "failed",
    "dead": "dead",
    "cancelled": "cancelled",
    "retrying": "retrying",
    "stuck": "stuck",
    "failing": "failure rate",
    "paused": "schedule paused",
}
#: What is told where nothing is said: what somebody has to look after.
DEFAULT_EVENTS = ("failed", "stuck", "failing", "paused")

#: Addresses of which the host is no secret.
_OPEN_HOSTS = frozenset({"http", "https", "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=://)", re.IGNORECASE)
#: Pieces of an address that are shorter than this are no secret, and common in other words.
_SHORTEST_SECRET = 4
_LONGEST_NAME = 100
#: Notices that are told together are told in so many lines.
LINES = 10
#: A notice that was sent so long after what it tells says when that was.
LATE_SECONDS = 120.0

Level = Literal["info", "success", "warning", "failure"]
_LEVELS: Mapping[str, Level] = {
    "completed": "success",
    "failed": "failure",
    "cancelled": "info",
    "retrying": "warning",
    "stuck": "warning",
    "failure rate": "failure",
    "schedule paused": "warning",
}


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Somewhere that notices go.

    Attributes
    ----------
    name : str
    url : str
        ``notebook``, ``desktop``, or an address. It may hold secrets: show `masked` instead.
    events : tuple of str
        What it is told of, in the store's words; of a job that names the channel itself it is told in any case.
    kinds, tags : tuple of str
        Only of jobs of one of these kinds, and with one of these tags; empty for all.
    longer_than : float
        Of jobs that have ended, only of those that took at least so many seconds.
    """

    name: str
    url: str = field(repr=False)
    events: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    longer_than: float = 0.0

    @property
    def shown(self) -> str:
        """The address as it may be shown."""
        return masked(self.url)

    @property
    def words(self) -> tuple[str, ...]:
        """What it is told of, in the words that people use."""
        return tuple(word for word, event in EVENTS.items() if event in self.events)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that is to be told: what happened, when, and what is known of it."""

    id: int
    at: datetime
    event: str
    facts: Mapping[str, Any]

    @property
    def level(self) -> Level:
        """How bad it is."""
        return _LEVELS.get(self.event, "info")

    @property
    def title(self) -> str:
        """What happened, in a few words."""
        name = self.facts.get("name", "")
        match self.event:
            case "failure rate":
                return "many jobs fail"
            case "schedule paused":
                return f"schedule {name} is paused"
            case "stuck":
                return f"{name} is stuck"
            case "retrying":
                return f"{name} failed and is tried again"
            case "test":
                return "jobnb can reach you here"
        return f"{name} {self.event}"

    @property
    def body(self) -> str:
        """What is known of it."""
        facts = self.facts
        if self.event in ("failure rate", "schedule paused", "test"):
            return str(facts.get("detail", ""))
        first = ""
        if self.event in ("failed", "retrying"):
            kind = f"{facts['type']}: " if facts.get("type") else ""
            first = f"{facts.get('code') or 'failed'}: {kind}{facts.get('message') or ''}".rstrip(": ")
        elif self.event == "stuck":
            first = str(facts.get("detail", ""))
        elif self.event == "cancelled":
            # Why it was, or by whom.
            by = f"by {facts['by']}" if facts.get("by") else ""
            first = ", ".join(said for said in (by, str(facts.get("detail") or "")) if said)
        about = [f"job {facts.get('job', '')}", str(facts.get("kind", ""))]
        if facts.get("schedule"):
            about.append(f"schedule {facts['schedule']}")
        if self.event != "stuck":
            about.append(f"after {duration(float(facts.get('seconds') or 0.0))}")
        if int(facts.get("attempt") or 1) > 1:
            about.append(f"attempt {facts['attempt']}")
        return "\n".join(said for said in (first, " · ".join(about)) if said)

    @property
    def line(self) -> str:
        """All of it in one line."""
        return " · ".join(said for said in (self.title, *self.body.splitlines()) if said)


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent: one notice, or several together."""

    title: str
    body: str
    level: Level
    notices: tuple[Notice, ...] = ()


def message(notices: Sequence[Notice], now: datetime) -> Message:
    """Put notices into one message: several at once are a list, so that an outage or a storm is no flood.

    Those that come late say when it was.
    """
    if len(notices) == 1:
        (one,) = notices
        body = f"{one.body}{_late(one, now)}"
        return Message(title=f"jobnb: {one.title}", body=body, level=one.level, notices=(one,))
    counts = Counter(EVENT_WORDS.get(n.event, n.event) for n in notices)
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    lines = [f"• {n.line}{_late(n, now)}" for n in notices[:LINES]]
    if len(notices) > LINES:
        lines.append(f"… and {len(notices) - LINES} more")
    worst = max((n.level for n in notices), key=("info", "success", "warning", "failure").index)
    return Message(
        title=f"jobnb: {len(notices)} notices: {said}", body="\n".join(lines), level=worst, notices=tuple(notices)
    )


def _late(notice: Notice, now: datetime) -> str:
    return f" · at {notice.at:%Y-%m-%d %H:%M} UTC" if (now - notice.at).total_seconds() > LATE_SECONDS else ""


EVENT_WORDS = {event: word for word, event in EVENTS.items()}


# Reading what people write


def described(name: str, said: Any) -> Channel:
    """Return the channel of a line of the configuration: an address, or a mapping with ``url``, ``on``, ….

    Raises
    ------
    UsageProblem
        It is not understood.
    """
    if isinstance(said, str):
        return channel(said, name=name)
    if not isinstance(said, Mapping) or "url" not in said:
        raise UsageProblem(f"jobnb.notify.{name} must be an address, or hold url and, if wanted, on, kinds, tags, …")
    more = {str(k).replace("-", "_"): v for k, v in said.items() if k != "url"}
    # In a YAML file a bare ``on`` is True.
    more = {("events" if key in ("on", "True") else key): value for key, value in more.items()}
    for key in more:
        if key not in ("events", "kinds", "tags", "longer_than"):
            known = ("url", "on", "kinds", "tags", "longer-than")
            raise unknown("setting", f"jobnb.notify.{name}.{key}", [f"jobnb.notify.{name}.{k}" for k in known])
    return channel(str(said["url"]), name=name, **more)


def channel(
    url: str,
    *,
    name: str | None = None,
    events: str | Iterable[str] | None = None,
    kinds: str | Iterable[str] = (),
    tags: str | Iterable[str] = (),
    longer_than: float | str | None = None,
) -> Channel:
    """Check what was said of a channel and return it.

    Raises
    ------
    UsageProblem
        It is not understood. The message does not repeat the address.
    """
    url = str(url).strip()
    scheme(url)
    name = name or default_name(url)
    if len(name) > _LONGEST_NAME or "://" in name:
        raise UsageProblem(f"a channel needs a name of 1 to {_LONGEST_NAME} characters that is no address.")
    if (name in (NOTEBOOK, DESKTOP)) and name != url:
        raise UsageProblem(f"{name} is the name of the {name} itself; give this channel another one.")
    return Channel(
        name=name,
        url=url,
        events=wanted(DEFAULT_EVENTS if events is None else events),
        kinds=_words(kinds),
        tags=_words(tags),
        longer_than=0.0 if longer_than is None else seconds(longer_than, "longer_than"),
    )


def wanted(events: str | Iterable[str]) -> tuple[str, ...]:
    """Return events in the store's words.

    Examples
    --------
    >>> wanted("failed, failing")
    ('failed', 'failure rate')
    """
    words = _words(events)
    if words == ("all",):
        # A failed job is a dead letter: told once.
        words = tuple(word for word in EVENTS if word != "dead")
    for word in words:
        if word not in EVENTS:
            raise unknown("event", word, [*EVENTS, "all"])
    return tuple(dict.fromkeys(EVENTS[word] for word in words))


def _words(said: str | Iterable[str]) -> tuple[str, ...]:
    parts = said.split(",") if isinstance(said, str) else said
    return tuple(text for part in parts if (text := str(part).strip()))


def scheme(url: str) -> str:
    """Return the scheme of an address in lower case; ``notebook`` and ``desktop`` are their own.

    Raises
    ------
    UsageProblem
        It has none.
    """
    if url in (NOTEBOOK, DESKTOP):
        return url
    found = _SCHEME.match(url)
    if found is None:
        raise UsageProblem(
            f"{masked(url)!r} is no address for notices. Write 'notebook', 'desktop', 'https://…' for a webhook, or an "
            "address of apprise such as 'slack://…', 'mailto://…', 'tgram://…'."
        )
    return found[0].lower()


def default_name(url: str) -> str:
    """Return a name for an address that tells nothing of it but its kind, always the same one."""
    kind = scheme(url)
    return kind if kind in (NOTEBOOK, DESKTOP) else f"{kind}-{hashlib.sha256(url.encode()).hexdigest()[:4]}"


# Keeping secrets


def masked(url: str) -> str:
    """Return an address without what may be secret in it.

    Examples
    --------
    >>> masked("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXr"), masked("https://me:pw@example.org/hook/s3cr3t")
    ('slack://…', 'https://example.org/…')
    """
    found = _SCHEME.match(url)
    if found is None:
        # Perhaps a token without its scheme.
        return url if len(url) <= 16 and url.isalpha() else "…"
    kind = found[0].lower()
    if kind not in _OPEN_HOSTS:
        return f"{kind}://…"
    try:
        place = urlsplit(url)
        host, port = place.hostname or "", place.port
    except ValueError:
        return f"{kind}://…"
    return f"{kind}://{host}{f':{port}' if port else ''}/…"


def scrubbed(text: str, url: str) -> str:
    """Return a text with every piece of an address that may be secret taken out.

    Examples
    --------
    >>> scrubbed("no route to /hook/s3cr3t (401)", "https://example.org/hook/s3cr3t")
    'no route to /…/… (401)'
    """
    for piece in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(piece, "…")
    return " ".join(text.split())


def _secrets(url: str) -> set[str]:
    found = _SCHEME.match(url)
    if found is None:
        return set()
    rest = url[found.end() + 3 :]
    try:
        place = urlsplit(url)
        host, port, query = place.hostname or "", str(place.port), place.query
    except ValueError:
        host, port, query = "", "", ""
    pieces = {rest, *re.split(r"[/@:?&=#,]", rest), *(value for _, value in parse_qsl(query))}
    pieces |= {unquote(piece) for piece in pieces}
    if found[0].lower() in _OPEN_HOSTS:
        pieces = {piece for piece in pieces if piece.lower() not in (host.lower(), port)}
    return {piece for piece in pieces if len(piece) >= _SHORTEST_SECRET}


def duration(length: float) -> str:
    """Return seconds in the words of a notice.

    Examples
    --------
    >>> duration(4.2), duration(75), duration(4000)
    ('4.2 s', '1 min 15 s', '1 h 6 min')
    """
    if length < 60:
        return f"{length:.3g} s"
    minutes, rest = divmod(round(length), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def facts_of(raw: str) -> dict[str, Any]:
    """Read the facts of a row."""
    found: dict[str, Any] = json.loads(raw)
    return found
