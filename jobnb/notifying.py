"""Notices at the front door: ``jobnb.notify``, the channels people hold, and what a job says of whom to tell.

It checks addresses and keeps them in the store; the service sends. Only a test of a channel is sent from here, because
somebody waits for its answer. (Not ``notices.py``: a submodule of that name would hide ``jobnb.notices()``.)
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from jobnb import channel as channels
from jobnb import config
from jobnb.channel import DESKTOP, NOTEBOOK, Notice
from jobnb.errors import unknown
from jobnb.store.jobs import from_us
from jobnb.store.notices import ChannelState, Told

if TYPE_CHECKING:
    from jobnb.manager import JobManager
    from jobnb.store import Store


class Channel:
    """Somewhere that notices go; made by `jobnb.notify`, found by `jobnb.notices`.

    It keeps its name and asks the store for everything else. Its address is never shown whole.
    """

    def __init__(self, name: str, manager: JobManager) -> None:
        self.name = name
        self._manager = manager

    @property
    def record(self) -> channels.Channel:
        """What was said of it.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: it was removed.
        """
        found = self._manager.store.notices.get(self.name)
        if found is None:
            raise unknown("channel", self.name, [s.channel.name for s in self._manager.store.notices.states()])
        return found

    @property
    def state(self) -> ChannelState:
        """How it goes: what was sent, waits, was given up, and why."""
        _ = self.record
        return next(s for s in self._manager.store.notices.states() if s.channel.name == self.name)

    @property
    def url(self) -> str:
        """The address, without what may be secret in it."""
        return self.record.shown

    @property
    def on(self) -> tuple[str, ...]:
        """What it is told of."""
        return self.record.words

    @property
    def sent_at(self) -> datetime | None:
        """When a notice was last sent."""
        return self.state.sent_at

    @property
    def failures(self) -> int:
        """How often in a row it could not be reached."""
        return self.state.failures

    @property
    def note(self) -> str:
        """Why it could not be reached; empty while it can."""
        return self.state.note

    def history(self, limit: int = 50) -> list[Told]:
        """Return its newest notices and what became of them, newest first."""
        return self._manager.store.notices.history(self.record.name, limit)

    def test(self) -> None:
        """Send a notice from here, now, and wait for the answer; what waits for the channel goes after it.

        Raises
        ------
        NotSent
            ``NOT_SENT``: with what the other side said.
        """
        record, store = self.record, self._manager.store
        facts = {"detail": f"This is a test of the channel {self.name!r}."}
        if record.url == NOTEBOOK:
            _look_on(self._manager)
            store.notices.tell_notebooks("test", facts)
            return
        from jobnb import sender

        notice = Notice(id=0, at=from_us(store.clock()), event="test", facts=facts)
        sender.send(record.url, channels.message([notice], notice.at))
        store.notices.reached(self.name)

    def remove(self) -> None:
        """Tell it nothing more; what waits for it is dropped."""
        self._manager.store.notices.remove(self.record.name)

    def __repr__(self) -> str:
        state = self.state
        return f"<Channel {self.name}: {state.channel.shown} on {_events(state)} · {_how(state)}>"


class Channels(list[Channel]):
    """Several channels; a notebook shows them as a table."""

    HEAD = ("name", "address", "on", "only", "last sent", "sent", "waiting", "lost", "note")

    def __init__(self, found: Sequence[Channel], states: Sequence[ChannelState]) -> None:
        super().__init__(found)
        self._states = tuple(states)

    def rows(self) -> list[tuple[str, ...]]:
        """Return what the table shows."""
        return [
            (
                s.channel.name,
                s.channel.shown,
                _events(s),
                _only(s.channel),
                f"{s.sent_at:%Y-%m-%d %H:%M:%S}" if s.sent_at else "–",
                f"{s.sent:,}",
                f"{s.waiting:,}",
                f"{s.lost:,}",
                _trouble(s),
            )
            for s in self._states
        ]

    def __repr__(self) -> str:
        if not self._states:
            return "no channels: jobnb.notify('notebook') makes one"
        rows = [self.HEAD, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        if not self._states:
            return f"<p>{html.escape(repr(self))}</p>"
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _events(state: ChannelState) -> str:
    return ", ".join(state.channel.words) or "jobs that name it"


def _only(record: channels.Channel) -> str:
    said = [*record.kinds, *(f"tag {tag}" for tag in record.tags)]
    if record.longer_than:
        said.append(f"over {channels.duration(record.longer_than)}")
    return ", ".join(said)


def _trouble(state: ChannelState) -> str:
    again = f"; again at {state.retry_at:%H:%M:%S} UTC" if state.retry_at else ""
    return f"{state.note}{again}" if state.note else ""


def _how(state: ChannelState) -> str:
    last = f", the last {state.sent_at:%Y-%m-%d %H:%M:%S} UTC" if state.sent_at else ""
    said = f"{state.sent:,} sent{last}"
    said += f", {state.waiting:,} waiting" if state.waiting else ""
    said += f", {state.lost:,} given up" if state.lost else ""
    return f"{said} · {_trouble(state)}" if state.note else said


class Notifying:
    """``notify``, ``notices``, ``find_channel``; mixed into `JobManager`."""

    @property
    def _owner(self) -> JobManager:
        return cast("JobManager", self)

    def notify(
        self,
        url: str = NOTEBOOK,
        *,
        on: str | Iterable[str] | None = None,
        name: str | None = None,
        kinds: str | Iterable[str] = (),
        tags: str | Iterable[str] = (),
        longer_than: float | str | None = None,
    ) -> Channel:
        """Have something told; see `jobnb.notify`."""
        made = channels.channel(url, name=name, events=on, kinds=kinds, tags=tags, longer_than=longer_than)
        from jobnb import sender

        sender.check(made.url)
        manager = self._owner
        if made.url == NOTEBOOK:
            _look_on(manager)
        manager.store.notices.put(made)
        return Channel(made.name, manager)

    def notices(self) -> Channels:
        """Return all channels, by name, and how it goes with them."""
        manager = self._owner
        manager.store.notices.configure(config.load(manager.home).notify, manager.cluster, forget=False)
        states = manager.store.notices.states()
        return Channels([Channel(s.channel.name, manager) for s in states], states)

    def find_channel(self, name: str) -> Channel:
        """Return the channel of a name.

        Raises
        ------
        UnknownName
            ``UNKNOWN_NAME``: with the nearest name.
        """
        known = self.notices()
        found = Channel(name, self._owner)
        if name not in [each.name for each in known]:
            _ = found.record
        return found


def resolve(store: Store, wanted: Sequence[str]) -> list[str]:
    """Return the names of the channels that a job is to tell; an address becomes a channel that is told nothing else.

    Raises
    ------
    UnknownName
        There is no channel of that name.
    """
    from jobnb import sender

    names: list[str] = []
    for each in wanted:
        known = store.notices.get(each)
        if known is None and (each in (NOTEBOOK, DESKTOP) or "://" in each):
            made = channels.channel(each, events=())
            known = store.notices.get(made.name)
            if known is None:
                sender.check(made.url)
                store.notices.put(made)
                known = made
        if known is None:
            configured = {one.name: one for one in config.load(store.home).notify}
            known = configured.get(each)
            if known is None:
                there = [s.channel.name for s in store.notices.states()]
                raise unknown("channel", each, [*there, *configured, NOTEBOOK, DESKTOP])
            store.notices.put(known)
        names.append(known.name)
    return list(dict.fromkeys(names))


def still(store: Store, names: Iterable[str]) -> list[str]:
    """Return those channels of an older job that there still are."""
    return [name for name in names if store.notices.get(name) is not None]


def look_on(manager: JobManager, options: Mapping[str, Any]) -> None:
    """Where this is a notebook, show what notebooks are told, if this job or anybody wants it.

    Before the job is accepted: a short one may end at once.
    """
    if "IPython" not in sys.modules:
        return
    asked = NOTEBOOK in options.get("notify", ())
    channel = manager.store.notices.get(NOTEBOOK)
    if channel is not None and (channel.events or asked):
        _look_on(manager, here=asked)


def _look_on(manager: JobManager, *, here: bool = True) -> None:
    if "IPython" in sys.modules:
        from jobnb.notebook import notices as board

        board.look_on(manager, here=here)


# What people type


def notify(
    url: str = NOTEBOOK,
    *,
    on: str | Iterable[str] | None = None,
    name: str | None = None,
    kinds: str | Iterable[str] = (),
    tags: str | Iterable[str] = (),
    longer_than: float | str | None = None,
) -> Channel:
    """Have somebody told when something happens to jobs and schedules; the service sends, with or without a notebook.

    Parameters
    ----------
    url : str, default ``notebook``
        ``notebook``: a line in the notebooks that are open. ``desktop``: a notice on this machine's desktop.
        ``https://…``: a webhook, which gets JSON. Any address of apprise (``slack://…``, ``mailto://…``, ``tgram://…``;
        needs the extra ``notify``). It is kept in the home folder, and shown masked everywhere.
    on : str or iterable of str, optional
        ``completed``, ``failed``, ``dead`` (a dead letter), ``cancelled``, ``retrying``, ``stuck``, ``failing`` (too
        many jobs fail), ``paused`` (jobnb has paused a schedule), or ``all``; failed, stuck, failing and paused by
        default.
    name : str, optional
        By which jobs name the channel: ``jobnb.options(notify="ops")``. Another one of this name is replaced.
    kinds, tags : str or iterable of str
        Only jobs of one of these kinds, with one of these tags.
    longer_than : float or str, optional
        Of jobs that have ended, only those that took at least this long: ``"10m"``.

    Returns
    -------
    Channel
        With ``test()``, ``history()``, ``note``, ``remove()``.

    Raises
    ------
    UsageProblem, MissingPackage
        It cannot be sent there. Nothing was changed.

    Notes
    -----
    What cannot be sent is tried again, ever more rarely, and given up in the end; the channel's ``note`` says why.
    Several notices that wait for a channel go in one message. Channels may also stand in Dask's configuration:
    ``jobnb: {notify: {ops: "slack://…", page: {url: "tgram://…", on: [dead, stuck], longer-than: 10m}}}``.

    Examples
    --------
    >>> jobnb.notify("slack://…", on=("failed", "dead", "stuck"), name="ops", longer_than="10m")  # doctest: +SKIP
    """
    from jobnb.manager import get_job_manager

    return get_job_manager().notify(url, on=on, name=name, kinds=kinds, tags=tags, longer_than=longer_than)


def notices() -> Channels:
    """Return the channels, with what was sent, what waits, and what is wrong."""
    from jobnb.manager import get_job_manager

    return get_job_manager().notices()
