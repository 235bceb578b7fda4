from __future__ import annotations

import os
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from price_kit import bars

import jobnb
from jobnb.data.files import Files, parquet_bytes, read, told, write
from jobnb.errors import DataError, MissingPackage, UnknownName, UsageProblem


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.bz2", "csv.xz", "csv.zip", "txt"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv(tmp_path: Path, ending: str, mark: str) -> None:
    frame = bars("2020-01-01", 20)
    path = tmp_path / f"aapl.{ending}"
    frame.to_csv(path, sep=mark)
    got = read(path)
    pd.testing.assert_frame_equal(got, frame, check_freq=False)
    assert got.attrs["name"] == "aapl"
    assert got.attrs["source"] == "csv"
    assert got.attrs["fingerprint"] == jobnb.data.fingerprint(frame)


def test_parquet_of_pandas_keeps_its_zone(tmp_path: Path) -> None:
    frame = bars("2020-01-01T10:00", 20, "h", tz="America/New_York")
    frame.to_parquet(tmp_path / "aapl.parquet")
    got = read(tmp_path / "aapl.parquet")
    pd.testing.assert_frame_equal(got, frame, check_freq=False)
    assert str(read(tmp_path / "aapl.parquet", tz="UTC").index.tz) == "UTC"


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    frame = bars("2020-01-01", 20)
    (tmp_path / "aapl").mkdir()
    (tmp_path / "aapl" / ".part").mkdir()
    frame.iloc[10:].to_parquet(tmp_path / "aapl" / "a.parquet")
    frame.iloc[:10].to_parquet(tmp_path / "aapl" / "b.parquet")
    (tmp_path / "aapl" / ".part" / "c.parquet").write_bytes(b"not yet")
    got = read(tmp_path / "aapl")
    pd.testing.assert_frame_equal(got, frame, check_freq=False)
    assert got.attrs["name"] == "aapl"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no Parquet file"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_anywhere_that_fsspec_reaches(ending: str) -> None:
    frame = bars("2020-01-01", 20)
    content = frame.to_csv().encode() if ending == "csv" else frame.to_parquet()
    with fsspec.open(f"memory://prices/aapl.{ending}", "wb") as file:
        file.write(content)
    got = read(f"memory://prices/aapl.{ending}")
    assert got.attrs["path"] == f"memory://prices/aapl.{ending}"
    pd.testing.assert_frame_equal(got, frame, check_freq=False)


def test_several_instruments_in_one_file(tmp_path: Path) -> None:
    frame = pd.concat([bars("2020-01-01", 5).assign(symbol=s) for s in ("AAPL", "MSFT")])
    frame.to_csv(tmp_path / "all.csv")
    assert read(tmp_path / "all.csv", symbol="MSFT").attrs["name"] == "MSFT"
    with pytest.raises(DataError, match=r"2 instruments \(AAPL, MSFT\); choose one: symbol='AAPL'"):
        read(tmp_path / "all.csv")
    with pytest.raises(UnknownName, match="Did you mean 'AAPL'"):
        read(tmp_path / "all.csv", symbol="AAP")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return open, (str(mark), "w")

    for name in ("x.pkl", "x.pickle", "x.joblib", "x.h5", "x.npy"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UsageProblem, match="can run code"):
            read(tmp_path / name)
    (tmp_path / "x.csv").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "x.parquet").write_bytes(pickle.dumps(Bomb()))
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(DataError):
            read(tmp_path / name)
    assert not mark.exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="neither CSV nor Parquet"):
        read(tmp_path / "x.xlsx")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="no CSV file"):
        read(tmp_path / "empty.csv")
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="no CSV file"):
        read(tmp_path / "bad.csv.gz")


def test_bad_prices_are_refused_unless_they_are_to_be_checked(tmp_path: Path) -> None:
    frame = bars("2020-01-01", 5)
    frame.iloc[2, 3] = -1.0
    frame.to_csv(tmp_path / "x.csv")
    with pytest.raises(DataError, match="non-positive in 1 bar, the first at 2020-01-03"):
        read(tmp_path / "x.csv")
    loose = read(tmp_path / "x.csv", strict=False)
    assert len(jobnb.data.check(loose).non_positive) == 1


def test_secrets_of_a_url_stay_out_of_what_is_kept() -> None:
    with fsspec.open("memory://u/aapl.csv", "wb") as file:
        file.write(bars("2020-01-01", 3).to_csv().encode())
    from jobnb.data.files import _without_secrets

    assert _without_secrets("https://me:secret@host/a.csv?token=1#x") == "https://host/a.csv"
    assert _without_secrets("/data/a#1.csv") == "/data/a#1.csv"


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bars("2020-01-01", 3).to_parquet(tmp_path / "x.parquet")
    for package in ("pyarrow", "fsspec"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingPackage, match=r"pip install 'jobnb\[data\]'"):
                read(tmp_path / "x.parquet")


@pytest.mark.parametrize("where", ["disk", "memory://out"])
def test_writing(tmp_path: Path, where: str) -> None:
    url = f"{tmp_path if where == 'disk' else where}/deep/aapl.parquet"
    assert told(url) is None
    write(url, parquet_bytes(bars("2020-01-01", 5), {"symbol": "AAPL"}))
    assert told(url) == {"symbol": "AAPL"}
    pd.testing.assert_frame_equal(read(url), bars("2020-01-01", 5), check_freq=False)
    assert not list(tmp_path.rglob(".new-*"))
    if where == "disk":
        mask = os.umask(0o022)
        os.umask(mask)
        assert os.stat(url).st_mode & 0o777 == 0o666 & ~mask


def test_told_of_a_file_of_somebody_else(tmp_path: Path) -> None:
    bars("2020-01-01", 5).to_parquet(tmp_path / "x.parquet")
    assert told(str(tmp_path / "x.parquet")) == {}
    (tmp_path / "y.parquet").write_text("a diary")
    assert told(str(tmp_path / "y.parquet")) == {}


def test_files_as_a_source(tmp_path: Path) -> None:
    frame = bars("2020-01-01", 30)
    frame.to_csv(tmp_path / "AAPL.csv")
    got = jobnb.data.get(
        "AAPL",
        start="2020-01-05",
        end="2020-01-10",
        source=jobnb.data.source("files", path=f"{tmp_path}/{{symbol}}.csv"),
    )
    pd.testing.assert_frame_equal(got, frame.iloc[4:9], check_freq=False)
    assert jobnb.data.cached().empty


@pytest.mark.parametrize("symbol", ["../secret", "a/b", ".hidden", "", "x\0y", "a*", "{0.__class__}"])
def test_a_symbol_cannot_leave_the_folder(tmp_path: Path, symbol: str) -> None:
    source = Files(f"{tmp_path}/{{symbol}}.csv")
    with pytest.raises(UsageProblem, match="cannot be a part of a file's name"):
        source.fetch(symbol, datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC), "1d")


def test_a_source_of_files_needs_a_place_for_the_symbol() -> None:
    with pytest.raises(UsageProblem, match=r"needs \{symbol\}"):
        Files("prices.csv")
    with pytest.raises(UsageProblem, match="does not take that"):
        jobnb.data.source("files", pth="x")
