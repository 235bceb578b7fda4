from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
from price_kit import Counting, bars

import jobnb
from jobnb.data import door
from jobnb.data.door import chunks_of, targets
from jobnb.data.extracted import load_extraction
from jobnb.data.extraction import ExtractWork
from jobnb.data.interval import Interval, boundary
from jobnb.data.origin import CallableSource, Terms
from jobnb.errors import DataError, SourceBusy, UsageProblem
from jobnb.job import JobType
from jobnb.retry import RetryLater
from jobnb.service import plans
from jobnb.service.retry import decide
from jobnb.store import Store
from jobnb.worker.failure import describe

Make = Callable[..., tuple[Counting, CallableSource]]


def made(home: Path, symbols: list[str], source: object, **said: object) -> tuple[ExtractWork, dict[str, object]]:
    asked = {
        "start": "2020-01-01", "end": "2020-03-01", "interval": "1d", "to": None, "chunk": 20, "refresh": False,
        "overwrite": False, "on_error": "fail", **said,
    }  # fmt: skip
    work, _, plan = door.extract_work(symbols, home=home, source=source, **asked)  # type: ignore[arg-type]
    return work, plan


def run(work: ExtractWork, plan: dict[str, object]) -> object:
    parts = [work.run(i, i + 1, None, lambda _: None).result for i in range(work.count)]
    return load_extraction(plan["meta"], parts)  # type: ignore[arg-type]


def test_files_stand_behind_a_barrier(tmp_path: Path, counting: Make) -> None:
    _, source = counting()
    work, plan = made(tmp_path, ["A", "B"], source)
    assert plan["items"] == work.count == 8
    assert plans.horizon(plan, 0, 8) == plans.horizon(plan, 5, 8) == 6
    assert plans.horizon(plan, 6, 8) == 8


@pytest.mark.parametrize("symbols", [["A"], ["A", "B"]])
@pytest.mark.parametrize("to", [None, "folder", "all.parquet"])
def test_every_kind_of_target(tmp_path: Path, counting: Make, symbols: list[str], to: str | None) -> None:
    _, source = counting()
    work, plan = made(tmp_path / "home", symbols, source, to=None if to is None else tmp_path / to)
    result = run(work, plan)
    assert sorted(result.symbols) == symbols
    assert result.records_processed == 60 * len(symbols)
    assert len(result.paths) == {None: 0, "folder": len(symbols), "all.parquet": 1}[to]
    for symbol in symbols:
        pd.testing.assert_frame_equal(result.frame(symbol), bars("2020-01-01", 60), check_freq=False)
    assert "60 bars" in str(result)
    assert "<b>" in result._repr_html_()


def test_an_object_store_as_target(tmp_path: Path, counting: Make) -> None:
    _, source = counting("h", "America/New_York")
    work, plan = made(
        tmp_path, ["A"], source, to="memory://out/prices", interval="1h", start="2020-03-06", end="2020-03-10"
    )
    result = run(work, plan)
    assert result.paths == ["memory://out/prices/A.parquet"]
    assert str(result.frame("A").index.tz) == "America/New_York"
    made(tmp_path, ["A"], source, to="memory://out/prices", interval="1h")
    with pytest.raises(UsageProblem, match="exists and holds"):
        made(tmp_path, ["A"], source, to="memory://out/prices", interval="1d")


def test_symbols_of_several_zones_in_one_file(tmp_path: Path) -> None:
    zones = {"A": "America/New_York", "T": "Asia/Tokyo"}

    def fetch(symbol: str, start: object, end: object, interval: str) -> pd.DataFrame:
        return bars("2020-01-02", 24, "h", tz="UTC").tz_convert(zones[symbol])

    work, plan = made(tmp_path, ["A", "T"], fetch, to=tmp_path / "all.parquet", interval="1h", end="2020-01-04")
    result = run(work, plan)
    assert str(jobnb.data.read(tmp_path / "all.parquet", symbol="T").index.tz) == "UTC"
    assert len(result.frame("A")) == 24


def test_a_symbol_that_begins_late_is_told(tmp_path: Path, counting: Make) -> None:
    asked, source = counting()
    asked.first = pd.Timestamp("2020-02-10", tz="UTC")
    assert "A: 20 bars · only since 2020-02-10" in str(run(*made(tmp_path, ["A"], source)))


def test_a_symbol_that_fails_leaves_the_file_to_the_others(tmp_path: Path, counting: Make) -> None:
    asked, _ = counting()

    def fetch(symbol: str, *said: object) -> pd.DataFrame:
        if symbol == "BAD":
            raise ValueError("rotten")
        return asked(symbol, *said)  # type: ignore[arg-type]

    work, plan = made(tmp_path / "h", ["A", "BAD", "C"], fetch, to=tmp_path / "all.parquet", on_error="record")
    result = run(work, plan)
    assert sorted(result.symbols) == ["A", "C"]
    assert result.failed == {"BAD": "ValueError: rotten"}
    assert "BAD: FAILED ValueError: rotten" in str(result)
    assert sorted(pd.read_parquet(tmp_path / "all.parquet")["symbol"].unique()) == ["A", "C"]
    # What replaces it has all that it has.
    made(tmp_path / "h", ["A", "BAD", "C"], fetch, to=tmp_path / "all.parquet")
    for fewer in (["A"], ["A", "B"]):
        with pytest.raises(UsageProblem, match="exists and holds"):
            made(tmp_path / "h", fewer, fetch, to=tmp_path / "all.parquet")
    alone, plan = made(tmp_path / "h", ["BAD"], fetch, to=tmp_path / "bad.parquet", on_error="record")
    assert run(alone, plan).failed == {"BAD": "ValueError: rotten"}
    assert not (tmp_path / "bad.parquet").exists()


def test_a_changed_file_is_not_taken_for_what_was_extracted(tmp_path: Path, counting: Make) -> None:
    _, source = counting()
    work, plan = made(tmp_path / "home", ["A"], source, to=tmp_path / "p")
    result = run(work, plan)
    frame = pd.read_parquet(result.paths[0])
    frame.iloc[3, 3] *= 1.01
    frame.to_parquet(result.paths[0])
    with pytest.raises(DataError, match="not those that were extracted"):
        result.frame("A")


def test_a_refresh_fetches_each_chunk_once_and_forgets_the_old(tmp_path: Path, counting: Make) -> None:
    asked, source = counting(restates=True)
    run(*made(tmp_path, ["A"], source))
    asked.scale, asked.asked = 0.5, []
    time.sleep(0.05)  # Older than what a file system's clock may be behind.
    work, plan = made(tmp_path, ["A"], source, refresh=True)
    result = run(work, plan)
    assert len(asked.asked) == 3
    pd.testing.assert_frame_equal(result.frame("A"), bars("2020-01-01", 60, price=50.0), check_freq=False)
    listed = jobnb.data.cached(tmp_path)
    assert listed["bars"].tolist() == [60]


def test_a_split_between_two_chunks_does_not_mix_two_bases(tmp_path: Path, counting: Make) -> None:
    asked, source = counting(restates=True)
    work, plan = made(tmp_path, ["A"], source)
    first = work.run(0, 1, None, lambda _: None).result
    asked.scale = 0.5
    rest = [work.run(i, i + 1, None, lambda _: None).result for i in range(1, work.count)]
    result = load_extraction(plan["meta"], [first, *rest])  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(result.frame("A"), bars("2020-01-01", 60, price=50.0), check_freq=False)


def test_a_worker_on_another_disk_says_so(tmp_path: Path, counting: Make) -> None:
    _, source = counting()
    work, _ = made(tmp_path, ["A"], source)
    for root, token in ((str(tmp_path / "elsewhere"), work.extract.token), (work.extract.root, "other")):
        away = replace(work, extract=replace(work.extract, root=root, token=token))
        with pytest.raises(UsageProblem, match="does not see the folder"):
            away.run(0, 1, None, lambda _: None)


def test_a_busy_source_puts_the_job_off_and_is_not_recorded_as_failed(tmp_path: Path, counting: Make) -> None:
    for on_error, meant in (("fail", SourceBusy), ("record", RetryLater)):
        asked, source = counting(tries=1)
        asked.errors = [SourceBusy("slow down", after=90.0)]
        work, _ = made(tmp_path / on_error, ["A"], source, on_error=on_error)
        with pytest.raises(meant) as caught:
            work.run(0, 1, None, lambda _: None)
        said = describe(caught.value)
        assert said.retry == "90"
        again = decide(jobnb.Retry(), said.as_map(), failures=1, drawn=0.5)
        assert again is not None
        assert again.seconds == 90.0


def test_the_summary_adds_up(tmp_path: Path, counting: Make) -> None:
    _, source = counting()
    work, plan = made(tmp_path, ["A", "B"], source)
    total = None
    for i in range(work.count):
        total = plans.fold_summary(plan, total, work.run(i, i + 1, None, lambda _: None).summary)
    assert total == {"records": 120, "fetched": 120, "calls": 6, "gaps": 0, "unusable": 0, "finished": 2}


def test_the_work_travels(tmp_path: Path, counting: Make) -> None:
    asked, _ = counting()
    work, _ = made(tmp_path, ["A"], lambda *said: asked(*said))
    other = pickle.loads(cloudpickle.dumps(work))
    assert other.run(0, 1, None, lambda _: None).summary["records"] == 20
    many, _ = made(tmp_path, [f"S{i}" for i in range(500)], lambda *_: None, start="2000", chunk=1)
    assert len(cloudpickle.dumps(many)) < 500_000


def test_chunks_are_whole_pages_and_not_too_many() -> None:
    span = boundary("2000", "start"), boundary("2025", "end")
    minute = chunks_of(span, Interval.of("1m"), CallableSource(len, "x", Terms(page=1000)), None)
    assert 150 <= len(minute) <= 201
    assert (minute[0][1] - minute[0][0]) % (1000 * 60_000_000) == 0
    assert len(chunks_of(span, Interval.of("1d"), CallableSource(len, "x"), None)) == 2
    assert len(chunks_of(span, Interval.of("1mo"), CallableSource(len, "x"), 12)) > 20


def test_names_of_files() -> None:
    assert targets("p/", ["BTC/USDT", "BTC_USDT", "^GSPC"]) == (
        "p/BTC_USDT.parquet", "p/BTC_USDT~2.parquet", "p/^GSPC.parquet",
    )  # fmt: skip
    assert targets("p", ["..", "../../etc/passwd"]) == ("p/_.parquet", "p/_.._etc_passwd.parquet")
    assert len({t.lower() for t in targets("p", ["aapl", "AAPL", "brk.b"])}) == 3


def test_the_snapshot_of_an_extraction_has_its_source(tmp_path: Path) -> None:
    from jobnb import JobManager

    def my_prices(symbol: str, start: object, end: object, interval: str) -> pd.DataFrame:
        return bars("2020-01-01", 60)

    manager = JobManager(home=tmp_path / "home")
    manager._thread = object()  # Nothing is to run it.
    job = manager.extract("A", source=my_prices, start="2020", end="2021")
    assert "def my_prices" in job.snapshot["source"]
    assert job.kind == JobType.DATA_EXTRACTION
    assert job.name == "A 1d from my_prices"
    assert job.params["start"] == "2020-01-01"
    assert isinstance(manager.store, Store)
    manager._thread = None
    manager.store.close()
