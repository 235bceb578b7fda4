"""Lines out of bytes, progress bars among them, and what of it is relayed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobnb.worker.output import MAX_CHARACTERS, LogRing, Stream, parse_bar
from jobnb.worker.relay import COUNT_SECONDS, INTERVAL_SECONDS, OUTCOME_BYTES, START_SECONDS, Relay, small


def read(*chunks: bytes, max_lines: int = 500) -> tuple[LogRing, Stream]:
    ring = LogRing(max_lines=max_lines)
    stream = Stream("stdout", ring)
    for chunk in chunks:
        stream.feed(chunk)
    stream.flush()
    return ring, stream


def texts(ring: LogRing) -> list[str]:
    return [line[3] for line in ring.lines()]


class TestLines:
    @given(st.lists(st.text(alphabet="abé ", max_size=9), max_size=9), st.integers(1, 7))
    def test_any_cut_gives_the_same_lines(self, lines, step):
        data = "".join(line + "\n" for line in lines).encode()
        ring, _ = read(*(data[i : i + step] for i in range(0, len(data), step)))
        assert texts(ring) == lines
        assert [line[0] for line in ring.lines()] == list(range(1, len(lines) + 1))

    def test_windows_line_ends(self):
        assert texts(read(b"a\r\nb\r\n")[0]) == ["a", "b"]

    def test_a_bar_that_is_wiped_out_leaves_no_blanks(self):
        assert texts(read(b"\rrun:  50%|##   | 1/2 [", b"\r          \r", b"next\n")[0]) == ["next"]
        assert texts(read(b"\rrun:  50%|##   | 1/2 [", b"\r          \r")[0]) == []

    def test_a_drawn_over_line_is_stored_once(self):
        assert texts(read(b"\r1", b"\r2", b"\r3\n", b"next")[0]) == ["3", "next"]

    def test_return_at_the_end_of_each_write(self):
        assert texts(read(b"1 of 3\r", b"2 of 3\r", b"3 of 3\r", b"\n")[0]) == ["3 of 3"]

    def test_flood_keeps_the_last_and_counts_the_rest(self):
        ring, _ = read(b"".join(b"%d\n" % i for i in range(10_000)), max_lines=10)
        assert texts(ring) == [str(i) for i in range(9_990, 10_000)]
        assert ring.dropped == 9_990
        assert ring.lines()[-1][0] == 10_000

    def test_an_endless_line_is_bounded(self):
        ring, stream = read(*[b"z" * 10_000] * 50)
        assert len(texts(ring)[0]) == MAX_CHARACTERS
        assert len(stream._partial) == 0

    def test_since(self):
        ring, _ = read(b"a\nb\nc\nd\n")
        assert [line[3] for line in ring.since(1, 2)] == ["c", "d"]
        assert ring.since(4, 10) == []

    def test_cut(self):
        ring, _ = read(b"a\nFatal b\nc\n")
        ring.add("stderr", "kept", 0)
        assert ring.cut("stdout", "Fatal") == ["Fatal b", "c"]
        assert texts(ring) == ["a", "kept"]
        assert ring.dropped == 0
        assert ring.cut("stdout", "Fatal") == []


class TestBars:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("load:  30%|███       | 3/10 [00:01<00:02,  2.9it/s]", (3, 10, "load")),
            (" 10%|█         | 1/10 [00:00<?, ?it/s]", (1, 10, "")),
            ("a: b:  50%|#####     | 1.5k/3.0k [00:01<00:02]", (1500, 3000, "a: b")),
            ("12it [00:01,  9.8it/s]", (12, None, "")),
            ("rows: 12rows [00:01,  9.8rows/s]", (12, None, "rows")),
            ("total: 50% done", None),
            ("[INFO] 3/10 [x]", None),
            ("12 items [a, b]", None),
        ],
    )
    def test_parse(self, text, expected):
        assert parse_bar(text) == expected

    @pytest.mark.parametrize("options", [{}, {"ascii": True}, {"desc": "d"}, {"unit_scale": True}, {"ncols": 60}])
    def test_real_tqdm(self, options):
        tqdm = pytest.importorskip("tqdm")
        out = io.StringIO()
        for _ in tqdm.tqdm(range(2000), file=out, mininterval=0, **options):
            pass
        ring, stream = read(*(out.getvalue()[i : i + 37].encode() for i in range(0, len(out.getvalue()), 37)))
        assert stream.bar is not None
        assert stream.bar[:2] == (2000, 2000)
        assert len(ring.lines()) == 1

    @pytest.mark.parametrize("size", range(1, 40))
    def test_wherever_a_bar_is_cut(self, size):
        text = b"\r 50%|##5  | 1/2 [00:01<00:01, 1.0it/s]\r100%|#####| 2/2 [00:02<00:00, 1.0it/s]\rdone\r\n"
        for stop, bar in ((len(text) - 7, 2), (text.rindex(b"\r100"), 1)):
            stream = Stream("stderr", LogRing())
            for i in range(0, stop, size):
                stream.feed(text[i : min(i + size, stop)])
            assert stream.bar == (bar, 2, "")
        ring, _ = read(*(text[i : i + size] for i in range(0, len(text), size)))
        assert texts(ring) == ["done"]

    def test_a_bar_is_seen_while_it_moves(self):
        ring = LogRing()
        stream = Stream("stderr", ring)
        stream.feed(b"\r  0%|          | 0/4 [00:00<?, ?it/s]")
        stream.feed("\r 25%|██▌       | 1/4 [00:00<00:01,  2.0it/s]".encode())
        assert stream.bar == (1, 4, "")
        assert ring.count == 0


class TestRelay:
    def make(self):
        sent: list[dict] = []
        ring = LogRing()
        return Relay(sent.append, {"job": "j", "task": 0, "attempt": 1}, ring), ring, sent

    def test_throttled_but_the_first_and_the_last(self):
        relay, ring, sent = self.make()
        relay.event("started", "running", 0.0, 0)
        for i in range(100):
            ring.add("stdout", str(i), i)
            relay.tick(i * INTERVAL_SECONDS / 50, i)
        relay.event("ended", "completed", 0.201, 0)
        assert [e["kind"] for e in sent] == ["started", "update", "ended"]
        assert [e["seq"] for e in sent] == [1, 2, 3]
        assert [line[3] for e in sent for line in e["log"]][-1] == "99"

    def test_nothing_new_nothing_sent(self):
        relay, _, sent = self.make()
        relay.event("started", "running", 0.0, 0)
        assert relay.due_at() is None
        relay.tick(5.0, 0)
        assert len(sent) == 1
        relay.progress = (1, 2, "")
        assert relay.due_at() == INTERVAL_SECONDS
        relay.tick(5.0, 0)
        assert sent[-1]["progress"] == [1, 2, ""]

    def test_a_number_of_items_alone_is_told_half_as_often(self):
        relay, ring, sent = self.make()
        relay.event("started", "running", 0.0, 0)
        relay.done = 3
        assert relay.due_at() == COUNT_SECONDS
        ring.add("stdout", "hello", 1)
        assert relay.due_at() == INTERVAL_SECONDS
        relay.tick(INTERVAL_SECONDS, 0)
        assert (sent[-1]["done"], len(sent[-1]["log"])) == (3, 1)
        relay.done = 4
        relay.progress = (4, 9, "")
        assert relay.due_at() == 2 * INTERVAL_SECONDS

    def test_a_start_is_told_when_it_has_lasted(self):
        relay, _, sent = self.make()
        relay.begin(1.0)
        relay.tick(1.0, 0)
        assert not sent
        assert relay.due_at() == 1.0 + START_SECONDS
        relay.tick(1.0 + START_SECONDS, 0)
        assert [e["kind"] for e in sent] == ["started"]
        assert relay.due_at() is None

    def test_an_end_before_that_is_all_there_is(self):
        relay, ring, sent = self.make()
        relay.begin(1.0)
        ring.add("stdout", "hello", 1)
        relay.event("ended", "completed", 1.0 + START_SECONDS / 2, 0, b"outcome")
        relay.tick(9.0, 0)
        assert [(e["kind"], e["outcome"], e["log"]) for e in sent] == [("ended", b"outcome", [])]

    def test_a_large_outcome_does_not_travel_with_the_news(self):
        assert small(bytes(OUTCOME_BYTES))
        assert not small(bytes(OUTCOME_BYTES + 1))

    def test_an_end_without_its_outcome_tells_the_lines(self):
        relay, ring, sent = self.make()
        ring.add("stdout", "hello", 1)
        relay.event("ended", "completed", 1.0, 0)
        assert sent[0]["outcome"] is None
        assert [line[3] for line in sent[0]["log"]] == ["hello"]

    def test_at_most_fifty_lines(self):
        relay, ring, sent = self.make()
        for i in range(400):
            ring.add("stdout", str(i), i)
        relay.tick(1.0, 0)
        assert [line[3] for line in sent[0]["log"]] == [str(i) for i in range(350, 400)]

    def test_what_is_left_to_others_is_told_at_once(self):
        relay, _, sent = self.make()
        relay.event("started", "running", 0.0, 0)
        relay.done, relay.most = 3, 10
        assert relay.due_at() == 0.0
        relay.tick(0.001, 0)
        assert [(e["kind"], e["done"], e["most"]) for e in sent[1:]] == [("update", 3, 10)]
        relay.done = 4
        assert relay.due_at() > 0.001
        # Also before it was told that it has begun.
        relay, _, sent = self.make()
        relay.begin(1.0)
        relay.most = 10
        relay.tick(1.0, 0)
        assert [(e["kind"], e["most"]) for e in sent] == [("started", 10)]
        assert relay.due_at() is None

    def test_nobody_listens(self):
        relay = Relay(None, {}, LogRing())
        relay.done = 3
        relay.event("started", "running", 0.0, 0)
        relay.tick(9.0, 0)
        assert relay.due_at() is None
