"""What a service has out is found by its successor, and nothing else is left on the cluster."""

from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, Event, LocalCluster

from jobnb.service.published import Published


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    # Without "tcp" one and the same future object would be on both sides.
    with LocalCluster(
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        n_workers=1,
        threads_per_worker=2,
        dashboard_address=":0",
        scheduler_kwargs={"dashboard": False},
    ) as made:
        yield made


def wait_for(name: str) -> str:
    Event(name).wait()
    return name


def service(cluster: LocalCluster, epoch: int, family: str = "store/cluster") -> tuple[Client, Published]:
    client = Client(cluster, set_as_default=False)
    return client, Published(client, family, epoch)


def keep(published: Published, *futures: Any) -> None:
    """Keep futures, and have it done when this returns."""
    published.keep({future.key: future for future in futures})
    published._publish()


def test_a_future_outlives_its_client_and_is_found_by_the_next(cluster: LocalCluster) -> None:
    first, mine = service(cluster, 9)
    futures = [first.submit(wait_for, name, key=name, pure=False) for name in ("a", "b")]
    keep(mine, *futures)
    mine.close(withdraw=False)
    first.close()
    second, theirs = service(cluster, 10)
    stranger, other = service(cluster, 11, "store/another")
    assert other.found() == {}
    found = theirs.found()
    assert {key: state for key, (_, state) in found.items()} == {"a": "processing", "b": "processing"}
    second.cancel([found["b"][0]], force=True)
    keep(theirs, found["a"][0])
    theirs.withdraw_former()
    assert list(second.list_datasets()) == ["store/cluster/10"]
    Event("a", client=second).set()
    assert found["a"][0].result(timeout=10) == "a"
    theirs.close(withdraw=True)
    assert not second.list_datasets()
    Event("b", client=second).set()
    other.close(withdraw=True)
    second.close()
    stranger.close()
