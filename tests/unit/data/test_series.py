from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_kit import bars

from jobnb.data.interval import DAY_US, Interval, boundary
from jobnb.data.series import Damaged, Series, kept, slug, unslug
from jobnb.errors import StoreError, UsageProblem

DAY = Interval.of("1d")


def span(start: str, end: str) -> tuple[int, int]:
    return boundary(start, "start"), boundary(end, "end")


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path, "src", "BTC/USDT", DAY)


def add(series: Series, start: str, count: int, price: float = 100.0) -> None:
    low = boundary(start, "start")
    series.add((low, low + count * DAY_US), bars(start, count, price=price), None)


def test_what_was_added_is_loaded(series: Series) -> None:
    add(series, "2020-01-01", 10)
    add(series, "2020-01-11", 10)
    assert series.covered() == [span("2020-01-01", "2020-01-21")]
    frame, tz = series.load(span("2020-01-05", "2020-01-15"))
    pd.testing.assert_frame_equal(frame, bars("2020-01-05", 10), check_freq=False)
    assert tz is None


def test_where_files_overlap_the_later_one_is_right(series: Series) -> None:
    add(series, "2020-01-01", 10)
    for old in series.segments():
        os.utime(old.path, (1, 1))
    add(series, "2020-01-05", 2, price=200.0)
    frame, _ = series.load(span("2020-01-01", "2020-01-11"))
    assert len(frame) == 10
    assert (frame["close"] > 150).sum() == 2


def test_an_empty_answer_counts_for_a_day(series: Series) -> None:
    low, high = span("2020-01-01", "2020-02-01")
    made = series.add((low, high), bars("2020-01-01", 0), None)
    assert series.covered() == [(low, high)]
    old = time.time() - 90_000
    os.utime(made.path, (old, old))
    assert series.covered() == []
    assert series.covered(since=old - 1) == [(low, high)]


@pytest.mark.parametrize("harm", ["flip", "cut", "foreign", "gone"])
def test_a_damaged_file_is_not_believed(series: Series, harm: str) -> None:
    add(series, "2020-01-01", 10)
    listed = series.segments()
    (segment,) = listed
    content = bytearray(segment.path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
    elif harm == "cut":
        content = content[: len(content) // 2]
    elif harm == "foreign":
        content = bytearray(b"something else")
    segment.path.write_bytes(content)
    if harm == "gone":
        segment.path.unlink()  # Listed just before another process merged.
    with pytest.raises(Damaged):
        series.load(segment.span, listed=listed)
    assert not segment.path.exists()


def test_half_a_write_is_never_seen_and_cleaned_up_later(series: Series) -> None:
    add(series, "2020-01-01", 10)
    left = series.folder / ".new-abc"
    left.write_bytes(b"half")
    (series.folder / "notes.txt").write_text("mine")
    assert len(series.segments()) == 1
    series.merge()
    assert left.exists()
    os.utime(left, (1, 1))
    series.merge()
    assert not left.exists()
    assert (series.folder / "notes.txt").exists()


def test_a_full_disk_is_said_and_leaves_nothing(series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        add(series, "2020-01-01", 10)
    assert list(series.folder.iterdir()) == []


def test_many_files_are_merged_and_say_the_same(series: Series) -> None:
    for i in range(12):
        add(series, str(pd.Timestamp("2020-01-01") + pd.Timedelta(days=5 * i))[:10], 5)
    add(series, "2021-01-01", 5)
    before, _ = series.load(span("2020-01-01", "2022-01-01"))
    series.merge(most=10)
    assert len(series.segments()) == 2
    after, _ = series.load(span("2020-01-01", "2022-01-01"))
    pd.testing.assert_frame_equal(before, after)
    assert series.covered() == [span("2020-01-01", "2020-03-01"), span("2021-01-01", "2021-01-06")]


def test_merged_files_stay_readable_in_parts(series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobnb.data import series as module

    monkeypatch.setattr(module, "MERGED_ROWS", 12)
    for i in range(8):
        add(series, str(pd.Timestamp("2020-01-01") + pd.Timedelta(days=5 * i))[:10], 5)
    for old in series.segments():
        os.utime(old.path, (1, 1))
    add(series, "2020-01-09", 4, price=200.0)
    series.merge(most=4)
    assert [s.rows for s in sorted(series.segments(), key=lambda s: s.start)] == [15, 10, 10, 5]
    frame, _ = series.load(span("2020-01-01", "2020-03-01"))
    assert len(frame) == 40
    assert (frame["close"] > 150).sum() == 4


def test_processes_that_add_and_merge_at_once_lose_nothing(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(part: int) -> None:
        mine = Series(tmp_path, "src", "X", DAY)
        try:
            for i in range(part, 40, 4):
                low = boundary("2020-01-01", "start") + i * DAY_US
                mine.add((low, low + DAY_US), bars(str(pd.Timestamp(low, unit="us"))[:10], 1), None)
                mine.merge(most=6)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    whole = Series(tmp_path, "src", "X", DAY)
    frame, _ = whole.load(span("2020-01-01", "2020-02-10"))
    pd.testing.assert_frame_equal(frame, bars("2020-01-01", 40), check_freq=False)


@given(st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable()), st.text(min_size=1, max_size=20))
def test_folders_are_safe_and_unlike_for_unlike_texts(a: str, b: str) -> None:
    try:
        one, two = slug(a), slug(b)
    except (UsageProblem, UnicodeEncodeError):
        return
    assert "/" not in one
    assert not one.startswith(".")
    assert unslug(one) == a
    assert (one == two) == (a == b)


def test_a_symbol_that_is_no_name() -> None:
    for bad in ("", "x" * 300):
        with pytest.raises(UsageProblem, match="1 to 200 characters"):
            slug(bad)


def test_all_that_is_kept(tmp_path: Path) -> None:
    for symbol in ("BTC/USDT", "..", "ETH"):
        add(Series(tmp_path, "ccxt:binance", symbol, DAY), "2020-01-01", 3)
    (tmp_path / "stray").mkdir()
    assert sorted(s.symbol for s in kept(tmp_path)) == ["..", "BTC/USDT", "ETH"]
    assert {s.source for s in kept(tmp_path)} == {"ccxt:binance"}
