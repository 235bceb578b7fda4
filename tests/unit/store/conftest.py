"""A store in a temporary home, with a clock that the test moves."""

from pathlib import Path

import pytest
from tests_store import Clock

from jobnb.store import Store
from jobnb.store.leases import Lease


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "home", clock)


@pytest.fixture
def lease(store: Store) -> Lease:
    taken = store.leases.take("local", "me", 15, {"host": "elsewhere", "pid": 1})
    assert taken is not None
    return taken
