"""Extraction jobs, end to end: what is fetched, written, counted, and what a killed one does not fetch again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from extraction_kit import Marked, daily
from service_kit import until

import jobnb
from jobnb import JobFailed, JobManager, JobType, Status
from jobnb.data.extracted import ExtractResult
from jobnb.errors import UnknownName, UsageProblem
from jobnb.notebook import card_html, card_text
from jobnb.option import Options
from jobnb.research.sample import goog

SPAN = {"start": "2020-01-01", "end": "2020-12-31"}  # 365 days, 8 chunks of 50


@pytest.fixture
def source(tmp_path: Path) -> Marked:
    (tmp_path / "marks").mkdir()
    return Marked(str(tmp_path / "marks"), gate=str(tmp_path / "gate"), name=f"marked {tmp_path}"[:100])


def whole() -> pd.DataFrame:
    return daily("2020-01-01", "2020-12-31")


def test_a_folder_gets_a_file_per_symbol(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    job = shared.extract(["AAPL", "BTC/USDT".replace("/", "-")], source=source, to=tmp_path / "prices", **SPAN)
    result = job.result(timeout=60)
    assert isinstance(result, ExtractResult)
    assert result.records_processed == job.records_processed == 730
    assert (result.fetched, result.calls, result.gaps) == (730, 16, 0)
    assert sorted(os.path.basename(p) for p in result.paths) == ["AAPL.parquet", "BTC-USDT.parquet"]
    pd.testing.assert_frame_equal(jobnb.data.read(tmp_path / "prices" / "AAPL.parquet"), whole(), check_freq=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "prices" / "AAPL.parquet"), whole(), check_freq=False)
    frame = result.frame("AAPL")
    assert frame.attrs["fingerprint"] == result.symbols["AAPL"].fingerprint == jobnb.data.fingerprint(whole())
    assert job.kind == JobType.DATA_EXTRACTION == "data"
    assert job.progress.current == job.progress.total == 18
    assert set(source.counts().values()) == {1}


def test_one_file_for_all_and_the_words_on_the_card(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    job = shared.extract(["A", "B"], source=source, to=tmp_path / "all.parquet", **SPAN)
    result = job.result(timeout=60)
    assert result.paths == [str(tmp_path / "all.parquet")]
    both = pd.read_parquet(tmp_path / "all.parquet")
    assert both.groupby("symbol").size().to_dict() == {"A": 365, "B": 365}
    pd.testing.assert_frame_equal(result.frame("B"), whole(), check_freq=False)
    view = shared.view(job.id)
    assert "730 records" in card_text.render(view)
    assert "730 records" in card_html.render(view, live=False)
    assert "A: 365 bars" in str(result)
    assert job.snapshot["source"].startswith("@dataclass")


def test_what_is_kept_is_not_fetched_again(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    first = shared.extract("A", source=source, start="2020-01-01", end="2020-07-01", chunk=50).result(timeout=60)
    assert first.paths == []
    before = source.counts()
    again = shared.extract("A", source=source, to=tmp_path / "a.parquet", **SPAN).result(timeout=60)
    assert (again.records_processed, again.fetched) == (365, 365 - 182)
    assert {k: v for k, v in source.counts().items() if k in before} == before
    # The first result finds its own span among more.
    pd.testing.assert_frame_equal(first.frame("A"), daily("2020-01-01", "2020-07-01"), check_freq=False)
    fresh = shared.extract("A", source=source, to=tmp_path / "a.parquet", refresh=True, **SPAN).result(timeout=60)
    assert fresh.fetched == 365
    assert fresh.symbols["A"].fingerprint == again.symbols["A"].fingerprint


def test_an_extraction_is_reproduced_by_a_rerun(shared: JobManager, source: Marked) -> None:
    job = shared.extract("A", source=source, **SPAN)
    job.result(timeout=60)
    assert shared.rerun(job.id, verify=True).result(timeout=60).records_processed == 365


def test_a_killed_service_goes_on_and_fetches_no_chunk_twice(
    fresh: Callable[[], JobManager], source: Marked, tmp_path: Path
) -> None:
    manager = fresh()
    gated = replace(source, gated="2020-07-19")  # The last four chunks wait.
    job = manager.extract("A", source=gated, to=tmp_path / "a.parquet", **SPAN)
    until(lambda: job.record.done >= 4, 40.0, what=lambda: job.record)
    until(lambda: len(source.counts()) > 4)
    done = job.record.done
    os.kill(manager.daemon.lease().info["pid"], signal.SIGKILL)
    Path(source.gate).touch()
    result = job.result(timeout=120)
    assert result.records_processed == 365
    pd.testing.assert_frame_equal(result.frame("A"), whole(), check_freq=False)
    counts = list(source.counts().values())
    assert counts[:done] == [1] * done
    assert max(counts) <= 2


def test_a_retry_after_a_failure_fetches_the_rest(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    options = Options().merge(retry=False)
    broken = replace(source, bad=("B",))
    job = shared.extract(["A", "B"], options, source=broken, to=tmp_path / "p", **SPAN)
    with pytest.raises(JobFailed, match="B is rotten"):
        job.result(timeout=60)
    assert job.error is not None
    assert job.error.code == "USER_ERROR"
    assert not (tmp_path / "p" / "B.parquet").exists()
    partial = job.result(partial=True)
    assert partial.records_processed == job.records_processed
    before = {k: v for k, v in source.counts().items() if k.startswith("A")}
    result = shared.extract(["A", "B"], source=source, to=tmp_path / "p", **SPAN).result(timeout=60)
    assert result.records_processed == 730
    # At most the chunk that was being fetched when the job failed.
    assert sum(source.counts()[mark] - before[mark] for mark in before) <= 1


def test_a_symbol_that_fails_can_be_recorded(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    options = Options().merge(on_error="record")
    job = shared.extract(["A", "B"], options, source=replace(source, bad=("B",)), to=tmp_path / "p", **SPAN)
    result = job.result(timeout=60)
    assert list(result.symbols) == ["A"]
    assert result.failed == {"B": "ValueError: B is rotten"}
    assert "B: FAILED ValueError" in str(result)
    assert "&lt;" not in result._repr_html_()
    with pytest.raises(UnknownName, match="unknown symbol 'B'"):
        result.frame("B")


def test_a_source_that_says_later_is_asked_later(shared: JobManager, source: Marked) -> None:
    options = Options().merge(retry=5)
    job = shared.extract("A", options, source=replace(source, busy_once=True), chunk=200, **SPAN)
    assert job.result(timeout=60).records_processed == 365
    assert any(a.state == "failed" for a in job.attempts)


def test_a_cancelled_extraction_keeps_what_it_has(shared: JobManager, source: Marked) -> None:
    job = shared.extract("A", source=replace(source, gated="2020-07-19"), **SPAN)
    until(lambda: job.record.done >= 4, 40.0, what=lambda: job.record)
    job.cancel()
    until(job.done)
    assert job.status is Status.CANCELLED
    assert job.result(partial=True).records_processed == 200
    Path(source.gate).touch()
    assert job.retry().result(timeout=60).records_processed == 365
    assert list(source.counts().values())[:4] == [1] * 4


def test_files_of_somebody_else_are_not_overwritten(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    mine = tmp_path / "A.parquet"
    goog().to_parquet(mine)
    content = mine.read_bytes()
    for to in (mine, tmp_path):
        with pytest.raises(UsageProblem, match=r"A\.parquet exists and is not jobnb's"):
            shared.extract("A", source=source, to=to, **SPAN)
    assert mine.read_bytes() == content
    shared.extract("A", source=source, to=mine, overwrite=True, **SPAN).result(timeout=60)
    with pytest.raises(UsageProblem, match=r"A.parquet exists and holds .*; give another name"):
        shared.extract("B", source=source, to=mine, **SPAN)
    shared.extract("A", source=source, to=mine, start="2020-01-01", end="2020-02-01").result(timeout=60)
    assert len(pd.read_parquet(mine)) == 31


def test_requests_that_make_no_sense_enqueue_nothing(shared: JobManager, source: Marked, tmp_path: Path) -> None:
    before = shared.stats()["total"]
    for said, text in (
        ({"symbols": []}, "nothing to extract"),
        ({"symbols": [3]}, "a symbol is a text"),
        ({"symbols": ["A", ""]}, "1 to 200 characters"),
        ({"start": "2999-01-01", "end": "2999-02-01"}, "is over yet"),
        ({"interval": "1y"}, "no length of a bar"),
        ({"to": tmp_path / "x.csv"}, "writes Parquet"),
        ({"chunk": 0}, "at least 1 bar"),
        ({"source": "yfinanc"}, "Did you mean 'yfinance'"),
        ({"source": jobnb.data.source("files", path="{symbol}.csv")}, "there is nothing to extract"),
    ):
        with pytest.raises(UsageProblem, match=text):
            shared.extract(**{"symbols": "A", "source": source, **SPAN, **said})
    assert shared.stats()["total"] == before


def test_a_function_says_how_many_records_it_has_processed(shared: JobManager) -> None:
    job = shared.submit(lambda: {"records_collected": 12_400, "status": "success"}, kind="data")
    job.result(timeout=20)
    assert job.records_processed == 12_400
    assert "12,400 records" in card_text.render(shared.view(job.id))
    other = shared.submit(lambda: 3)
    other.result(timeout=20)
    assert other.records_processed == 0


def test_a_backtest_tells_where_its_prices_are_from(shared: JobManager, source: Marked) -> None:
    result = shared.extract("A", source=source, **SPAN).result(timeout=60)
    frame = result.frame("A")

    def hold(data: pd.DataFrame) -> dict[str, float]:
        return {"sharpe_ratio": 1.0, "bars": float(len(data))}

    job = shared.backtest(hold, frame)
    job.result(timeout=60)
    said = job.snapshot["data"]
    assert said["fingerprint"] == frame.attrs["fingerprint"]
    assert said["origin"]["source"] == source.name
    assert (said["origin"]["symbol"], said["origin"]["start"], said["origin"]["end"]) == ("A", *SPAN.values())
