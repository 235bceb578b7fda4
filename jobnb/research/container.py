"""The bytes of one finished part of a sweep: a JSON head, the matrix of metrics, and which combinations they are.

Children write them, front doors read them; neither pickles, so that a result can be read by any later version.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jobnb.errors import BlobMissing

_MAGIC = b"jobnb-sweep-1\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepPart:
    """Runs ``[start, start + len(values))`` of a sweep.

    Attributes
    ----------
    start : int
    columns : sequence of str
    values : array (k, len(columns))
        A failed run is a row of NaN.
    indices : array (k,) of int64, optional
        Numbers of the combinations, if a constraint left only some.
    errors : mapping of int to str
        Position in this part to message.
    points : array (k, parameters) of float64, optional
        What was tried, where that is not said by the number (see `ParameterSpace`).
    arrays : mapping of str to array
        Anything else that is kept of these runs, by name.
    """

    start: int
    columns: Sequence[str]
    values: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    points: npt.NDArray[np.float64] | None = None
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """The number of each run."""
        return np.arange(self.start, self.start + len(self.values)) if self.indices is None else self.indices

    def to_bytes(self) -> bytes:
        """Return the part as bytes."""
        messages = list(dict.fromkeys(self.errors.values()))
        number = {message: i for i, message in enumerate(messages)}
        arrays: dict[str, npt.NDArray[Any]] = {"values": self.values, **self.arrays}
        if self.indices is not None:
            arrays["indices"] = self.indices
        if self.points is not None:
            arrays["points"] = self.points
        head = {
            "start": self.start,
            "columns": list(self.columns),
            "messages": messages,
            "errors": [[i, number[message]] for i, message in self.errors.items()],
            "arrays": list(arrays),
        }
        file = io.BytesIO()
        file.write(_MAGIC)
        file.write(json.dumps(head, separators=(",", ":")).encode() + b"\n")
        for array in arrays.values():
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> SweepPart:
        """Read what `to_bytes` wrote.

        Raises
        ------
        BlobMissing
            ``BLOB_MISSING``: these are not the bytes of a part.
        """
        file = io.BytesIO(data)
        try:
            if file.readline() != _MAGIC:
                raise ValueError("unknown format")
            head = json.loads(file.readline())
            arrays = {name: np.lib.format.read_array(file, allow_pickle=False) for name in head["arrays"]}
            values = arrays.pop("values")
        except (ValueError, KeyError, EOFError) as error:
            raise BlobMissing(f"a stored part of a sweep cannot be read ({error}); run the job again") from error
        errors = {int(i): head["messages"][number] for i, number in head["errors"]}
        return cls(
            start=head["start"],
            columns=head["columns"],
            values=values,
            indices=arrays.pop("indices", None),
            errors=errors,
            points=arrays.pop("points", None),
            arrays=arrays,
        )
