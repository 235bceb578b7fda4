"""A metric over two parameters: a table, a picture for notebooks (inline SVG, no script), a matplotlib figure.

Made at the front door from a finished optimization. The picture is binned to a size a saved notebook can carry.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobnb.research.summary import HEAT_COLUMNS, HEAT_ROWS, bin_of
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.plots.look import Picture

#: Viridis in nine steps.
_COLOURS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
_WIDTH, _HEIGHT = 520.0, 220.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap:
    """A metric over two parameters.

    Attributes
    ----------
    frame : pandas.DataFrame
        Rows are the values of ``y``, columns those of ``x``; NaN where nothing ran.
    x, y, metric : str
    maximize : bool
        Whether the best of several is the highest.
    best : tuple, optional
        Values of x and y of the best run.
    """

    frame: pd.DataFrame = field(repr=False)
    x: str
    y: str
    metric: str
    maximize: bool = True
    best: tuple[object, object] | None = None

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        rows, columns = self.frame.index, self.frame.columns
        text = f"{self.metric} · rows {self.y} {rows[0]}…{rows[-1]} · columns {self.x} {columns[0]}…{columns[-1]}"
        if self.best is not None:
            value = float(self.frame.to_numpy()[self.place(self.best)])
            text += f" · best {number(self.metric, value)} at {self.y}={self.best[1]} {self.x}={self.best[0]}"
        return text

    def place(self, point: tuple[object, object]) -> tuple[int, int]:
        """Return the row and column of the values of x and y."""
        columns: list[object] = list(self.frame.columns)
        rows: list[object] = list(self.frame.index)
        return rows.index(point[1]), columns.index(point[0])

    def _binned(self) -> npt.NDArray[np.float64]:
        values = self.frame.to_numpy(dtype=np.float64)
        rows, columns = values.shape
        grid = np.full((min(rows, HEAT_ROWS), min(columns, HEAT_COLUMNS)), np.nan)
        row = np.array([bin_of(i, rows, HEAT_ROWS) for i in range(rows)])
        column = np.array([bin_of(i, columns, HEAT_COLUMNS) for i in range(columns)])
        better = np.fmax if self.maximize else np.fmin
        better.at(grid, (row[:, None], column[None, :]), np.where(np.isfinite(values), values, np.nan))
        return grid

    def _repr_html_(self) -> str:
        grid = self._binned()
        finite = grid[np.isfinite(grid)]
        caption = html.escape(self.caption)
        if not finite.size:
            return f"<p>{caption}: no finite value</p>"
        low, high = float(finite.min()), float(finite.max())
        wide, tall = _WIDTH / grid.shape[1], _HEIGHT / grid.shape[0]
        paths: dict[str, list[str]] = {}
        for i, j in np.argwhere(np.isfinite(grid)):
            level = 0.0 if high == low else (float(grid[i, j]) - low) / (high - low)
            colour = _COLOURS[min(int(level * len(_COLOURS)), len(_COLOURS) - 1)]
            # One path per colour: a tenth of the size of one rectangle per cell. A hair wider, against seams.
            paths.setdefault(colour, []).append(
                f"M{j * wide:.1f},{i * tall:.1f}h{wide + 0.3:.1f}v{tall + 0.3:.1f}h-{wide + 0.3:.1f}z"
            )
        cells = "".join(f"<path fill='{colour}' d='{''.join(d)}'/>" for colour, d in sorted(paths.items()))
        return (
            f"<figure style='margin:0;max-width:{_WIDTH:.0f}px'>"
            f"<svg viewBox='0 0 {_WIDTH:.0f} {_HEIGHT:.0f}' preserveAspectRatio='none' role='img' "
            f"style='width:100%;height:{_HEIGHT:.0f}px;border-radius:3px'><title>{caption}</title>{cells}"
            f"{self._mark(grid, wide, tall)}</svg>"
            f"<figcaption style='font-size:11px'>{caption}</figcaption></figure>"
        )

    def _mark(self, grid: npt.NDArray[np.float64], wide: float, tall: float) -> str:
        if self.best is None:
            return ""
        row, column = self.place(self.best)
        i = bin_of(row, self.frame.shape[0], grid.shape[0])
        j = bin_of(column, self.frame.shape[1], grid.shape[1])
        return (
            f"<rect x='{j * wide:.1f}' y='{i * tall:.1f}' width='{wide:.1f}' height='{tall:.1f}' "
            "fill='none' stroke='#fff' stroke-width='2'/>"
        )

    def __repr__(self) -> str:
        return f"<Heatmap {self.caption}>"

    def plot(self) -> Picture:
        """Draw it with matplotlib."""
        from jobnb.research.plots.heat import heat_figure

        return heat_figure(self)
