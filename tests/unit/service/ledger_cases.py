"""The jobs whose books are tested."""

from datetime import UTC, datetime
from typing import Any

from jobnb.job import JobRecord, Status


def job(items: int = 10, kind: str = "map", **changes: Any) -> JobRecord:
    """Return a running job of so many items; what is said in ``plan`` comes on top of them."""
    plan = {"type": kind, "items": items, **changes.pop("plan", {})}
    said: dict[str, Any] = {"id": "0" * 8, "name": "x", "kind": "job", "status": Status.RUNNING, "cluster": "local"}
    return JobRecord(**{**said, "created_at": datetime.now(UTC), **changes, "plan": plan})
