"""Channels and the outbox: what is to be told, to whom, and how that went. SQL and records, no decisions.

The rows of the outbox are written by triggers (see `jobnb.store.schema`), in the transaction of what they tell: none is
lost, whoever wrote it. Front doors keep channels; the service claims rows, sends them, and marks them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobnb.channel import NOTEBOOK, Channel, Notice, facts_of
from jobnb.store.database import Database, Row
from jobnb.store.jobs import from_us

#: Notices that are sent in one message.
BATCH = 200
#: Notices that wait for one channel: the oldest beyond are given up.
WAITING = 1_000
#: Notices that are kept after they were sent or given up, of each channel.
KEPT = 200

_COLUMNS = "name, url, events, kinds, tags, longer_than"


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """How it goes with a channel.

    Attributes
    ----------
    channel : Channel
    configured : bool
        It is in the configuration, and comes back with the next service when it is removed.
    sent, waiting, lost : int
        Notices that were sent, that wait, and that were given up.
    failures : int
        How often in a row it could not be reached.
    sent_at : datetime or None
        When a notice was last sent.
    retry_at : datetime or None
        When it is tried again.
    note : str
        Why it could not be reached.
    """

    channel: Channel
    configured: bool
    sent: int
    waiting: int
    lost: int
    failures: int
    sent_at: datetime | None
    retry_at: datetime | None
    note: str

    def to_json(self) -> dict[str, object]:
        """Return it for statistics, without what may be secret."""
        return {
            "name": self.channel.name,
            "address": self.channel.shown,
            "on": list(self.channel.words),
            "sent": self.sent,
            "waiting": self.waiting,
            "lost": self.lost,
            "failures": self.failures,
            "sent_at": self.sent_at.isoformat() if self.sent_at else None,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Told:
    """A notice of the outbox, and what became of it."""

    notice: Notice
    tries: int
    #: None while it waits.
    done_at: datetime | None
    #: Why it was given up; empty of one that was sent.
    why: str


class Notices:
    """The channels and the outbox of one store."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._db = database
        self._clock = clock

    # Channels

    def put(self, channel: Channel, *, configured: str = "") -> None:
        """Keep a channel in place of one of its name; what waits for that goes to the new address."""
        with self._db.writing():
            self._db.rows(
                "INSERT INTO channels (name, url, events, kinds, tags, longer_than, configured, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET url = excluded.url, "
                "events = excluded.events, kinds = excluded.kinds, tags = excluded.tags, "
                "longer_than = excluded.longer_than, configured = excluded.configured, "
                # Another address has not failed yet.
                "failures = iif(url = excluded.url, failures, 0), note = iif(url = excluded.url, note, ''), "
                "quiet_until = iif(url = excluded.url, quiet_until, 0)",
                (
                    channel.name,
                    channel.url,
                    json.dumps(list(channel.events)),
                    json.dumps(list(channel.kinds)),
                    json.dumps(list(channel.tags)),
                    round(channel.longer_than * 1e6),
                    configured,
                    self._clock(),
                ),
            )

    def configure(self, channels: Sequence[Channel], cluster: str, *, forget: bool = True) -> None:
        """Keep the channels of the configuration; forget those that are in it no more.

        ``forget`` is False for a front door, which may be configured otherwise than the service.
        """
        rows = self._db.rows("SELECT name FROM channels WHERE configured = ?", (cluster,))
        known, wanted = {str(row[0]) for row in rows}, {each.name for each in channels}
        fresh = [each for each in channels if each.name not in known or self.get(each.name) != each]
        gone = known - wanted if forget else set()
        if not fresh and not gone:
            return
        with self._db.writing():
            for each in fresh:
                self.put(each, configured=cluster)
            for name in gone:
                self.remove(name)

    def get(self, name: str) -> Channel | None:
        """Return the channel of a name, or None."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM channels WHERE name = ?", (name,))  # noqa: S608
        return _channel(row) if row else None

    def remove(self, name: str) -> bool:
        """Forget a channel with what waits for it; False if there is none."""
        with self._db.writing():
            return self._db.row("DELETE FROM channels WHERE name = ? RETURNING name", (name,)) is not None

    def states(self) -> list[ChannelState]:
        """Return how it goes with each channel, by name."""
        sql = (
            f"SELECT {_COLUMNS}, configured, sent, lost, failures, sent_at, quiet_until, note, "  # noqa: S608
            "(SELECT count(*) FROM outbox WHERE channel = name AND done_at IS NULL) FROM channels ORDER BY name"
        )
        now = self._clock()
        return [
            ChannelState(
                channel=_channel(row[:6]),
                configured=bool(configured),
                sent=sent,
                waiting=waiting,
                lost=lost,
                failures=failures,
                sent_at=None if sent_at is None else from_us(sent_at),
                retry_at=from_us(quiet_until) if waiting and quiet_until > now else None,
                note=note,
            )
            for row in self._db.rows(sql)
            for configured, sent, lost, failures, sent_at, quiet_until, note, waiting in [row[6:]]
        ]

    def history(self, name: str, limit: int = 50) -> list[Told]:
        """Return the newest notices of a channel and what became of them, newest first."""
        sql = "SELECT id, at, event, facts, tries, done_at, why FROM outbox WHERE channel = ? ORDER BY id DESC LIMIT ?"
        return [
            Told(notice=_notice(row[:4]), tries=tries, done_at=None if done_at is None else from_us(done_at), why=why)
            for row in self._db.rows(sql, (name, limit))
            for tries, done_at, why in [row[4:]]
        ]

    # Notebooks, which look for themselves

    def last(self) -> int:
        """Return the number of the newest notice that there ever was."""
        row = self._db.row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'")
        return int(row[0]) if row else 0

    def after(self, number: int) -> list[Notice]:
        """Return what notebooks are to be told since a notice, oldest first."""
        sql = "SELECT id, at, event, facts FROM outbox WHERE channel = ? AND id > ? ORDER BY id"
        return [_notice(row) for row in self._db.rows(sql, (NOTEBOOK, number))]

    def tell_notebooks(self, event: str, facts: Mapping[str, object]) -> None:
        """Tell the notebooks that look on something, at once."""
        with self._db.writing("normal"):
            now = self._clock()
            self._db.rows(
                "INSERT INTO outbox (channel, cluster, at, event, facts, done_at) VALUES (?1, '', ?2, ?3, ?4, ?2)",
                (NOTEBOOK, now, event, json.dumps(dict(facts))),
            )

    # The service

    def next_due(self, cluster: str) -> int | None:
        """Return when (µs) the next notice may be sent, or None if none waits."""
        row = self._db.row(
            "SELECT min(quiet_until) FROM outbox JOIN channels ON name = channel WHERE cluster = ? AND done_at IS NULL",
            (cluster,),
        )
        return row[0] if row else None

    def due(self, cluster: str) -> list[Channel]:
        """Return the channels for which something waits and that may be tried now, the longest waiting first."""
        sql = (
            f"SELECT {_COLUMNS} FROM channels JOIN (SELECT channel, min(id) AS first FROM outbox "  # noqa: S608
            "WHERE cluster = ? AND done_at IS NULL GROUP BY channel) ON channel = name "
            "WHERE quiet_until <= ? ORDER BY first"
        )
        return [_channel(row) for row in self._db.rows(sql, (cluster, self._clock()))]

    def claim(self, channel: Channel, cluster: str, *, tries: int, pause: float) -> list[Notice]:
        """Take what waits for a channel, to be sent now; call inside `Tasks.fenced`.

        Should this process die before it marks them, they are tried again after the pause; those that were tried so
        often are given up.
        """
        self._give_up(channel.name, cluster, "it was tried too often, and each time the service died", tries=tries)
        self._drop(channel.name, cluster)
        rows = self._db.rows(
            "UPDATE outbox SET tries = tries + 1 WHERE id IN (SELECT id FROM outbox WHERE cluster = ? AND channel = ? "
            "AND done_at IS NULL ORDER BY id LIMIT ?) RETURNING id, at, event, facts",
            (cluster, channel.name, BATCH),
        )
        if rows:
            quiet = self._clock() + round(pause * 1e6)
            self._db.rows("UPDATE channels SET quiet_until = ? WHERE name = ?", (quiet, channel.name))
        return sorted((_notice(row) for row in rows), key=lambda notice: notice.id)

    def sent(self, name: str, notices: Sequence[Notice]) -> None:
        """Mark notices as sent; a later service may do so as well: that it was sent is true whoever writes it."""
        with self._db.writing():
            now = self._clock()
            self._db.rows(
                "UPDATE outbox SET done_at = ?, why = '' WHERE id IN (SELECT value FROM json_each(?)) "
                "AND done_at IS NULL",
                (now, json.dumps([n.id for n in notices])),
            )
            self.reached(name, len(notices))
            self._forget(name)

    def reached(self, name: str, notices: int = 0) -> None:
        """Write down that a channel was reached; what waits for it may go now."""
        with self._db.writing():
            self._db.rows(
                "UPDATE channels SET failures = 0, quiet_until = 0, note = '', sent = sent + ?, sent_at = ? "
                "WHERE name = ?",
                (notices, self._clock(), name),
            )

    def failed(self, name: str, cluster: str, why: str, *, tries: int, pause: float) -> int:
        """Write down that a channel could not be reached; return how many notices are given up."""
        with self._db.writing():
            self._db.rows(
                "UPDATE channels SET failures = failures + 1, note = ?, quiet_until = ? WHERE name = ?",
                (why, self._clock() + round(pause * 1e6), name),
            )
            lost = self._give_up(name, cluster, why, tries=tries)
            self._forget(name)
        return lost

    def failures(self, name: str) -> int:
        """Return how often in a row a channel could not be reached."""
        row = self._db.row("SELECT failures FROM channels WHERE name = ?", (name,))
        return int(row[0]) if row else 0

    def _give_up(self, name: str, cluster: str, why: str, *, tries: int) -> int:
        rows = self._db.rows(
            "UPDATE outbox SET done_at = ?, why = ? WHERE cluster = ? AND channel = ? AND done_at IS NULL "
            "AND tries >= ? RETURNING id",
            (self._clock(), why, cluster, name, tries),
        )
        return self._count_lost(name, len(rows))

    def _drop(self, name: str, cluster: str) -> int:
        rows = self._db.rows(
            "UPDATE outbox SET done_at = ?, why = 'too many waited' WHERE id IN (SELECT id FROM outbox "
            "WHERE cluster = ? AND channel = ? AND done_at IS NULL ORDER BY id DESC LIMIT -1 OFFSET ?) RETURNING id",
            (self._clock(), cluster, name, WAITING),
        )
        return self._count_lost(name, len(rows))

    def _count_lost(self, name: str, lost: int) -> int:
        if lost:
            self._db.rows("UPDATE channels SET lost = lost + ? WHERE name = ?", (lost, name))
        return lost

    def tidy(self) -> None:
        """Drop the oldest notices of notebooks, which nobody marks."""
        with self._db.writing("normal"):
            self._forget(NOTEBOOK)

    def _forget(self, name: str) -> None:
        self._db.rows(
            "DELETE FROM outbox WHERE channel = ?1 AND done_at IS NOT NULL AND id <= "
            "(SELECT id FROM outbox WHERE channel = ?1 AND done_at IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (name, KEPT),
        )


def _channel(row: Row) -> Channel:
    name, url, events, kinds, tags, longer_than = row
    return Channel(
        name=name,
        url=url,
        events=tuple(json.loads(events)),
        kinds=tuple(json.loads(kinds)),
        tags=tuple(json.loads(tags)),
        longer_than=longer_than / 1e6,
    )


def _notice(row: Row) -> Notice:
    number, at, event, facts = row
    return Notice(id=number, at=from_us(at), event=event, facts=facts_of(facts))
