"""How a work object names its prices, and how a child opens them once and keeps them warm.

A front door stores the bytes under their hash and sends only the `DataRef`; a child maps the file. Nothing but
this small record travels with a task.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobnb.research.bars import Bars

#: A child serves one job, which has one data set; two, so that walking back and forth between two does not thrash.
_KEPT = 2
_open: OrderedDict[str, Bars] = OrderedDict()


@dataclass(frozen=True)
class DataRef:
    """Stored price bars.

    Attributes
    ----------
    key : str
        SHA-256 of the stored bytes (``Bars.to_bytes()``), or an absolute path to a file of them.
    meta : mapping
        The `Bars.meta`.
    """

    key: str
    meta: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> Bars:
        """Return the bars, the same object for the same key within one process."""
        found = _open.get(self.key)
        if found is None:
            found = _open[self.key] = Bars.from_file(self._path(), self.meta)
            while len(_open) > _KEPT:
                _open.popitem(last=False)
        _open.move_to_end(self.key)
        return found

    def _path(self) -> Path:
        path = Path(self.key)
        if path.is_absolute():
            return path
        from jobnb.worker import blobs

        return Path(blobs.path(self.key))
