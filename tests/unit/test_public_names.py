from __future__ import annotations

import subprocess
import sys

import pytest

import jobnb


@pytest.mark.parametrize("name", jobnb.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(jobnb, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sumbit'"):
        jobnb.sumbit  # noqa: B018


def test_importing_jobnb_imports_nothing_heavy() -> None:
    heavy = ("distributed", "dask", "pandas", "numpy", "numba", "ipywidgets", "matplotlib")
    code = f"import sys, jobnb; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_front_doors_do_not_import_the_service_or_the_worker() -> None:
    code = (
        "import sys, jobnb.notebook.magic, jobnb.notebook.cards, jobnb.server.saved, jobnb.cli, jobnb.manager\n"
        "print([m for m in sys.modules if m.startswith(('jobnb.service', 'jobnb.worker', 'distributed'))])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_options_is_the_function_whatever_was_imported_before() -> None:
    code = "import jobnb.option, jobnb.manager, jobnb; print(jobnb.options(name='x').options.name)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "x"


@pytest.mark.parametrize("name", jobnb.overfitting.__all__)
def test_every_name_of_overfitting_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(jobnb.overfitting, name).__doc__
