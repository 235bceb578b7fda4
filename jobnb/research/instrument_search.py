"""The result of an optimization over several instruments: the search, and what each instrument says of it.

Put together at the front door from the parts that children wrote, also of an unfinished search. It never runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from jobnb.errors import UsageProblem
from jobnb.research.container import SweepPart
from jobnb.research.optimize import OptimizeResult

if TYPE_CHECKING:
    import pandas as pd


class InstrumentsOptimizeResult(OptimizeResult):
    """What an optimization over several instruments found; for the rest see `OptimizeResult`.

    Attributes
    ----------
    symbols : tuple of str
    across : str
        ``mean``, ``median`` or ``worst`` of the instruments, or ``portfolio``.
    """

    symbols: tuple[str, ...] = ()
    across: str = "mean"
    _each: npt.NDArray[np.float64] | None = None

    @classmethod
    def from_parts(cls, meta: Mapping[str, Any], parts: Sequence[bytes]) -> Self:
        """Build the result from the meta of its work and the finished parts, in any order."""
        made = super().from_parts(meta, parts)
        made.symbols = tuple(meta["instruments"])
        made.across = meta["across"]
        read = sorted((SweepPart.from_bytes(part) for part in parts), key=lambda part: part.start)
        if read and all("across" in part.arrays for part in read):
            made._each = np.concatenate([part.arrays["across"] for part in read])
        return made

    @property
    def by_instrument(self) -> pd.DataFrame:
        """The objective of every run on every instrument: rows as in `trials`, one column per instrument.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: there is one account, or the objective is a function of the metrics together.
        """
        import pandas as pd

        if self._each is None:
            why = "the runs have one account" if self.across == "portfolio" else f"{self.objective} is no single metric"
            raise UsageProblem(f"there is no {self.objective} of each instrument: {why}; see rerun_best()")
        return pd.DataFrame(self._each, columns=list(self.symbols))

    @property
    def best_by_instrument(self) -> pd.DataFrame:
        """For each instrument its own best run: ``row`` of `trials`, parameters, ``value``, and ``chosen``.

        ``chosen`` is the value on that instrument of the run that is best for all. The distance between the two is what
        fitting each instrument alone would seem to gain.
        """
        import pandas as pd

        table = self.by_instrument.to_numpy()
        signed = np.where(np.isfinite(table), table if self.maximize else -table, -np.inf)
        rows = []
        for j in range(len(self.symbols)):
            row = int(np.argmax(signed[:, j])) if len(table) else -1
            known = row >= 0 and bool(np.isfinite(table[row, j]))
            rows.append(
                {
                    "row": row if known else -1,
                    **(self.params(row) if known else {}),
                    "value": table[row, j] if known else np.nan,
                    "chosen": np.nan if self._best is None else table[self._best, j],
                }
            )
        return pd.DataFrame(rows, index=pd.Index(self.symbols, name="instrument"))
