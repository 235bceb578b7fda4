"""What children are started with."""

import os

import pytest

from jobnb.worker.launcher import environment


def test_children_do_not_give_back_memory_at_once_as_dask_has_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert environment() == {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}


def test_what_somebody_has_said_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert environment() == dict(os.environ)


def test_dask_says_what_is_left_out() -> None:
    import dask.config
    import distributed

    assert distributed.__version__
    assert str(dask.config.get("distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_")) == "65536"
