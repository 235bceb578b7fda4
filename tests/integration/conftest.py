"""Homes with a real service: one for tests that only read along, and a fresh one for those that kill."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_kit import end, until

from jobnb import JobManager


@pytest.fixture(scope="session", autouse=True)
def _quiet_service() -> Iterator[None]:
    """Two workers, and this folder where children can import the functions that tests run."""
    before = dict(os.environ)
    os.environ["DASK_JOBNB__WORKERS"] = "2"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobManager]:
    """A manager with a running service, for tests that disturb nobody."""
    manager = JobManager(home=tmp_path_factory.mktemp("shared") / "home")
    manager.ensure_service()
    until(lambda: (manager.daemon.lease() or 0) and manager.daemon.lease().info.get("slots") == 2)
    yield manager
    end(manager)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[], JobManager]]:
    """Make managers of one home of this test's own, as several notebooks would; no service runs at first."""
    made: list[JobManager] = []

    def make() -> JobManager:
        made.append(JobManager(home=tmp_path / "home"))
        return made[-1]

    yield make
    for manager in made[1:]:
        manager.close()
    if made:
        end(made[0])
