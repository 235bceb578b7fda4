"""The herald: what it sends, when it tries again, when it gives up; and that nothing of it reaches anybody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobnb import channel
from jobnb.channel import Message
from jobnb.errors import LeaseLost, NotSent, StoreError
from jobnb.job import Status
from jobnb.service.herald import PAUSES, SENDING_SECONDS, TRIES, Herald
from jobnb.store import Store
from jobnb.store.jobs import NewJob
from jobnb.store.leases import Lease

URL = "json://localhost/s3cr3t"


class Clock:
    """A moment in µs, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


class Post:
    """Takes messages, or refuses them while it is closed."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message]] = []
        self.asked: list[str] = []
        self.closed: set[str] = set()
        self.came = threading.Event()

    def __call__(self, url: str, message: Message) -> None:
        self.asked.append(url)
        if url in self.closed:
            raise NotSent("nobody answers")
        self.got.append((url, message))
        self.came.set()


class World:
    def __init__(self, home: Path) -> None:
        self.clock, self.post = Clock(), Post()
        self.store = Store(home, self.clock)
        self.herald = self.service()

    def service(self) -> Herald:
        """Return the herald of a service that takes over."""
        store = Store(self.store.home, self.clock)
        old = store.leases.get("local")
        if old is not None:
            store.leases.release(old)
        lease = store.leases.take("local", f"me {self.clock()}", 1e9, {"host": "elsewhere", "pid": 1})
        assert isinstance(lease, Lease)
        self.lease = lease
        keeper = SimpleNamespace(lease=lease, lost=threading.Event())
        return Herald(store=store, keeper=keeper, send=self.post)  # type: ignore[arg-type]

    def put(self, name: str, url: str = URL, on: str = "all") -> None:
        self.store.notices.put(channel.channel(url, name=name, events=on))

    def end(self, status: Status = Status.COMPLETED, name: str = "x") -> str:
        job = self.store.jobs.add(NewJob(name=name, kind="job", cluster="local", payload="0" * 64))
        with self.store.tasks.fenced(self.lease):
            self.store.tasks.start_job(job)
            self.store.tasks.finish(job, status)
        return job


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home")


def test_each_is_told_once(world: World) -> None:
    world.put("a", "json://a")
    world.put("b", "json://b")
    world.end()
    assert world.herald.step() == 2
    assert world.herald.step() == 0
    world.end(Status.FAILED)
    assert world.herald.step() == 2
    assert [(url, m.title) for url, m in world.post.got] == [
        ("json://a", "jobnb: x completed"),
        ("json://b", "jobnb: x completed"),
        ("json://a", "jobnb: x failed"),
        ("json://b", "jobnb: x failed"),
    ]


def test_what_came_together_goes_in_one_message(world: World) -> None:
    world.put("a")
    for _ in range(30):
        world.end()
    assert world.herald.step() == 30
    ((_, message),) = world.post.got
    assert message.title == "jobnb: 30 notices: 30 completed"


def test_it_is_tried_ever_more_rarely_then_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("a")
    world.post.closed = {URL}
    world.end()
    for each in PAUSES:
        asked = len(world.post.asked)
        world.herald.step()
        world.clock.move(each - 0.01)
        world.herald.step()
        assert len(world.post.asked) == asked + 1
        world.clock.move(0.02)
    world.herald.step()
    assert len(world.post.asked) == TRIES
    (state,) = world.store.notices.states()
    assert (state.waiting, state.lost, state.note) == (0, 1, "nobody answers")
    assert "nobody answers; 1 notices given up" in caplog.text
    assert "s3cr3t" not in caplog.text
    # The next one is tried, and with it all is well again.
    world.post.closed = set()
    world.end(Status.FAILED)
    world.clock.move(PAUSES[-1] + 1)
    assert world.herald.step() == 1
    (state,) = world.store.notices.states()
    assert (state.note, state.failures, state.lost) == ("", 0, 1)


def test_one_that_cannot_be_reached_holds_up_no_other(world: World) -> None:
    world.put("a", "json://a")
    world.put("b", "json://b")
    world.post.closed = {"json://a"}
    world.end()
    world.end()
    assert world.herald.step() == 2
    assert world.post.asked == ["json://a", "json://b"]
    # What comes while it is left alone goes with what waits.
    world.end()
    assert world.herald.step() == 1
    world.post.closed = set()
    world.clock.move(PAUSES[0] + 1)
    assert world.herald.step() == 3
    assert world.post.got[-1][1].title == "jobnb: 3 notices: 3 completed"


def test_a_service_that_dies_between_claim_and_mark(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("a")
    world.end()

    def dies(url: str, message: Message) -> None:
        world.post.got.append((url, message))
        raise SystemExit

    world.herald.send = dies
    with pytest.raises(SystemExit):
        world.herald.step()
    world.end()
    after = world.service()
    assert after.step() == 0
    world.clock.move(SENDING_SECONDS + 1)
    # Sent and not marked: once more; the only way to twice.
    assert after.step() == 2
    assert [len(m.notices) for _, m in world.post.got] == [1, 2]


def test_a_service_that_was_replaced_sends_nothing(world: World) -> None:
    world.put("a")
    world.end()
    successor = world.service()
    with pytest.raises(LeaseLost):
        world.herald.step()
    assert world.post.asked == []
    assert successor.step() == 1


def test_what_was_sent_is_marked_even_under_a_successor(world: World) -> None:
    world.put("a")
    world.end()
    successor: list[Herald] = []

    def slow(url: str, message: Message) -> None:
        world.post(url, message)
        successor.append(world.service())

    world.herald.send = slow
    assert world.herald.step() == 1
    world.clock.move(10_000)
    assert successor[0].step() == 0


def test_nobody_else_sends_what_is_under_way(world: World) -> None:
    world.put("a")
    world.end()

    def slow(url: str, message: Message) -> None:
        world.post(url, message)
        world.clock.move(SENDING_SECONDS - 1)
        assert world.service().step() == 0

    world.herald.send = slow
    assert world.herald.step() == 1
    assert len(world.post.got) == 1


@pytest.fixture
def running(world: World) -> Iterator[World]:
    world.put("a")
    world.herald.start()
    yield world
    world.herald.close()
    assert world.herald._thread is not None
    assert not world.herald._thread.is_alive()


def test_its_thread_sends_what_comes(running: World) -> None:
    running.end()
    assert running.post.came.wait(20)


def test_whatever_goes_wrong_its_thread_goes_on(
    running: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Event()
    due = running.herald.store.notices.due

    def broken(cluster: str) -> list[channel.Channel]:
        if not tried.is_set():
            tried.set()
            raise StoreError("the disk is full")
        return due(cluster)

    monkeypatch.setattr(running.herald.store.notices, "due", broken)
    running.end()
    assert running.post.came.wait(20)
    assert tried.is_set()
    assert "the disk is full" in caplog.text


def test_it_leaves_with_the_lease(running: World) -> None:
    running.herald.keeper.lost.set()
    assert running.herald._thread is not None
    running.herald._thread.join(20)
    assert not running.herald._thread.is_alive()
