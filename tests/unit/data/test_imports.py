from __future__ import annotations

import subprocess
import sys

import pytest

import jobnb


@pytest.mark.parametrize("name", jobnb.data.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(jobnb.data, name) is not None
    assert name in dir(jobnb.data)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        jobnb.data.reed  # noqa: B018


@pytest.mark.parametrize("module", ["jobnb.data", "jobnb.data.door", "jobnb.data.extracted", "jobnb.data.access"])
def test_nothing_heavy_is_imported_before_it_is_used(module: str) -> None:
    heavy = ("pandas", "numpy", "numba", "pyarrow", "fsspec", "yfinance", "ccxt", "distributed", "exchange_calendars")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
