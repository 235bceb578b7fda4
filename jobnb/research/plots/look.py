"""How pictures look: the inks, the axes, how many points a line needs, and the figure that shows itself.

Used by the pictures beside it. The tear sheet draws with inks that it then replaces by its own variables.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jobnb.research.course import Floats

#: A line across a page has no more points than that: the rest would fall on the same pixels.
POINTS = 1200
#: Bytes from which on a picture in a notebook gets a palette.
HEAVY = 200_000


@dataclass(frozen=True, kw_only=True)
class Inks:
    """The colours of a picture."""

    ink: str
    soft: str
    line: str
    accent: str
    good: str
    bad: str
    warn: str


#: Readable on white and on black alike (contrast of at least 3.5 to 1 on both).
NEUTRAL = Inks(
    ink="#7f7f86", soft="#85858c", line="#85858d", accent="#3f7fe0", good="#2f9a57", bad="#dd4f55", warn="#b97f1a"
)


class Picture(Figure):
    """A figure that notebooks show without pyplot: a transparent PNG at twice the density of the screen."""

    def __init__(self, width: float = 9.0, height: float = 4.5) -> None:
        super().__init__(figsize=(width, height), layout="constrained", facecolor="none")

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=2 * self.dpi, facecolor="none")
        wide, tall = self.get_size_inches() * self.dpi
        return small(out.getvalue()), {"width": round(wide), "height": round(tall)}


def small(png: bytes) -> bytes:
    """Return a picture that a saved notebook can carry: a large one with a palette of 256 colours."""
    if len(png) <= HEAVY:
        return png
    from PIL import Image  # matplotlib brings it

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).quantize(256, method=Image.Quantize.FASTOCTREE).save(out, "png", optimize=True)
    return min(png, out.getvalue(), key=len)


def plain(text: object) -> str:
    """Return text that matplotlib draws as it is: a dollar would begin a formula."""
    return str(text).replace("$", r"\$")


def dress(axes: Axes, inks: Inks, label: str = "", *, grid: Literal["", "x", "y"] = "y") -> None:
    """Give axes the looks of the house: a label at the top left, a faint grid, no box."""
    axes.set_facecolor("none")
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(inks.line)
        spine.set_linewidth(0.6)
    axes.tick_params(colors=inks.soft, labelsize=8, length=2.5, width=0.6)
    axes.tick_params(axis="y", length=0)
    if grid:
        axes.grid(axis=grid, color=inks.line, linewidth=0.5, alpha=0.28)
        axes.set_axisbelow(True)
    if label:
        axes.set_title(plain(label), loc="left", fontsize=8.5, color=inks.soft, pad=4)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(inks.soft)
        part.set_fontsize(8.5)


def dates(axes: Axes, inks: Inks) -> None:
    """Put short dates on the x axis."""
    locator = AutoDateLocator(minticks=3, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_color(inks.soft)
    axes.xaxis.get_offset_text().set_fontsize(8)


def percents(axis: Any) -> None:
    """Write fractions on an axis as percent."""

    def text(value: float, _: object) -> str:
        return f"{100 * value:.4g} %".replace("-", "−")

    axis.set_major_formatter(FuncFormatter(text))


def money(axis: Any) -> None:
    """Write amounts on an axis with thousands apart."""

    def text(value: float, _: object) -> str:
        for size, unit in ((1e12, "T"), (1e9, "bn"), (1e6, "M")):
            if abs(value) >= size:
                return f"{value / size:,.4g} {unit}".replace("-", "−")
        return f"{value:,.6g}".replace("-", "−")

    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def few(axis: Any, count: int = 5) -> None:
    """Have at most so many ticks."""
    axis.set_major_locator(MaxNLocator(nbins=count, min_n_ticks=2))


def key(axes: Axes, inks: Inks, **more: Any) -> None:
    """Draw the legend in one line at the top right, above the axes."""
    axes.legend(
        frameon=False, fontsize=8, labelcolor=inks.soft, ncols=10, loc="lower right", bbox_to_anchor=(1.0, 0.99),
        borderaxespad=0.1, handlelength=1.4, columnspacing=1.2, **more,
    )  # fmt: skip


def thin(values: Floats, most: int = POINTS) -> npt.NDArray[np.int64]:
    """Return the places of at most ``most`` points that look like the whole line: low and high of each stretch.

    The first and the last point are always among them.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most // 2, dtype=np.int64)
    places = {0, count - 1}
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        stretch = values[start:stop]
        places |= {start + int(np.argmin(stretch)), start + int(np.argmax(stretch))}
    return np.array(sorted(places), dtype=np.int64)
