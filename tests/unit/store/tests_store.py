"""What the tests of the store share."""

from jobnb.store.jobs import NewJob

SECOND = 1_000_000


class Clock:
    """A moment in µs that moves when told to, and a little each time it is asked."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def new(name: str = "x", **changes: object) -> NewJob:
    said: dict[str, object] = {"name": name, "kind": "job", "cluster": "local", "payload": "0" * 64, "who": "test"}
    return NewJob(**{**said, **changes})  # type: ignore[arg-type]
