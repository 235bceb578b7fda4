"""Requests, outcomes, receipts, the blob cache and the channel: pure or nearly so."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.errors import BlobMissing, VersionMismatch
from jobnb.worker import blobs, receipt
from jobnb.worker.channel import ChildChannel, HostChannel, ProtocolError, Wake, _Frames, _pack
from jobnb.worker.request import TaskError, TaskOutcome, TaskRequest


def make(**changes) -> TaskRequest:
    fields = {"job": "j", "task": 1, "attempt": 2, "start": 0, "stop": 5, "payload_hash": "h"}
    return TaskRequest(**{**fields, **changes})


def outcome(**changes) -> TaskOutcome:
    return TaskOutcome(**{"job": "j", "task": 1, "attempt": 2, "state": "completed", "start": 0, "stop": 5, **changes})


class TestRecords:
    def test_a_request_survives_the_wire(self):
        request = make(sys_path=("a", "b"), share_token=("p", "t"), versions={"python": "3.11"}, seed=2**63)
        assert TaskRequest.unpack(request.pack()) == request
        assert request.key == "j-1:2"

    def test_an_outcome_survives_the_wire(self):
        record = outcome(
            result=b"\x00",
            summary={"best": {"value": 1.5}},
            log=((1, 2, "stdout", "x"),),
            artifacts=(("a", b"b"),),
            progress=(1, None, "m"),
        )
        assert TaskOutcome.unpack(record.pack()) == record

    def test_fields_of_a_newer_peer_are_ignored(self):
        raw = msgpack.unpackb(make().pack())
        assert TaskRequest.unpack(msgpack.packb({**raw, "new": 1})) == make()

    def test_an_error_of_an_older_peer_is_read(self):
        error = {"code": "USER_ERROR", "message": "m", "type": "", "where": "", "traceback": "", "hint": ""}
        read = TaskOutcome.unpack(outcome(state="failed", error=error).pack())
        found = TaskError(**read.error)
        assert (found.bases, found.retry) == ("", "")
        assert TaskError(code="C", message="m").as_map().keys() >= {"bases", "retry"}

    def test_another_wire_version_is_refused(self):
        raw = msgpack.unpackb(make().pack())
        with pytest.raises(VersionMismatch, match="wire version 9"):
            TaskRequest.unpack(msgpack.packb({**raw, "v": 9}))


class TestChannel:
    @given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
    def test_frames_survive_any_cut(self, bodies, step):
        stream = b"".join(b"".join(_pack({"x": body})) for body in bodies)
        frames, found = _Frames(), []
        for at in range(0, len(stream), step):
            found += frames.feed(stream[at : at + step])
        assert [message["x"] for message in found] == bodies

    def test_garbage_is_told(self):
        with pytest.raises(ProtocolError):
            list(_Frames().feed((1).to_bytes(8, "big") + b"\xc1"))

    def test_a_large_message_does_not_block_the_supervisor(self):
        mine, theirs = socket.socketpair()
        host, child = HostChannel(mine), ChildChannel(theirs)
        host.send({"data": bytes(5_000_000)})
        assert host.pending
        received = []
        thread = threading.Thread(target=lambda: received.append(child.receive()))
        thread.start()
        while host.pending:
            host.flush()
        thread.join(10)
        assert len(received[0]["data"]) == 5_000_000
        child.send({"k": "end"})
        assert host.receive() == ([{"k": "end"}], False)
        child.close()
        assert host.receive() == ([], True)
        host.send({"to": "nobody"})
        assert not host.pending
        host.close()

    def test_a_wake_after_close_does_nothing(self):
        wake = Wake()
        wake.set("cancel")
        wake.clear()
        wake.close()
        wake.set("exit")
        assert wake.reasons == {"cancel", "exit"}


class TestReceipt:
    def test_written_once_read_again(self, tmp_path):
        path = tmp_path / "receipts" / "r"
        assert receipt.earlier(path, make()) is None
        assert receipt.claim(path)
        assert not receipt.claim(path)
        receipt.write(path, outcome().pack())
        assert receipt.earlier(path, make()) == outcome().pack()
        assert [p.name for p in path.parent.iterdir()] == ["r"]

    def test_of_another_attempt(self, tmp_path):
        path = tmp_path / "r"
        path.write_bytes(outcome(attempt=9).pack())
        assert receipt.earlier(path, make()) is None


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestBlobs:
    def test_cache_forgets_the_least_recently_used(self, tmp_path):
        cache = blobs.Cache(tmp_path / "c", limit=250)
        contents = [bytes([i]) * 100 for i in range(3)]
        for i, content in enumerate(contents[:2]):
            os.utime(cache.put(sha(content), content), (i, i))
        assert cache.find(sha(contents[0])) is not None  # used now, so the other one is the oldest
        cache.put(sha(contents[2]), contents[2])
        assert [cache.find(sha(c)) is not None for c in contents] == [True, False, True]

    def test_what_a_task_needs_is_kept_whatever_the_limit(self, tmp_path):
        cache = blobs.Cache(tmp_path / "c", limit=10)
        contents = [b"a" * 100, b"b" * 100]
        found = blobs.provide([sha(c) for c in contents], contents, None, cache)
        assert [Path(found[sha(c)]).read_bytes() for c in contents] == contents

    def test_damaged(self, tmp_path):
        with pytest.raises(BlobMissing, match="damaged"):
            blobs.provide([sha(b"x")], [b"y"], None, blobs.Cache(tmp_path))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 63, ""])
    def test_only_hashes_are_names(self, tmp_path, name):
        with pytest.raises(BlobMissing, match="SHA-256"):
            blobs.provide([name], [], str(tmp_path), blobs.Cache(tmp_path))

    def test_wrong_number_of_contents(self, tmp_path):
        with pytest.raises(BlobMissing, match="announced"):
            blobs.provide([sha(b"x"), sha(b"y")], [b"x"], None, blobs.Cache(tmp_path))

    def test_default_folder_is_private(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        folder = blobs.Cache().folder
        assert folder.parent.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700

    def test_a_link_planted_by_somebody_is_not_followed(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        (tmp_path / "theirs").mkdir()
        (tmp_path / f"jobnb-{os.getuid()}").symlink_to(tmp_path / "theirs")
        assert not blobs.Cache().folder.is_relative_to(tmp_path / f"jobnb-{os.getuid()}")

    def test_path_in_a_child(self, tmp_path, monkeypatch):
        monkeypatch.setattr(blobs, "_paths", {})
        with pytest.raises(BlobMissing, match="not sent"):
            blobs.path(sha(b"x"))
        blobs.use({sha(b"x"): str(tmp_path / "x")})
        with pytest.raises(BlobMissing, match="gone"):
            blobs.path(sha(b"x"))
        (tmp_path / "x").write_bytes(b"x")
        assert blobs.path(sha(b"x")) == tmp_path / "x"

    def test_shared_disk(self, tmp_path):
        (tmp_path / "token").write_text("secret\n")
        assert blobs.shares_disk((str(tmp_path / "token"), "secret"))
        assert not blobs.shares_disk((str(tmp_path / "token"), "other"))
        assert not blobs.shares_disk((str(tmp_path / "token"), ""))
        assert not blobs.shares_disk((str(tmp_path / "none"), "secret"))
        assert not blobs.shares_disk(None)
